"""The shell scripts of ``deploy/compose``, with recorders in the place of ``kubectl`` and ``docker``."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "compose"

RECORDER = """#!{python} -ISE
import json, os, pathlib, sys
arguments = sys.argv[1:]
world = pathlib.Path({world!r})
stdin = "" if "-" not in arguments else sys.stdin.read()
name = pathlib.Path(sys.argv[0]).name
with (world / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps({{"program": name, "arguments": arguments, "stdin": stdin}}) + "\\n")
line = " ".join(arguments)
for answer in json.loads((world / "answers.json").read_text()):
    if answer["part"] in line:
        if answer.get("times", 1) <= 0:
            continue
        if answer.get("write"):
            pathlib.Path(arguments[arguments.index("--output") + 1]).write_text(answer["write"])
        sys.stdout.write(answer.get("out", ""))
        sys.exit(answer.get("code", 0))
"""


class Recorder:
    """A folder of programs that note how they are called.

    :param programs: their names.
    """

    def __init__(self, world: Path, *programs: str) -> None:
        self.world = world
        self.bin = world / "bin"
        self.bin.mkdir()
        for name in programs:
            file = self.bin / name
            file.write_text(RECORDER.format(python=sys.executable, world=str(world)))
            file.chmod(0o755)
        self.answers: list[dict[str, Any]] = []
        # A minute of waiting takes no time.
        (self.bin / "sleep").write_text("#!/bin/sh\n")
        (self.bin / "sleep").chmod(0o755)

    def run(self, script: str, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        (self.world / "answers.json").write_text(json.dumps(self.answers))
        return subprocess.run(
            ["/bin/sh", FOLDER / script, *arguments],
            env={"PATH": f"{self.bin}:{os.defpath}", **env},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def calls(self) -> list[dict[str, Any]]:
        file = self.world / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def called(self, part: str) -> list[dict[str, Any]]:
        return [call for call in self.calls if part in " ".join(call["arguments"])]


TOKEN = {"part": "jsonpath={.data.token}", "out": base64.b64encode(b"token-of-airflow").decode()}
AUTHORITY = {"part": "jsonpath={.data.ca\\.crt}", "out": "Q0E="}


class Cluster(Recorder):
    """The volumes of ``cluster-init``."""

    def __init__(self, world: Path, mode: str) -> None:
        super().__init__(world, "kubectl")
        self.credentials = world / "credentials"
        (self.credentials / "keys").mkdir(parents=True)
        (self.credentials / "mode").write_text(mode)
        self.output = world / "cluster"
        self.output.mkdir()
        made = {"part": "create secret generic", "out": "the secret's manifest"}
        self.answers = [TOKEN, AUTHORITY, made]

    def start(self) -> subprocess.CompletedProcess[str]:
        addresses = {"STAND_IN_GITHUB": "10.9.8.10", "STAND_IN_MODEL": "10.9.8.11"}
        return self.run(
            "cluster-init.sh", "https://k3s:6443", FOLDER, self.credentials, self.output, **addresses
        )


@pytest.fixture(params=["real", "demo"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cluster(tmp_path: Path, mode: str) -> Cluster:
    return Cluster(tmp_path, mode)


def test_airflow_gets_a_kubeconfig_of_its_own(cluster: Cluster):
    done = cluster.start()
    assert done.returncode == 0, done.stderr
    file = cluster.output / "kubeconfig"
    config = yaml.safe_load(file.read_text())
    assert config["clusters"][0]["cluster"] == {
        "server": "https://k3s:6443",
        "certificate-authority-data": "Q0E=",
    }
    assert config["users"] == [{"name": "airflow-worker", "user": {"token": "token-of-airflow"}}]
    assert config["contexts"][0]["context"]["namespace"] == "agent-system"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in cluster.output.iterdir()] == ["kubeconfig"]


def test_every_call_names_the_cluster_and_a_limit(cluster: Cluster):
    cluster.start()
    assert cluster.calls
    for call in cluster.calls:
        assert call["arguments"][:4] == ["--server", "https://k3s:6443", "--request-timeout", "30s"]


def test_manifests_then_secret_without_a_copy_in_an_annotation(cluster: Cluster):
    cluster.start()
    assert cluster.calls[0]["arguments"][4:] == ["apply", "--kustomize", f"{FOLDER}/cluster"]
    (made,) = cluster.called("create secret generic agent-secrets")
    assert f"{cluster.credentials}/keys" in made["arguments"]
    (applied,) = [call for call in cluster.called("apply --server-side") if "manifest" in call["stdin"]]
    assert applied["stdin"] == "the secret's manifest\n"


def test_a_secret_that_cannot_be_made_ends_it(cluster: Cluster):
    cluster.answers = [{"part": "create secret", "code": 1}, TOKEN, AUTHORITY]
    assert cluster.start().returncode == 1
    assert not cluster.called("--filename -")
    assert not (cluster.output / "kubeconfig").exists()


@pytest.mark.parametrize("mode", ["demo"])
def test_only_the_demos_pods_reach_the_stand_ins(cluster: Cluster):
    cluster.start()
    (call,) = [call for call in cluster.called("apply --server-side") if "NetworkPolicy" in call["stdin"]]
    policy = yaml.safe_load(call["stdin"])
    assert [
        (rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]) for rule in policy["spec"]["egress"]
    ] == [("10.9.8.10/32", 3000), ("10.9.8.11/32", 4000)]
    assert policy["spec"]["policyTypes"] == ["Egress"]
    assert not cluster.called("delete")


@pytest.mark.parametrize("mode", ["real"])
def test_a_real_start_closes_what_the_demo_opened(cluster: Cluster):
    cluster.start()
    assert not [call for call in cluster.calls if "NetworkPolicy" in call["stdin"]]
    (call,) = cluster.called("delete networkpolicy stand-ins")
    assert "--ignore-not-found" in call["arguments"]


@pytest.mark.parametrize("mode", ["real"])
def test_a_token_that_never_comes_is_reported(cluster: Cluster):
    cluster.answers = [{"part": "jsonpath={.data.token}", "out": ""}]
    done = cluster.start()
    assert done.returncode == 1
    assert "made no token" in done.stderr
    assert len(cluster.called("jsonpath={.data.token}")) == 60
    assert not (cluster.output / "kubeconfig").exists()


@pytest.mark.parametrize("mode", ["real"])
def test_a_refusal_of_the_cluster_ends_it(cluster: Cluster):
    cluster.answers = [{"part": "apply --kustomize", "code": 1}]
    assert cluster.start().returncode == 1
    assert len(cluster.calls) == 1


@pytest.fixture
def engine(tmp_path: Path) -> Recorder:
    recorder = Recorder(tmp_path, "docker")
    recorder.answers = [
        {"part": "image inspect", "out": "sha256:1\n"},
        {"part": "image save", "write": "the image"},
    ]
    return recorder


def export(engine: Recorder) -> subprocess.CompletedProcess[str]:
    return engine.run("export-image.sh", "airflow-agents/agent:local", engine.world / "images")


def test_the_image_is_put_where_k3s_looks(engine: Recorder):
    done = export(engine)
    assert done.returncode == 0, done.stderr
    images = engine.world / "images"
    assert {file.name for file in images.iterdir()} == {"agent.tar", "agent.id"}
    assert (images / "agent.tar").read_text() == "the image"


def test_the_same_image_is_not_written_again(engine: Recorder):
    export(engine)
    assert export(engine).returncode == 0
    assert len(engine.called("image save")) == 1


def test_another_image_is(engine: Recorder):
    export(engine)
    engine.answers[0]["out"] = "sha256:2"
    engine.answers[1]["write"] = "the new image"
    assert export(engine).returncode == 0
    assert (engine.world / "images" / "agent.tar").read_text() == "the new image"


def test_what_is_cut_short_is_not_taken_for_an_image(engine: Recorder):
    engine.answers[1]["code"] = 1
    assert export(engine).returncode != 0
    images = engine.world / "images"
    assert not list(images.glob("*.tar"))
    del engine.answers[1]["code"]
    assert export(engine).returncode == 0
    assert (images / "agent.tar").exists()


def test_a_missing_image_is_named(engine: Recorder):
    engine.answers = [{"part": "image inspect", "code": 1}]
    done = export(engine)
    assert done.returncode == 1
    assert "docker compose build agent-image" in done.stderr

"""Containers under bubblewrap, and its command line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from airflow_provider_agents.local import bubblewrap, sandbox
from airflow_provider_agents.local.images import Image
from airflow_provider_agents.local.runtime import LocalKubernetes


def usable() -> bool:
    try:
        sandbox.BubblewrapSandbox([], [])
    except sandbox.SandboxUnavailableError:
        return False
    return True


needs_bubblewrap = pytest.mark.skipif(not usable(), reason="bubblewrap does not work here")


@pytest.fixture
async def wrapped(tmp_path, connect, quick):
    path = tmp_path / "tools"
    path.mkdir()
    tool = path / "tool"
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    images = {"shell": Image(("sh",), (path,))}
    runtime = LocalKubernetes(
        tmp_path / "data", images, sandbox="bubblewrap", pod_security="none", timing=quick
    )
    async with runtime:
        yield connect(runtime)


@needs_bubblewrap
async def test_mounts_are_real_and_the_rest_is_read_only(wrapped, make, tmp_path, status_of):
    await wrapped.ok("POST", "secrets", {"metadata": {"name": "keys"}, "stringData": {"token": "s3cret"}})
    script = f"""
    cat /agent/secrets/token; echo; pwd; tool; id -u; hostname
    echo x > /agent/space/file && echo written
    (echo x > /agent/secrets/token) 2> /dev/null || echo read-only secret
    touch /usr/x 2> /dev/null || echo read-only system
    touch /tmp/x 2> /dev/null || echo read-only root
    ls {tmp_path}/data 2> /dev/null || echo no data
    ls {Path.home()}/.* 2> /dev/null || echo no home
    cat /etc/shadow 2> /dev/null || echo no shadow
    echo done > /dev/termination-log
    """
    base = make.shell(
        script,
        workingDir="/agent/space",
        securityContext={"runAsUser": 1234, "runAsGroup": 1234, "readOnlyRootFilesystem": True},
        volumeMounts=[
            {"name": "keys", "mountPath": "/agent/secrets", "readOnly": True},
            {"name": "work", "mountPath": "/agent/space"},
        ],
    )
    volumes = [{"name": "keys", "secret": {"secretName": "keys"}}, {"name": "work", "emptyDir": {}}]
    await wrapped.ok("POST", "pods", make.pod(base, volumes=volumes))
    pod = await wrapped.phase("Succeeded")
    assert (await wrapped.log()).splitlines() == [
        "s3cret", "/agent/space", "tool", "1234", "pod", "written", "read-only secret", "read-only system",
        "read-only root", "no data", "no home", "no shadow",
    ]  # fmt: skip
    assert status_of(pod)["state"]["terminated"]["message"] == "done\n"


@needs_bubblewrap
async def test_containers_of_a_pod_do_not_see_each_others_processes(wrapped, make):
    side = make.sidecar(
        "touch /shared/ready; trap 'exit 0' TERM; while true; do sleep 0.05; done",
        env=[{"name": "TOKEN", "value": "s3cret"}],
        volumeMounts=[{"name": "shared", "mountPath": "/shared"}],
        startupProbe=make.started_by("/shared/ready"),
    )
    script = "grep -l TOKEN= /proc/[0-9]*/environ; ls -d /proc/[0-9]* | wc -l; ls /shared 2> /dev/null || echo no mount"
    volumes = [{"name": "shared", "emptyDir": {}}]
    await wrapped.ok("POST", "pods", make.pod(make.shell(script), init=(side,), volumes=volumes))
    await wrapped.phase("Succeeded")
    count, last = (await wrapped.log()).splitlines()
    assert int(count) <= 4
    assert last == "no mount"


@needs_bubblewrap
async def test_signals_reach_the_program_and_killing_ends_all(wrapped, make, status_of):
    script = "trap 'echo stopped > /dev/termination-log; exit 4' TERM; sleep 1000 & while true; do sleep 0.05; done"
    await wrapped.ok("POST", "pods", make.pod(make.shell(script), activeDeadlineSeconds=1))
    pod = await wrapped.phase("Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    ended = status_of(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (4, "stopped\n")
    await wrapped.ok("POST", "pods", make.pod(make.shell("trap '' TERM; sleep 1000"), name="stubborn"))
    await wrapped.phase("Running", "stubborn")
    await wrapped.ok("POST", "/_local/pods/test/stubborn/oom", container="base")
    ended = status_of(await wrapped.phase("Failed", "stubborn"))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


@needs_bubblewrap
async def test_a_changed_secret_reaches_the_mount(wrapped, make):
    await wrapped.ok("POST", "secrets", {"metadata": {"name": "keys"}, "stringData": {"token": "old"}})
    base = make.shell(
        "while [ $(cat /keys/token) = old ]; do sleep 0.02; done; cat /keys/token",
        volumeMounts=[{"name": "keys", "mountPath": "/keys", "readOnly": True}],
    )
    await wrapped.ok(
        "POST", "pods", make.pod(base, volumes=[{"name": "keys", "secret": {"secretName": "keys"}}])
    )
    await wrapped.phase("Running")
    patch = {"stringData": {"token": "new"}}
    await wrapped.call("PATCH", "secrets/keys", patch, content_type="application/merge-patch+json")
    await wrapped.phase("Succeeded")
    assert await wrapped.log() == "new"


def test_a_folder_with_something_hidden_is_bound_in_parts(tmp_path):
    top = Path("/") / tmp_path.parts[1]
    for name in ("hidden", "shown/inner"):
        (tmp_path / name).mkdir(parents=True)
    split = {tmp_path / "hidden", tmp_path / "shown" / "new" / "mount"}
    arguments = bubblewrap._bind(tmp_path, {tmp_path / "hidden"}, split)
    assert arguments == [
        "--dir", str(tmp_path),
        "--dir", str(tmp_path / "shown"),
        "--ro-bind-try", str(tmp_path / "shown" / "inner"), str(tmp_path / "shown" / "inner"),
    ]  # fmt: skip
    assert bubblewrap._bind(top / "x", {top / "x"}, {top / "x"}) == []


def test_the_environment_is_not_on_the_command_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/bwrap")
    monkeypatch.setattr(sandbox.BubblewrapSandbox, "_check", lambda self: None)
    wrapper = sandbox.BubblewrapSandbox([], [])
    identity = sandbox.Identity("pod", 1000, 1000, read_only_root=True)
    binds = [sandbox.Bind(Path("/data/b"), "/b"), sandbox.Bind(Path("/data/a"), "/a", read_only=True)]
    launch = wrapper.launch(["run"], {"TOKEN": "s3cret", "PATH": "/bin"}, "/a", Path("/s"), binds, identity)
    joined = " ".join(launch.arguments)
    assert "s3cret" not in joined
    assert joined.endswith("--ro-bind /data/a /a --bind /data/b /b --remount-ro / --chdir /a -- run")
    for option in ("--unshare-user", "--unshare-pid", "--cap-drop ALL", "--die-with-parent", "--uid 1000"):
        assert option in joined
    assert "--unshare-net" not in joined
    assert launch.report_pid


def test_a_missing_bubblewrap_is_said_at_start(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(sandbox.SandboxUnavailableError, match="install the package"):
        sandbox.BubblewrapSandbox([], [])


def test_a_bubblewrap_that_may_not_make_namespaces_is_said_at_start(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/bwrap")
    failed = subprocess.CompletedProcess([], 1, "", "bwrap: No permissions to create new namespace")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(sandbox.SandboxUnavailableError, match=r"No permissions.*userns"):
        sandbox.BubblewrapSandbox([], [])


@needs_bubblewrap
async def test_a_folder_that_is_to_be_hidden_is_not_seen_beside_others(tmp_path, connect, make, quick):
    root = Path(__file__).parents[3]
    images, hidden = {"shell": "sh"}, root / "docs"
    script = f"ls {root}/docs 2> /dev/null || echo hidden; ls {root} | grep tests"
    runtime = LocalKubernetes(
        tmp_path, images, sandbox="bubblewrap", pod_security="none", readable=[root / "tests"], hidden=[hidden],
        timing=quick,
    )  # fmt: skip
    async with runtime:
        api = connect(runtime)
        await api.ok("POST", "pods", make.pod(make.shell(script)))
        await api.phase("Succeeded")
        assert (await api.log()).splitlines() == ["hidden", "tests"]


@pytest.mark.parametrize("what", ["readable", "image", "hidden"])
async def test_a_readable_folder_that_would_show_the_token_is_refused(tmp_path, monkeypatch, what):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/bwrap")
    monkeypatch.setattr(sandbox.BubblewrapSandbox, "_check", lambda self: None)
    tools, data = tmp_path / "bin", tmp_path / "data"
    tools.mkdir()
    more = {
        "readable": {"readable": [tmp_path]},
        "image": {"images": {"shell": Image(("sh",), (tools,))}},
        "hidden": {"readable": [tools], "hidden": [tools / "inner"]},
    }[what]
    runtime = LocalKubernetes(data, sandbox="bubblewrap", **more)
    with pytest.raises(ValueError, match=r"containers would see .*keep it elsewhere"):
        await runtime.start()
    async with LocalKubernetes(data, sandbox="bubblewrap", readable=[tools]) as other:
        assert other.url

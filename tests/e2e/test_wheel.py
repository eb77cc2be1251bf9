"""What a user has after ``pip install``: the wheel alone, the shipped DAGs, and DAGs of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from demo.airflow_client import surely
from demo.http_json import call
from demo.scenario import REPOSITORY as SAMPLE
from demo.stack import DemoStack
from tests.e2e.helpers import mutations

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
SECONDS = 240


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with what it depends on, but without this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # Dependencies come from the present environment. Its own .pth files, which would bring this checkout
    # in, are not read from there.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def stack(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoStack]:
    folder = tmp_path_factory.mktemp("wheel-stack")
    (folder / "dags").mkdir()
    (folder / "dags" / "refresh_docs.py").write_text(readme_example())
    script = yaml.safe_load((HERE / "script.yaml").read_text())
    # The example's own prompt, answered with the implementation of the other tests.
    (scene,) = (scene for scene in script["scenes"] if scene["name"] == "straight implementation")
    scene["when"] = {"step": "implement", "contains": ["docs/cli.md"]}
    script["scenes"] = [scene]
    (folder / "script.yaml").write_text(yaml.safe_dump(script))
    with DemoStack(
        folder,
        airflow_python=str(python),
        dags_folders={"mine": folder / "dags"},
        model_arguments=("--script", str(folder / "script.yaml")),
        extra_env={"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True"},
    ) as stack:
        yield stack


def readme_example() -> str:
    """Return the example DAG of the README, word for word."""
    (example,) = re.findall(
        r"```python\n(from airflow\.sdk.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    return str(example)


def test_only_the_wheel_is_there(python: Path) -> None:
    code = "import airflow_provider_agents, agent_runner; print(airflow_provider_agents.__file__, agent_runner.__file__)"
    found = subprocess.run(
        [str(python), "-c", code], cwd="/", check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    assert all(path.startswith(str(python.parent.parent)) for path in found), found


def test_provider_is_listed(python: Path, tmp_path: Path) -> None:
    listed = subprocess.run(
        [str(python), "-m", "airflow", "providers", "list", "--output", "plain"],
        env={"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert "airflow-provider-agents" in listed


def test_shipped_dag_comes_from_the_bundle_in_the_wheel(stack: DemoStack) -> None:
    dag = stack.wait_for_dag("coding_task")
    assert dag["bundle_name"] == "agents"
    assert stack.airflow.import_errors() == []
    schema = stack.airflow.request("GET", "/dags/coding_task/details")["params"]
    assert schema["max_rounds"]["schema"]["maximum"] == 5


def test_example_of_the_readme_runs(stack: DemoStack) -> None:
    stack.forge.seed_repository("acme/widgets", SAMPLE, permissions={"agent": "write", "mona": "write"})
    stack.wait_for_dag("refresh_docs")
    surely(lambda: stack.airflow.request("PATCH", "/dags/refresh_docs", {"is_paused": False}))
    run_id = stack.trigger("refresh_docs")
    # It waits for somebody to merge; no worker slot is held for that.
    stack.airflow.wait_for_task("refresh_docs", run_id, "merged", {"deferred"}, SECONDS)
    (opened,) = [
        m
        for m in mutations(stack, "acme/widgets", "pull_request.opened")
        if m["details"]["head"].startswith("ai/task-")
    ]
    stack.forge.act("mona", "merge", "acme/widgets", number=opened["number"])

    assert stack.wait_for_run("refresh_docs", run_id, SECONDS)["state"] == "success"
    assert stack.xcom("refresh_docs", run_id, "merged")["state"] == "MERGED"


def test_schema_of_the_request_is_served(stack: DemoStack) -> None:
    token = call("GET", f"{stack.airflow_url}/auth/token")["access_token"]
    url = f"{stack.airflow_url}/agents/request-schema"
    schema = call("GET", url, headers={"Authorization": f"Bearer {token}"})
    assert schema["required"] == ["repository"]

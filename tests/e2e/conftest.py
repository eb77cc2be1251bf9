"""One real Airflow with all stand-ins, shared by every end-to-end test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from demo.scenario import REPOSITORY, SCRIPT
from demo.stack import DemoStack
from tests.e2e.commands import Commands

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent

# Random-looking, so that no text holds them by chance; the forge's token is made by the stack.
MODEL_KEY = "sk-ant-canary-7c1d0a52f9e84b36"
WEBHOOK_SECRET = "hook-canary-5d2f81c6ab9047e3"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoStack]:
    folder = tmp_path_factory.mktemp("stack")
    scenes = [
        scene
        for file in (HERE / "script.yaml", SCRIPT)
        if file.exists()
        for scene in yaml.safe_load(file.read_text())["scenes"]
    ]
    script = folder / "script.yaml"
    script.write_text(yaml.safe_dump({"scenes": scenes}))
    with DemoStack(
        folder,
        anthropic_api_key=MODEL_KEY,
        dags_folders={"faults": HERE / "dags"},
        model_arguments=("--script", str(script), "--api-key", MODEL_KEY),
        extra_env={
            "AIRFLOW__AGENTS__POD_URL_TEMPLATE": "http://pods.example/{namespace}/{name}",
            "AIRFLOW_CONN_GITHUB_WEBHOOK": json.dumps({"conn_type": "generic", "password": WEBHOOK_SECRET}),
            "AIRFLOW__AGENTS__GITHUB_WEBHOOK_CONN_ID": "github_webhook",
            "AIRFLOW__AGENTS__PRICES": json.dumps({"dear-model": {"input": 8, "output": 40}}),
        },
    ) as stack:
        # Any test may be the first: its DAG is there by then.
        for dag_id in ("coding_task", "pr_review", "fault_step", "fault_worker", "fault_connection"):
            stack.wait_for_dag(dag_id)
        yield stack


@pytest.fixture
def repository(stack: DemoStack, request: pytest.FixtureRequest) -> str:
    """A fresh copy of the sample repository, named after the test."""
    name = "acme/" + "".join(c if c.isalnum() else "-" for c in request.node.name)[:60].strip("-").lower()
    stack.forge.seed_repository(name, REPOSITORY, permissions={"agent": "write", "mona": "write"})
    return name


@pytest.fixture
def airflow_agents(stack: DemoStack, tmp_path: Path) -> Commands:
    """``airflow agents …`` against the stack."""
    return Commands(stack, tmp_path)

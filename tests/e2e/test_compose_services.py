"""The services of ``docker-compose.yaml``, from an empty folder to the demo's merged pull request."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from compose_world import World

from demo.airflow_client import AirflowClient, Login
from demo.processes import PartFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


@pytest.fixture
def world() -> Iterator[World]:
    # Not pytest's folder, which PostgreSQL's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="compose-"))
    folder.chmod(0o755)
    world = World(folder)
    try:
        yield world
    finally:
        world.parts.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_without_credentials_the_first_service_says_what_is_missing(world: World):
    with pytest.raises(
        PartFailedError, match=r"(?s)exit code 1.*GITHUB_TOKEN.*ANTHROPIC_API_KEY.*--profile demo"
    ):
        world.run("settings", 30)


# One test, as the start is most of it: about 100 s on a machine at rest.
@pytest.mark.timeout(540)
def test_from_nothing_to_the_demos_merged_pull_request(world: World):
    for service in ("github", "model"):
        world.start(service)
        world.wait_healthy(service, 30)
    world.run("settings", 30)
    world.start_postgres()
    world.start_kubernetes()
    world.run("airflow-init", 120)
    for service in COMPONENTS:
        world.start(service)
    for service in COMPONENTS:
        world.wait_healthy(service, 180)

    passwords = json.loads((world.volume("settings") / "passwords.json").read_text())
    ((user, password),) = passwords.items()
    url = world.outside("demo", "http://api-server:8080")
    airflow = AirflowClient(url, Login(user=user, password=password))
    assert airflow.wait_for_dag("coding_task", 120)["is_paused"] is False
    assert not airflow.import_errors()

    demo = world.run("demo", 360)
    assert "merged" in demo.tail(40).lower()

    # A check that cannot fail would have passed all of the above.
    world.parts["api-server"].kill()
    assert not world.healthy("api-server")
    assert not world.healthy("scheduler")

"""Everything that can go wrong with a step's pod, with the real operator and trigger on a real pod runtime.

Each fault ends in its category with its remedy, or the step recovers; none hangs, and no second agent
starts beside a living one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import TaskDeferred
from kubernetes.client import models as k8s
from pod_world import NAMESPACE, World

from airflow_provider_agents.domain.workspace import Workspace
from airflow_provider_agents.exceptions import StepError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.operators.retry_policy import StepRetryPolicy
from airflow_provider_agents.triggers import agent_pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_ROOM = "0/1 nodes are available: 1 Insufficient memory."
UNBOUND = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    monkeypatch.setattr(agent_pod, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(agent_pod, "EVENTS_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(agent_pod, "EVENTS_EVERY_SECONDS", 0.2)
    monkeypatch.setattr(AgentsGitHubHook, "run", lambda hook, work, **more: None)
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", '{"conn_type": "github", "password": "token-of-tests"}')
    world.start()
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_FAULTS", world.connection)
    yield world
    world.stop()


@pytest.fixture
def secret(world: World) -> None:
    asyncio.run(world.create_secret())


def failed(world: World, meanwhile: Any = None, **arguments: Any) -> StepError:
    """Let a try of the step fail, and return its error."""
    with pytest.raises(StepError) as caught:
        world.run(meanwhile, **arguments)
    error = caught.value
    assert error.failure is not None
    lines = str(error).splitlines()
    assert lines[0].startswith(f"[{error.failure.category}/{error.failure.code}] ")
    assert lines[-1] == f"Remedy: {error.failure.remedy}"
    asyncio.run(world.no_living_pods())
    return error


def repeated(error: BaseException) -> bool:
    return StepRetryPolicy().evaluate(error, 1, 3).action is RetryAction.RETRY


def one_at_a_time(journal: list[str]) -> bool:
    """Whether no agent starts before the one before it has ended."""
    return all(entry.startswith("end") for entry in journal[1::2])


@pytest.mark.usefixtures("secret")
def test_without_a_fault_the_step_succeeds(world: World) -> None:
    async def finish(world: World) -> None:
        await world.working()
        world.go()

    values = world.run(finish)
    assert (values["outcome"], values["summary"], values["cost_usd"]) == ("succeeded", "planned", 0.5)
    assert [event["status"] for event in world.events] == ["success"]


@pytest.mark.usefixtures("secret")
def test_out_of_memory(world: World) -> None:
    error = failed(world, lambda world: world.injure("oom", container="base"))
    assert error.failure.code == "out_of_memory"
    assert "memory" in error.failure.remedy
    assert repeated(error)


@pytest.mark.usefixtures("secret")
def test_an_eviction_is_survived_by_the_next_try(world: World) -> None:
    claim = Workspace(claim="run-1", namespace=NAMESPACE).to_dict()
    error = failed(world, lambda world: world.injure("evict"), workspace=claim)
    assert (error.failure.category, error.failure.code) == ("evicted", "evicted")
    assert repeated(error)
    world.ti.try_number = 2
    world.go()
    assert world.run(workspace=claim)["outcome"] == "succeeded"
    assert sum(entry.startswith("start") for entry in world.journal) == 2


@pytest.mark.usefixtures("secret")
def test_a_node_that_is_shut_down(world: World) -> None:
    error = failed(world, lambda world: world.injure("node-shutdown"))
    assert error.failure.category == "evicted"
    assert repeated(error)
    assert one_at_a_time(world.journal)


@pytest.mark.usefixtures("secret")
def test_a_pod_that_vanishes(world: World) -> None:
    async def vanish(world: World) -> None:
        name = (await world.working())["metadata"]["name"]
        await world.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}", {"gracePeriodSeconds": 0})

    error = failed(world, vanish)
    assert error.failure.code == "pod_gone"
    assert repeated(error)
    assert world.events[0]["code"] == "pod_gone"


def test_an_image_that_does_not_exist(world: World) -> None:
    asyncio.run(world.create_secret())
    error = failed(world, image="nowhere:1")
    assert (error.failure.category, error.failure.code) == ("image", "image_pull")
    assert "nowhere:1" in str(error)
    assert not repeated(error)


@pytest.mark.parametrize(
    ("words", "category", "code"),
    [(NO_ROOM, "scheduling", "unschedulable"), (UNBOUND, "storage", "claim_pending")],
)
@pytest.mark.usefixtures("secret")
def test_a_pod_that_no_node_takes(world: World, words: str, category: str, code: str) -> None:
    asyncio.run(world.call("POST", "/_local/unschedulable", message=words))
    error = failed(world, startup_timeout_seconds=1)
    assert (error.failure.category, error.failure.code) == (category, code)
    assert words in str(error)
    assert repeated(error)
    assert world.journal == []


@pytest.mark.usefixtures("secret")
def test_a_pod_that_never_started_spent_nothing(world: World) -> None:
    asyncio.run(world.call("POST", "/_local/unschedulable", message=NO_ROOM))
    failed(world, startup_timeout_seconds=1)
    asyncio.run(world.call("POST", "/_local/unschedulable"))
    world.ti.try_number = 2
    world.go()
    assert world.run()["outcome"] == "succeeded"


@pytest.mark.usefixtures("secret")
def test_room_that_comes_late_is_waited_for(world: World) -> None:
    asyncio.run(world.call("POST", "/_local/unschedulable", message=NO_ROOM))

    async def make_room(world: World) -> None:
        await world.pod(lambda pod: pod["status"].get("conditions"))
        await asyncio.sleep(1)
        world.go()
        await world.call("POST", "/_local/unschedulable")

    assert world.run(make_room)["outcome"] == "succeeded"


TEAM_FILES = {
    "volumes": [k8s.V1Volume(name="team", secret=k8s.V1SecretVolumeSource(secret_name="team-secret"))],
    "volume_mounts": [k8s.V1VolumeMount(name="team", mount_path="/team", read_only=True)],
}
TEAM_VARIABLE = {
    "env_vars": [
        k8s.V1EnvVar(
            name="TEAM",
            value_from=k8s.V1EnvVarSource(
                secret_key_ref=k8s.V1SecretKeySelector(name="team-secret", key="password")
            ),
        )
    ]
}


@pytest.mark.parametrize("arguments", [TEAM_FILES, TEAM_VARIABLE], ids=["volume", "environment"])
@pytest.mark.usefixtures("secret")
def test_a_secret_that_is_missing(world: World, arguments: dict[str, Any]) -> None:
    """As a volume it shows only in the events of the pod."""
    error = failed(world, **arguments)
    assert (world.events[0]["code"], world.events[0]["category"]) == ("secret_missing", "config")
    assert (error.failure.category, error.failure.code) == ("config", "secret_missing")
    assert '"team-secret" not found' in str(error)
    assert not repeated(error)
    assert world.journal == []


@pytest.mark.usefixtures("secret")
def test_a_deadline(world: World) -> None:
    error = failed(world, active_deadline_seconds=2)
    assert (error.failure.category, error.failure.code) == ("timeout", "pod_deadline")
    assert not repeated(error)
    assert one_at_a_time(world.journal)


@pytest.mark.parametrize("kind", ["unavailable", "reset", "hang"])
@pytest.mark.usefixtures("secret")
def test_an_api_server_that_is_away_for_a_while(world: World, kind: str) -> None:
    async def outage(world: World) -> None:
        await world.working()
        await world.call("POST", "/_local/outage", kind=kind, seconds=2)
        world.go()

    assert world.run(outage)["outcome"] == "succeeded"
    assert [event["status"] for event in world.events] == ["success"]
    assert world.journal == [world.journal[0], world.journal[0].replace("start", "end")]


@pytest.mark.usefixtures("secret")
def test_a_gateway_that_ends_once_is_survived(world: World) -> None:
    async def injure(world: World) -> None:
        await world.injure("kill", container="gateway")
        await world.pod(lambda pod: _restarts(pod) == 1)
        world.go()

    assert world.run(injure)["outcome"] == "succeeded"


@pytest.mark.usefixtures("secret")
def test_a_gateway_that_keeps_ending_stops_the_step(world: World) -> None:
    async def injure(world: World) -> None:
        await world.working()
        (world.folder / "broken-gateway").touch()
        await world.injure("kill", container="gateway")

    error = failed(world, injure)
    assert world.events[0]["code"] == "gateway_crashed"
    assert one_at_a_time(world.journal)
    assert error.failure.code == "gateway_crashed"


@pytest.mark.usefixtures("secret")
def test_a_gateway_that_does_not_start(world: World) -> None:
    (world.folder / "broken-gateway").touch()
    error = failed(world)
    assert (error.failure.category, error.failure.code) == ("config", "gateway_crashed")
    assert "exit code 3" in str(error)
    assert world.journal == []


@pytest.mark.usefixtures("secret")
def test_a_worker_that_died_leaves_its_pod_to_the_next_try(world: World) -> None:
    """A second try while the agent of the first one still works: it is taken over, not doubled."""
    with pytest.raises(TaskDeferred):
        world.operator().execute(world.context)
    world.ti.try_number = 2

    async def finish(world: World) -> None:
        await world.working()
        world.go()

    assert world.run(finish)["outcome"] == "succeeded"
    assert sum(entry.startswith("start") for entry in world.journal) == 1


def _restarts(pod: dict[str, Any]) -> int:
    return int(pod["status"]["initContainerStatuses"][0]["restartCount"])

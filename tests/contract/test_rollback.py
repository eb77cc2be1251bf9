"""A rollback from a bad commit to a healthy application, and to each of its other ends."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.health_record import HealthRecord, RevisionHealth
from airflow_provider_agents.task_groups.rollback import rollback_dag
from airflow_provider_agents.triggers import argocd_health
from airflow_provider_agents.triggers.argocd_health import ArgoHealthTrigger, health_asset
from demo.argocd.server import StandInArgoCd
from demo.github.server import StandInGitHub
from tests.contract.rollback_world import APPLICATION, REPOSITORY, RollbackWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the stand-in keeps repositories of git")


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RollbackWorld]:
    async with (
        StandInGitHub(tmp_path / "github", mergeability_delay=0) as github,
        StandInArgoCd() as argocd,
    ):
        yield await RollbackWorld.make(tmp_path, monkeypatch, github, argocd)


async def checks_pass(world: RollbackWorld, state: str = "success") -> None:
    """Have the checks of every head end as soon as somebody waits."""

    async def end(name: str, looks: int) -> None:
        if name == "land":
            for pull in world.pulls.values():
                if pull.state == "OPEN":
                    await world.passing(pull.head_ref_oid, state)

    world.on_wait = end


async def test_a_bad_commit_is_taken_back(world: RollbackWorld) -> None:
    good = await world.head()
    bad = await world.break_it()
    await checks_pass(world)
    left = await world.run()
    assert left["state"] == "rollback_complete", (left, world.failures)
    assert world.states["call_person"] == "skipped"
    (pull,) = world.merges
    assert pull.head_ref_name == f"rollback/{APPLICATION}-{bad[:12]}"
    assert pull.title == f"Roll back {APPLICATION} to {good[:12]}"
    assert await world.text("deploy/BROKEN") is None
    assert await world.text("deploy/app.yaml") == "replicas: 2\n"
    assert await world.text("docs/notes.md") == "One.\n"
    assert world.argocd.applications[APPLICATION].health == "Healthy"


async def test_from_a_bad_merge_over_the_watcher_to_a_healthy_application(
    world: RollbackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argocd_health, "QUIET_SECONDS", 0.0)
    found = world.write_definition().definition
    assert found is not None
    (watcher,) = health_asset("shop", found).watchers
    trigger = ArgoHealthTrigger(**{**watcher.trigger.serialize()[1], "poll": 0.02})
    trigger.asset_state_store = _Store(world.health.values)  # type: ignore[assignment]
    events = trigger.run()
    told = asyncio.ensure_future(anext(events))
    await world.push({"deploy/BROKEN": "yes"}, branch="feature")
    made = await world.github.act("alice", "open_pull", REPOSITORY, head="feature", title="Faster")
    await world.github.act("alice", "merge", REPOSITORY, number=made["number"])
    world.told = (await asyncio.wait_for(told, 20)).payload
    await events.aclose()
    assert world.told["revision"] == await world.head()
    await checks_pass(world)
    left = await world.run()
    assert (left["state"], left["revision"]) == ("rollback_complete", world.told["revision"])
    assert len(world.merges) == 2
    assert world.argocd.applications[APPLICATION].health == "Healthy"


class _Store:
    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    async def aget(self, key: str) -> Any:
        return self._values.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self._values[key] = value


async def test_a_commit_elsewhere_makes_the_commit_anew(world: RollbackWorld) -> None:
    world.definition["path"] = "deploy"
    await world.break_it()

    async def busy(name: str, looks: int) -> None:
        if name == "land" and looks == 0:
            await world.push({"docs/notes.md": "Two.\n"})
        elif name == "land":
            await world.passing(world.pulls[1].head_ref_oid)

    world.on_wait = busy
    left = await world.run()
    assert (left["state"], left["refreshes"]) == ("rollback_complete", 1), (left, world.failures)
    assert await world.text("docs/notes.md") == "Two.\n"
    assert await world.text("deploy/app.yaml") == "replicas: 2\n"


async def test_nothing_is_done_about_a_healthy_application(world: RollbackWorld) -> None:
    await world.push({"docs/notes.md": "Two.\n"})
    await world.look_at_argo()
    left = await world.run()
    assert (left["state"], world.pulls) == ("idle", {})
    assert [world.states[task] for task in ("find_candidate", "call_person")] == ["skipped", "skipped"]


async def ended(world: RollbackWorld, event: str, *words: str) -> dict[str, Any]:
    """Run; hold that it was aborted by ``event``, that a person was called with ``words``, and nothing was merged."""
    world.answers.append("I take over")
    left = await world.run()
    assert (left.get("state"), left.get("event")) == ("abort", event), (left, world.failures)
    assert not world.merges
    assert world.states["call_person"] == "success"
    assert world.questions
    for word in words:
        assert word in world.questions[-1]
    return left


class TestDetection:
    async def test_a_run_by_hand_counts_for_itself(self, world: RollbackWorld) -> None:
        await world.break_it()
        await checks_pass(world)
        world.told = {"revision": "another"}
        await world.run("detect")
        assert world.xcoms["detect", "return_value"]["readings"] == 3
        assert timedelta(seconds=19.9) <= world.passed < timedelta(seconds=40)

    async def test_what_the_watcher_counted_long_ago_counts_no_more(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.event_age = timedelta(minutes=10)
        await world.run("detect")
        assert world.xcoms["detect", "return_value"]["event"] == "degraded"
        assert world.passed >= timedelta(seconds=19.9)

    async def test_it_gets_well_before_the_third_reading(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.told = {"revision": "another"}

        async def recover(name: str, looks: int) -> None:
            world.argocd.set_health(APPLICATION, "Healthy")

        world.on_wait = recover
        assert (await world.run())["state"] == "idle"
        assert not world.pulls

    async def test_the_watcher_is_told_what_is_taken_up(self, world: RollbackWorld) -> None:
        await world.run("detect")
        assert "taken" not in world.health.values
        world.forget_run()
        bad = await world.break_it()
        await world.run("detect")
        assert world.health.values["taken"]["revision"] == bad

    async def test_one_that_is_off_does_nothing(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.definition["enabled"] = False
        await world.run()
        assert set(world.states.values()) == {"skipped"}
        assert not world.pulls


class TestCandidate:
    """Which deployment is the cause, and what is proof: tests/unit/domain/test_rollback_cause.py, test_health_record.py."""

    async def test_no_replica_is_missing(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.argocd.set_health(APPLICATION, "Degraded", available=2)
        await ended(world, "not_allowed", "I3")

    async def test_nothing_earlier_is_known_to_be_good(self, world: RollbackWorld) -> None:
        await world.passing(await world.head(), "failure")
        await world.break_it()
        await ended(world, "no_candidate", "neither healthy for long enough nor did its checks pass")

    async def test_a_day_of_health_is_as_good_as_checks(self, world: RollbackWorld) -> None:
        good = await world.head()
        await world.passing(good, "failure")
        await world.break_it()
        await checks_pass(world)
        world.remember(_healthy(good, hours=25, share=0.995))
        assert (await world.run())["state"] == "rollback_complete"

    async def test_too_many_commits(self, world: RollbackWorld) -> None:
        world.definition["max_commits"] = 2
        for number in range(2):
            await world.push({"docs/notes.md": f"{number}\n"})
        await world.break_it()
        await ended(world, "no_candidate", "3 commits back, more than 2")

    async def test_the_same_files_were_good(self, world: RollbackWorld) -> None:
        await world.push({"docs/notes.md": "Two.\n"})
        await world.look_at_argo()
        world.definition["path"] = "deploy"
        world.argocd.set_health(APPLICATION, "Degraded")
        await ended(world, "no_candidate", "has the same files")

    async def test_what_was_deployed_was_forced_away(self, world: RollbackWorld) -> None:
        good = await world.head()
        await world.push({"docs/notes.md": "Two.\n"})
        await world.push({"deploy/BROKEN": "yes"}, branch="other")
        await world.github.act(
            "acme", "reset_branch", REPOSITORY, branch="main", sha=await world.head("other")
        )
        await world.github.act(
            "alice", "push_commit", REPOSITORY, branch="side", start=good, files={"x": "y"}
        )
        side = await world.head("side")
        await world.passing(side)
        world.argocd.applications[APPLICATION].history.clear()
        world.argocd.applications[APPLICATION].deploy(side, world.argocd.now())
        await world.look_at_argo()
        await ended(world, "no_candidate", "no ancestor of main")

    async def test_somebody_mends_it_already(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.argocd.followers[APPLICATION].interval = 9e9
        await world.push({"deploy/BROKEN": None})
        await ended(world, "candidate_timeout", "other files than what is deployed")
        assert world.passed >= timedelta(seconds=120)

    async def test_github_is_away(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.github.faults.add({"match": {"path": "/git/"}, "times": None, "action": {"status": 502}})
        await ended(world, "candidate_timeout", "502")

    async def test_it_recovers_by_itself(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.argocd.followers[APPLICATION].interval = 9e9
        await world.push({"deploy/BROKEN": None})

        async def recover(name: str, looks: int) -> None:
            world.argocd.set_health(APPLICATION, "Healthy")

        world.on_wait = recover
        left = await world.run()
        assert (left["state"], left["event"]) == ("idle", "resolved")
        assert world.states["call_person"] == "skipped"

    async def test_it_never_goes_back_to_what_was_taken_back(self, world: RollbackWorld) -> None:
        """Its checks passed, and it was ill all the same."""
        good = await world.head()
        bad = await world.break_it()
        await world.passing(bad)
        await checks_pass(world)
        assert (await world.run())["state"] == "rollback_complete"
        world.forget_run()
        await world.push({"deploy/BROKEN": "again", "deploy/app.yaml": "replicas: 5\n"})
        await world.look_at_argo()
        left = await world.run()
        assert left["state"] == "rollback_complete", (left, world.failures)
        assert left["candidate"]["revision"] == good
        assert await world.text("deploy/app.yaml") == "replicas: 2\n"

    async def test_it_never_goes_back_to_what_was_seen_ill(self, world: RollbackWorld) -> None:
        good = await world.head()
        await world.break_it()
        world.remember(_healthy(good, hours=1, share=0))
        await ended(world, "no_candidate", "was itself not healthy")

    async def test_it_was_ill_before_the_deployment(self, world: RollbackWorld) -> None:
        world.argocd.set_health(APPLICATION, "Degraded")
        world.argocd.applications[APPLICATION].health_since -= timedelta(minutes=30)
        began = world.argocd.applications[APPLICATION].health_since
        await world.break_it()
        world.argocd.applications[APPLICATION].health_since = began
        await ended(world, "no_candidate", "not caused by a change: it began 30 min before")


class TestOpening:
    async def test_waiting_for_the_pool_is_no_time_of_the_opening(self, world: RollbackWorld) -> None:
        await world.break_it()
        dag = rollback_dag(world.write_definition())
        for name in ("detect", "find_candidate"):
            await world.run_task(dag, name)
        world.passed += timedelta(minutes=10)
        await world.run_task(dag, "open_pull_request")
        assert world.xcoms["open_pull_request", "return_value"]["event"] == "opened"

    async def test_another_rollback_is_open(self, world: RollbackWorld) -> None:
        await world.break_it()
        body = f"<!-- agents rollback={APPLICATION} -->"
        await world.push({"docs/notes.md": "Three.\n"}, branch="rollback/older")
        opened = {"head": "rollback/older", "title": "Roll back", "body": body}
        await world.github.act("robot", "open_pull", REPOSITORY, **opened)
        await ended(world, "not_opened", "I7", "/pull/1")
        assert len(world.pulls) == 1

    async def test_nobody_else_can_keep_it_from_opening(self, world: RollbackWorld) -> None:
        await world.break_it()
        body = f"<!-- agents rollback={APPLICATION} -->"
        await world.push({"docs/notes.md": "Three.\n"}, branch="rollback/mine")
        opened = {"head": "rollback/mine", "title": "Roll back", "body": body}
        await world.github.act("alice", "open_pull", REPOSITORY, **opened)
        await checks_pass(world)
        assert (await world.run())["state"] == "rollback_complete"

    async def test_a_dry_run_shows_and_does_nothing(self, world: RollbackWorld) -> None:
        world.definition["dry_run"] = True
        before = len(world.github.mutations)
        await world.break_it()
        pushed = len(world.github.mutations)
        left = await world.run()
        assert pushed > before
        assert len(world.github.mutations) == pushed
        assert "Dry run: shop-staging would go back to" in left["message"]
        assert world.states["call_person"] == "skipped"

    async def test_what_a_person_closed_is_not_opened_again(self, world: RollbackWorld) -> None:
        bad = await world.break_it()
        branch = f"rollback/{APPLICATION}-{bad[:12]}"
        await world.push({"deploy/BROKEN": None}, branch=branch)
        made = await world.github.act("robot", "open_pull", REPOSITORY, head=branch, title="Roll back")
        await world.github.act("alice", "close", REPOSITORY, number=made["number"])
        await ended(world, "not_opened", "is closed")

    async def test_the_limit_of_the_repository(self, world: RollbackWorld) -> None:
        world.definition["limits"] = {"pull_requests_per_hour": 0}
        await world.break_it()
        await ended(world, "not_opened", "of 0")
        assert not world.pulls

    async def test_a_lost_answer_opens_one(self, world: RollbackWorld) -> None:
        await world.break_it()
        await checks_pass(world)
        lost = {"match": {"method": "POST", "path": "/pulls$"}, "action": "drop_after"}
        world.github.faults.add(lost)
        assert (await world.run())["state"] == "rollback_complete"
        assert len(world.pulls) == 1

    async def test_a_label_that_may_not_be_put_on_stops_nothing(self, world: RollbackWorld) -> None:
        await world.break_it()
        await checks_pass(world)
        refused = {
            "match": {"path": "/labels$"},
            "times": None,
            "action": {"status": 403, "body": {"message": "No."}},
        }
        world.github.faults.add(refused)
        left = await world.run()
        assert left["state"] == "rollback_complete", (left, world.failures)
        assert not world.merges[0].labels


class TestFailing:
    async def test_a_definition_that_is_gone_calls_a_person(self, world: RollbackWorld) -> None:
        await world.break_it()

        async def remove(name: str, looks: int) -> None:
            world.definition_path.unlink(missing_ok=True)

        world.on_wait = remove
        world.answers.append("I take over")
        await world.run()
        assert world.states["land"] == "failed"
        assert "there is no rollbacks/shop.yaml" in str(world.failures["land"])
        assert "The task land failed" in world.questions[-1]
        assert not world.merges

    async def test_argo_cd_that_is_away_is_not_a_degradation(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.argocd.accounts.clear()
        world.answers.append("I take over")
        await world.run()
        assert world.states["detect"] == "failed"
        assert "cannot be read" in str(world.failures["detect"])
        assert "The task detect failed" in world.questions[-1]
        assert not world.pulls

    async def test_an_application_of_another_repository(self, world: RollbackWorld) -> None:
        await world.break_it()
        world.argocd.applications[APPLICATION].repo_url = "https://github.com/acme/other.git"
        world.answers.append("I take over")
        await world.run()
        assert "is not deployed from acme/shop" in str(world.failures["detect"])
        assert not world.pulls


def _healthy(revision: str, *, hours: float, share: float) -> HealthRecord:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    seconds = hours * 3600
    return HealthRecord(
        revisions=(
            RevisionHealth(
                revision=revision, first_seen=at, last_seen=at, observed=seconds, healthy=share * seconds
            ),
        )
    )

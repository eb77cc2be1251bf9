"""What may happen between a rollback's pull request and a healthy application; and each invariant alone."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.operators import rollback_land
from demo.argocd.server import StandInArgoCd
from demo.github.server import StandInGitHub
from tests.contract.rollback_world import APPLICATION, REPOSITORY, RollbackWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the stand-in keeps repositories of git")


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RollbackWorld]:
    """With a bad commit deployed."""
    async with (
        StandInGitHub(tmp_path / "github", mergeability_delay=0) as github,
        StandInArgoCd() as argocd,
    ):
        made = await RollbackWorld.make(tmp_path, monkeypatch, github, argocd)
        await made.break_it()
        yield made


def while_landing(
    world: RollbackWorld, deed: Callable[[int], Awaitable[None]], *, checks: str = "success"
) -> None:
    """Do something whenever the landing waits, after the checks of each head ended.

    :param checks: how they end; empty: they do not.
    """

    async def at_each(name: str, looks: int) -> None:
        if name != "land":
            return
        for pull in world.pulls.values():
            if pull.state == "OPEN" and checks:
                await world.passing(pull.head_ref_oid, checks)
        await deed(looks)

    world.on_wait = at_each


async def nothing(looks: int) -> None:
    return None


async def aborted(world: RollbackWorld, event: str, *words: str) -> dict[str, Any]:
    """Run; hold that it was aborted by ``event``, a person was called, and nothing of ours was merged."""
    world.answers.append("I take over")
    left = await world.run()
    assert (left.get("state"), left.get("event")) == ("abort", event), (left, world.failures)
    assert not world.merges
    assert world.states["call_person"] == "success"
    for word in words:
        assert word in world.questions[-1]
    labels = {label.name for label in world.pulls[1].labels}
    assert labels == {"rollback", "needs-human-approval"}
    (comment,) = [one.body for one in world.pulls[1].comments if "needs a person" in one.body]
    assert "Nothing more is done by itself." in comment
    return left


async def withdrawn(world: RollbackWorld) -> None:
    """Run; hold that it was not needed any more, and its pull request and branch are gone."""
    left = await world.run()
    assert (left["state"], left["event"]) == ("idle", "resolved"), (left, world.failures)
    assert world.states["call_person"] == "skipped"
    assert (world.pulls[1].state, world.merges) == ("CLOSED", [])
    assert world.pulls[1].head_ref_name not in await _branches(world)


async def _branches(world: RollbackWorld) -> list[str]:
    found = world.github.forge.store.repository(REPOSITORY)
    assert found is not None
    return [ref.removeprefix("refs/heads/") for ref in await found.git.refs()]


class TestChecks:
    async def test_they_fail(self, world: RollbackWorld) -> None:
        while_landing(world, nothing, checks="failure")
        await aborted(world, "checks_failed", "ci")


class TestOtherHands:
    async def test_a_person_closes_it(self, world: RollbackWorld) -> None:
        async def close(looks: int) -> None:
            if looks == 0:
                await world.github.act("alice", "close", REPOSITORY, number=1)

        while_landing(world, close, checks="")
        await aborted(world, "changed", "was closed without a merge")

    async def test_somebody_pushes_to_it(self, world: RollbackWorld) -> None:
        async def push(looks: int) -> None:
            await world.push({"deploy/evil.yaml": f"{looks}"}, branch=world.pulls[1].head_ref_name)

        while_landing(world, push, checks="")
        await aborted(world, "changed", "another head")

    async def test_the_branch_gets_other_files_of_it(self, world: RollbackWorld) -> None:
        world.definition |= {"path": "deploy", "timings": {"checks": 30}}
        world.argocd.followers[APPLICATION].interval = 9e9

        async def mend(looks: int) -> None:
            if looks == 0:
                await world.push({"deploy/other.yaml": "more\n"})

        while_landing(world, mend, checks="pending")
        await aborted(world, "checks_timeout", "other files of shop-staging than what is deployed")

    async def test_the_branch_never_rests(
        self, world: RollbackWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.definition |= {"path": "deploy", "timings": {"checks": 40}}
        monkeypatch.setattr(rollback_land, "MOST_REFRESHES", 2)

        async def push(looks: int) -> None:
            await world.push({"docs/notes.md": f"{looks}\n"})

        while_landing(world, push, checks="pending")
        left = await aborted(world, "checks_timeout", "moves faster")
        assert left["refreshes"] == 2

    async def test_a_person_merges_it(self, world: RollbackWorld) -> None:
        async def merge(looks: int) -> None:
            if looks == 0:
                await world.github.act("alice", "merge", REPOSITORY, number=1)

        while_landing(world, merge, checks="")
        left = await world.run()
        assert left["state"] == "rollback_complete", (left, world.failures)

    async def test_it_recovers_meanwhile(self, world: RollbackWorld) -> None:
        async def recover(looks: int) -> None:
            world.argocd.set_health(APPLICATION, "Healthy")

        while_landing(world, recover, checks="pending")
        await withdrawn(world)

    async def test_something_else_is_deployed(self, world: RollbackWorld) -> None:
        async def deploy(looks: int) -> None:
            if looks == 0:
                await world.push({"deploy/app.yaml": "replicas: 7\n"})

        while_landing(world, deploy, checks="pending")
        await withdrawn(world)


class TestApproval:
    async def test_a_person_says_yes(self, world: RollbackWorld) -> None:
        world.definition["approval"] = "person"
        world.answers.append("Roll back")
        while_landing(world, nothing)
        left = await world.run()
        assert (left["state"], left["approved_by"]) == ("rollback_complete", "mona"), (left, world.failures)
        assert left["head_sha"] == left["approved_head"]
        assert "Roll back shop-staging to" in world.questions[0]

    async def test_a_person_says_no(self, world: RollbackWorld) -> None:
        world.definition["approval"] = "person"
        world.answers.append("Leave it to people")
        while_landing(world, nothing)
        await aborted(world, "withdrawn", "mona said no")

    async def test_nobody_says_anything(self, world: RollbackWorld) -> None:
        world.definition["approval"] = "person"
        while_landing(world, nothing)
        world.definition["timings"] = {"approval": 90}
        left = await world.run("detect", "find_candidate", "open_pull_request", "land")
        assert (left["event"], world.merges) == ("approval_timeout", [])

    async def test_the_branch_asks_for_a_review(self, world: RollbackWorld) -> None:
        rules = {"main": {"required_approvals": 1}}
        await world.github.act("acme", "configure", REPOSITORY, rules=rules)
        world.definition["timings"] = {"approval": 90}
        while_landing(world, nothing)
        await aborted(world, "approval_timeout", "review that the branch rules ask for")
        assert world.passed >= timedelta(seconds=90)

    async def test_a_review_lets_it_through(self, world: RollbackWorld) -> None:
        rules = {"main": {"required_approvals": 1}}
        await world.github.act("acme", "configure", REPOSITORY, rules=rules)

        async def review(looks: int) -> None:
            if looks == 3:
                await world.github.act("alice", "approve", REPOSITORY, number=1)

        while_landing(world, review)
        assert (await world.run())["state"] == "rollback_complete"

    async def test_a_guard_keeps_it_for_a_person(self, world: RollbackWorld) -> None:
        """Each guard: tests/unit/domain/test_rollback_guards.py. Of this one the files have to be read."""
        world.definition["guards"] |= {"protected_paths": ["deploy/**"]}
        world.definition["timings"] = {"approval": 60}
        while_landing(world, nothing)
        await aborted(world, "approval_timeout", "protected paths")

    async def test_the_limit_of_merges(self, world: RollbackWorld) -> None:
        world.definition["limits"] = {"merges_per_hour": 0}
        world.definition["timings"] = {"approval": 60}
        while_landing(world, nothing)
        await aborted(world, "approval_timeout", "merges in acme/shop within an hour, of 0")


class TestMergeOnce:
    @pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
    async def test_an_answer_is_lost(self, world: RollbackWorld, fault: str) -> None:
        world.github.faults.add({"match": {"path": "/merge$"}, "action": fault})
        while_landing(world, nothing)
        left = await world.run()
        assert left["state"] == "rollback_complete", (left, world.failures)
        assert len(world.merges) == 1
        assert [one["kind"] for one in world.github.mutations].count("pull_request.merged") == 1

    async def test_github_refuses_for_a_while(self, world: RollbackWorld) -> None:
        world.github.faults.add(
            {"match": {"path": "/merge$"}, "times": 3, "action": {"status": 405, "body": {"message": "No."}}}
        )
        while_landing(world, nothing)
        assert (await world.run())["state"] == "rollback_complete"

    async def test_github_refuses_for_ever(self, world: RollbackWorld) -> None:
        world.definition["timings"] = {"approval": 60}
        world.github.faults.add(
            {
                "match": {"path": "/merge$"},
                "times": None,
                "action": {"status": 405, "body": {"message": "No."}},
            }
        )
        while_landing(world, nothing)
        await aborted(world, "approval_timeout", "GitHub did not merge")


class TestQueue:
    @pytest.fixture(autouse=True)
    async def queue(self, world: RollbackWorld) -> None:
        rules = {"main": {"merge_queue": True, "required_checks": ["ci"]}}
        await world.github.act("acme", "configure", REPOSITORY, rules=rules)

    async def test_it_goes_through_the_queue(self, world: RollbackWorld) -> None:
        async def build(looks: int) -> None:
            for branch in await _branches(world):
                if branch.startswith("gh-readonly-queue/"):
                    await world.passing(await world.head(branch))

        while_landing(world, build)
        left = await world.run()
        assert left["state"] == "rollback_complete", (left, world.failures)
        assert len(world.merges) == 1

    async def test_it_is_taken_out_where_an_invariant_breaks(self, world: RollbackWorld) -> None:
        world.definition["timings"] = {"approval": 60}

        async def mend(looks: int) -> None:
            if world.pulls[1].merge_queue_entry is not None:
                world.argocd.set_health(APPLICATION, "Degraded", available=2)

        while_landing(world, mend)
        await aborted(world, "approval_timeout", "I3")
        kinds = [one["kind"] for one in world.github.mutations]
        assert "merge_queue.entered" in kinds
        assert world.pulls[1].merge_queue_entry is None


class TestLeftInTheQueue:
    async def test_what_is_a_persons_is_taken_out(self, world: RollbackWorld) -> None:
        rules = {"main": {"merge_queue": True, "required_checks": ["ci"]}}
        await world.github.act("acme", "configure", REPOSITORY, rules=rules)
        world.definition["timings"] = {"approval": 60}
        while_landing(world, nothing)
        await aborted(world, "approval_timeout", "not merged within 60 s")
        assert "merge_queue.entered" in [one["kind"] for one in world.github.mutations]
        assert world.pulls[1].merge_queue_entry is None


class TestTwice:
    async def test_an_event_that_comes_twice_does_nothing_more(self, world: RollbackWorld) -> None:
        while_landing(world, nothing)
        assert (await world.run())["state"] == "rollback_complete"
        world.forget_run()
        assert (await world.run())["state"] == "idle"
        assert len(world.pulls) == 1


class TestKilled:
    @pytest.mark.parametrize("seed", range(3))
    async def test_a_task_that_dies_goes_on_where_it_stood(self, world: RollbackWorld, seed: int) -> None:
        """After any call to GitHub, time and again."""
        chance = random.Random(seed)
        while_landing(world, nothing)
        world.dies = lambda: chance.random() < 0.3
        left = await world.run()
        assert left["state"] == "rollback_complete", (left, world.failures)
        kinds = [one["kind"] for one in world.github.mutations]
        assert kinds.count("pull_request.opened") == kinds.count("pull_request.merged") == 1
        assert await world.text("deploy/BROKEN") is None
        assert world.deaths > 2

    async def test_it_dies_when_the_commit_was_made_anew(self, world: RollbackWorld) -> None:
        """The branch is at a commit that the episode knows nothing of, and that is ours all the same."""
        world.definition["path"] = "deploy"

        async def move(looks: int) -> None:
            if looks == 0:
                await world.push({"docs/notes.md": "Two.\n"})

        while_landing(world, move, checks="pending")
        before = world.on_wait

        async def then_pass(name: str, looks: int) -> None:
            await before(name, looks)
            if name == "land" and looks > 1:
                await world.passing(world.pulls[1].head_ref_oid)

        world.on_wait = then_pass
        heads: set[str] = set()

        def dies_at_the_second_head() -> bool:
            heads.update(pull.head_ref_oid for pull in world.pulls.values())
            return len(heads) == 2 and not world.deaths

        world.dies = dies_at_the_second_head
        left = await world.run()
        assert world.deaths == 1
        assert (left["state"], left["refreshes"]) == ("rollback_complete", 1), (left, world.failures)
        assert await world.text("docs/notes.md") == "Two.\n"


class TestConfirm:
    async def test_it_is_not_restored(self, world: RollbackWorld) -> None:
        async def ill(looks: int) -> None:
            world.argocd.followers[APPLICATION].healths = _AlwaysIll()

        world.definition["timings"] = {"recovery": 120}
        while_landing(world, ill)
        world.answers.append("I take over")
        left = await world.run()
        assert (left["state"], left["event"]) == ("abort", "not_restored"), (left, world.failures)
        assert world.passed >= timedelta(seconds=120)
        assert world.states["call_person"] == "success"

    async def test_it_takes_longer(self, world: RollbackWorld) -> None:
        async def ill(looks: int) -> None:
            world.argocd.followers[APPLICATION].healths = _AlwaysIll()

        while_landing(world, ill)
        before = world.on_wait

        async def later(name: str, looks: int) -> None:
            await before(name, looks)
            if name == "confirm" and looks == 5:
                world.argocd.set_health(APPLICATION, "Healthy")

        world.on_wait = later
        left = await world.run()
        assert left["state"] == "rollback_complete", (left, world.failures)


class _AlwaysIll(dict[str, str]):
    def get(self, key: str, default: Any = None) -> Any:
        return "Degraded"


class TestInvariants:
    """Each alone fails, when everything else is as it has to be for the merge.

    I5 is ``TestCandidate`` of the other file; I6 and I8, of what GitHub says, are the table of
    ``tests/unit/domain/test_rollback_pull_request.py``.
    """

    async def not_merged(
        self, world: RollbackWorld, deed: Callable[[int], Awaitable[None]], words: str
    ) -> None:
        world.definition["timings"] = {"approval": 90, "readings": 3}
        while_landing(world, deed)
        left = await world.run("detect", "find_candidate", "open_pull_request", "land")
        assert left["state"] in ("abort", "idle"), (left, world.failures)
        assert not world.merges
        assert words in left["message"]

    async def test_i1_it_is_not_of_staging_any_more(self, world: RollbackWorld) -> None:
        async def move(looks: int) -> None:
            world.definition |= {"environment": "production", "environments": ["staging"]}
            world.definition_path.write_text(world.definition_text)

        while_landing(world, move)
        await world.run("detect", "find_candidate", "open_pull_request", "land")
        assert world.states["land"] == "failed"
        assert "nothing is taken back in production" in str(world.failures["land"])
        assert not world.merges

    async def test_i2_it_is_not_degraded_now(self, world: RollbackWorld) -> None:
        async def progress(looks: int) -> None:
            world.argocd.set_health(APPLICATION, "Progressing", available=1)

        await self.not_merged(world, progress, "I2")

    async def test_i3_no_replica_is_missing(self, world: RollbackWorld) -> None:
        async def available(looks: int) -> None:
            world.argocd.set_health(APPLICATION, "Degraded", available=2)

        await self.not_merged(world, available, "I3")

    async def test_i4_it_flaps(self, world: RollbackWorld) -> None:
        async def flap(looks: int) -> None:
            world.argocd.set_health(
                APPLICATION, ("Progressing", "Degraded", "Degraded")[looks % 3], available=1
            )

        await self.not_merged(world, flap, "I4")

    async def test_i7_another_one_is_opened(self, world: RollbackWorld) -> None:
        async def another(looks: int) -> None:
            if looks == 0:
                await world.push({"docs/notes.md": "Three.\n"}, branch="rollback/older")
                body = f"<!-- agents rollback={APPLICATION} -->"
                opened = {"head": "rollback/older", "title": "Roll back", "body": body}
                await world.github.act("robot", "open_pull", REPOSITORY, **opened)

        await self.not_merged(world, another, "I7")

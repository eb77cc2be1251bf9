"""The task ``act`` of a rule: one act whatever is repeated, none by a rule that changed, and no fault stops the others."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from fakes import FAILED, HEAD, NEXT_HEAD
from pr_rule_world import REPOSITORY, RULE, CrashError, World, a_rule, said

from airflow_provider_agents.domain.commits import CommitRef
from airflow_provider_agents.domain.pr_rule import Limits, Selector
from airflow_provider_agents.domain.pr_rule_guards import Guarded, act_detail
from airflow_provider_agents.domain.pr_rule_ledger import LEDGER_VARIABLE, Act, RuleLedger
from airflow_provider_agents.domain.pull_request import QueueEntry
from airflow_provider_agents.domain.risk import ChangedFile
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    TaskStoppedError,
)
from airflow_provider_agents.operators.pr_rule_calling import ask_run_id

KEY = f"{REPOSITORY}#7"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch)
    made.github.add(7)
    return made


def test_a_merge(world: World) -> None:
    (done,) = world.run({7: said("merge")})
    assert (done.action, done.outcome, done.guard) == ("merge", "done", "")
    assert done.acted_at is not None
    assert world.acts == [f"merge #7 {HEAD} squash"]
    (act,) = world.ledger.entry(KEY).acts
    assert (act.kind, act.state, act.rule) == ("merge", "done", RULE)
    assert world.state.actions == {"merge": 1}
    assert world.called == []


def test_the_intent_stands_in_the_ledger_before_the_call(world: World) -> None:
    seen: list[str] = []
    merge = world.github.merge_pull_request

    async def merging(*args: object, **kwargs: object) -> object:
        seen.extend(act.state for act in world.ledger.entry(KEY).acts)
        return await merge(*args, **kwargs)  # type: ignore[arg-type]

    world.github.merge_pull_request = merging  # type: ignore[method-assign, assignment]
    world.run({7: said("merge")})
    assert seen == ["intended"]


def test_a_guard_keeps_it_and_the_audit_says_which(world: World) -> None:
    world.github.change(7, checks=(FAILED,))
    (done,) = world.run({7: said("merge")})
    assert (done.action, done.outcome, done.guard) == ("wait", "guarded", "checks_failed")
    assert world.acts == []
    assert LEDGER_VARIABLE not in world.variables.values


def test_files_are_read_only_for_what_could_be_merged(world: World) -> None:
    world.github.add(8, draft=True)
    world.run({7: said("merge"), 8: said("merge")})
    assert world.github.asked.count("changed_files") == 1


def test_a_dry_run_does_nothing_and_says_what_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, dry_run=True)
    for number, values in ((7, {}), (8, {}), (9, {"fork": True})):
        world.github.add(number, **values)
    found = world.run({7: said("merge"), 8: said("close"), 9: said("merge")})
    assert [(each.action, each.outcome, each.message.split(".")[0]) for each in found] == [
        ("merge", "dry_run", "Would merge"),
        ("close", "dry_run", "Would close"),
        ("escalate", "dry_run", "Would call a person"),
    ]
    assert world.acts == []
    assert world.called == []
    assert LEDGER_VARIABLE not in world.variables.values


@pytest.mark.parametrize("change", ["edited", "broken"])
def test_a_rule_that_changed_acts_no_more(world: World, change: str) -> None:
    world.begin({7: said("merge")})
    world.rule = None if change == "broken" else a_rule(instruction="Never merge.")
    world.act()
    (done,) = world.audit
    assert (done.outcome, world.acts) == ("superseded", [])


def test_a_head_that_moved_is_not_merged(world: World) -> None:
    world.github.change(7, head_sha=NEXT_HEAD)
    (done,) = world.run({7: said("merge")})
    assert (done.outcome, done.guard, world.acts) == ("superseded", "head_moved", [])


def test_an_answer_that_stands_is_carried_out_without_a_question(world: World) -> None:
    (done,) = world.run({7: said("merge")}, standing=[7])
    assert (done.outcome, done.asked) == ("done", False)


def test_one_broken_pull_request_stops_no_other(world: World) -> None:
    for number in (8, 9, 10):
        world.github.add(number)
    world.github.pulls[8] = ForgeAccessError("gone")
    world.github.pulls[9] = ForgeUnavailableError("HTTP 502")
    world.github.change(10, checks=None)
    found = world.run({8: said("merge"), 9: said("merge"), 10: said("merge"), 7: said("merge")})
    assert [each.outcome for each in found] == ["failed", "failed", "failed", "done"]
    assert all(each.retry_at is not None for each in found[:3])


def test_nothing_could_be_done_so_the_task_is_tried_again_and_the_last_try_records_it(world: World) -> None:
    world.github.faults["snapshots"] = ForgeUnavailableError("HTTP 502")
    world.begin({7: said("merge")})
    for _ in range(2):
        with pytest.raises(ForgeError, match="502"):
            world.act()
        world.ti.retry()
    assert world.audit == []
    world.act()
    (done,) = world.audit
    assert done.outcome == "failed"
    assert world.state.last_error


def test_a_rate_limit_stops_all_acts_until_it_ends(world: World) -> None:
    world.github.add(8)
    until = datetime.now(UTC) + timedelta(minutes=20)
    world.github.faults["comment"] = ForgeRateLimitedError("used up", retry_at=until)
    found = world.run({7: said("comment", comment="Hello."), 8: said("merge")})
    assert [(each.outcome, each.retry_at) for each in found] == [("failed", until), ("failed", until)]
    assert not any(entry.startswith("merge") for entry in world.acts)


def test_a_look_that_failed_leaves_nothing_to_act_on(world: World) -> None:
    world.ti._others = {}
    with pytest.raises(TaskStoppedError, match="nothing to act on"):
        world.act()
    assert "look" in world.state.last_error


def test_a_question_that_failed_keeps_no_other_from_its_act(world: World) -> None:
    world.github.add(8)
    world.begin({7: said("merge"), 8: said("merge")})
    world.ti._others["decide:return_value"] = world.ti._others["decide:return_value"][0]
    world.act()
    assert [each.key for each in world.audit] == [KEY]
    assert world.acts == [f"merge #7 {HEAD} squash"]


def test_a_refused_merge_is_tried_again_later_and_a_person_called_in_the_end(world: World) -> None:
    world.github.refuse_merges = ForgeConflictError("not mergeable")
    (done,) = world.run({7: said("merge")})
    assert (done.outcome, world.ledger.entry(KEY).acts[0].state) == ("failed", "refused")
    assert done.retry_at is not None
    (done,) = world.run({7: said("merge")}, standing=[7])
    assert (done.outcome, done.guard) == ("guarded", "merge_refused")
    assert world.acts == ["refused merge #7"]
    act = world.ledger.entry(KEY).acts[0]
    tired = dataclasses.replace(act, calls=5, at=act.at - timedelta(hours=1))
    world.variables.values[LEDGER_VARIABLE] = (
        RuleLedger().intending(KEY, tired).ended(KEY, tired, "refused", "no").to_text()
    )
    (done,) = world.run({7: said("merge")}, standing=[7])
    assert (done.action, done.guard) == ("escalate", "merge_refused")
    assert [each["trigger_run_id"] for each in world.called] == [
        ask_run_id(REPOSITORY, 7, HEAD, "main", "merge_refused")
    ]


def test_a_merge_without_a_right_is_told(world: World) -> None:
    world.github.refuse_merges = ForgeAccessError("needs Contents: write")
    (done,) = world.run({7: said("merge")})
    assert (done.outcome, done.message) == ("failed", "needs Contents: write")


def test_limits_hold_over_all_pull_requests_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, limits=Limits(merges_per_hour=2))
    for number in range(1, 6):
        world.github.add(number)
    found = world.run({number: said("merge") for number in range(1, 6)})
    assert [each.guard for each in found] == ["", "", *["merge_limit"] * 3]
    assert len(world.acts) == 2
    assert world.watcher.values["look_at"] == world.state.look_at.isoformat()  # type: ignore[union-attr]


def test_a_model_that_gives_no_answer_again_and_again(world: World) -> None:
    found = world.run({7: None}, fault="malformed", failures=4, detail="no JSON")
    assert [(each.outcome, each.action) for each in found] == [("waiting", "wait")]
    (done,) = world.run({7: None}, fault="malformed", failures=5, detail="no JSON")
    assert (done.action, done.guard, len(world.called)) == ("escalate", "model_gave_up", 1)
    (done,) = world.run({7: None}, fault="timeout", failures=9)
    assert done.action == "wait"


def test_people_are_called_once_for_a_head_and_a_reason(world: World) -> None:
    world.github.files = (
        ChangedFile(path=".github/workflows/ci.yml", status="modified", additions=1, deletions=0),
    )
    (done,) = world.run({7: said("merge")})
    assert (done.action, done.outcome, done.guard) == ("escalate", "guarded", "protected_paths")
    assert world.github.pulls[7].labels == ("needs-human-approval",)  # type: ignore[union-attr]
    (call,) = world.called
    assert call["conf"]["guard"] == call["conf"]["reason"] == "protected_paths"
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~:+-") >= set(
        call["trigger_run_id"]
    )
    for labels in (("needs-human-approval",), ()):
        world.github.change(7, labels=labels)
        for _ in range(3):
            (done,) = world.run({7: said("merge")}, at=datetime.now(UTC) + timedelta(seconds=1))
            assert (done.action, world.called) == ("wait", [])
    assert len([entry for entry in world.acts if entry.startswith("comment")]) == 1


def test_close_with_its_reason_and_never_again(world: World) -> None:
    (done,) = world.run({7: said("close", reason="Nobody cares, @olga. Fixes #3")})
    assert (done.action, done.outcome) == ("close", "done")
    assert world.acts == [f"comment #7 pr-rule={RULE}", "close #7"]
    text = world.github.comments[f"7 pr-rule={RULE}"]
    assert "Nobody cares" in text
    assert "@olga" not in text
    assert "Fixes #3" not in text
    world.github.change(7, state="OPEN")
    (done,) = world.run({7: said("close")}, at=datetime.now(UTC) + timedelta(seconds=1))
    assert (done.guard, len(world.acts)) == ("reopened", 2)


def test_the_other_acts(world: World) -> None:
    found = [
        world.run({7: said("comment", comment="Please rebase.")})[0],
        world.run({7: said("label", labels=("stale",))})[0],
        world.run({7: said("request_review", reviewers=("olga",))})[0],
        world.run({7: said("update_branch")})[0],
    ]
    assert [(each.action, each.outcome) for each in found] == [
        ("comment", "done"),
        ("label", "done"),
        ("request_review", "done"),
        ("update_branch", "done"),
    ]
    assert world.acts == [f"comment #7 pr-rule={RULE}", "label #7: stale", "ask #7: olga", "update #7"]
    (done,) = world.run(
        {7: said("comment", comment="Please rebase.")}, at=datetime.now(UTC) + timedelta(seconds=1)
    )
    assert (done.guard, len(world.acts)) == ("done_already", 4)


def test_a_merge_queue_is_used(world: World) -> None:
    world.github.change(7, has_merge_queue=True)
    (done,) = world.run({7: said("merge")})
    assert (done.action, done.outcome, world.acts) == ("merge", "waiting", ["enqueue PR_7"])
    assert len(world.ledger.merges(REPOSITORY, datetime.now(UTC))) == 1


def test_a_branch_that_is_behind_is_updated_first(world: World) -> None:
    world.github.change(7, merge_state="BEHIND")
    (done,) = world.run({7: said("merge")})
    assert (done.action, done.outcome, done.guard) == ("update_branch", "guarded", "behind")
    assert world.acts == ["update #7"]


def test_what_another_rule_did_is_not_done_again(world: World) -> None:
    detail = act_detail(said("comment", comment="Hello."), Guarded(action="comment"))
    other = Act(
        kind="comment", head_sha=HEAD, rule="other", at=datetime.now(UTC), detail=detail, state="done"
    )
    world.variables.values[LEDGER_VARIABLE] = (
        RuleLedger().intending(KEY, other).ended(KEY, other, "done").to_text()
    )
    (done,) = world.run({7: said("comment", comment="Hello.")})
    assert (done.outcome, done.message, world.acts) == ("superseded", "Done by the rule other.", [])


def test_a_damaged_ledger_holds_merges_for_an_hour(world: World) -> None:
    world.variables.values[LEDGER_VARIABLE] = "{"
    (done,) = world.run({7: said("merge")})
    assert (done.guard, world.acts) == ("ledger_lost", [])
    assert done.retry_at == world.ledger.hold_until
    (done,) = world.run({7: said("comment", comment="Hello.")})
    assert done.outcome == "done"


def test_an_airflow_that_does_not_answer_is_no_empty_ledger(world: World) -> None:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    world.begin({7: said("merge")})
    send = world.variables.send
    world.variables.send = lambda message: (  # type: ignore[method-assign]
        ErrorResponse(error=ErrorType.GENERIC_ERROR) if message.key == LEDGER_VARIABLE else send(message)
    )
    with pytest.raises(ForgeError, match="Nothing could be done"):
        world.act()
    assert world.acts == []


@pytest.mark.parametrize("point", ["merge", "close", "comment", "label", "escalate"])
@pytest.mark.parametrize("where", ["before the call", "after the call", "before the state"])
def test_a_worker_that_dies_anywhere_leaves_one_act(world: World, point: str, where: str) -> None:
    answer = said(point, comment="Hello.", labels=("stale",) if point == "label" else ())
    first = {
        "merge": "merge",
        "close": "close",
        "comment": "comment",
        "label": "label",
        "escalate": "comment",
    }[point]
    world.begin({7: answer})
    if where == "after the call":
        world.github.crash_after = first
    else:
        world.variables.crash_at = LEDGER_VARIABLE if where == "before the call" else f"agents_rule__{RULE}"
    with pytest.raises(CrashError):
        world.act()
    world.ti.retry()
    called = world.act()
    (done,) = world.audit
    assert (done.action, done.outcome) == (point, "done")
    marks = [entry for entry in world.acts if entry.startswith(first)]
    effects = {"merge": marks, "close": marks}.get(point)
    if effects is not None:
        assert len(effects) == 1
    assert len(world.github.comments) == (1 if point in ("close", "comment", "escalate") else 0)
    assert len(called) == (1 if point == "escalate" else 0)
    labels = world.github.pulls[7].labels  # type: ignore[union-attr]
    assert set(labels) == {"label": {"stale"}, "escalate": {"needs-human-approval"}}.get(point, set())
    assert all(act.state == "done" for act in world.ledger.entry(KEY).acts)


def test_a_freeze_of_the_platform_counts(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from airflow_provider_agents import settings

    (tmp_path / "repositories.yaml").write_text(  # type: ignore[operator]
        "repositories:\n  acme/shop:\n    freeze: ['2020-01-01/2099-01-01']\n"
    )
    monkeypatch.setattr(settings, "config_folder", lambda: tmp_path)
    (done,) = world.run({7: said("merge")})
    assert (done.guard, world.acts) == ("frozen", [])
    (tmp_path / "repositories.yaml").write_text("repositories: 3\n")  # type: ignore[operator]
    world.ti.max_tries = 0
    (done,) = world.run({7: said("merge")}, standing=[7])
    assert done.outcome == "failed"
    assert "repositories" in done.message


@pytest.mark.parametrize(
    ("login", "verified", "guard"),
    [
        ("dependabot[bot]", True, ""),
        ("dependabot[bot]", False, "foreign_commits"),
        ("", True, "foreign_commits"),
    ],
)
def test_who_pushes_to_a_bots_branch_cannot_pose_as_the_bot(
    monkeypatch: pytest.MonkeyPatch, login: str, verified: bool, guard: str
) -> None:
    world = World(monkeypatch, selector=Selector(authors=("dependabot[bot]",)))
    world.github.add(7, author="dependabot", author_is_bot=True)
    commit = CommitRef(sha=HEAD, author="dependabot[bot]", title="Bump", login=login, verified=verified)
    world.github.commits = (commit,)
    (done,) = world.run({7: said("merge")})
    assert done.guard == guard


def test_another_branch_that_it_goes_into_by_now_is_not_merged_into(world: World) -> None:
    world.begin({7: said("merge")})
    world.github.change(7, base_branch="release")
    world.act()
    (done,) = world.audit
    assert (done.outcome, done.guard, world.acts) == ("superseded", "base_moved", [])


def test_people_are_asked_also_where_the_answer_to_their_call_was_lost(world: World) -> None:
    """With the label on, no later run looks at it: who has to decide would never know."""
    lost = ForgeUnavailableError("HTTP 502")
    world.github.faults["label"] = lost
    (done,) = world.run({7: said("escalate")})
    assert (done.outcome, done.message) == ("failed", "HTTP 502")
    (call,) = world.called
    assert call["conf"]["message"] == "Because."
    assert call["conf"]["guard"] == ""
    del world.github.faults["label"]
    (done,) = world.run({7: said("escalate")}, standing=[7])
    assert done.outcome == "done"
    assert [each["trigger_run_id"] for each in world.called] == [call["trigger_run_id"]]


def test_what_people_are_called_for_survives_the_worker(world: World) -> None:
    workflow = ChangedFile(path=".github/workflows/ci.yml", status="modified", additions=1, deletions=0)
    world.github.files = (workflow,)
    for crash in ("comment", ""):
        world.begin({7: said("merge")})
        world.github.crash_after = crash
        world.variables.crash_at = "" if crash else f"agents_rule__{RULE}"
        with pytest.raises(CrashError):
            world.act()
    world.ti.retry()
    (call,) = world.act()
    assert call["conf"]["message"].startswith("It changes protected paths: .github/workflows/ci.yml")
    assert "It changes protected paths" in world.github.comments[f"7 pr-rule={RULE}"]


@pytest.mark.parametrize("answer", ["merge", "wait", "comment", "nothing"])
def test_what_the_rule_queued_is_taken_back_whatever_is_decided_since(world: World, answer: str) -> None:
    world.github.change(7, has_merge_queue=True)
    world.run({7: said("merge")})
    world.github.change(7, queue_entry=QueueEntry(state="QUEUED", position=1), labels=("do-not-merge",))
    world.github.add(8, draft=True)
    about = {8: said("merge")} if answer == "nothing" else {7: said(answer, comment="Wait.")}
    found = world.run(about)
    assert world.acts == ["enqueue PR_7", "dequeue PR_7"]
    assert [(each.number, each.guard) for each in found if each.guard == "held"] == [(7, "held")]
    world.run({8: said("merge")})
    assert len(world.acts) == 2
    world.github.change(7, state="MERGED")
    for _ in range(2):
        world.github.asked.clear()
        world.run({8: said("merge")})
    assert world.github.asked.count("snapshots 1") == 1


def test_what_cannot_be_taken_back_is_tried_again(world: World) -> None:
    world.github.change(7, has_merge_queue=True)
    world.run({7: said("merge")})
    world.github.change(7, queue_entry=QueueEntry(state="QUEUED", position=1), draft=True)
    world.github.faults["dequeue"] = ForgeUnavailableError("HTTP 502")
    world.run({7: said("merge")}, standing=[7])
    assert [act.state for act in world.ledger.entry(KEY).of("withdraw")] == ["refused"]
    del world.github.faults["dequeue"]
    world.run({7: said("merge")}, standing=[7])
    assert [act.state for act in world.ledger.entry(KEY).of("withdraw")] == ["done"]

"""From an answer to a snapshot: people, rules and queue, and what is missing, refused or degraded."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.pull_request import QueueEntry, QueueRemoval
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_parse import parse_snapshot
from tests.unit.hooks.answers import HEAD, NOW, comment, connection, error, read, thread
from tests.unit.hooks.conftest import StubGitHub

FINE = ("missing", "refused", "degraded")


def test_reviews_and_threads(stub) -> None:
    snapshot = read(
        stub.pull(
            reviewDecision="CHANGES_REQUESTED",
            latestOpinionatedReviews=connection(
                {
                    "author": {"login": "mona"},
                    "state": "CHANGES_REQUESTED",
                    "body": "no",
                    "authorCanPushToRepository": True,
                    "commit": {"oid": HEAD},
                },
                {
                    "author": None,
                    "state": "APPROVED",
                    "body": "",
                    "authorCanPushToRepository": False,
                    "commit": None,
                },
            ),
            reviewThreads=connection(
                thread("T1", comment("mona", can_push=True), comment("eve", can_push=False)),
                thread("T2", comment("eve", can_push=None, association="NONE"), line=None),
                thread("T3", comment("olga", can_push=None, association="COLLABORATOR")),
                thread("T4", comment("mona", can_push=True), resolved=True),
                thread("T5", comment(None, can_push=False, association="OWNER")),
            ),
        )
    )
    assert snapshot.review_decision == "CHANGES_REQUESTED"
    assert [(r.author, r.can_write, r.head_sha) for r in snapshot.reviews] == [
        ("mona", True, HEAD),
        ("ghost", False, ""),
    ]
    assert [(t.node_id, t.line, t.started_by_writer) for t in snapshot.threads] == [
        ("T1", 10, True),
        ("T2", 8, False),
        ("T3", 10, True),
        ("T5", 10, False),
    ]
    assert [c.can_write for c in snapshot.threads[0].comments] == [True, False]
    assert snapshot.missing == ()


def test_what_we_wrote_ourselves_is_our_own(stub) -> None:
    review = {"author": {"login": "agent"}, "state": "CHANGES_REQUESTED", "viewerDidAuthor": True}
    remark = comment("agent") | {"viewerDidAuthor": True}
    snapshot = read(
        stub.pull(
            latestOpinionatedReviews=connection(review, review | {"viewerDidAuthor": False}),
            reviewThreads=connection(thread("T", remark, comment("mona"))),
        )
    )
    assert [review.own for review in snapshot.reviews] == [True, False]
    (found,) = snapshot.threads
    assert [(c.own, c.node_id) for c in found.comments] == [(True, "C_agent"), (False, "C_mona")]
    assert found.comments[0].created_at == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_the_conversation_gives_nobody_authority(stub) -> None:
    def said(author: object, **more: object) -> dict[str, object]:
        return {"id": "IC", "body": "/merge", "createdAt": "2026-01-01T10:00:00Z", "author": author} | more

    nodes = [
        said({"login": "mona", "__typename": "User"}, authorAssociation="OWNER"),
        said({"login": "dependabot", "__typename": "Bot"}),
        said({"login": "agent", "__typename": "User"}, viewerDidAuthor=True),
        said(None, createdAt=None),
    ]
    comments = read(stub.pull(comments={"nodes": nodes})).comments
    assert [c.author for c in comments] == ["mona", "dependabot[bot]", "agent", "ghost"]
    assert [c.own for c in comments] == [False, False, True, False]
    assert not any(c.can_write for c in comments)
    assert comments[0].created_at == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert comments[3].created_at is None


def test_facts_about_base_author_and_merging(stub) -> None:
    snapshot = read(stub.pull(viewerCanEnableAutoMerge=True, autoMergeRequest={"enabledAt": "x"}))
    assert (snapshot.author, snapshot.base_sha) == ("agent", "c" * 40)
    assert snapshot.allowed_methods == ("squash", "rebase")
    assert (snapshot.auto_merge_allowed, snapshot.auto_merge_on) == (True, True)
    assert (snapshot.has_merge_queue, snapshot.queue_entry, snapshot.queue_removals) == (False, None, ())
    assert (snapshot.missing, snapshot.refused, snapshot.degraded) == ((), (), ())


def test_the_merge_queue(stub) -> None:
    removals = [
        {"createdAt": "2026-01-01T12:00:00Z", "reason": "failed_checks", "actor": None},
        {"createdAt": "2026-01-01T11:00:00Z", "reason": None, "actor": {"login": "mona"}},
    ]
    snapshot = read(
        stub.pull(
            isMergeQueueEnabled=True,
            mergeQueueEntry={"state": "AWAITING_CHECKS", "position": 2},
            timelineItems={"nodes": removals},
        )
    )
    assert snapshot.has_merge_queue is True
    assert snapshot.queue_entry == QueueEntry(state="AWAITING_CHECKS", position=2)
    assert snapshot.queue_removals == (
        QueueRemoval(at=datetime(2026, 1, 1, 11, tzinfo=UTC), reason="", actor="mona"),
        QueueRemoval(at=datetime(2026, 1, 1, 12, tzinfo=UTC), reason="failed_checks"),
    )
    assert snapshot.degraded == ()


RULE = {"requiredStatusCheckContexts": ["lint", None]}
RULESET = {
    "nodes": [{"parameters": {"requiredStatusChecks": [{"context": "tests"}]}}, {"parameters": {}}, None]
}
NO_RULES: dict[str, Any] = {"nodes": []}


@pytest.mark.parametrize(
    ("base", "errors", "required", "degraded"),
    [
        ((None, None, NO_RULES), [], frozenset(), 0),
        ((RULE, None, NO_RULES), [], {"lint"}, 0),
        # Those who are no administrators see the second only.
        ((None, RULE, RULESET), [], {"lint", "tests"}, 0),
        ((None, RULE, NO_RULES), ["branchProtectionRule"], {"lint"}, 0),
        ((None, None, NO_RULES), ["branchProtectionRule"], None, 1),
        ((None, None, RULESET), ["branchProtectionRule"], {"tests"}, 1),
        ((None, None, None), ["branchProtectionRule", "rules"], None, 2),
        ((RULE, None, None), ["rules"], {"lint"}, 1),
    ],
)
def test_required_checks(stub, base, errors, required, degraded: int) -> None:
    names = ("branchProtectionRule", "refUpdateRule", "rules")
    faults = [error("baseRef", name, message=f"no {name}") for name in errors]
    snapshot = read(stub.pull(errors=faults, baseRef=dict(zip(names, base, strict=True))))
    assert snapshot.required_checks == required
    assert len(snapshot.degraded) == degraded
    assert all(entry.startswith("rules: no ") for entry in snapshot.degraded)
    assert (snapshot.missing, snapshot.refused) == ((), ())


def test_a_shown_check_that_is_required_is_known_without_the_rules(stub) -> None:
    run = stub.check_run("tests", isRequired=True)
    shown = stub.rollup([run, stub.check_run("docs")])
    snapshot = read(stub.pull(statusCheckRollup=shown, baseRef=None))
    assert snapshot.required_checks == {"tests"}
    assert snapshot.degraded == ("rules: not in the answer",)


NEEDED = {
    "statusCheckRollup": "checks",
    "latestOpinionatedReviews": "reviews",
    "reviewThreads": "threads",
    "comments": "comments",
    "labels": "labels",
    "reviewDecision": "review decision",
    "isDraft": "draft",
}
DISPENSABLE = {
    "closingIssuesReferences": "closing issues",
    "baseRef": "rules",
    "isMergeQueueEnabled": "merge queue",
    "mergeQueueEntry": "merge queue",
    "timelineItems": "merge queue",
    "viewerCanEnableAutoMerge": "auto-merge",
    "autoMergeRequest": "auto-merge",
}


@pytest.mark.parametrize(("field", "part"), (NEEDED | DISPENSABLE).items())
def test_a_part_that_is_not_in_the_answer_is_named(stub, field: str, part: str) -> None:
    snapshot = read(stub.pull(without=field))
    where = "missing" if field in NEEDED else "degraded"
    for name in FINE:
        assert getattr(snapshot, name) == ((f"{part}: not in the answer",) if name == where else ())


@pytest.mark.parametrize(("field", "part"), (NEEDED | DISPENSABLE).items())
@pytest.mark.parametrize(
    ("kind", "message", "where"),
    [
        ("FORBIDDEN", "Resource not accessible by personal access token", "refused"),
        ("INSUFFICIENT_SCOPES", "Your token has not been granted the required scopes", "refused"),
        (None, "Resource not accessible by integration", "refused"),
        ("SERVICE_UNAVAILABLE", "Something went wrong", "missing"),
        (None, "Something went wrong", "missing"),
    ],
)
def test_a_part_that_errored_is_named_with_githubs_reason(
    stub, field: str, part: str, kind, message: str, where: str
) -> None:
    fault = error(field, kind=kind, message=message)
    snapshot = read(stub.pull(errors=[fault], **{field: None}))
    where = where if field in NEEDED else "degraded"
    for name in FINE:
        assert getattr(snapshot, name) == ((f"{part}: {message}",) if name == where else ())
    assert snapshot.head_sha == HEAD


def test_the_reason_may_stand_deeper_than_what_is_absent(stub) -> None:
    fault = error("statusCheckRollup", "contexts", "nodes", 3, "name")
    snapshot = read(stub.pull(errors=[fault], statusCheckRollup={"commit": {"oid": HEAD}, "contexts": None}))
    assert snapshot.refused == ("checks: Resource not accessible by integration",)


def test_a_part_is_refused_or_missing_not_both(stub) -> None:
    runs = [None, stub.check_run("tests", conclusion="SOMETHING_NEW")]
    fault = error("statusCheckRollup", "contexts", "nodes", 0)
    snapshot = read(stub.pull(errors=[fault], statusCheckRollup=stub.rollup(runs)))
    assert snapshot.refused == ("checks: Resource not accessible by integration",)
    assert snapshot.missing == ()


def test_an_unreadable_check_is_refused_but_an_unreadable_workflow_is_fine(stub) -> None:
    path = ("statusCheckRollup", "contexts", "nodes")
    no_actions = error(*path, 1, "checkSuite", "workflowRun", message="no Actions")
    hidden = error(*path, 0, message="hidden")
    fine = read(stub.pull(errors=[no_actions], statusCheckRollup=stub.rollup([stub.check_run("tests")] * 2)))
    assert (fine.missing, fine.refused) == ((), ())
    snapshot = read(
        stub.pull(errors=[no_actions, hidden], statusCheckRollup=stub.rollup([None, stub.check_run("tests")]))
    )
    assert snapshot.refused == ("checks: hidden",)
    assert len(snapshot.checks) == 1


@pytest.mark.parametrize("nodes", [{"name": "bug"}, "bug", 1])
def test_entries_that_are_no_list_are_missing(stub, nodes: object) -> None:
    snapshot = read(stub.pull(labels={"nodes": nodes}))
    assert (snapshot.labels, snapshot.missing) == ((), ("labels: not in the answer",))


def test_an_issue_of_a_hidden_repository_blocks_nothing(stub) -> None:
    fault = error("closingIssuesReferences", "nodes", 0, kind="NOT_FOUND")
    snapshot = read(stub.pull(errors=[fault], closingIssuesReferences={"nodes": [None]}))
    assert (snapshot.closing_issues, snapshot.missing, snapshot.degraded) == ((), (), ())


def test_unreadable_merge_methods_are_degraded(stub) -> None:
    answer = stub.pull()
    del answer["data"]["pull0"]["squashMergeAllowed"]
    snapshot = read(answer)
    assert (snapshot.allowed_methods, snapshot.degraded) == ((), ("merge methods: not in the answer",))


@pytest.mark.parametrize(
    "field", ["id", "number", "url", "title", "state", "headRefOid", "headRefName", "baseRefName"]
)
def test_without_its_own_facts_there_is_no_snapshot(stub, field: str) -> None:
    with pytest.raises(ForgeUnavailableError, match=field):
        read(stub.pull(without=field))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "CheckRun", "COMPLETED", "MERGED"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["nodes", "name", "a"]), inner)
    ),
    max_leaves=6,
)


def full_answer() -> dict[str, Any]:
    """What an answer with something in every part says about the repository."""
    check = StubGitHub.check_run("t", startedAt="2026-01-01T10:00:00Z", isRequired=True)
    check["checkSuite"] |= {
        "status": "IN_PROGRESS",
        "workflowRun": {"event": "push", "workflow": {"name": "w"}},
    }
    status = {"__typename": "StatusContext", "context": "ci", "state": "PENDING"}
    review = {"author": {"login": "mona"}, "state": "APPROVED", "commit": {"oid": HEAD}}
    said = {"id": "C", "body": "/stop", "createdAt": "2026-01-01T10:00:00Z", "author": {"login": "mona"}}
    removal = {"createdAt": "2026-01-01T10:00:00Z", "reason": "failed_checks", "actor": {"login": "mona"}}
    return StubGitHub.pull(
        reviewDecision="APPROVED",
        mergeCommit={"oid": HEAD},
        latestOpinionatedReviews=connection(review),
        reviewThreads=connection(thread("T", comment("mona"))),
        statusCheckRollup=StubGitHub.rollup([check, status]),
        comments={"nodes": [said]},
        timelineItems={"nodes": [removal]},
        isMergeQueueEnabled=True,
        mergeQueueEntry={"state": "QUEUED", "position": 1},
        autoMergeRequest={"enabledAt": "2026-01-01T10:00:00Z"},
        baseRef={"branchProtectionRule": RULE, "refUpdateRule": RULE, "rules": RULESET},
    )["data"]["pull0"]


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


PLACES = [place for place in places(full_answer()) if place]


@given(damage=st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
def test_a_damaged_answer_never_crashes_the_reader(damage) -> None:
    data = full_answer()
    for place, junk in damage:
        # Earlier damage may have taken the place away.
        with suppress(KeyError, IndexError, TypeError):
            target: Any = data
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = junk
    try:
        snapshot = parse_snapshot("acme/shop", data, [], NOW)
    except ForgeUnavailableError:
        return
    assert snapshot.mergeable in ("MERGEABLE", "CONFLICTING", "UNKNOWN")
    rollup = data["pullRequest"].get("statusCheckRollup")
    if not snapshot.missing and rollup is not None:
        assert len(snapshot.checks) >= len(rollup["contexts"]["nodes"])
    if not snapshot.missing:
        assert len(snapshot.comments) == len(data["pullRequest"]["comments"]["nodes"])
        assert not any(comment.can_write for comment in snapshot.comments)

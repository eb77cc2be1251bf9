"""Histories as hypothesis draws them: small ones first, so that what it finds is shrunk to what matters."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from landing_history_plan import CI, Event, History
from landing_people import FAULTS

FLAKE = "fatal: the remote end hung up unexpectedly"
BROKEN = "E       AssertionError: 1 != 2"
OTHER = "TypeError: price() takes 1 positional argument"

WRITERS = st.sampled_from(["olga", "igor"])
ANYBODY = st.sampled_from(["olga", "igor", "eve"])
PAUSES = st.sampled_from([0, 1, 5, 20, 40, 70, 300, 700, 4000])
AMBUSHES = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
SAYINGS = (
    "/retry",
    "/stop",
    "/merge",
    "/explain",
    "/tell use the other file",
    "/review",
    "Nice!",
    "/retry again",
)

CHECKS = st.builds(
    CI,
    name=st.sampled_from(["tests", "lint"]),
    ends=st.sampled_from(
        ["success", "success", "failure", "timed_out", "neutral", "skipped", "cancelled", None]
    ),
    appears=st.sampled_from([0, 0, 15, 100]),
    takes=st.sampled_from([10, 0, 60, 900]),
    log=st.sampled_from(["", BROKEN, OTHER, FLAKE]),
    again=st.sampled_from(["success", "failure"]),
    actions=st.booleans(),
)
HEADS = st.lists(CHECKS, max_size=2, unique_by=lambda check: check.name).map(tuple)

_PEOPLE = (
    "objects",
    "remarks",
    "resolves",
    "approves",
    "dismisses",
    "labels",
    "unlabels",
    "drafts",
    "readies",
)
_PUSHES = ("pushes", "force_pushes", "takes_back", "base_moves", "conflicts")
_STATES = ("closes", "reopens", "merges", "dequeues")


def _event(
    do: Any, who: Any = WRITERS, value: Any = None, ambush: Any = AMBUSHES
) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        after=PAUSES,
        do=st.sampled_from(do) if isinstance(do, tuple) else st.just(do),
        who=who,
        value=value if value is not None else st.none(),
        ambush=ambush,
    )


NOW = st.just(0)
EVENTS = st.one_of(
    _event(_PEOPLE),
    _event(_PUSHES),
    _event("says", ANYBODY, st.sampled_from(SAYINGS)),
    _event(("objects", "remarks"), st.just("eve")),
    _event("answers", value=st.sampled_from(["Another round", "Merge", "Close", "Leave"]), ambush=NOW),
    _event(
        "fault",
        value=st.tuples(
            st.sampled_from(sorted(FAULTS)),
            st.sampled_from([1, 2, 3, 7]),
            st.sampled_from([None, True, False]),
        ),
        ambush=NOW,
    ),
    _event("dies", value=st.integers(1, 25), ambush=NOW),
    _event(
        "reports",
        value=st.tuples(st.sampled_from(["tests", "lint"]), st.sampled_from(["success", "failure"])),
    ),
    _event("unknown_for", value=st.sampled_from([0, 60, 300]), ambush=NOW),
    _event("base_breaks", value=st.sampled_from(["failure", "success"]), ambush=NOW),
    _event("restarts", ambush=NOW),
    _event(_STATES),
)

REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "auto_merge": st.just(False),
        "github_auto_merge": st.just(True),
        "update_branch": st.just(False),
        "no_checks": st.sampled_from(["merge", "wait"]),
        "settle_seconds": st.sampled_from([0, 300]),
        "rerun_flaky": st.just(False),
        "max_rounds": st.sampled_from([0, 1, 3]),
        "max_rounds_per_reason": st.sampled_from([0, 1]),
        "freeze": st.just(("2026-01-05T09:02/2026-01-05T12:00",)),
        "review": st.sampled_from(["on_checks_passed", "on_open", "manual"]),
        "resolve_threads": st.just("answered"),
        "auto_merge_max_risk": st.sampled_from([0, 50]),
        "merge_method": st.sampled_from(["merge", "rebase"]),
        "escalate": st.just("fail"),
    },
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "required_checks": st.sampled_from([("tests",), ("tests", "lint")]),
        "required_approvals": st.just(1),
        "strict_checks": st.just(True),
        "merge_queue": st.just(True),
    },
)
HISTORIES = st.builds(
    History,
    events=st.lists(EVENTS, max_size=8).map(tuple),
    request=REQUESTS,
    rules=RULES,
    ci=st.lists(HEADS, max_size=4).map(tuple),
    queue=st.lists(st.sampled_from(["success", "failure", None]), max_size=2).map(tuple),
    fixes=st.lists(st.sampled_from(["good", "leaves", "nothing", "dies"]), max_size=3).map(tuple),
    reviews=st.lists(st.sampled_from(["approve", "request_changes", "comment"]), max_size=2).map(tuple),
    mergeability=st.sampled_from([0, 0, 3, 200]),
    auto_merge_allowed=st.booleans(),
)

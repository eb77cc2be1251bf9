from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.source_definition import AskRules
from airflow_provider_agents.domain.tickets import run_id_of
from airflow_provider_agents.hooks.linear_asks import asks_of, edits_of
from airflow_provider_agents.hooks.linear_claim import claim_url, comment_ids

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LABELS = [{"id": f"id-{name}", "name": name} for name in ("agent", "Codex", "bug")]
STATES = [{"id": f"id-{name}", "name": name} for name in ("Todo", "Ready", "Done")]
RULES = AskRules(labels=("agent", "codex"), states=("ready",), assignees=("bot",))

steps = st.lists(
    st.tuples(
        st.sampled_from(["label", "state", "assignee", "title"]), st.integers(0, 2), st.sampled_from("abc")
    ),
    max_size=12,
)


def play(
    created: set[int], state: int, events: list[tuple[str, int, str]]
) -> list[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]]:
    """Return issue, labels and history after each event, from the ticket's creation on."""
    labels, assignee = {LABELS[n]["id"]: LABELS[n] for n in created}, None
    now = STATES[state]
    history: list[dict[str, Any]] = []
    seen = []

    def look() -> None:
        issue = {
            "createdAt": START.isoformat(),
            "creator": {"id": "a"},
            "state": now,
            "assignee": assignee,
            "delegate": None,
        }
        seen.append((issue, list(labels.values()), list(history)))

    look()
    for n, (kind, which, by) in enumerate(events, 1):
        at = (START + timedelta(minutes=n)).isoformat()
        entry: dict[str, Any] = {"id": f"h{n}", "createdAt": at, "updatedAt": at, "actorId": by}
        if kind == "label":
            label = LABELS[which]
            if label["id"] in labels:
                del labels[label["id"]]
                entry["removedLabels"] = [label]
            else:
                labels[label["id"]] = label
                entry["addedLabels"] = [label]
        elif kind == "state":
            entry |= {"fromState": now, "toState": STATES[which]}
            now = STATES[which]
        elif kind == "assignee":
            after = {"id": "bot"} if assignee is None else None
            entry |= {"fromAssignee": assignee, "toAssignee": after}
            assignee = after
        else:
            entry["fromTitle"] = "before"
        history.append(entry)
        look()
    return seen


@given(created=st.sets(st.integers(0, 2)), state=st.integers(0, 2), events=steps)
def test_asks_are_only_ever_added(created: set[int], state: int, events: list[tuple[str, int, str]]) -> None:
    before: dict[str, Any] = {}
    for issue, labels, history in play(created, state, events):
        asks = asks_of(issue, labels, history, (), RULES, viewer="us")
        now = {ask.key: ask for ask in asks}
        assert len(now) == len(asks)
        # All of it stays as it was, but for being taken back, which is for ever.
        for key, ask in before.items():
            assert now[key] == dataclasses.replace(ask, withdrawn=now[key].withdrawn)
            assert now[key].withdrawn or not ask.withdrawn
        before = now
        holding = {ask.kind for ask in asks if not ask.withdrawn}
        assert ("assignee" in holding) == (issue["assignee"] is not None)
        assert ("state" in holding) == (issue["state"]["name"] == "Ready")


@given(created=st.sets(st.integers(0, 2)), state=st.integers(0, 2), events=steps)
def test_every_ask_is_of_who_did_it(
    created: set[int], state: int, events: list[tuple[str, int, str]]
) -> None:
    issue, labels, history = play(created, state, events)[-1]
    asks = asks_of(issue, labels, history, (), RULES, viewer="us")
    by_entry = {entry["id"]: entry["actorId"] for entry in history}
    for ask in asks:
        event = ask.key.partition(":")[0]
        assert ask.by == ("a" if event == "created" else by_entry[event])
    # Whoever wants an agent now has asked for it at some time.
    wanted = [label["name"] for label in labels if label["name"] != "bug"]
    assert set(wanted) <= {ask.label for ask in asks}
    if issue["state"]["name"] == "Ready":
        assert "state" in {ask.kind for ask in asks}
    if issue["assignee"]:
        assert "assignee" in {ask.kind for ask in asks}


def test_what_we_moved_ourselves_is_no_ask() -> None:
    issue, labels, history = play(set(), 0, [("state", 1, "c")])[-1]
    assert asks_of(issue, labels, history, (), RULES, viewer="c") == ()


def test_who_takes_it_up_again_asks_anew() -> None:
    """Somebody without authority must not bring back to life what somebody with it took back."""
    again = [("state", 1, "a"), ("state", 0, "a"), ("state", 1, "b")]
    issue, labels, history = play(set(), 0, again)[-1]
    asks = asks_of(issue, labels, history, (), RULES, viewer="us")
    assert [(ask.by, ask.withdrawn) for ask in asks] == [("a", True), ("b", False)]
    issue, labels, history = play(set(), 0, [("assignee", 0, by) for by in "aab"])[-1]
    asks = asks_of(issue, labels, history, (), RULES, viewer="us")
    assert [(ask.by, ask.withdrawn) for ask in asks] == [("a", True), ("b", False)]


def test_an_assignment_that_left_no_trace_in_the_history_is_taken_back() -> None:
    issue, labels, history = play(set(), 0, [("assignee", 0, "a")])[-1]
    (ask,) = asks_of({**issue, "assignee": None}, labels, history, (), RULES, viewer="us")
    assert ask.withdrawn


def test_our_own_move_takes_no_ask_back() -> None:
    issue, labels, history = play(set(), 0, [("state", 1, "a"), ("state", 2, "us")])[-1]
    (ask,) = asks_of(issue, labels, history, (), RULES, viewer="us")
    assert not ask.withdrawn


def test_entries_that_lack_what_they_need_count_for_nothing() -> None:
    broken = [{}, {"id": "h", "createdAt": "soon", "addedLabels": LABELS}, {"createdAt": START.isoformat()}]
    assert asks_of({}, [], broken, (), RULES, viewer="us") == ()
    assert edits_of([{}, {"fromTitle": "x", "updatedAt": "2026-03-02"}]) == ()
    odd = {"id": "h", "createdAt": START.isoformat(), "addedLabels": [None, "x", {}], "toAssignee": "bot"}
    assert asks_of({}, [], [odd], (), RULES, viewer="us") == ()


@given(st.text(max_size=60))
def test_ids_of_comments_are_of_the_form_that_linear_takes(ticket: str) -> None:
    found = comment_ids(ticket)
    assert found == comment_ids(ticket)
    assert len(set(found)) == len(found)
    assert all(uuid.UUID(id_).version == 4 for id_ in found)


def test_ids_are_those_that_tickets_in_the_world_have() -> None:
    """A change here would write second comments on all tickets, and start their runs again."""
    assert comment_ids("2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9")[0] == "02ddd5da-0f59-4516-9241-2314ffad5d83"
    assert claim_url("2174add1") == "https://airflow.apache.org/#agents-claim-2174add1"
    assert run_id_of("linear", "2174add1", "h1:label:l1").startswith("ticket__linear__2174add1__")

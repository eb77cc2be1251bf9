"""What tickets wait for: links, words in their text, epics and their children."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.dependencies import (
    MOST_DEPENDENCIES,
    Child,
    Node,
    blocked_by,
    directives,
    keys_needed,
    node_of,
)
from airflow_provider_agents.domain.tickets import LinkedTicket, TicketComment, TicketEntry, TicketReading

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def reading(key: str = "acme/shop#7", body: str = "", **parts: object) -> TicketReading:
    entry = TicketEntry(id=key, key=key, title="T", url="", created_at=NOW, updated_at=NOW, actionable=True)
    return TicketReading(entry=entry, body=body, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("depends on #3", ["acme/shop#3"]),
        ("Depends on: #3, #4 and acme/lib#5.", ["acme/shop#3", "acme/shop#4", "acme/lib#5"]),
        ("- [ ] blocked by #3 & #4", ["acme/shop#3", "acme/shop#4"]),
        ("blocked by ENG-12, and ENG-13", ["ENG-12", "ENG-13"]),
        ("Depends on https://github.com/acme/lib/issues/9", ["acme/lib#9"]),
        ("depends on #3\r\ndepends on #3", ["acme/shop#3"]),
        ("> depends on #3", []),
        ("```\ndepends on #3\n```\nblocked by #4", ["acme/shop#4"]),
        ("<!-- depends on #3 --> `depends on #5`", []),
        ("it depends on the weather, see #3", []),
        ("depends on 3", []),
        ("independs on #3", []),
    ],
)
def test_dependencies_in_a_text(text: str, keys: list[str]) -> None:
    assert list(directives(text, "acme/shop").depends_on) == keys


def test_a_number_alone_says_nothing_where_there_is_no_repository() -> None:
    assert directives("depends on #3 and ENG-4").depends_on == ("ENG-4",)


def test_how_an_epic_is_declared() -> None:
    assert directives("Children: steps\nblocks_parent: No").mode == "step"
    assert not directives("Children: step\nblocks_parent: no").blocks_parent
    assert directives("the children: step").mode == "child"
    assert directives("").blocks_parent


def test_only_trusted_people_add_dependencies_in_comments() -> None:
    def comment(author: str, body: str, edited_by: str = "") -> TicketComment:
        return TicketComment(key=body, author=author, body=body, at=NOW, edited_by=edited_by)

    said = (
        comment("mona", "blocked by #1"),
        comment("eve", "blocked by #2"),
        comment("mona", "blocked by #3", "eve"),
        comment("mona", "blocked by #4", "hubot"),
        comment("", "blocked by #5"),
    )
    node = node_of(reading(comments=said), {"mona", "hubot"})
    assert list(node.depends_on) == ["acme/shop#1", "acme/shop#4"]


def test_links_tell_the_state_of_what_the_text_names() -> None:
    links = (
        LinkedTicket(key="acme/shop#1", state="done", relation="mentioned"),
        LinkedTicket(key="acme/shop#2", state="open", relation="depends_on"),
        LinkedTicket(key="acme/shop#4", state="open", relation="child", order=1),
        LinkedTicket(key="acme/shop#3", state="open", relation="child", order=0),
        LinkedTicket(key="acme/shop#9", relation="parent"),
    )
    node = node_of(reading(body="depends on Acme/Shop#1, #5", links=links))
    assert node.depends_on == {"acme/shop#2": "open", "acme/shop#1": "done", "acme/shop#5": "unknown"}
    assert [child.key for child in node.children] == ["acme/shop#3", "acme/shop#4"]
    assert keys_needed(node) == {"acme/shop#5", "acme/shop#9"}


@pytest.mark.parametrize(
    ("state", "kind"), [("open", "waits"), ("unknown", "unknown"), ("cancelled", "cancelled"), ("done", None)]
)
def test_a_dependency_holds_until_it_is_done(state: str, kind: str | None) -> None:
    node = Node(key="a", depends_on={"b": state})  # type: ignore[dict-item]
    found = blocked_by(node, {})
    assert (found.kind if found else None) == kind
    if found:
        assert "b" in found.why


def test_what_was_read_goes_before_what_a_link_told() -> None:
    node = Node(key="a", depends_on={"Acme/x#1": "open"})
    assert blocked_by(node, {"acme/x#1": Node(key="acme/x#1", state="done")}) is None


def epic(**values: object) -> Node:
    children = tuple(Child(key=key, state="open") for key in ("s1", "s2", "s3"))
    return Node(key="epic", **({"children": children} | values))  # type: ignore[arg-type]


def test_an_epic_starts_after_its_children_unless_it_says_otherwise() -> None:
    found = blocked_by(epic(), {})
    assert found is not None
    assert found.by == ("s1", "s2", "s3")
    assert blocked_by(epic(blocks_parent=False), {}) is None
    closed = {
        key: Node(key=key, state=state)
        for key, state in [("s1", "done"), ("s2", "cancelled"), ("s3", "done")]
    }  # type: ignore[arg-type]
    assert blocked_by(epic(), closed) is None


def test_children_run_at_once_and_steps_in_order() -> None:
    third = Node(key="s3", parent="epic")
    assert blocked_by(third, {"epic": epic()}) is None
    found = blocked_by(third, {"epic": epic(mode="step")})
    assert found is not None
    assert found.by == ("s1", "s2")
    done = {
        "epic": epic(mode="step"),
        "s1": Node(key="s1", state="done"),
        "s2": Node(key="s2", state="cancelled"),
    }
    assert blocked_by(third, done) is None
    assert blocked_by(Node(key="s1", parent="epic"), {"epic": epic(mode="step")}) is None


def test_a_child_waits_until_its_epic_was_read() -> None:
    child = Node(key="s1", parent="epic")
    found = blocked_by(child, {})
    assert found is not None
    assert found.kind == "unknown"
    assert blocked_by(child, {"epic": Node(key="epic")}) is None


def test_cycles_are_named() -> None:
    known = {
        "a": Node(key="a", depends_on={"b": "open"}),
        "b": Node(key="b", depends_on={"c": "open"}),
        "c": Node(key="c", depends_on={"A": "open"}),
        "d": Node(key="d", depends_on={"a": "open"}),
    }
    found = blocked_by(known["b"], known)
    assert found is not None
    assert found.kind == "cycle"
    assert [key.lower() for key in found.by] == ["b", "c", "a", "b"]
    assert "b → c → A → b" in found.why
    waits = blocked_by(known["d"], known)
    assert waits is not None
    assert waits.kind == "waits"


def test_a_ticket_that_depends_on_itself_or_on_its_epic() -> None:
    itself = blocked_by(Node(key="a", depends_on={"a": "open"}), {})
    assert itself is not None
    assert itself.by == ("a", "a")
    child = Node(key="s1", parent="epic", depends_on={"epic": "open"})
    found = blocked_by(child, {"epic": epic(), "s1": child})
    assert found is not None
    assert found.by == ("s1", "epic", "s1")


def test_too_many_dependencies_are_refused() -> None:
    body = "blocked by " + ", ".join(f"#{n}" for n in range(1, 3_000))
    found = blocked_by(node_of(reading(body=body)), {})
    assert found is not None
    assert found.kind == "too_many"
    assert str(MOST_DEPENDENCIES) in found.why


GRAPHS = st.integers(1, 8).flatmap(
    lambda size: st.lists(
        st.tuples(
            st.sets(st.integers(0, size - 1), max_size=3), st.sampled_from(["open", "done", "cancelled"])
        ),
        min_size=size,
        max_size=size,
    )
)


def _known(graph: list[tuple[set[int], str]]) -> dict[str, Node]:
    return {
        str(key): Node(key=str(key), state=state, depends_on={str(other): "open" for other in others})  # type: ignore[arg-type, misc]
        for key, (others, state) in enumerate(graph)
    }


@given(GRAPHS)
def test_a_cycle_is_a_cycle_and_every_one_is_found(graph: list[tuple[set[int], str]]) -> None:
    known = _known(graph)
    opened = {key for key, node in known.items() if node.state == "open"}

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        line = [start]
        while line:
            for other in known[line.pop()].depends_on:
                if other in opened and other not in seen:
                    seen.add(other)
                    line.append(other)
        return seen

    for key in opened:
        found = blocked_by(known[key], known)
        cyclic = key in reachable(key)
        assert (found is not None and found.kind == "cycle") == cyclic
        if cyclic:
            assert found is not None
            assert found.by[0] == found.by[-1] == key
            for one, other in zip(found.by, found.by[1:], strict=False):
                assert other in known[one].depends_on


@given(GRAPHS)
def test_without_cycles_and_cancelled_ones_all_get_done_and_none_before_its_dependencies(
    graph: list[tuple[set[int], str]],
) -> None:
    acyclic = [({other for other in others if other < key}, "open") for key, (others, _) in enumerate(graph)]
    known = _known(acyclic)
    done: list[str] = []
    while len(done) < len(known):
        free = [
            key for key, node in known.items() if node.state == "open" and blocked_by(node, known) is None
        ]
        assert free
        for key in free:
            assert set(known[key].depends_on) <= set(done)
        done += free
        for key in free:
            known[key] = Node(key=key, state="done", depends_on=known[key].depends_on)


@given(st.text(max_size=400), st.text(max_size=20))
def test_any_text_can_be_read(text: str, repository: str) -> None:
    for key in directives(text, repository).depends_on:
        assert "#" in key or "-" in key


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 200_000,
        "depends on" + " " * 200_000,
        "`" * 200_000,
        "depends on #1" + ", #1" * 50_000,
        "<!--" * 50_000,
        "\n```" * 50_000,
        "depends on " + "a" * 200_000,
        "depends on " * 20_000,
        "children :" * 20_000,
    ],
)
def test_no_text_is_slow(text: str) -> None:
    started = time.process_time()
    directives(text, "acme/shop")
    assert time.process_time() - started < 2

"""What a ticket waits for: tickets that it depends on, the children of an epic, the steps before it.

A dependency holds until the other ticket is *done*: its pull request is merged, and the ticket closed. It is
read from the tracker's own links, and from lines of the text::

    depends on #12, acme/lib#3 and ENG-7        or: blocked by …
    children: step                              in an epic: one child after another; `child`: all at once
    blocks_parent: no                           in an epic: it does not wait for its children

An epic starts only when its children are done. Directives only ever make a ticket wait; in comments those
count whose author asked for the agent, and may.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from airflow_provider_agents.domain.tickets import TicketReading

TicketState = Literal["open", "done", "cancelled", "unknown"]
ChildMode = Literal["child", "step"]
BlockKind = Literal["waits", "cancelled", "unknown", "cycle", "too_many"]

MOST_DEPENDENCIES = 50
"""That a ticket may name; one that names more is refused, for not all of them would be looked at."""
_MOST_NAMED = 5
_MOST_TEXT = 200_000

_REPOSITORY = r"[\w.-]{1,100}/[\w.-]{1,100}"
_REFERENCE = (
    rf"(?:https://[^\s/]{{1,200}}/{_REPOSITORY}/issues/\d{{1,12}}|(?:{_REPOSITORY})?#\d{{1,12}}"
    r"|[A-Z][A-Z0-9_]{0,30}-\d{1,12})"
)
_SPACE = r"\s{0,5}"
"""Everywhere bounded: text of people must not be able to make a pattern slow."""
_AND = rf"(?:{_SPACE},{_SPACE}(?:and\s{{1,5}})?|\s{{1,5}}and\s{{1,5}}|{_SPACE}&{_SPACE})"
_DEPENDS = re.compile(
    rf"\b(?:depends on|blocked by){_SPACE}:?{_SPACE}(?P<names>{_REFERENCE}(?:{_AND}{_REFERENCE})*)",
    re.IGNORECASE,
)
_NAME = re.compile(_REFERENCE, re.IGNORECASE)
_BLANK = r"[ \t]{0,20}"
_MODE = re.compile(
    rf"^{_BLANK}children{_BLANK}:{_BLANK}(child|step)s?{_BLANK}$", re.IGNORECASE | re.MULTILINE
)
_BLOCKS = re.compile(
    rf"^{_BLANK}blocks_parent{_BLANK}:{_BLANK}(yes|no|true|false){_BLANK}$", re.IGNORECASE | re.MULTILINE
)
_NOT_SAID = re.compile(
    r"<!--.*?(?:-->|\Z)|^[ \t]{0,20}(```|~~~).*?(?:^[ \t]{0,20}\1|\Z)|^[ \t]{0,20}>[^\n]*|`[^`\n]{0,500}`",
    re.DOTALL | re.MULTILINE,
)
"""HTML comments, blocks of code, quotations: in them nobody asks for anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """What the text of a ticket declares."""

    depends_on: tuple[str, ...] = ()
    """Keys, as people write them: ``acme/shop#7``, ``ENG-12``."""
    mode: ChildMode = "child"
    blocks_parent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A ticket of an epic."""

    key: str
    state: TicketState


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A ticket as one of many that depend on each other. Small: a sync may keep it."""

    key: str
    state: TicketState = "open"
    depends_on: Mapping[str, TicketState] = field(default_factory=dict)
    children: tuple[Child, ...] = ()
    """In their order."""
    parent: str = ""
    mode: ChildMode = "child"
    """How its children run."""
    blocks_parent: bool = True
    """Whether its children hold it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why a ticket may not start."""

    kind: BlockKind
    """``waits``: it passes by itself. ``unknown``: another ticket could not be read, look again. ``cancelled``,
    ``cycle`` and ``too_many``: a person must act."""
    by: tuple[str, ...]
    """Keys; of a cycle all its tickets in order, the first one again at the end."""
    why: str
    """One sentence."""


def directives(text: str, repository: str = "") -> Directives:
    """Read what a text declares.

    :param text: untrusted; of more than 200,000 characters the rest is not read.
    :param repository: what ``#7`` is a number of; empty: such references say nothing.
    """
    said = _NOT_SAID.sub(" ", text[:_MOST_TEXT].replace("\r\n", "\n"))
    names = [
        key
        for found in _DEPENDS.finditer(said)
        for name in _NAME.findall(found["names"])
        if (key := _key(name, repository))
    ]
    modes, blocks = _MODE.findall(said), _BLOCKS.findall(said)
    return Directives(
        depends_on=tuple(dict.fromkeys(names)),
        mode="step" if modes and modes[-1].lower() == "step" else "child",
        blocks_parent=not (blocks and blocks[-1].lower() in ("no", "false")),
    )


def node_of(reading: TicketReading, trusted: Collection[str] = ()) -> Node:
    """Return what a ticket declares and its tracker knows.

    :param trusted: people whose comments count; the text itself always does: whoever asked for an agent has
        approved it.
    """
    repository = reading.entry.key.partition("#")[0] if "#" in reading.entry.key else ""
    declared = directives(reading.body, repository)
    named = list(declared.depends_on)
    for comment in reading.comments:
        if comment.author and comment.author in trusted and comment.edited_by in ("", *trusted):
            named += directives(comment.body, repository).depends_on
    linked = {link.key.casefold(): link for link in reading.links}
    depends: dict[str, TicketState] = {
        link.key: link.state for link in reading.links if link.relation == "depends_on"
    }
    for key in dict.fromkeys(named):
        link = linked.get(key.casefold())
        depends.setdefault(link.key if link else key, link.state if link else "unknown")
        if len(depends) > MOST_DEPENDENCIES:
            break
    children = [link for link in reading.links if link.relation == "child"]
    children.sort(key=lambda link: len(children) if link.order is None else link.order)
    return Node(
        key=reading.entry.key,
        state=reading.state,
        depends_on=depends,
        children=tuple(Child(key=link.key, state=link.state) for link in children),
        parent=next((link.key for link in reading.links if link.relation == "parent"), ""),
        mode=declared.mode,
        blocks_parent=declared.blocks_parent,
    )


def keys_needed(node: Node) -> frozenset[str]:
    """Return the tickets that must be read before :func:`blocked_by` can tell: the epic, and what is only named."""
    unread = {key for key, state in node.depends_on.items() if state == "unknown"}
    return frozenset(unread | ({node.parent} if node.parent else set()))


def keys_ahead(node: Node, known: Mapping[str, Node]) -> frozenset[str]:
    """Return the tickets that one waits for, directly or not, and that are not known: a cycle may lead through them."""
    known = {key.casefold(): each for key, each in known.items()}
    seen, found = {node.key.casefold()}, set()
    line = deque([node])
    while line:
        for key in _blockers(line.popleft(), known):
            if key.casefold() in seen:
                continue
            seen.add(key.casefold())
            if other := known.get(key.casefold()):
                line.append(other)
            else:
                found.add(key)
    return frozenset(found)


def blocked_by(node: Node, known: Mapping[str, Node]) -> Blocked | None:
    """Say what keeps a ticket from being started; ``None``: nothing.

    :param known: tickets that were read, by key (case does not count); their states go before those that links tell. An epic that
        cannot be read at all may stand here as a bare :class:`Node`: then it orders nothing.
    """
    known = {key.casefold(): each for key, each in known.items()}
    if len(node.depends_on) > MOST_DEPENDENCIES:
        return Blocked(kind="too_many", by=(), why=f"it names more than {MOST_DEPENDENCIES} dependencies")
    if cycle := _cycle(node, known):
        return Blocked(
            kind="cycle",
            by=tuple(cycle),
            why=f"it waits for itself: {' → '.join(cycle)}; take one of these dependencies away",
        )
    depends = {key: _state(key, state, known) for key, state in node.depends_on.items()}
    if cancelled := [key for key, state in depends.items() if state == "cancelled"]:
        return Blocked(
            kind="cancelled",
            by=tuple(cancelled),
            why=f"it depends on {_named(cancelled)}, closed without being done; take the dependency away, or "
            "have it done",
        )
    if unknown := [key for key, state in depends.items() if state == "unknown"]:
        return Blocked(
            kind="unknown", by=tuple(unknown), why=f"it depends on {_named(unknown)}, which cannot be read"
        )
    if waits := [key for key, state in depends.items() if state == "open"]:
        return Blocked(kind="waits", by=tuple(waits), why=f"it depends on {_named(waits)}")
    if node.parent and node.parent.casefold() not in known:
        return Blocked(kind="unknown", by=(node.parent,), why=f"its epic {node.parent} has not been read yet")
    if steps := _steps_before(node, known):
        return Blocked(
            kind="waits",
            by=tuple(steps),
            why=f"the steps of {node.parent} are done in order: {_named(steps)} first",
        )
    if children := _open_children(node, known):
        return Blocked(
            kind="waits", by=tuple(children), why=f"it is done after its children: {_named(children)}"
        )
    return None


def _blockers(node: Node, known: Mapping[str, Node]) -> Iterator[str]:
    """Return the tickets that are not done and that this one waits for."""
    for key, state in node.depends_on.items():
        if _state(key, state, known) not in ("done", "cancelled"):
            yield key
    yield from _steps_before(node, known)
    yield from _open_children(node, known)


def _steps_before(node: Node, known: Mapping[str, Node]) -> list[str]:
    parent = known.get(node.parent.casefold()) if node.parent else None
    if parent is None or parent.mode != "step":
        return []
    keys = [child.key.casefold() for child in parent.children]
    own = node.key.casefold()
    before = parent.children[: keys.index(own)] if own in keys else ()
    return _unfinished(before, known)


def _open_children(node: Node, known: Mapping[str, Node]) -> list[str]:
    return _unfinished(node.children, known) if node.blocks_parent else []


def _unfinished(children: Sequence[Child], known: Mapping[str, Node]) -> list[str]:
    """Return those that are still to be done; one that was cancelled is left out of the epic."""
    return [
        child.key for child in children if _state(child.key, child.state, known) not in ("done", "cancelled")
    ]


def _state(key: str, told: TicketState, known: Mapping[str, Node]) -> TicketState:
    found = known.get(key.casefold())
    return found.state if found else told


def _cycle(node: Node, known: Mapping[str, Node]) -> list[str]:
    """Return a shortest way from the ticket back to itself; empty: there is none."""
    own = node.key.casefold()
    came_from: dict[str, str] = {}
    line = deque([node.key])
    while line:
        key = line.popleft()
        found = node if key.casefold() == own else known.get(key.casefold())
        for other in _blockers(found, known) if found else ():
            if other.casefold() == own:
                way = [key]
                while way[-1].casefold() != own:
                    way.append(came_from[way[-1].casefold()])
                return [*reversed(way), node.key]
            if other.casefold() not in came_from:
                came_from[other.casefold()] = key
                line.append(other)
    return []


def _key(name: str, repository: str) -> str:
    if name.lower().startswith("https://"):
        _, owner, repo, _, number = name.rsplit("/", 4)
        return f"{owner}/{repo}#{number}"
    if name.startswith("#"):
        return f"{repository}{name}" if repository else ""
    return name if "#" in name else name.upper()


def _named(keys: Sequence[str]) -> str:
    some = ", ".join(keys[:_MOST_NAMED])
    return some if len(keys) <= _MOST_NAMED else f"{some} and {len(keys) - _MOST_NAMED} more"

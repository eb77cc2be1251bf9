"""Moving a ticket of Linear: from a name of a state to the state of its team."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.linear_entries import CLOSED_TYPES, nodes
from airflow_provider_agents.hooks.linear_errors import refused
from airflow_provider_agents.hooks.linear_queries import MOVE, STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.hooks.linear_transport import LinearTransport


@dataclass(frozen=True, slots=True)
class _State:
    id: str
    name: str
    type: str
    position: float = 0.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a ticket is, and where its team would let it go."""

    now: _State
    team: str
    states: tuple[_State, ...]

    def named(self, name: str) -> _State:
        for state in self.states:
            if state.name.casefold() == name.casefold():
                return state
        known = ", ".join(repr(state.name) for state in sorted(self.states, key=lambda s: s.position))
        raise ForgeAccessError(
            f"team {self.team} of Linear has no state {name!r}; correct `stages` of the ticket source to one of: {known}"
        )


async def move_to(transport: LinearTransport, ticket_id: str, key: str, name: str) -> None:
    """Move a ticket to the state ``name``; one that is closed stays as it is, one that is there already too.

    :raises ForgeAccessError: its team has no such state; the message names those it has.
    """
    place = await _place(transport, ticket_id, key)
    state = place.named(name)
    if place.now.type not in CLOSED_TYPES:
        await _move(transport, ticket_id, key, place.now, state)


async def close_to(transport: LinearTransport, ticket_id: str, key: str, name: str) -> None:
    """Close a ticket as done; one that is closed stays as it is.

    :param name: of the state; empty: the first of its team's that count as completed.
    :raises ForgeAccessError: its team has no such state.
    """
    place = await _place(transport, ticket_id, key)
    if place.now.type in CLOSED_TYPES:
        return
    if name:
        state = place.named(name)
    else:
        completed = [state for state in place.states if state.type == "completed"]
        if not completed:
            raise ForgeAccessError(f"team {place.team} of Linear has no state that counts as completed")
        state = min(completed, key=lambda found: found.position)
    await _move(transport, ticket_id, key, place.now, state)


async def _place(transport: LinearTransport, ticket_id: str, key: str) -> _Place:
    what = f"read the states that {key} can have"
    answer = await transport.query(STATES, {"id": ticket_id}, what)
    issue = mapping(answer.data.get("issue"))
    if answer.errors or not issue:
        raise refused(what, answer.errors)
    team = mapping(issue.get("team"))
    return _Place(
        now=_state(mapping(issue.get("state"))),
        team=text(team.get("key")),
        states=tuple(_state(node) for node in nodes(team.get("states"))),
    )


async def _move(transport: LinearTransport, ticket_id: str, key: str, now: _State, state: _State) -> None:
    if state.id == now.id:
        return
    what = f"move {key} to {state.name!r}"
    data = await transport.mutate(MOVE, {"id": ticket_id, "state": state.id}, what)
    if mapping(data.get("issueUpdate")).get("success") is not True:
        raise ForgeUnavailableError(f"Linear could not {what}: it does not say that it did")


def _state(node: Mapping[str, Any]) -> _State:
    position = node.get("position")
    return _State(
        id=text(node.get("id")),
        name=text(node.get("name")),
        type=text(node.get("type")),
        position=float(position) if isinstance(position, int | float) else 0.0,
    )

"""Moving an issue through its workflow: Jira knows transitions, people know the statuses that they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_fields import is_done, mappings, status_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.hooks.jira_client import JiraClient

_USUAL_ENDS = ("done", "closed", "resolved")


async def move_to(client: JiraClient, id_: str, key: str, status: str) -> None:
    """Move an issue to the status of this name; where it is there, do nothing.

    :raises ForgeAccessError: its workflow leads to no such status from where it is.
    """
    fields, transitions = await _read(client, id_, key)
    now = status_name(fields)
    if now.casefold() == status.casefold():
        return
    ways = [one for one in transitions if _target(one).casefold() == status.casefold()]
    if not ways:
        raise ForgeAccessError(
            f"{key} cannot be moved from {now!r} to {status!r}: its workflow leads the connection's user from there to "
            f"{_listed(transitions)}. Correct `stages` in the source's definition, or the workflow"
        )
    await _go(client, id_, key, _simplest(ways))


async def move_to_done(client: JiraClient, id_: str, key: str) -> None:
    """Move an issue to a status that Jira counts as done; where it is in one, do nothing.

    :raises ForgeAccessError: its workflow leads to none, or to several that mean different things.
    """
    fields, transitions = await _read(client, id_, key)
    if is_done(fields):
        return
    ends = [one for one in transitions if is_done({"status": one.get("to")})]
    usual = [one for name in _USUAL_ENDS for one in ends if _target(one).casefold() == name]
    if not usual and len({_target(one) for one in ends}) != 1:
        leads = f"to several that may mean it, {_listed(ends)}" if ends else f"only to {_listed(transitions)}"
        raise ForgeAccessError(
            f"{key} cannot be closed: from {status_name(fields)!r} its workflow leads the connection's user {leads}. "
            "Name one as `stages: done` in the source's definition"
        )
    await _go(client, id_, key, usual[0] if usual else _simplest(ends))


async def _read(client: JiraClient, id_: str, key: str) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    what = f"read where {key} can be moved"
    issue = mapping(await client.get("issue", id_, what=what, fields="status", expand="transitions"))
    return mapping(issue.get("fields")), mappings(issue.get("transitions"))


async def _go(client: JiraClient, id_: str, key: str, transition: Mapping[str, Any]) -> None:
    what = f"move {key} to {_target(transition)!r}"
    body = {"transition": {"id": str(transition.get("id") or "")}}
    await client.call("POST", "issue", id_, "transitions", what=what, body=body)


def _target(transition: Mapping[str, Any]) -> str:
    return status_name({"status": transition.get("to")})


def _simplest(ways: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the transition that asks for no further fields, where there is one."""
    return next((one for one in ways if not one.get("hasScreen")), ways[0])


def _listed(transitions: list[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({repr(_target(one)) for one in transitions})) or "no other status"

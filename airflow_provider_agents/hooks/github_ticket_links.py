"""What the tickets that another ticket names are called, and whether they are done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_agents.domain.tickets import LinkedTicket
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, absent, errors_below
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_names import owner_and_name
from airflow_provider_agents.hooks.github_ticket_parse import issue_state, linked_issue
from airflow_provider_agents.hooks.github_ticket_queries import LINKS_BATCH, links_document
from airflow_provider_agents.hooks.github_ticket_text import (
    MOST_MENTIONS,
    NamedTicket,
    Reference,
    named_tickets,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from airflow_provider_agents.hooks.github_ticket_parse import RawTicket
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MOST_DEPENDENCIES = 50
"""Tickets that one ticket may depend on by its text."""

MOST_ASKED = MOST_DEPENDENCIES + MOST_MENTIONS
"""Tickets whose state is asked for, of those that one ticket names."""


class _Named(NamedTuple):
    """What a text names, as it is now."""

    link: LinkedTicket
    private: bool


Links = tuple[list[LinkedTicket], list[str]]
"""The links of one ticket, and what could not be read of them."""


async def read_links(
    transport: GitHubTransport, tickets: Sequence[RawTicket], visible: Collection[str], web_host: str
) -> dict[str, Links]:
    """Return the links of each ticket by its node id: parent, sub-issues, and what its text names.

    A private repository's tickets are shown only where it is among ``visible``, and on issues of public
    repositories without their titles: the text is anybody's, and what it names is not to be read out to them.

    :param visible: repositories in lower case.
    :param web_host: of this GitHub's pages.
    :raises ForgeError: a rate limit is used up.
    """
    named = {raw.id: named_tickets(_text(raw), raw.repository, web_host) for raw in tickets}
    wanted = [each.reference for found in named.values() for each in found[:MOST_ASKED]]
    states = await _states(transport, wanted, visible)
    return {raw.id: _links(raw, named[raw.id], states, visible) for raw in tickets}


def _text(raw: RawTicket) -> str:
    return f"{text(raw.node.get('title'))}\n\n{text(raw.node.get('body'))}"


def _links(
    raw: RawTicket,
    named: Sequence[NamedTicket],
    states: Mapping[Reference, _Named | ForgeError],
    visible: Collection[str],
) -> Links:
    links: list[LinkedTicket] = []
    missing: list[str] = []
    if raw.node.get("parent") is not None:
        parent = linked_issue(raw.node.get("parent"), "parent", visible, in_public=raw.is_public)
        if parent is None:
            missing.append(f"the parent of {raw.key} could not be read")
        else:
            links.append(parent)
    children = (
        linked_issue(child, "child", visible, order, in_public=raw.is_public)
        for order, child in enumerate(raw.children)
    )
    links += [child for child in children if child is not None]
    family = {raw.key.lower(), *(link.key.lower() for link in links)}
    dependencies = 0
    for reference, relation in named:
        depends = relation == "depends_on"
        # Nobody waits for itself; and what is family already need not be mentioned as well.
        if reference.key.lower() == raw.key.lower() or (not depends and reference.key.lower() in family):
            continue
        dependencies += depends
        if depends and dependencies > MOST_DEPENDENCIES:
            missing.append(f"{raw.key} names more than {MOST_DEPENDENCIES} tickets that it depends on")
            break
        state = states.get(reference)
        if isinstance(state, _Named):
            title = "" if state.private and raw.is_public else state.link.title
            links.append(replace(state.link, relation=relation, title=title))
            continue
        links.append(LinkedTicket(key=reference.key, relation=relation))
        if depends and not isinstance(state, ForgeAccessError):
            missing.append(
                f"the state of {reference.key}, which {raw.key} depends on, could not be read: {state}"
            )
    return links, missing


async def _states(
    transport: GitHubTransport, references: Sequence[Reference], visible: Collection[str]
) -> Mapping[Reference, _Named | ForgeError]:
    async def read(batch: Sequence[Reference]) -> dict[Reference, _Named | ForgeError]:
        variables: dict[str, Any] = {}
        for i, reference in enumerate(batch):
            names = owner_and_name(reference.repository)
            variables |= {
                f"owner{i}": names["owner"],
                f"name{i}": names["name"],
                f"number{i}": reference.number,
            }
        operation = Operation(
            f"read the state of {len(batch)} linked tickets", "Issues: read, Pull requests: read"
        )
        answer = await transport.query(links_document(len(batch)), variables, operation)
        check_not_too_much(batch, operation, answer.errors)
        return {
            reference: _state(
                reference, answer.data.get(f"link{i}"), errors_below(answer.errors, f"link{i}"), visible
            )
            for i, reference in enumerate(batch)
        }

    if not references:
        return {}
    try:
        return await in_batches(references, LINKS_BATCH, read)
    except ForgeRateLimitedError:
        raise
    except ForgeError as error:
        # All were refused or failed: that says nothing about any one of them.
        return dict.fromkeys(references, ForgeUnavailableError(str(error)))


def _state(
    reference: Reference, repository: Any, errors: Sequence[Mapping[str, Any]], visible: Collection[str]
) -> _Named | ForgeError:
    fields = mapping(repository)
    subject = fields.get("issueOrPullRequest")
    if subject is None or errors:
        return absent(Operation(f"read {reference.key}", "Issues: read, Pull requests: read"), errors)
    name = text(fields.get("nameWithOwner"))
    private = fields.get("isPrivate") is not False
    if private and name.lower() not in visible:
        return ForgeAccessError(
            f"{reference.key} is of a private repository that the definition does not name"
        )
    found = mapping(subject)
    pull = {"OPEN": "open", "MERGED": "done", "CLOSED": "cancelled"}
    state: Any = (
        issue_state(found.get("issueState"), found.get("stateReason"))
        if found.get("__typename") == "Issue"
        else pull.get(text(found.get("pullRequestState")), "unknown")
    )
    link = LinkedTicket(key=f"{name}#{reference.number}", title=text(found.get("title")), state=state)
    return _Named(link, private)

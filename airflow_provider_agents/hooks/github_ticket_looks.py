"""Pages of issues of many repositories in few queries, one broken repository being the fault of that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

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
from airflow_provider_agents.hooks.github_ticket_queries import (
    ASKED_BATCH,
    CHANGED_BATCH,
    asked_document,
    changed_document,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

OVERLAP = timedelta(seconds=120)
"""How far a cursor lies before the look that made it: a change may be seen later than its time says."""
MOST_PAGES = 200
"""Pages of 100 tickets that are read of one repository at a time."""
NEEDS = "Issues: read, Metadata: read"

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A page of one list of one repository: what changed, or what is open and asked for."""

    repository: str
    """As the definition spells it."""
    since: str = ""
    """What changed since, in GitHub's spelling of a time; empty: what has the label or the assignee."""
    label: str = ""
    assignee: str = ""
    after: str | None = None

    @property
    def filter(self) -> dict[str, Any]:
        """The ``IssueFilters`` of the list."""
        if self.since:
            return {"since": self.since}
        asked: dict[str, Any] = {"labels": [self.label]} if self.label else {"assignee": self.assignee}
        return {"states": ["OPEN"], **asked}


@dataclass(slots=True)
class Found:
    """What the looks at one repository found."""

    node_id: str = ""
    """Of the repository."""
    name: str = ""
    """``owner/name`` as it is spelled now."""
    asked: dict[str, Node] = field(default_factory=dict)
    """Issues that were asked for, by their node ids."""
    changed: dict[str, Node] = field(default_factory=dict)
    """Issues that changed, by their node ids."""
    since: str = ""
    """Where the next look is to begin."""
    fault: ForgeError | None = None
    """Why not everything was read; what was read counts as nothing then."""
    pages: int = 0


@dataclass(frozen=True, slots=True)
class _Page:
    node_id: str
    name: str
    nodes: tuple[Node, ...]
    after: str | None


async def read_looks(transport: GitHubTransport, looks: Sequence[Look]) -> dict[str, Found]:
    """Read all pages that the looks lead to; return what was found by repository.

    :raises ForgeRateLimitedError: a rate limit is used up.
    """
    found = {look.repository: Found() for look in looks}
    began = datetime.now(UTC)
    pending = list(looks)
    while pending:
        answers = await _read_pages(transport, pending)
        pending = []
        for look, answer in answers.items():
            one = found[look.repository]
            if isinstance(answer, ForgeError):
                one.fault = one.fault or answer
                continue
            one.node_id, one.name, one.pages = answer.node_id, answer.name, one.pages + 1
            kept = one.changed if look.since else one.asked
            for node in answer.nodes:
                kept.setdefault(text(node.get("id")), node)
            if answer.after and one.pages >= MOST_PAGES:
                one.fault = ForgeAccessError(
                    f"more than {MOST_PAGES * 100:,} issues of {look.repository} are asked for or changed; "
                    "take the label off those that are done with"
                )
            elif answer.after and one.fault is None:
                pending.append(replace(look, after=answer.after))
    since = began + transport.clock_ahead - OVERLAP
    for one in found.values():
        one.since = since_text(since)
    return found


def since_text(at: datetime) -> str:
    """Return a time in UTC as GitHub spells it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


async def _read_pages(transport: GitHubTransport, looks: Iterable[Look]) -> dict[Look, _Page | ForgeError]:
    """Read one page for each look."""
    wanted = list(looks)
    answers: dict[Look, _Page | ForgeError] = {}
    for changed in (True, False):
        of_kind = [look for look in wanted if bool(look.since) is changed]

        async def read(batch: Sequence[Look], changed: bool = changed) -> dict[Look, _Page | ForgeError]:
            return await _ask(transport, batch, changed=changed)

        try:
            answers |= await in_batches(of_kind, CHANGED_BATCH if changed else ASKED_BATCH, read)
        except ForgeRateLimitedError:
            raise
        except ForgeError as error:
            answers |= dict.fromkeys(of_kind, error)
    return answers


async def _ask(
    transport: GitHubTransport, batch: Sequence[Look], *, changed: bool
) -> dict[Look, _Page | ForgeError]:
    variables: dict[str, Any] = {}
    for i, look in enumerate(batch):
        for name, value in owner_and_name(look.repository).items():
            variables[f"{name}{i}"] = value
        variables[f"filter{i}"], variables[f"after{i}"] = look.filter, look.after
    document = (changed_document if changed else asked_document)(len(batch))
    operation = _operation(batch)
    answer = await transport.query(document, variables, operation)
    check_not_too_much(batch, operation, answer.errors)
    return {
        look: _page(look, answer.data.get(f"look{i}"), errors_below(answer.errors, f"look{i}"))
        for i, look in enumerate(batch)
    }


def _page(look: Look, repository: Any, errors: Sequence[Mapping[str, Any]]) -> _Page | ForgeError:
    operation = _operation([look])
    if repository is None or errors:
        return absent(operation, errors)
    fields = mapping(repository)
    node_id, name = text(fields.get("id")), text(fields.get("nameWithOwner"))
    if fields.get("isArchived") is True:
        return ForgeAccessError(
            f"{look.repository} is archived: nothing can be worked on. Take it out of the definition"
        )
    if fields.get("hasIssuesEnabled") is False:
        return ForgeAccessError(
            f"{look.repository} has its issues switched off: switch them on in its settings, or take it out of "
            "the definition"
        )
    issues = mapping(fields.get("issues"))
    nodes, info = issues.get("nodes"), mapping(issues.get("pageInfo"))
    whole = isinstance(nodes, list) and all(isinstance(node, Mapping) and node.get("id") for node in nodes)
    more = info.get("hasNextPage")
    after = text(info.get("endCursor"))
    if not whole or not node_id or not name or not isinstance(more, bool) or (more and not after):
        return ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
    return _Page(node_id, name, tuple(nodes or ()), after if more else None)


def _operation(looks: Sequence[Look]) -> Operation:
    names = list(dict.fromkeys(look.repository for look in looks))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return Operation(f"list the issues of {', '.join(names[:3])}{more}", NEEDS)

"""What an event of GitHub or Linear tells of: the names that whoever waits for the change listens to.

``owner/name#7`` and ``owner/name`` are a pull request and all of a repository; ``tickets:…`` are sources of
tickets. A name is no more than a reason to look: nothing else of a payload is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_runner.contract import REPOSITORY_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.source_definition import SourceDefinition

MOST_PULL_REQUESTS = 20
"""Pull requests of one event that are named each; more are named by their repository."""
MOST_NUMBER = 10**10
_MOST_KEY_CHARACTERS = 40

PULL_REQUEST_EVENTS = frozenset(
    {
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_review_thread",
    }
)
CHECK_EVENTS = frozenset({"check_run", "check_suite"})
REPOSITORY_EVENTS = frozenset({"status", "push", "merge_group"})
TICKET_EVENTS = frozenset({"issues", "label", "sub_issues"})
GITHUB_EVENTS = PULL_REQUEST_EVENTS | CHECK_EVENTS | REPOSITORY_EVENTS | TICKET_EVENTS | {"issue_comment"}
"""Events of GitHub that wake; a webhook need not send others."""
LINEAR_TYPES = frozenset({"Issue", "Comment", "IssueLabel"})
"""Types of Linear's events that wake."""

_ALL_OF_LINEAR = "tickets:linear"

Payload = dict[str, Any]


def names_of_github(event: str, payload: Payload) -> tuple[str, ...]:
    """Return what an event of GitHub tells of; nothing where it does not concern us or names no repository.

    :param event: of the header ``X-GitHub-Event``.
    """
    repository = _repository(payload.get("repository"))
    if repository is None or event not in GITHUB_EVENTS:
        return ()
    if event in TICKET_EVENTS:
        return _tickets(repository, payload)
    if event == "issue_comment":
        issue = _mapping(payload.get("issue"))
        if not issue.get("pull_request"):
            return _tickets(repository, payload)
        return _pull_requests(repository, [issue])
    if event in PULL_REQUEST_EVENTS:
        return _pull_requests(repository, [payload.get("pull_request")])
    if event in CHECK_EVENTS:
        return _pull_requests(repository, _checked(payload.get(event), payload))
    if event == "push" and not str(payload.get("ref")).startswith("refs/heads/"):
        return ()
    return (repository,)


def names_of_linear(payload: Payload) -> tuple[str, ...]:
    """Return what an event of Linear tells of; nothing where it does not concern us.

    A label of the workspace concerns all teams, and so does what names no team.
    """
    kind, data = payload.get("type"), _mapping(payload.get("data"))
    if not isinstance(kind, str) or kind not in LINEAR_TYPES:
        return ()
    if kind == "Comment" and not data.get("issue") and not data.get("issueId"):
        return ()  # of a project or a document
    about = _mapping(data.get("issue")) if kind == "Comment" else data
    key = _mapping(about.get("team")).get("key")
    if isinstance(key, str) and key.isalnum() and len(key) <= _MOST_KEY_CHARACTERS:
        return (f"{_ALL_OF_LINEAR}/{key.casefold()}",)
    return (_ALL_OF_LINEAR,)


def names_of_source(name: str, definition: SourceDefinition) -> tuple[str, ...]:
    """Return the names that tell of changes in a source of tickets.

    :param name: of the source; ``tickets:<name>`` is the one that anything else, e.g. a receiver of webhooks
        of Jira, may use.
    """
    named = [f"tickets:{name}"]
    if definition.source == "github":
        named += [_tickets_of(repository.casefold()) for repository in definition.repositories]
    elif definition.source == "linear":
        named += [_ALL_OF_LINEAR, *(f"{_ALL_OF_LINEAR}/{team.casefold()}" for team in definition.teams)]
    return tuple(dict.fromkeys(named))


def _tickets(repository: str, payload: Payload) -> tuple[str, ...]:
    """Name the tickets of the repository and of those that a sub-issue or its parent lives in."""
    others = (_repository(payload.get(part)) for part in ("sub_issue_repo", "parent_issue_repo"))
    moved_to = _repository(_mapping(payload.get("changes")).get("new_repository"))
    return tuple(
        dict.fromkeys(_tickets_of(each) for each in (repository, *others, moved_to) if each is not None)
    )


def _tickets_of(repository: str) -> str:
    return f"tickets:github/{repository}"


def _checked(check: object, payload: Payload) -> list[object]:
    """Return the pull requests of a check that are of the repository itself."""
    listed = _mapping(check).get("pull_requests")
    here = _mapping(payload.get("repository")).get("id")
    return [
        each
        for each in (listed if isinstance(listed, list) else [])
        if _mapping(_mapping(_mapping(each).get("base")).get("repo")).get("id", here) == here
    ]


def _pull_requests(repository: str, listed: list[object]) -> tuple[str, ...]:
    """Name each; the whole repository where they are none, many, or without number."""
    numbers = [_mapping(each).get("number") for each in listed]
    if not 0 < len(numbers) <= MOST_PULL_REQUESTS or not all(map(_is_number, numbers)):
        return (repository,)
    return tuple(dict.fromkeys(f"{repository}#{number}" for number in numbers))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST_NUMBER


def _repository(value: object) -> str | None:
    name = _mapping(value).get("full_name")
    return name.casefold() if isinstance(name, str) and REPOSITORY_PATTERN.fullmatch(name) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

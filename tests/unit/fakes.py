"""Stand-ins that the tests of the operators share: task instance, state store, GitHub client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.domain.coding_task import CodingTask, Ticket
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot
from airflow_provider_agents.domain.tickets import TicketEntry, TicketReading
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_models import (
    CommentRef,
    Issue,
    MergeResult,
    PullRequestRef,
    RepositoryInfo,
)
from airflow_provider_agents.operators import ticket_reading, ticket_sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import pytest

    from airflow_provider_agents.domain.tickets import Claim

T = TypeVar("T")

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
HEAD = "a" * 40
NEXT_HEAD = "b" * 40
URL = "https://github.com/acme/shop/pull/7"

PASSED = Check(name="tests", state="passed", kind="check_run", conclusion="SUCCESS")
FAILED = Check(name="tests", state="failed", kind="check_run", conclusion="FAILURE")
PENDING = Check(name="tests", state="pending", kind="check_run")


def snapshot(**values: Any) -> PullRequestSnapshot:
    """Return a pull request that may be merged, but for ``values``."""
    facts: dict[str, Any] = {
        "repository": "acme/shop",
        "number": 7,
        "node_id": "PR_1",
        "url": URL,
        "title": "Mend the basket",
        "state": "OPEN",
        "head_sha": HEAD,
        "head_branch": "ai/issue-3",
        "base_branch": "main",
        "read_at": NOW,
        "mergeable": "MERGEABLE",
        "merge_state": "CLEAN",
        "checks": (PASSED,),
    }
    return PullRequestSnapshot(**facts | values)


def coding_task(*, ticket: Ticket | None = None, **request: Any) -> CodingTask:
    """Return an accepted task; with ``issue_number`` in ``request`` it has a ticket."""
    values = {"repository": "acme/shop", "prompt": "Mend the basket"} | request
    parsed, faults = parse_request(values, Bounds())
    assert parsed is not None, faults
    if ticket is None and parsed.issue_number is not None:
        ticket = Ticket(
            number=parsed.issue_number, title="The basket is empty", body="Please.", author="mona"
        )
    return CodingTask.accept(parsed, run_key="coding_task/run_1", base_sha="c" * 40, ticket=ticket)


def accepted(**request: Any) -> dict[str, Any]:
    """Return an accepted task as later tasks pull it."""
    return coding_task(**request).model_dump(mode="json")


class Store:
    """A task state store: outlives tries and clears."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.values: dict[str, Any] = {}
        self.journal = journal if journal is not None else []

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        self.journal.append(f"set {key}")
        self.values[key] = value


class TaskInstance:
    """A running task instance, as an operator sees it."""

    def __init__(
        self, task_id: str = "task", *, retries: int = 2, xcoms: Mapping[str, Any] | None = None
    ) -> None:
        self.dag_id = "coding_task"
        self.run_id = "run_1"
        self.task_id = task_id
        self.map_index = -1
        self.try_number = 1
        self.max_tries = retries
        self.start_date = datetime.now(tz=UTC)
        self.pushed: dict[str, Any] = {}
        self.states: dict[str, str] = {}
        self._others = dict(xcoms or {})

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self._others.get(f"{task_ids}:{key}")

    def get_task_states(
        self, dag_id: str, run_ids: Sequence[str], task_ids: Sequence[str] | None = None
    ) -> dict[str, dict[str, str]]:
        wanted = self.states if task_ids is None else task_ids
        return {run_ids[0]: {task: state for task, state in self.states.items() if task in wanted}}

    def retry(self) -> None:
        """Begin the next try: a task's own XComs do not outlive one."""
        self.try_number += 1
        self.pushed = {}

    def clear(self, retries: int) -> None:
        """Be cleared, as Airflow does it."""
        self.max_tries = self.try_number + retries
        self.retry()


def context(ti: TaskInstance, store: Store | None = None, **values: Any) -> Any:
    """Return the context of a running task."""
    return {
        "ti": ti,
        "run_id": ti.run_id,
        "dag": SimpleNamespace(parent_dag=None),
        "params": {},
        "task_state_store": store if store is not None else Store(),
        **values,
    }


class GitHub:
    """A GitHub client: answers what a test put in, and keeps what was done."""

    def __init__(self) -> None:
        self.snapshots: list[PullRequestSnapshot | Exception] = [snapshot()]
        self.on_merge: Callable[[], None] = lambda: None
        self.branches: dict[str, str] = {"main": "c" * 40}
        self.info: RepositoryInfo | Exception = repository()
        self.issues: dict[int, Issue | Exception] = {}
        self.pull_requests: list[PullRequestRef] = []
        self.comments: dict[str, str] = {}
        self.done: list[str] = []
        self.asked: list[str] = []
        self.files: tuple[Any, ...] = ()
        self.rerun: tuple[str, ...] | None = None
        self.faults: dict[str, Exception] = {}
        self.root: frozenset[str] | Exception = frozenset()
        self.texts: dict[tuple[str, str], str | Exception] = {}

    async def repository(self, name: str) -> RepositoryInfo:
        return _value(self.info)

    async def branch_head(self, repository: str, branch: str) -> str | None:
        return self.branches.get(branch)

    async def root_files(self, repository: str, sha: str) -> frozenset[str]:
        self.asked.append(f"root_files {repository} {sha}")
        return _value(self.root)

    async def text_file(self, repository: str, path: str, sha: str, *, most_bytes: int) -> str | None:
        return _value(self.texts.get((path, sha)))

    async def issue(self, repository: str, number: int) -> Issue:
        return _value(self.issues[number]) if number in self.issues else issue(number)

    async def snapshot(self, repository: str, number: int) -> PullRequestSnapshot:
        return _value(self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0])

    async def merge_pull_request(
        self, repository: str, number: int, head_sha: str, method: str, **texts: str
    ) -> MergeResult:
        self.done.append(f"merge {repository}#{number} {head_sha} {method}")
        self.on_merge()
        return MergeResult(sha="d" * 40)

    async def pull_request_commits(self, repository: str, number: int) -> tuple[Any, ...]:
        return ()

    async def changed_files(self, repository: str, number: int) -> tuple[Any, ...]:
        self.asked.append("changed_files")
        return self.files

    async def rerun_checks(self, repository: str, checks: Sequence[Check]) -> tuple[str, ...]:
        self.act(f"rerun {', '.join(check.name for check in checks)}")
        return self.rerun if self.rerun is not None else tuple(check.name for check in checks)

    async def enqueue(self, pull_request_id: str, expected_head_sha: str) -> None:
        self.act(f"enqueue {pull_request_id} {expected_head_sha}")

    async def enable_auto_merge(self, pull_request_id: str, head_sha: str, method: str, **texts: str) -> None:
        self.act(f"auto-merge {pull_request_id} {head_sha} {method}")

    async def update_branch(self, repository: str, number: int, expected_head_sha: str) -> None:
        self.act(f"update {repository}#{number} {expected_head_sha}")

    async def reply_in_thread(self, thread_id: str, body: str) -> CommentRef:
        self.act(f"reply {thread_id}: {body}")
        return CommentRef(url="")

    async def resolve_thread(self, thread_id: str) -> None:
        self.act(f"resolve {thread_id}")

    def act(self, what: str) -> None:
        """Note a change, and fail where the test says so."""
        self.done.append(what)
        if (error := self.faults.get(what.split()[0])) is not None:
            raise error

    async def find_pull_request(
        self, repository: str, head_branch: str, base: str | None = None
    ) -> PullRequestRef | None:
        found = [
            ref
            for ref in self.pull_requests
            if ref.head_branch == head_branch and base in (None, ref.base_branch)
        ]
        return min(found, key=lambda ref: (ref.state != "OPEN", -ref.number), default=None)

    async def create_pull_request(
        self, repository: str, head: str, base: str, title: str, body: str, *, draft: bool = False
    ) -> PullRequestRef:
        self.done.append(f"open {head} -> {base}{' as a draft' if draft else ''}: {title}\n{body}")
        ref = pull_request_ref(head_branch=head, base_branch=base, title=title, draft=draft)
        self.pull_requests.append(ref)
        return ref

    async def add_labels(self, repository: str, number: int, labels: Sequence[str]) -> None:
        self.act(f"label {repository}#{number}: {', '.join(labels)}")

    async def comment_once(self, repository: str, number: int, marker: str, body: str) -> CommentRef:
        if marker not in self.comments:
            self.comments[marker] = body
            self.done.append(f"comment on #{number}: {body}")
        return CommentRef(url=f"https://github.com/{repository}/issues/{number}#c")

    async def comment_in_place(self, repository: str, number: int, marker: str, body: str) -> CommentRef:
        created = marker not in self.comments
        self.comments[marker] = body
        self.done.append(f"comment {marker}")
        return CommentRef(url=f"https://github.com/{repository}/pull/{number}#c", created=created)

    async def close_pull_request(self, repository: str, number: int) -> None:
        self.act(f"close {repository}#{number}")

    async def changed_on_both_sides(self, repository: str, base: str, head: str) -> tuple[str, ...]:
        return ("shop/basket.py",)

    async def delete_branch(self, repository: str, branch: str) -> None:
        self.act(f"delete {branch}")
        self.branches.pop(branch, None)

    async def close_issue(self, repository: str, number: int) -> None:
        self.done.append(f"close #{number}")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> GitHub:
        """Be the client that every hook opens."""
        credential = SimpleNamespace(
            urls=SimpleNamespace(git_url="https://github.com"), token="canary-token", app=None
        )
        monkeypatch.setattr(AgentsGitHubHook, "run", lambda hook, work: asyncio.run(work(self)))
        monkeypatch.setattr(AgentsGitHubHook, "get_conn", lambda hook: credential)
        monkeypatch.setattr(ticket_sources, "source_for", lambda *given: IssueSource(self))
        monkeypatch.setattr(ticket_reading, "source_for", lambda *given: IssueSource(self))
        return self


class IssueSource:
    """The issues of a :class:`GitHub`, as a source of tickets."""

    kind = "github"
    host = ""

    def __init__(self, github: GitHub) -> None:
        self.github = github

    @asynccontextmanager
    async def open(self) -> AsyncIterator[IssueSource]:
        yield self

    async def read(self, ids: Sequence[str]) -> dict[str, TicketReading | ForgeError]:
        return {named: await self._read(named) for named in ids}

    async def _read(self, named: str) -> TicketReading | ForgeError:
        place, _, number = named.rpartition("#")
        try:
            found = await self.github.issue(place, int(number))
        except ForgeError as error:
            return error
        if found.is_pull_request:
            return ForgeAccessError(f"{named} is a pull request, not an issue")
        entry = TicketEntry(
            id=named,
            key=named,
            title=found.title,
            url=found.url,
            created_at=NOW,
            updated_at=NOW,
            actionable=found.state == "OPEN",
            repository=place,
            labels=found.labels,
        )
        return TicketReading(entry=entry, body=found.body, author=found.author, fields={"state": found.state})

    async def standing(self, person: str, repository: str) -> Standing:
        return Standing(login=person)

    async def write_status(self, ticket: TicketReading, claim: Claim, text: str) -> str:
        self.github.done.append(f"status of {ticket.entry.key}: {text}")
        return ticket.entry.url

    async def move(self, ticket: TicketReading, stage: str) -> None:
        self.github.done.append(f"move {ticket.entry.key} to {stage}")

    async def close(self, ticket: TicketReading) -> None:
        self.github.act(f"close {ticket.entry.key}")


def repository(**values: Any) -> RepositoryInfo:
    facts: dict[str, Any] = {
        "name_with_owner": "acme/shop",
        "node_id": "R_1",
        "url": "https://github.com/acme/shop",
        "default_branch": "main",
        "archived": False,
        "viewer_permission": "WRITE",
        "squash_allowed": True,
        "merge_allowed": True,
        "rebase_allowed": True,
    }
    return RepositoryInfo(**facts | values)


def issue(number: int = 3, **values: Any) -> Issue:
    facts: dict[str, Any] = {
        "number": number,
        "node_id": "I_1",
        "title": "The basket is empty",
        "body": "Please mend it.",
        "state": "OPEN",
        "url": f"https://github.com/acme/shop/issues/{number}",
        "author": "mona",
    }
    return Issue(**facts | values)


def pull_request_ref(**values: Any) -> PullRequestRef:
    facts: dict[str, Any] = {
        "number": 7,
        "node_id": "PR_1",
        "url": URL,
        "title": "Mend the basket",
        "state": "OPEN",
        "head_sha": HEAD,
        "head_branch": "ai/issue-3",
        "base_branch": "main",
    }
    return PullRequestRef(**facts | values)


def _value(value: T | Exception) -> T:
    if isinstance(value, Exception):
        raise value
    return value

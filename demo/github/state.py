"""What the stand-in knows: users, repositories, issues, pull requests, reviews and checks.

Attributes are named as GitHub's GraphQL fields are, in snake case; state words are GraphQL's enum values.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from demo.github import clock
from demo.github.grants import GRANT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from demo.github.check_state import CheckRun, CheckSuite, Status
    from demo.github.issue_events import IssueEvent, UserContentEdit
    from demo.github.planned_checks import ScriptedOutcome
    from demo.github.queue_state import AutoMerge, MergeQueue, QueueEntry, TimelineEvent
    from demo.github.repositories import BareRepository

Permission = Literal["read", "triage", "write", "maintain", "admin"]
EntityT = TypeVar("EntityT", bound="Entity")
PERMISSIONS: tuple[Permission, ...] = ("read", "triage", "write", "maintain", "admin")


def now() -> datetime:
    """Return the present time of the stand-in, in UTC and whole seconds as GitHub tells it."""
    return clock.active().now().replace(microsecond=0)


@dataclass(kw_only=True, eq=False)
class Entity:
    """Anything with a number of its own and a node id."""

    prefix: ClassVar[str] = "N"
    database_id: int = 0

    @property
    def id(self) -> str:
        """Global node id, opaque to clients."""
        packed = base64.urlsafe_b64encode(struct.pack(">IQ", 0x4B444F41, self.database_id))
        return f"{self.prefix}_{packed.decode().rstrip('=')}"


@dataclass(kw_only=True, eq=False)
class User(Entity):
    """A person, or a bot."""

    prefix: ClassVar[str] = "U"
    login: str
    name: str | None = None
    is_bot: bool = False
    is_deleted: bool = False
    """Whether the account is gone; what it wrote is without an author."""

    @property
    def email(self) -> str:
        """Address that commits of this user carry."""
        return f"{self.login}@users.noreply.github.example"


@dataclass(kw_only=True, eq=False)
class App(Entity):
    """What reported a check."""

    prefix: ClassVar[str] = "A"
    slug: str
    name: str


@dataclass(kw_only=True, eq=False)
class Label(Entity):
    prefix: ClassVar[str] = "LA"
    name: str
    color: str = "ededed"
    description: str | None = None
    is_default: bool = False


@dataclass(kw_only=True)
class BranchRules:
    """What a merge into a branch needs."""

    required_checks: tuple[str, ...] = ()
    required_approvals: int = 0
    dismiss_stale_reviews: bool = False
    strict_checks: bool = False
    """Whether the head must contain the base's tip before a merge."""
    in_ruleset: bool = False
    """Whether a ruleset holds these rules, and no protection rule of the branch."""
    merge_queue: bool = False
    queue_method: str = "merge"
    """How the merge queue merges: ``merge``, ``squash`` or ``rebase``."""


@dataclass(kw_only=True, eq=False)
class Repository(Entity):
    prefix: ClassVar[str] = "R"
    owner: User
    name: str
    git: BareRepository
    default_branch: str = "main"
    description: str | None = None
    is_private: bool = True
    is_archived: bool = False
    is_fork: bool = False
    has_issues: bool = True
    permissions: dict[str, Permission] = field(default_factory=dict)
    rules: dict[str, BranchRules] = field(default_factory=dict)
    squash_merge_allowed: bool = True
    merge_commit_allowed: bool = True
    rebase_merge_allowed: bool = True
    delete_branch_on_merge: bool = False
    auto_merge_allowed: bool = False
    issues: dict[int, Issue] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    suites: list[CheckSuite] = field(default_factory=list)
    run_numbers: dict[str, int] = field(default_factory=dict)
    queues: dict[str, MergeQueue] = field(default_factory=dict)
    """Merge queue of each branch that has had one."""
    scripts: dict[str, list[ScriptedOutcome]] = field(default_factory=dict)
    """What the next runs of the check of each name come to, whatever they do."""
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    pushed_at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while refs change, so that a push and a merge never interleave."""

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    def permission_of(self, user: User | None) -> Permission | None:
        """Return what ``user`` may do here; ``None`` means that they cannot even see it."""
        grant = GRANT.get()
        if grant is not None and user is not None and user.login == grant.login:
            if not grant.covers(self.full_name):
                return None
            writes = any(level != "read" for level in grant.permissions.values())
            return "write" if writes else "read"
        if user is not None and user.login == self.owner.login:
            return "admin"
        granted = self.permissions.get(user.login) if user is not None else None
        return granted or (None if self.is_private else "read")

    def allows(self, user: User | None, wanted: Permission) -> bool:
        """Say whether ``user`` has at least the permission ``wanted``."""
        held = self.permission_of(user)
        return held is not None and PERMISSIONS.index(held) >= PERMISSIONS.index(wanted)

    def rules_of(self, branch: str) -> BranchRules:
        return self.rules.get(branch, BranchRules())

    def subject(self, number: int) -> Issue | PullRequest | None:
        """Return the issue or pull request of that number."""
        return self.issues.get(number) or self.pulls.get(number)

    def next_number(self) -> int:
        return max([0, *self.issues, *self.pulls]) + 1

    def open_pulls(self) -> Iterator[PullRequest]:
        return (pull for pull in list(self.pulls.values()) if pull.state == "OPEN")

    def check_runs(self, sha: str) -> list[CheckRun]:
        """Return the latest run of each job of each suite on the commit ``sha``."""
        return [run for suite in self.suites if suite.head_sha == sha for run in suite.latest_runs()]

    def latest_statuses(self, sha: str) -> list[Status]:
        """Return the latest status of each context on the commit ``sha``."""
        present = now()
        return list(
            {s.context: s for s in self.statuses if s.sha == sha and s.created_at <= present}.values()
        )


@dataclass(kw_only=True, eq=False)
class Subject(Entity):
    """What issues and pull requests share: one row of numbers, a conversation, labels."""

    repository: Repository
    number: int
    title: str
    body: str = ""
    author: User
    state: str = "OPEN"
    labels: list[Label] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    closed_at: datetime | None = None

    @property
    def closed(self) -> bool:
        return self.state != "OPEN"

    def touch(self) -> None:
        self.updated_at = now()


@dataclass(kw_only=True, eq=False)
class Issue(Subject):
    prefix: ClassVar[str] = "I"
    state_reason: str | None = None
    assignees: list[User] = field(default_factory=list)
    timeline: list[IssueEvent] = field(default_factory=list)
    """Labels, assignments, titles and moves, oldest first."""
    edits: list[UserContentEdit] = field(default_factory=list)
    """Of the body, oldest first."""
    locked: bool = False
    parent: Issue | None = None
    sub_issues: list[Issue] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class PullRequest(Subject):
    prefix: ClassVar[str] = "PR"
    head_ref_name: str
    head_ref_oid: str
    base_ref_name: str
    base_ref_oid: str
    is_draft: bool = False
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit_oid: str | None = None
    reviews: list[Review] = field(default_factory=list)
    threads: list[ReviewThread] = field(default_factory=list)
    auto_merge: AutoMerge | None = None
    timeline: list[TimelineEvent] = field(default_factory=list)
    """What happened with merge queue and auto-merge, oldest first."""
    fork: Repository | None = None
    """The repository that the head is of, where that is another one; its branch is kept in this one all the same."""
    fork_deleted: bool = False
    mergeable_known_at: float = 0.0
    """Seconds of the stand-in's clock before which mergeability is still being computed."""

    @property
    def merged(self) -> bool:
        return self.merged_at is not None

    @property
    def merge_queue_entry(self) -> QueueEntry | None:
        """The pull request's place in the merge queue of its base branch."""
        queue = self.repository.queues.get(self.base_ref_name)
        return next((entry for entry in queue.entries if entry.pull_request is self), None) if queue else None

    def latest_opinionated_reviews(self) -> list[Review]:
        """Return each person's latest review that approves, objects or was dismissed."""
        opinions = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
        return list({r.author.login: r for r in self.reviews if r.state in opinions}.values())

    def latest_reviews(self) -> list[Review]:
        return list({r.author.login: r for r in self.reviews}.values())


@dataclass(kw_only=True, eq=False)
class Comment(Entity):
    prefix: ClassVar[str] = "IC"
    subject: Issue | PullRequest
    author: User
    body: str
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    editor: User | None = None
    """Who edited it last."""
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class Reaction(Entity):
    """An emoji that somebody put on a comment."""

    prefix: ClassVar[str] = "REA"
    comment: Comment
    author: User
    content: str
    """``THUMBS_UP`` and so on."""
    created_at: datetime = field(default_factory=now)

    @property
    def user(self) -> User | None:
        """Who it is of, where that is a person: GraphQL's type knows no bots."""
        return None if self.author.is_bot else self.author


@dataclass(kw_only=True, eq=False)
class Review(Entity):
    prefix: ClassVar[str] = "PRR"
    pull_request: PullRequest
    author: User
    state: str
    body: str = ""
    commit_oid: str
    submitted_at: datetime = field(default_factory=now)


@dataclass(kw_only=True, eq=False)
class ReviewThread(Entity):
    prefix: ClassVar[str] = "PRRT"
    pull_request: PullRequest
    path: str
    original_line: int | None
    commit_oid: str
    """Commit that the line number belongs to."""
    comments: list[ReviewComment] = field(default_factory=list)
    is_resolved: bool = False
    resolved_by: User | None = None


@dataclass(kw_only=True, eq=False)
class ReviewComment(Entity):
    prefix: ClassVar[str] = "PRRC"
    thread: ReviewThread
    review: Review
    author: User
    body: str
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)


class Store:
    """Everything, by name and by node id."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.tokens: dict[str, User] = {}
        self.apps: dict[str, App] = {}
        self.repositories: dict[str, Repository] = {}
        self.nodes: dict[str, Entity] = {}
        self.redirects: dict[str, str] = {}
        """Former full names of repositories, in lower case, with the present ones."""
        self.teams: dict[str, dict[str, str]] = {}
        """Members of ``organisation/team`` by login, both in lower case: ``active`` or ``pending``."""
        self._last_id = 1000

    def add(self, entity: EntityT) -> EntityT:
        """Give ``entity`` its number and remember it by node id."""
        self._last_id += 1
        entity.database_id = self._last_id
        self.nodes[entity.id] = entity
        return entity

    def user(self, login: str) -> User:
        """Return the user ``login``, made on first sight."""
        if login not in self.users:
            self.users[login] = self.add(User(login=login, is_bot=login.endswith("[bot]")))
        return self.users[login]

    def app(self, slug: str) -> App:
        """Return the app ``slug``, made on first sight."""
        if slug not in self.apps:
            self.apps[slug] = self.add(App(slug=slug, name=slug.replace("-", " ").title()))
        return self.apps[slug]

    def find(self, kind: type[EntityT], database_id: int) -> EntityT | None:
        """Return the ``kind`` with that number."""
        for entity in self.nodes.values():
            if isinstance(entity, kind) and entity.database_id == database_id:
                return entity
        return None

    def repository(self, full_name: str) -> Repository | None:
        """Return the repository ``owner/name``, whatever the letter case, or the one that was named so."""
        name = full_name.lower()
        while name not in self.repositories and name in self.redirects:
            name = self.redirects[name]
        return self.repositories.get(name)

"""A ticket with a conversation, behind the client's own calls: what people and we write, in the world's time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.github_conversation import CONVERSATION
from airflow_provider_agents.hooks.github_models import CommentRef
from airflow_provider_agents.hooks.github_names import hidden_marker
from airflow_provider_agents.hooks.github_transport import GraphQLAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGE = 100


@dataclass
class Written:
    """One comment."""

    node_id: str
    author: str
    body: str
    created_at: datetime
    updated_at: datetime
    own: bool = False
    bot: bool = False
    thumbs: list[tuple[str, datetime]] = field(default_factory=list)


class TicketWorld:
    """Stands in for a ``GitHubClient`` of one ticket.

    :param now: the forge's clock; without one it is this machine's, and :meth:`tick` goes ahead of it.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now or (lambda: datetime.now(tz=UTC))
        self.ahead = timedelta()
        self.state = "OPEN"
        self.head_sha = ""
        self.comments: list[Written] = []
        self.permissions: dict[str, str] = {"mona": "WRITE", "rita": "ADMIN", "guest": "READ"}
        self.faults: list[Exception] = []
        self.lagging = False
        """Reads do not show what was written yet."""
        self.permission_calls: list[str] = []
        self.reads: list[datetime] = []
        self._transport = self

    # What people do

    def tick(self, **time: float) -> None:
        self.ahead += timedelta(**time)

    def now(self) -> datetime:
        return self._now() + self.ahead

    @property
    def clock_ahead(self) -> timedelta:
        return self.ahead

    def say(self, author: str, body: str, **facts: Any) -> Written:
        made = Written(f"IC_{len(self.comments)}", author, body, self.now(), self.now(), **facts)
        self.comments.append(made)
        return made

    def thumb(self, login: str) -> None:
        self.plan().thumbs.append((login, self.now()))

    def tick_box(self, label: str) -> None:
        """Tick the box of an option, as somebody who may edit the comment does."""
        for comment in self.comments:
            if comment.own and f"- [ ] {label}" in comment.body:
                comment.body = comment.body.replace(f"- [ ] {label}", f"- [x] {label}").replace("\n", "\r\n")
                comment.updated_at = self.now()

    def plan(self) -> Written:
        """Return our first comment."""
        return next(comment for comment in self.comments if comment.own)

    def ours(self) -> list[str]:
        return [comment.body for comment in self.comments if comment.own]

    # What the client does

    async def permission(self, repository: str, login: str) -> str | None:
        self.permission_calls.append(login)
        return self.permissions.get(login)

    async def comment_in_place(self, repository: str, number: int, marker: str, body: str) -> CommentRef:
        mark = hidden_marker(marker)
        known = next((c for c in self.comments if c.own and mark in c.body), None)
        wanted = f"{body}\n\n{mark}"
        if known is None:
            made = self.say("agent", wanted, own=True)
            return CommentRef(url=f"https://github.com/{repository}/issues/{number}#{made.node_id}")
        if known.body != wanted:
            known.body, known.updated_at = wanted, self.now()
        url = f"https://github.com/{repository}/issues/{number}#{known.node_id}"
        return CommentRef(url=url, created=False)

    async def query(self, document: str, variables: Mapping[str, Any], operation: Any) -> GraphQLAnswer:
        assert document == CONVERSATION
        self.reads.append(self.now())
        if self.faults:
            raise self.faults.pop(0)
        shown = [] if self.lagging else self.comments
        last = int(variables["before"]) if variables["before"] else len(shown)
        first = max(0, last - PAGE)
        subject = {
            "issueState": self.state,
            "headRefOid": self.head_sha,
            "comments": {
                "pageInfo": {"hasPreviousPage": first > 0, "startCursor": str(first)},
                "nodes": [_node(comment) for comment in shown[first:last]],
            },
        }
        return GraphQLAnswer(data={"repository": {"issueOrPullRequest": subject}})


def _node(comment: Written) -> dict[str, Any]:
    return {
        "id": comment.node_id,
        "url": f"https://github.com/acme/shop/issues/3#{comment.node_id}",
        "body": comment.body,
        "createdAt": _text(comment.created_at),
        "updatedAt": _text(comment.updated_at),
        "viewerDidAuthor": comment.own,
        "author": {"__typename": "Bot" if comment.bot else "User", "login": comment.author},
        "reactions": {
            "nodes": [{"createdAt": _text(at), "user": {"login": who}} for who, at in comment.thumbs]
        },
    }


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def hook_run(world: TicketWorld) -> Callable[..., Any]:
    """Return what stands in for ``AgentsGitHubHook.run``."""
    import asyncio

    return lambda hook, work: asyncio.run(work(world))


def detail(option: str | None, by: str | None = "alice", **values: Any) -> Any:
    """Return what Airflow says about a question: its answer, or that there is none."""
    return SimpleNamespace(
        response_received=option is not None,
        chosen_options=[option] if option else None,
        params_input=values,
        responded_at=datetime(2026, 1, 2, 12, 0, tzinfo=UTC) if option else None,
        responded_by_user=SimpleNamespace(id="1", name=by) if by else None,
    )

"""A GitHub client that also takes reviews, for the tests of the review step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fakes import GitHub, snapshot

from airflow_provider_agents.domain.pull_request import Comment, ReviewThread
from airflow_provider_agents.hooks.github_models import CommentRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.domain.review_remark import ReviewRemark

PATCH = "@@ -1,2 +1,4 @@\n a\n+b\n+c\n d"
"""Shows lines 1 to 4 of the new version."""


class ReviewGitHub(GitHub):
    """As :class:`fakes.GitHub`; :attr:`submitted` has every review that was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.login = "agents-bot"
        self.snapshots = [snapshot(author="agents-bot[bot]", base_sha="c" * 40)]
        self.submitted: list[SimpleNamespace] = []
        self.refusals: list[Exception] = []
        """Raised by the next submissions, in their order; ``None`` of them is taken."""
        self.resolved: list[str] = []
        self.files: Any = [{"filename": "src/app.py", "patch": PATCH}, {"filename": "logo.png"}]
        self.reviews: list[dict[str, Any]] = []
        self.head_repository = "acme/shop"
        self.connections: list[str] = []
        self._transport = self

    async def read(self, path: str, operation: Any, params: Mapping[str, str] | None = None) -> Any:
        if path.endswith("/files"):
            if isinstance(self.files, Exception):
                raise self.files
            return self.files
        if path.endswith("/reviews"):
            return self.reviews
        return {"body": "It mends the basket.", "head": {"repo": {"full_name": self.head_repository}}}

    async def viewer_login(self) -> str:
        return self.login

    async def submit_review(
        self,
        pull_request_id: str,
        head_sha: str,
        event: str,
        body: str,
        remarks: Sequence[ReviewRemark],
    ) -> CommentRef:
        if self.refusals:
            raise self.refusals.pop(0)
        url = f"https://github.com/acme/shop/pull/7#review-{head_sha[:7]}"
        if not any(each.head_sha == head_sha for each in self.submitted):
            self.submitted.append(
                SimpleNamespace(head_sha=head_sha, event=event, body=body, remarks=list(remarks))
            )
        return CommentRef(url=url)

    async def resolve_thread(self, thread_id: str) -> None:
        self.resolved.append(thread_id)

    def install(self, monkeypatch: Any) -> ReviewGitHub:
        super().install(monkeypatch)
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        run = AgentsGitHubHook.run

        def noting(hook: AgentsGitHubHook, work: Any) -> Any:
            self.connections.append(hook.github_conn_id)
            return run(hook, work)

        monkeypatch.setattr(AgentsGitHubHook, "run", noting)
        return self


def own_thread(node_id: str, body: str, **values: Any) -> ReviewThread:
    """Return an unresolved thread that the reviewing identity began."""
    comments = (Comment(author="agents-bot", body=body, can_write=True, own=True), *values.pop("replies", ()))
    return ReviewThread(
        **{"node_id": node_id, "path": "src/app.py", "line": 3, "comments": comments} | values
    )

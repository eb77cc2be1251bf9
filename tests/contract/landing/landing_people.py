"""What people, machines and chance do to a pull request while it is being landed: one method for each deed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from landing_forge import BRANCH, FILE

from demo.github.state import ReviewThread

if TYPE_CHECKING:
    from landing_forge import Forge
    from landing_history_plan import Event
    from landing_run import Run

FAULTS: dict[str, Any] = {
    "502": {"status": 502},
    "502_after": {"status": 502, "after": True},
    "drop_before": "drop_before",
    "drop_after": "drop_after",
    "403": {"secondary_limit": 403, "retry_after": None},
    "403_retry_after": {"secondary_limit": 403, "retry_after": 30},
    "429": {"secondary_limit": 429, "retry_after": None},
    "429_retry_after": {"secondary_limit": 429, "retry_after": 30},
    "primary_limit": "primary_limit",
    "partial_pull": {"partial": ["pull0"], "message": "Something went wrong"},
    "partial_reviews": {
        "partial": ["pull0", "pullRequest", "latestReviews"],
        "message": "Something went wrong",
    },
    "partial_threads": {
        "partial": ["pull0", "pullRequest", "reviewThreads"],
        "message": "Something went wrong",
    },
    "partial_checks": {"partial": ["pull0", "pullRequest", "statusCheckRollup"], "message": "Timed out"},
    "refused": {"status": 405, "body": {"message": "Not now"}},
    "stale": {"stale_seconds": 3},
}
"""What may happen to a request, by name."""


class People:
    """Deeds by name; each takes the login of who does it, and a value.

    :param run: the run, which people answer on Airflow's page.
    """

    def __init__(self, forge: Forge, run: Run) -> None:
        self._forge = forge
        self._run = run
        self._count = 0

    def happen(self, event: Event) -> None:
        """Let an event happen: at once, or as an ambush."""
        deed = getattr(self, event.do)
        if event.ambush:
            self._forge.ambushes.append((event.ambush, lambda: deed(event.who, event.value)))
        else:
            self._forge.wait_for(deed(event.who, event.value))
            self._forge.wait_for(self._forge.settle())

    # People

    async def objects(self, who: str, value: Any) -> None:
        await self._act(who, "review", event="REQUEST_CHANGES", body=f"Not so, says {who}.")

    async def remarks(self, who: str, value: Any) -> None:
        comment = {"path": FILE, "line": 2, "body": f"Why, asks {who}?"}
        await self._act(who, "review", event="COMMENT", body="", comments=[comment])

    async def resolves(self, who: str, value: Any) -> None:
        for thread in list(self._forge.pull.threads):
            if isinstance(thread, ReviewThread) and not thread.is_resolved:
                await self._act(who, "resolve", thread=thread.id)

    async def approves(self, who: str, value: Any) -> None:
        await self._act(who, "approve")

    async def dismisses(self, who: str, value: Any) -> None:
        """Take back every objection."""
        for review in self._forge.pull.latest_opinionated_reviews():
            if review.state == "CHANGES_REQUESTED":
                await self._act(who, "dismiss", of=review.author.login)

    async def says(self, who: str, value: Any) -> None:
        await self._act(who, "comment", body=str(value))

    async def pushes(self, who: str, value: Any) -> None:
        await self._act(who, "push_commit", files={f"{who}.py": self._text()})

    async def force_pushes(self, who: str, value: Any) -> None:
        await self._act(who, "force_push", files={FILE: self._text()})

    async def takes_back(self, who: str, value: Any) -> None:
        """Force the branch back to the commit before its tip."""
        tip = await self._forge.repository.git.commit(self._forge.pull.head_ref_oid)
        if tip.parents:
            await self._act(who, "reset_branch", branch=BRANCH, sha=tip.parents[0])

    async def base_moves(self, who: str, value: Any) -> None:
        await self._act(who, "push_commit", branch="main", files={f"base-{who}.py": self._text()})

    async def conflicts(self, who: str, value: Any) -> None:
        await self._act(who, "push_commit", branch="main", files={FILE: self._text()})

    async def closes(self, who: str, value: Any) -> None:
        await self._act(who, "close")

    async def reopens(self, who: str, value: Any) -> None:
        await self._act(who, "reopen")

    async def labels(self, who: str, value: Any) -> None:
        await self._act(who, "label", labels=[value or "do-not-merge"])

    async def unlabels(self, who: str, value: Any) -> None:
        await self._act(who, "unlabel", labels=[value or "do-not-merge"])

    async def drafts(self, who: str, value: Any) -> None:
        await self._act(who, "draft")

    async def readies(self, who: str, value: Any) -> None:
        await self._act(who, "ready")

    async def merges(self, who: str, value: Any) -> None:
        await self._act(who, "merge")

    async def dequeues(self, who: str, value: Any) -> None:
        await self._act(who, "dequeue")

    async def answers(self, who: str, value: Any) -> None:
        """Choose an option on Airflow's page, if something is asked."""
        self._run.answered(who, value)

    async def nods(self, who: str, value: Any) -> None:
        """Do nothing."""

    # Machines and chance

    async def reports(self, who: str, value: Any) -> None:
        """A check of the head comes to an end: ``(name, conclusion)``."""
        name, ends = value
        await self._forge.act(
            "acme", "check_run", name=name, conclusion=ends, workflow="CI" if name == "tests" else None
        )

    async def base_breaks(self, who: str, value: Any) -> None:
        """The check of the base branch comes to this end."""
        await self._forge.act(
            "acme", "check_run", branch="main", name="tests", conclusion=value or "failure", workflow="CI"
        )

    async def fault(self, who: str, value: Any) -> None:
        """``(name, times, reads)``: what happens to the next requests; ``reads`` as in a fault's match."""
        name, times, reads = value
        action = FAULTS[name]
        if name == "stale":
            self._forge.worst_staleness = float(action["stale_seconds"])
            reads = True
        elif name.startswith("partial"):
            reads = True
        match = {"method": "PUT"} if name == "refused" else {} if reads is None else {"reads": reads}
        self._forge.server.faults.add({"match": match, "times": times, "action": action})

    async def dies(self, who: str, value: Any) -> None:
        """The worker dies at its so many-th call from now on."""
        self._forge.dies_in = int(value)

    async def unknown_for(self, who: str, value: Any) -> None:
        """Mergeability takes so many seconds from now on."""
        self._forge.server.forge.mergeability_delays["acme/shop"] = float(value)

    async def restarts(self, who: str, value: Any) -> None:
        """GitHub is killed, and begins anew; before the next exchange with it."""
        self._run.restart_due = True

    def _text(self) -> str:
        self._count += 1
        return f"1\n{self._count}\n3\n"

    async def _act(self, who: str, do: str, **values: Any) -> None:
        await self._forge.act(who, do, **values)
        self._forge.moved()

"""One landing gate over its tries, with a GitHub and a state store that a test looks into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskAwaitingInput, TaskDeferred
from fakes import HEAD, URL, GitHub, Store, TaskInstance, accepted, context, snapshot

from airflow_provider_agents.domain.landing_history import LandingHistory, Round
from airflow_provider_agents.domain.pull_request import Comment
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.operators.landing_gate import LandingGateOperator
from airflow_provider_agents.operators.landing_keys import RoundTasks

if TYPE_CHECKING:
    import pytest

LATER = ["land.round_1.fix", "land.round_2.gate"]
RETRIES = 3
MERGED = snapshot(state="MERGED", merge_commit_sha="d" * 40)


class Gate:
    """One gate over its tries; :meth:`look` says how a try ended."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        earlier: LandingHistory | None = None,
        xcoms: dict[str, Any] | None = None,
        **request: Any,
    ) -> None:
        self.journal: list[str] = []
        self.github = GitHub().install(monkeypatch)
        self.github.done = self.journal
        self.store = Store(self.journal)
        left = {} if earlier is None else {"g1:history": earlier.to_dict(), "g1:decision": {"verdict": "fix"}}
        self.ti = TaskInstance("gate", retries=RETRIES, xcoms=left | (xcoms or {}))
        self.ti.id = UUID(int=1)  # type: ignore[attr-defined]
        self.questions: list[dict[str, Any]] = []
        monkeypatch.setattr(
            "airflow.sdk.execution_time.hitl.upsert_hitl_detail",
            lambda **values: self.questions.append(values),
        )
        self.arguments = {
            "coding_task": accepted(**{"settle_seconds": 0, "escalate": "fail"} | request),
            "pull_request": {"number": 7, "url": URL, "head_sha": HEAD},
            "round_number": 2 if left else 1,
            "earlier_rounds": [RoundTasks(gate="g1", review="r1", fix="f1")] if left else [],
            "round_tasks": RoundTasks(gate="gate", review="review", fix=LATER[0]),
            "rounds_left": 1,
            "later_tasks": LATER,
        }

    def operator(self) -> LandingGateOperator:
        return LandingGateOperator(task_id="gate", **self.arguments)  # type: ignore[arg-type]

    def look(self, *snapshots: Any, event: dict[str, Any] | None = None) -> Any:
        """Run a try; return ``None`` where the next task runs, else what was raised."""
        if snapshots:
            self.github.snapshots = list(snapshots)
        operator, run = self.operator(), context(self.ti, self.store)
        try:
            if event is not None:
                operator.look_again(run, event)
            else:
                operator.execute(run)
        except (DownstreamTasksSkipped, TaskAwaitingInput, TaskDeferred, TaskStoppedError) as end:
            return end
        return None

    @property
    def merges(self) -> list[str]:
        return [entry for entry in self.journal if entry.startswith("merge ")]

    @property
    def history(self) -> LandingHistory:
        return LandingHistory.from_dict(self.ti.pushed["history"])

    @property
    def decision_log(self) -> list[dict[str, Any]]:
        return self.store.values["decisions"]  # type: ignore[no-any-return]

    @property
    def decision(self) -> dict[str, Any]:
        return self.ti.pushed["decision"]


def comment(body: str, *, author: str = "olga", can_write: bool = True, key: str = "C_1") -> Comment:
    return Comment(author=author, body=body, can_write=can_write, node_id=key)


def handed_on(end: Any) -> bool:
    """Whether the fix step runs next, and the review step does not."""
    return isinstance(end, DownstreamTasksSkipped) and end.tasks == [("review", -1)]


def after(*rounds: Round, **more: Any) -> LandingHistory:
    return LandingHistory(rounds=rounds, **more)


def fixed(head: str, reason: str = "checks_failed", **more: Any) -> Round:
    return Round(reason=reason, head_sha=head, **more)

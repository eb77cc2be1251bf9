"""The gate of a landing round: waits for the pull request, decides, and merges or hands on to the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.feedback_text import feedback_text
from airflow_provider_agents.domain.landing import Decision, LandingHistory, decide
from airflow_provider_agents.exceptions import ForgeConflictError, ForgeUnavailableError, TaskStoppedError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.skipping import LoopExitOperator
from airflow_provider_agents.operators.task_state import generation, recall, remember
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger, error_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient

_MAX_MERGE_CALLS = 5
"""For one head. GitHub refuses for reasons that the API does not always show beforehand."""
_MERGE_PAUSE_SECONDS = 15.0
"""After the first refused call; doubled after each further one."""
_MERGE_REFUSED = "merge_refused"


class LandingGateOperator(ForgeMixin, LoopExitOperator):
    """Wait until the pull request asks for something, then do it.

    Sensor and branch in one deferrable task. The decision is
    :func:`~airflow_provider_agents.domain.landing.decide`; it is made in the triggerer while waiting, and
    again here from a fresh reading before anything is done. Verdict ``fix`` lets the next task run, with
    the feedback as XCom ``feedback``; ``merge`` merges exactly the head that was read; ``done`` skips the
    rest of the loop; everything else fails with its reason.

    :param coding_task: the accepted task. (templated)
    :param pull_request: ``{"number", "url"}`` as :class:`OpenPullRequestOperator` returns. (templated)
    :param round_number: number of this round, counted from 1.
    :param earlier_gates: task ids of the gates of earlier rounds.
    :param poll_interval: seconds between two readings.
    :raises TaskStoppedError: if the pull request was closed, or nobody can be asked.
    """

    template_fields: Sequence[str] = ("coding_task", "pull_request", "github_conn_id")
    operator_extra_links = (PullRequestLink(),)
    ui_color = "#d6f0e0"

    def __init__(
        self,
        *,
        coding_task: Any,
        pull_request: Any,
        round_number: int,
        earlier_gates: Sequence[str] = (),
        poll_interval: float = 30.0,
        github_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.coding_task = coding_task
        self.pull_request = pull_request
        self.round_number = round_number
        self.earlier_gates = list(earlier_gates)
        self.poll_interval = poll_interval
        self.github_conn_id = connection_id(github_conn_id)

    def execute(self, context: Context) -> Any:
        """Look once; act or wait."""
        with leaving_reason(context):
            return self._look(context)

    def look_again(self, context: Context, event: dict[str, Any]) -> Any:
        """Take over from the trigger. Its verdict is only a hint: the world may have moved since."""
        with leaving_reason(context):
            if event["status"] == "error":
                raise error_of(event)
            return self._look(context)

    def _look(self, context: Context) -> Any:
        context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=self.pull_request["url"])
        task = CodingTask.model_validate(self.coding_task)
        snapshot = self._read(task)
        history = self._history(snapshot, context)
        decision = decide(snapshot, task.request.policy, history)
        if decision.verdict == "merge":
            decision, snapshot = self._merge(task, snapshot, decision, context)
        self.log.info("%s (%s): %s", decision.verdict, decision.reason, decision.message)
        if decision.verdict == "wait":
            self._wait(task, history, decision, context)
        if decision.verdict == "fix":
            self._hand_on(snapshot, decision, context)
            return
        self._record(decision, snapshot, context)
        if decision.verdict == "done":
            self.leave_loop(context)
            return
        where = "" if snapshot.url in decision.message else f" Pull request: {snapshot.url}"
        raise TaskStoppedError(f"{decision.message}{where}")

    # Reading

    def _read(self, task: CodingTask) -> PullRequestSnapshot:
        number = int(self.pull_request["number"])
        return self.ask_forge(
            task.request.repository, lambda client: client.snapshot(task.request.repository, number)
        )

    def _history(self, snapshot: PullRequestSnapshot, context: Context) -> LandingHistory:
        seen = recall(context, "heads_first_seen") or {}
        if snapshot.head_sha not in seen:
            seen = {**seen, snapshot.head_sha: snapshot.read_at.isoformat()}
            remember(context, "heads_first_seen", seen)
        earlier = [context["ti"].xcom_pull(task_ids=gate, key="decision") for gate in self.earlier_gates]
        fixed = [d["head_sha"] for d in earlier if isinstance(d, Mapping) and d.get("verdict") == "fix"]
        answered = [key for d in earlier if isinstance(d, Mapping) for key in d.get("answered", ())]
        return LandingHistory(
            head_first_seen=datetime.fromisoformat(seen[snapshot.head_sha]),
            rounds_used=len(fixed),
            fixed_heads=tuple(fixed),
            answered=frozenset(answered),
        )

    # Acting

    def _merge(
        self, task: CodingTask, snapshot: PullRequestSnapshot, decision: Decision, context: Context
    ) -> tuple[Decision, PullRequestSnapshot]:
        """Merge the head that was read. Whatever the answer, the state after it is what counts.

        The intent is recorded before the call. A call whose answer was lost, or that was refused, is
        followed by a fresh reading: merged is done, anything else means waiting again; the next call
        for this head comes only after that.
        """
        request = task.request
        key = f"merge_intent_{generation(self, context)}"
        last = recall(context, key) or {}
        calls = last["calls"] + 1 if last.get("head_sha") == snapshot.head_sha else 1
        if calls > _MAX_MERGE_CALLS:
            text = f"GitHub refused to merge {snapshot.head_sha[:12]} {_MAX_MERGE_CALLS} times: {last.get('said')}"
            return Decision(verdict="escalate", reason=_MERGE_REFUSED, message=text), snapshot
        intent = {"head_sha": snapshot.head_sha, "at": snapshot.read_at.isoformat(), "calls": calls}
        remember(context, key, intent)

        async def merge(client: GitHubClient) -> None:
            await client.merge_pull_request(
                request.repository, snapshot.number, head_sha=snapshot.head_sha, method=request.merge_method
            )

        said = ""
        try:
            self.ask_forge(request.repository, merge)
        except ForgeConflictError as error:
            said = f"GitHub did not merge: {error}"
        except ForgeUnavailableError as error:
            said = f"The answer to the merge was lost: {error}"
        after = self._read(task)
        if after.state == "MERGED":
            return Decision(
                verdict="done", reason="merged", message=f"{after.url} is merged. {said}".strip()
            ), after
        remember(context, key, {**intent, "said": said})
        message = said or "GitHub accepted the merge but does not show it yet."
        return Decision(verdict="wait", reason=_MERGE_REFUSED, message=message), after

    def _hand_on(self, snapshot: PullRequestSnapshot, decision: Decision, context: Context) -> None:
        """Give the fix step what it has to answer."""
        from airflow_provider_agents.hooks.github_feedback import gather_feedback

        found = self.ask_forge(
            snapshot.repository, lambda client: gather_feedback(client, snapshot, decision.reason)
        )
        feedback = {
            "reason": decision.message,
            "text": feedback_text(found),
            "conflict": decision.reason == "conflict",
        }
        context["ti"].xcom_push(key="feedback", value=feedback)
        answered = [review.key for review in found.reviews] + [thread.key for thread in found.threads]
        self._record(decision, snapshot, context, answered)

    def _record(
        self,
        decision: Decision,
        snapshot: PullRequestSnapshot,
        context: Context,
        answered: Sequence[str] = (),
    ) -> None:
        value = {
            **decision.to_dict(),
            "head_sha": snapshot.head_sha,
            "merge_commit_sha": snapshot.merge_commit_sha,
            "answered": list(answered),
        }
        context["ti"].xcom_push(key="decision", value=value)

    # Waiting

    def _wait(self, task: CodingTask, history: LandingHistory, decision: Decision, context: Context) -> None:
        deadline = self._deadline(task, context)
        left = deadline - datetime.now(tz=UTC)
        if left <= timedelta(0):
            raise TaskStoppedError(
                f"The pull request was not merged within {task.request.land_timeout:g} hours. "
                f"Last: {decision.message} {self.pull_request['url']}"
            )
        seen = recall(context, "heads_first_seen") or {}
        self.defer(
            trigger=PullRequestTrigger(
                github_conn_id=self.github_conn_id,
                repository=task.request.repository,
                number=int(self.pull_request["number"]),
                poll_interval=self.poll_interval,
                first_look_seconds=self._pause(decision, context),
                deadline=deadline.isoformat(),
                policy=task.request.policy.to_dict(),
                history={
                    "rounds_used": history.rounds_used,
                    "fixed_heads": list(history.fixed_heads),
                    "answered": sorted(history.answered),
                    "head_first_seen": seen,
                },
            ),
            method_name="look_again",
            # The trigger ends at the deadline itself; this is for a trigger that does not.
            timeout=left + timedelta(minutes=5),
        )

    def _pause(self, decision: Decision, context: Context) -> float:
        """Return how long to look away: after a refused merge the same reading would merge at once again."""
        if decision.reason != _MERGE_REFUSED:
            return 0.0
        intent = recall(context, f"merge_intent_{generation(self, context)}") or {}
        return _MERGE_PAUSE_SECONDS * 2.0 ** (int(intent.get("calls", 1)) - 1)

    def _deadline(self, task: CodingTask, context: Context) -> datetime:
        """Return when this gate gives up: set at its first look, kept over retries, new after a clear."""
        key = f"deadline_{generation(self, context)}"
        if isinstance(stored := recall(context, key), str):
            return datetime.fromisoformat(stored)
        deadline = datetime.now(tz=UTC) + timedelta(hours=task.request.land_timeout)
        remember(context, key, deadline.isoformat())
        return deadline

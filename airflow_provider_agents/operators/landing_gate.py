"""The gate of a landing round: waits for the pull request, decides, and acts or hands on to review or fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.links import PullRequestLink
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.landing_keys import RoundTasks
from airflow_provider_agents.operators.skipping import LoopExitOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context


class LandingGateOperator(ForgeMixin, LoopExitOperator):
    """Wait until the pull request asks for something, then do it.

    Sensor and branch in one deferrable task. The decision is
    :func:`~airflow_provider_agents.domain.landing.decide`; it is made in the triggerer while waiting, and
    again here from a fresh reading before anything is done. The gate itself merges, queues, updates the
    branch, runs checks again and obeys commands. Verdict ``fix`` lets the fix step run, with the feedback as
    XCom ``feedback``; ``review`` lets the review step run first; ``done`` skips the rest of the loop;
    everything else fails with its reason.

    :param coding_task: the accepted task. (templated)
    :param pull_request: ``{"number", "url", "head_sha"}`` as :class:`OpenPullRequestOperator` returns.
        (templated)
    :param round_number: number of this round, counted from 1.
    :param earlier_rounds: the tasks of earlier rounds, oldest first.
    :param round_tasks: the tasks of this round; without review and fix for the last gate.
    :param rounds_left: fix steps that the graph has from this round on.
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
        earlier_rounds: Sequence[RoundTasks] = (),
        round_tasks: RoundTasks | None = None,
        rounds_left: int = 0,
        poll_interval: float = 30.0,
        github_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.coding_task = coding_task
        self.pull_request = pull_request
        self.round_number = round_number
        self.earlier_rounds = list(earlier_rounds)
        self.round_tasks = round_tasks or RoundTasks(gate=self.task_id)
        self.poll_interval = poll_interval
        self.rounds_left = rounds_left
        self.run_steps: list[str] = []
        """Task ids of all steps of the run, for what it cost. Filled by whoever builds the graph."""
        self.github_conn_id = connection_id(github_conn_id)

    def execute(self, context: Context) -> Any:
        """Look once; act or wait."""
        with leaving_reason(context):
            self._look(context, None)

    def look_again(self, context: Context, event: dict[str, Any]) -> Any:
        """Take over from the trigger. Its verdict is only a hint: the world may have moved since."""
        with leaving_reason(context):
            if event.get("status") == "error":
                from airflow_provider_agents.triggers.pull_request import error_of

                raise error_of(event)
            self._look(context, event)

    def _look(self, context: Context, event: Mapping[str, Any] | None) -> None:
        # Not at import: a DAG file has eight gates, and none of them looks while it is parsed.
        from airflow_provider_agents.operators.landing_look import LandingLook

        LandingLook(self).look(context, event)

"""What a step operator has by default in place of what ``KubernetesPodOperator`` has."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.operators import kept_pods
from airflow_provider_agents.operators.pod_parts import GRACE_SECONDS, START_SECONDS
from airflow_provider_agents.operators.retry_policy import STEP_RETRIES, StepRetryPolicy

if TYPE_CHECKING:
    from agent_runner.contract import Step


def fill_in(kwargs: dict[str, Any], step: Step, step_timeout: timedelta | None) -> None:
    """Fill in what ``KubernetesPodOperator`` would choose otherwise.

    :param kwargs: arguments of the operator; what is in them stays.
    :param step_timeout: how long the step may take; ``None``: as the run says, up to a day.
    """
    kwargs.setdefault("name", f"agent-{step}")
    kwargs.setdefault("namespace", settings.text("namespace", "agent-system"))
    kwargs.setdefault("kubernetes_conn_id", settings.text("kubernetes_conn_id", "kubernetes_default"))
    kwargs.setdefault("deferrable", True)
    kwargs.setdefault("startup_timeout_seconds", START_SECONDS)
    kwargs.setdefault("on_finish_action", kept_pods.on_finish_action())
    kwargs.setdefault("log_pod_spec_on_failure", False)  # would put the whole prompt into the log
    kwargs.setdefault("log_events_on_startup", False)  # reads every event of the namespace at each poll
    kwargs.setdefault("logging_interval", 2)
    kwargs.setdefault("retries", STEP_RETRIES)
    kwargs.setdefault("retry_delay", timedelta(seconds=15))
    kwargs.setdefault("retry_policy", StepRetryPolicy())
    # A backstop beyond the pod's own deadline. The longest step_timeout that a run may ask for is a day.
    longest = step_timeout or timedelta(days=1)
    margin = timedelta(seconds=2 * START_SECONDS + 5 * GRACE_SECONDS)
    kwargs.setdefault("execution_timeout", longest + margin)

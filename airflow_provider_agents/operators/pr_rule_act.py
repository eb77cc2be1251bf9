"""The task ``act`` of a rule: carries out what was decided, within the guards."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.operators.forge import FORGE_RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context


class ActOnPullRequestsOperator(BaseOperator):
    """Carry out the answers about the pull requests of one run, each from a fresh reading of its pull request.

    One that fails stops no other one. A repeated try finds what an earlier one did, in the ledger and at GitHub, and
    does it no second time. It runs in the pool ``agents_rules``, which has one slot: no two rules act at a time.

    :param rule: name of the rule, ``rules/<rule>.yaml``, which is read anew.
    :param look_task_id: task that looked, see :class:`~.pr_rule_look.LookForPullRequestsOperator`.
    :param decide_task_id: mapped task that asked, see :class:`~.pr_rule_decide.DecideAboutPullRequestOperator`.
    :return: for each pull request that a person has to decide about, ``trigger_run_id`` and ``conf``: arguments of
        ``StartRunOperator``, for the DAG of :func:`~...task_groups.pr_rule_escalation.pr_rule_escalation_dag`.
    :raises TaskStoppedError: the look failed, so that there is nothing to act on.
    :raises ForgeError: nothing at all could be done; the next try may.
    """

    ui_color = "#d6f0e0"

    def __init__(
        self, *, rule: str, look_task_id: str = "look", decide_task_id: str = "decide", **kwargs: Any
    ) -> None:
        kwargs.setdefault("retries", 2)
        kwargs.setdefault("retry_delay", timedelta(seconds=20))
        kwargs.setdefault("retry_policy", FORGE_RETRY_POLICY)
        kwargs.setdefault("pool", RULES_POOL)
        super().__init__(**kwargs)
        self.rule = rule
        self.look_task_id = look_task_id
        self.decide_task_id = decide_task_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        # Not at import: every parse of the DAGs would pay for it.
        from airflow_provider_agents.operators.pr_rule_act_pass import ActPass

        return ActPass(self, context).run()

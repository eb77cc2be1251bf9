"""The task ``look`` of a rule: says which pull requests the model is asked about."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.operators.forge import FORGE_RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

STANDING_KEY = "standing"
"""XCom: list of :class:`~airflow_provider_agents.domain.pr_rule_item.RuleItem` as dictionaries, whose earlier answer is
to be carried out without asking again."""
LOOK_KEY = "look"
"""XCom: :class:`~airflow_provider_agents.domain.pr_rule_look.Look` as a dictionary, for the task ``act``."""


class LookForPullRequestsOperator(BaseOperator):
    """Look at the open pull requests that a rule is for.

    Those that did not change since they were read last cost no more than their listing. The others are read in full;
    what the model has to be asked about is set aside in the budget of the day and returned.

    A look may be repeated or cut off at any point; what it set aside then counts as spent. A repository or a pull
    request that cannot be read stops no other one.

    :param rule: name of the rule, ``rules/<rule>.yaml``, which is read anew.
    :return: :class:`~airflow_provider_agents.domain.pr_rule_item.RuleItem` as dictionaries, longest waiting first, at
        most the rule's ``max_pull_requests``.
    :raises InvalidInputError: the rule has faults, each named with file and line; or a connection is missing.
    :raises ForgeError: nothing at all could be read, or a rate limit is used up.
    """

    ui_color = "#e0ecf8"

    def __init__(self, *, rule: str, **kwargs: Any) -> None:
        kwargs.setdefault("retries", 2)
        kwargs.setdefault("retry_delay", timedelta(seconds=20))
        kwargs.setdefault("retry_policy", FORGE_RETRY_POLICY)
        super().__init__(**kwargs)
        self.rule = rule

    def execute(self, context: Context) -> list[dict[str, Any]]:
        # Not at import: every parse of the DAGs would pay for it.
        from airflow_provider_agents.operators.pr_rule_look_pass import RuleLook

        found = RuleLook(self, context).run()
        ti = context["ti"]
        ti.xcom_push(key=STANDING_KEY, value=[item.to_dict() for item in found.standing])
        ti.xcom_push(key=LOOK_KEY, value=found.look.to_dict())
        return [item.to_dict() for item in found.asked]

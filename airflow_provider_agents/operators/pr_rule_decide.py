"""The task ``decide`` of a rule: asks the model about one pull request."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.operators.forge import FORGE_RETRY_POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

LABEL_KEY = "pull_request"
"""Name, in the template of the map index, of what tells this pull request from the others."""


class DecideAboutPullRequestOperator(BaseOperator):
    """Ask the model what becomes of one pull request.

    What goes wrong at the model is a decision too: to wait, with the fault and the time of the next question. A try
    that follows one which got its answer takes that answer over; one that follows a try that died while it was
    asking does not ask a second time in the same run, as only one question was set aside in the budget.

    Map it over what the task ``look`` returns.

    :param rule: name of the rule, ``rules/<rule>.yaml``, which is read anew.
    :param item: :class:`~airflow_provider_agents.domain.pr_rule_item.RuleItem` as a dictionary.
    :return: :class:`~airflow_provider_agents.domain.pr_rule_decision.PullRequestDecision` as a dictionary, without an
        outcome. It is pushed also where the task then fails.
    :raises InvalidInputError: the model's connection is missing or may not be used; the message has the remedy.
    """

    ui_color = "#e0ecf8"
    # Not a template: outsiders wrote what stands in it.
    template_fields: Sequence[str] = ()

    def __init__(self, *, rule: str, item: Mapping[str, Any], **kwargs: Any) -> None:
        kwargs.setdefault("retries", 2)
        kwargs.setdefault("retry_delay", timedelta(seconds=20))
        kwargs.setdefault("retry_policy", FORGE_RETRY_POLICY)
        kwargs.setdefault("map_index_template", f"{{{{ {LABEL_KEY} }}}}")
        super().__init__(**kwargs)
        self.rule = rule
        self.item = item

    def execute(self, context: Context) -> dict[str, Any]:
        # Not at import: every parse of the DAGs would pay for it.
        from airflow_provider_agents.operators.pr_rule_question import RuleQuestion

        return RuleQuestion(self, context).run()

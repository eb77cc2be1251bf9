"""Which way to ask a model a connection stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.hooks.pr_rule_model import RuleModel

ANTHROPIC = "anthropic"
COMMON_AI = "pydanticai"
"""What the connection types of the common-ai provider begin with."""


def rule_model(rule: PullRequestRule) -> RuleModel:
    """Return the model that a rule asks: that of its connection, named by the rule, ``[agents] rules_model`` or the
    connection, in this order.

    :raises InvalidInputError: the connection is missing, of another type, or cannot be used.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    conn_id = rule.model.connection or settings.text("anthropic_conn_id", "anthropic_default")
    try:
        kind = BaseHook.get_connection(conn_id).conn_type or ""
    except AirflowNotFoundException:
        fault = (
            f"the connection {conn_id!r} of the rules' model does not exist: create it, of type `anthropic` with the "
            "API key as password, or name another one in `model.connection` of the rule"
        )
        raise InvalidInputError([fault]) from None
    name = rule.model.name or settings.text("rules_model")
    if kind == ANTHROPIC:
        from airflow_provider_agents.hooks.pr_rule_model_anthropic import AnthropicRuleModel

        return AnthropicRuleModel(conn_id, rule, name)
    if kind.replace("-", "_").split("_", 1)[0] == COMMON_AI:
        from airflow_provider_agents.hooks.pr_rule_model_common_ai import CommonAiRuleModel

        return CommonAiRuleModel(conn_id, rule, name)
    fault = (
        f"the connection {conn_id!r} is of type {kind!r}: rules ask models by connections of type `anthropic`, or "
        "`pydanticai…` with the extra `common-ai`"
    )
    raise InvalidInputError([fault])

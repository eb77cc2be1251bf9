"""The memory of a rule as a task reads and writes it: an Airflow Variable."""

from __future__ import annotations

import logging

from airflow_provider_agents.domain.pr_rule_state import VARIABLE_PREFIX, RuleState
from airflow_provider_agents.triggers.capacity import text_of

log = logging.getLogger(__name__)

_DESCRIPTION = "What a rule for pull requests remembers; written by its DAG."


def read_state(name: str) -> RuleState:
    """Return what a rule remembers; nothing where there is no Variable yet, or a damaged one, which is logged.

    Not by ``Variable.get``: to it an Airflow that does not answer is a Variable that is not there, and what was
    spent today would be forgotten.

    :param name: of the rule.
    :raises AirflowRuntimeError: Airflow cannot give it now.
    """
    from airflow.sdk.execution_time.comms import GetVariable
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    variable = VARIABLE_PREFIX + name
    text = text_of(SUPERVISOR_COMMS.send(GetVariable(key=variable)))
    if text is None:
        return RuleState()
    try:
        return RuleState.from_text(text)
    except ValueError as error:
        log.error(
            "The Variable %s %s. The rule begins anew: each pull request is asked about once more, and what it cost "
            "today is counted from here.",
            variable,
            error,
        )
        return RuleState()


def write_state(name: str, state: RuleState) -> None:
    """Write what a rule remembers. Only for the one task of its DAG whose turn it is."""
    from airflow.sdk import Variable

    Variable.set(VARIABLE_PREFIX + name, state.to_text(), description=_DESCRIPTION)

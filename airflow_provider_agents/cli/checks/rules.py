"""The rules for pull requests: their files, the connections that they use, and how their last runs went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.cli.checks.connections import checked_type
from airflow_provider_agents.cli.deployment import one_line
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.domain.pr_rule_state import VARIABLE_PREFIX, RuleState
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.github_scope import rule_scope
from airflow_provider_agents.hooks.pr_rule_models import rule_model
from airflow_provider_agents.operators.pr_rule_sources import rule_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_files import RuleFile


def files(deployment: Deployment) -> Iterator[Finding]:
    """Check every rule; without one there is nothing to check. No model is asked, and nothing is paid."""
    found = rule_files()
    if not found:
        yield ok("no rule for pull requests is defined")
        return
    yield from _connections([file.rule for file in found if file.rule is not None])
    for file in found:
        yield from _rule(file)


def _connections(rules: list[PullRequestRule]) -> Iterator[Finding]:
    for name in sorted({rule_scope(rule).connection for rule in rules}):
        yield from checked_type(
            name, "github", "in the UI, type GitHub, a token as password: docs/credentials.md"
        )


def _rule(file: RuleFile) -> Iterator[Finding]:
    if file.rule is None:
        for fault in file.faults:
            yield failed(fault, "Correct it; nothing is done by this rule until then.", file.place)
        return
    try:
        rule_model(file.rule)
    except InvalidInputError as error:
        yield failed(
            f"{file.file}: rule {file.name}: {one_line(error)}",
            "See docs/rules-models.md; until then no pull request is decided about.",
            file.place,
        )
        return
    yield _last_pass(file, _state(file.name))


def _last_pass(file: RuleFile, state: RuleState) -> Finding:
    last, dag_id = state.last_pass, f"pr_rule__{file.name}"
    if last is None:
        return warning(
            f"{file.file}: rule {file.name} is valid and never ran",
            f"Unpause its DAG: airflow dags unpause {dag_id}",
            file.place,
        )
    if state.last_error and state.last_error_at and state.last_error_at >= last.at:
        return warning(
            f"{file.file}: rule {file.name}: its last run had a fault: {state.last_error}",
            f"See the log of the task act in the DAG {dag_id}.",
            file.place,
        )
    return ok(f"{file.file}: rule {file.name} ran {last.at:%Y-%m-%d %H:%M} UTC", file.place)


def _state(name: str) -> RuleState:
    """Return what the rule remembers; nothing where it never ran, or where that cannot be read."""
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(Variable).where(Variable.key == VARIABLE_PREFIX + name))
        text = found.get_val() if found is not None else None
    try:
        return RuleState.from_text(text) if text else RuleState()
    except ValueError:
        return RuleState()

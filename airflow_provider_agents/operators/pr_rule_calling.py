"""How people are called about a pull request: the run of the DAG that asks them, and where its page is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.operators.ticket_runs import run_url

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision

ESCALATION_DAG = "pr_rule_escalation"
ASK_TASK = "ask"
MOST_TEXT = 500
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.~:+-]")


def ask_run_id(repository: str, number: int, head_sha: str, reason: str) -> str:
    """Return the id of the run that asks people about a head for a reason: the same each time."""
    name = repository.casefold().replace("/", "~")
    return _NOT_IN_IDS.sub("-", f"ask__{name}~{number}~{head_sha[:12]}__{reason}")[:250]


def page_of(run_id: str) -> str:
    """Return the page on which people choose; empty where ``[api] base_url`` says no address."""
    url = run_url(ESCALATION_DAG, run_id)
    return f"{url}/tasks/{ASK_TASK}/required_actions" if url else ""


def ask_values(decision: PullRequestDecision, title: str, author: str, reason: str) -> dict[str, Any]:
    """Return the arguments of ``TriggerDagRunOperator`` for the run that asks people.

    :param reason: as it stands in the ledger.
    """
    answer = decision.answer
    return {
        "trigger_run_id": ask_run_id(decision.repository, decision.number, decision.head_sha, reason),
        "conf": {
            "rule": decision.rule,
            "repository": decision.repository,
            "number": decision.number,
            "url": decision.url,
            "head_sha": decision.head_sha,
            "title": one_line(title),
            "author": one_line(author),
            "reason": reason,
            "guard": decision.guard,
            "message": one_line(decision.message, MOST_TEXT),
            "wanted": answer.action if answer else "",
            "found": one_line(answer.reason, MOST_TEXT) if answer else "",
        },
    }

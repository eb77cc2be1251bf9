"""How people are called about a pull request: the run of the DAG that asks them, and where its page is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.operators.ticket_runs import run_url

if TYPE_CHECKING:
    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision

ESCALATION_DAG = "pr_rule_escalation"
ASK_TASK = "ask"
MOST_TEXT = 500
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.~:+-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What people were called for."""

    reason: str
    """As it stands in the ledger: the name of a guard, or ``model``."""
    guard: str
    message: str


def ask_run_id(repository: str, number: int, head_sha: str, base: str, reason: str) -> str:
    """Return the id of the run that asks people about a head for a reason: the same each time.

    :param base: branch that it goes into.
    """
    name = repository.casefold().replace("/", "~")
    into = hashlib.sha256(base.encode(errors="replace")).hexdigest()[:6]
    return _NOT_IN_IDS.sub("-", f"ask__{name}~{number}~{head_sha[:12]}~{into}__{reason}")[:250]


def page_of(run_id: str) -> str:
    """Return the page on which people choose; empty where ``[api] base_url`` says no address."""
    url = run_url(ESCALATION_DAG, run_id)
    return f"{url}/tasks/{ASK_TASK}/required_actions" if url else ""


def ask_values(decision: PullRequestDecision, entry: OpenPullRequest, called: Called) -> dict[str, Any]:
    """Return the arguments of ``StartRunOperator`` for the run that asks people.

    :param entry: the pull request as the look read it.
    """
    answer = decision.answer
    base = entry.base_branch
    return {
        "trigger_run_id": ask_run_id(
            decision.repository, decision.number, decision.head_sha, base, called.reason
        ),
        "conf": {
            "rule": decision.rule,
            "repository": decision.repository,
            "number": decision.number,
            "url": decision.url,
            "head_sha": decision.head_sha,
            "base": base,
            "title": one_line(entry.title),
            "author": one_line(entry.author),
            "reason": called.reason,
            "guard": called.guard,
            "message": one_line(called.message, MOST_TEXT),
            "wanted": answer.action if answer else "",
            "found": one_line(answer.reason, MOST_TEXT) if answer else "",
        },
    }

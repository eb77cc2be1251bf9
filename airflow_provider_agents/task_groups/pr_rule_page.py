"""What the page of a rule's DAG says: the rule's text, whom it is for, its limits, and where it is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_files import RuleFile

_PAGE = """\
### Rule `{name}`

Written in `{place}`, below `[agents] config_path`; an edit takes effect at the next parse of the DAGs.{dry_run}

* `look` … which open pull requests changed since they were decided about; the others cost nothing
* `decide` … the model answers, once for each of them
* `act` … carries the answers out, within the guards; its log says what became of each, and why
* `ask_people` … one run of `pr_rule_escalation` for each pull request that a person has to decide about

| | |
|---|---|
{rows}

{fence}text
{instruction}
{fence}
"""


def rule_page(file: RuleFile, rule: PullRequestRule) -> str:
    """Return the page of a rule, as Markdown.

    :param file: where it is written.
    """
    longest = max((len(found) for found in re.findall(r"`+", rule.instruction)), default=0)
    return _PAGE.format(
        name=file.name,
        place=file.place,
        dry_run=" **Dry run**: it decides and shows, and does nothing." if rule.dry_run else "",
        rows="\n".join(f"| {name} | {_cell(value)} |" for name, value in _rows(rule).items()),
        fence="`" * max(3, longest + 1),
        instruction=rule.instruction.strip("\n"),
    )


def _rows(rule: PullRequestRule) -> dict[str, str]:
    selector, limits, guards = rule.selector, rule.limits, rule.guards
    rows = {
        "repositories": _listed(rule.repositories) or "those of the installation",
        "organisation": rule.organization,
        "labels": _listed(selector.labels.include),
        "not with labels": _listed(selector.labels.exclude),
        "title begins with": f"`{selector.title_pattern}`" if selector.title_pattern else "",
        "base branch": _listed((selector.base_branch,)),
        "authors": _listed(selector.authors),
        "actions": _listed(sorted(rule.allowed)),
        "merge method": rule.merge_method,
        "looks every": f"{rule.interval:g} s, and at once where a webhook tells of a change",
        "environment": rule.environment or "",
        "Argo CD": f"`{rule.argocd.application}`" if rule.argocd.enabled else "",
        "merges an hour": f"{limits.merges_per_hour} in each repository, of all rules",
        "pull requests an hour": f"{limits.pull_requests_per_hour} in each repository, of all rules",
        "USD a day": f"{limits.usd_per_day:g}",
        "highest risk": "any" if guards.max_risk is None else f"{guards.max_risk}",
        "protected paths": _listed(guards.protected_paths),
        "held by labels": _listed(guards.hold_labels),
        "freeze": _listed(guards.freeze),
    }
    return {name: value for name, value in rows.items() if value}


def _listed(values: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{value}`" for value in values if value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

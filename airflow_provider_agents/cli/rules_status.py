"""``airflow agents rules [RULE]``: how rules fare, and what stands about each pull request of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.command import FailedError
from airflow_provider_agents.cli.output import as_table, say, show
from airflow_provider_agents.cli.rules_api import all_rules, at, daily_limits, file_faults, one_rule, today

if TYPE_CHECKING:
    from airflow_provider_agents.cli.api_client import AirflowApi
    from airflow_provider_agents.cli.rules_api import Rule
    from airflow_provider_agents.domain.pr_rule_state import Seen

_COUNTED = ("merge", "close", "escalate", "wait")


def show_rules(api: AirflowApi, output: str) -> int:
    """Show all rules."""
    limits = daily_limits()
    documents = [_summary(rule, limits) for rule in all_rules(api)]
    headings = (
        "RULE", "STATE", "LAST PASS", "OPEN", "MATCHED", "PROCESSED", "MERGED", "CLOSED", "ESCALATED", "WAITED",
        "USD TODAY", "NEXT PASS", "LAST ERROR",
    )  # fmt: skip
    rows = [_row(each) for each in documents]
    table = as_table(headings, rows) if rows else "There are no rules.\n"
    show(documents, table, output)
    for fault in file_faults(api):
        say(fault)
    return 0


def show_rule(api: AirflowApi, name: str, output: str) -> int:
    """Show one rule, and what stands about each of its pull requests."""
    rule = one_rule(api, name)
    if rule is None:
        faults = [fault for fault in file_faults(api) if name in fault]
        more = f": {faults[0]}" if faults else "; `airflow agents rules` names all rules"
        raise FailedError(f"Airflow knows no rule {name!r}{more}")
    document = _summary(rule, daily_limits())
    last = rule.state.last_pass
    document["actions"] = dict(rule.state.actions)
    document["errors"] = dict(rule.state.errors)
    document["faults"] = list(last.faults) if last else []
    document["pull_requests"] = [_standing(key, seen) for key, seen in _current(rule)]
    show(document, _page(document), output)
    return 0


def _summary(rule: Rule, limits: dict[str, float]) -> dict[str, Any]:
    state, last = rule.state, rule.state.last_pass
    return {
        "rule": rule.name,
        "state": rule.standing,
        "last_pass": (last.ended_at or last.at).isoformat() if last else None,
        "last_run": last.run_id if last else None,
        "open": last.listed if last else None,
        "matched": last.matched if last else None,
        "asked": last.asked if last else None,
        "left": last.left if last else None,
        "processed": state.processed,
        **{action: state.actions.get(action, 0) for action in _COUNTED},
        "usd_today": round(state.spent(today()), 4),
        "usd_per_day": limits.get(rule.name),
        "next_pass": rule.next_at.isoformat() if rule.next_at else None,
        "last_error": rule.fault or state.last_error or None,
        "last_error_at": state.last_error_at.isoformat() if state.last_error_at and not rule.broken else None,
    }


def _row(document: dict[str, Any]) -> tuple[Any, ...]:
    return (
        document["rule"],
        document["state"],
        _at(document["last_pass"]),
        document["open"],
        document["matched"],
        document["processed"],
        *(document[action] for action in _COUNTED),
        _money(document),
        _at(document["next_pass"]),
        _error(document),
    )


def _page(document: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {action}" for action, count in sorted(document["actions"].items()))
    asked = f"{document['asked']} asked, {document['left']} left for the next"
    lines = [
        ("Rule", f"{document['rule']} ({document['state']})"),
        ("Last pass", f"{_at(document['last_pass'])}; {asked}" if document["last_pass"] else "none yet"),
        ("Next pass", _at(document["next_pass"]) or "none: the rule is " + document["state"]),
        ("Pull requests", f"{document['matched'] or 0} of {document['open'] or 0} open ones"),
        ("Decisions", f"{document['processed']}{f': {counts}' if counts else ''}"),
        ("USD today", _money(document)),
        ("Errors", ", ".join(f"{count} {kind}" for kind, count in sorted(document["errors"].items()))),
        ("Last error", _error(document)),
    ]
    head = "".join(f"{name + ':':<15}{value or '-'}\n" for name, value in lines)
    rows = [
        (
            each["pull_request"],
            each["stands"],
            _at(each["since"]),
            each["outcome"],
            each["guard"],
            _at(each["again_at"]),
            each["why"],
        )
        for each in document["pull_requests"]
    ]
    if not rows:
        return head
    return (
        head + "\n" + as_table(("PULL REQUEST", "STANDS", "SINCE", "OUTCOME", "GUARD", "AGAIN", "WHY"), rows)
    )


def _current(rule: Rule) -> list[tuple[str, Seen]]:
    """Return the pull requests that the last pass found, by their names."""
    last = rule.state.last_pass
    found = [
        (key, seen)
        for key, seen in rule.state.pull_requests.items()
        if last is None or seen.seen_at >= last.at
    ]
    return sorted(found, key=lambda each: (each[0].rpartition("#")[0], int(each[0].rpartition("#")[2])))


def _standing(key: str, seen: Seen) -> dict[str, Any]:
    answer = seen.answer
    stands: str
    if answer is not None:
        stands, why, moment = answer.action, answer.reason, seen.answered_at
    elif seen.fault:
        stands, why, moment = "no answer", f"{seen.fault}, {seen.failures} times in a row", seen.considered_at
    elif seen.unsettled_since is not None:
        stands, why, moment = "not asked", "checks run, or it could not be read whole", seen.unsettled_since
    else:
        stands, why, moment = "not asked", "", seen.considered_at
    return {
        "pull_request": key,
        "head_sha": seen.head_sha,
        "stands": stands,
        "since": moment.isoformat() if moment else None,
        "confidence": answer.confidence if answer else None,
        "wait_for": answer.wait_for if answer and answer.action == "wait" else None,
        "outcome": seen.outcome or None,
        "guard": seen.guard or None,
        "again_at": seen.retry_at.isoformat() if seen.retry_at else None,
        "why": why,
    }


def _at(text: str | None) -> str:
    from datetime import datetime

    return at(datetime.fromisoformat(text)) if text else ""


def _money(document: dict[str, Any]) -> str:
    limit = document["usd_per_day"]
    return f"{document['usd_today']:.4f}" + (f" of {limit:g}" if limit is not None else "")


def _error(document: dict[str, Any]) -> str:
    when = f"{_at(document['last_error_at'])}: " if document["last_error_at"] else ""
    return f"{when}{document['last_error']}" if document["last_error"] else ""

"""``airflow agents rules``: the rules for pull requests, what stands about each pull request, and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.cli.command import UsageError, command
from airflow_provider_agents.cli.rules_check import check_rules
from airflow_provider_agents.cli.rules_decisions import show_decisions
from airflow_provider_agents.cli.rules_status import show_rule, show_rules

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_agents.cli.api_client import AirflowApi

_ONLY_DECISIONS = ("since", "repository", "pull_request", "action", "limit")


@command
def rules(args: Namespace, api: AirflowApi) -> int:
    """Show rules, one rule, decisions, or what is wrong with files."""
    verb, *rest = args.words or [""]
    if verb != "decisions" and (
        given := [name for name in _ONLY_DECISIONS if getattr(args, name) is not None]
    ):
        raise UsageError(f"--{given[0].replace('_', '-')} is for `rules decisions`")
    if verb == "check":
        return check_rules(rest, args.output)
    if verb == "decisions":
        return show_decisions(api, _one(rest, "decisions [RULE]"), args)
    if verb == "show":
        if not rest:
            raise UsageError("write: rules show RULE")
        return show_rule(api, _one(rest, "show RULE"), args.output)
    name = _one(args.words or [], "[RULE]; verbs are `show`, `decisions` and `check`")
    return show_rule(api, name, args.output) if name else show_rules(api, args.output)


def _one(words: list[str], usage: str) -> str:
    if len(words) > 1:
        raise UsageError(f"{words[1]} is one too many; write: rules {usage}")
    return words[0] if words else ""

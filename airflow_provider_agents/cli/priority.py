"""``airflow agents priority``: which of those that wait goes first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.agent_runs import AgentRuns
from airflow_provider_agents.cli.command import FailedError, UsageError, command
from airflow_provider_agents.cli.output import say, show
from airflow_provider_agents.cli.variables import set_variable, variable

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_agents.cli.api_client import AirflowApi

PRIORITIES = "agents_priorities"
"""The Variable: run id or key of a ticket → number."""
MOST_PRIORITIES = 1_000
_MOST = 1_000_000
_DESCRIPTION = "Priorities that people gave with `airflow agents priority`: run or ticket, and number"


@command
def priority(args: Namespace, api: AirflowApi) -> int:
    """Give a waiting run, or a ticket that has none yet, another place in the line."""
    from airflow_provider_agents.domain.capacity_ledger import priorities_of

    number = _number(args.number)
    known = priorities_of(variable(api, PRIORITIES))
    name = _name(AgentRuns(api, args.dag), args.run)
    before = known.pop(name, None)
    if number is not None:
        if len(known) >= MOST_PRIORITIES:
            raise FailedError(
                f"there are {len(known)} priorities; take some away: airflow agents priority RUN default"
            )
        known[name] = number
    if number != before:
        set_variable(api, PRIORITIES, json.dumps(known), _DESCRIPTION)
        if priorities_of(variable(api, PRIORITIES)).get(name) != number:
            raise FailedError("somebody else changed priorities at the same moment; run it again")
    shown = "as it came" if number is None else str(number)
    show({"name": name, "priority": number, "before": before}, f"{name}: priority {shown}\n", args.output)
    return 0


def _name(runs: AgentRuns, reference: str) -> str:
    """Return under which name the line knows what a person means: the run's id, else the ticket as given."""
    found = runs.called(reference)
    if at_work := [run for run in found if run.active]:
        if len(at_work) > 1:
            raise FailedError(
                f"{reference} means {', '.join(run.run_id for run in at_work)}; name one by its id"
            )
        return at_work[0].run_id
    if "#" not in reference and "-" not in reference:
        raise FailedError(f"no run at work, and no ticket, is called {reference}")
    if found:
        say(f"{reference} has no run at work; its next one gets the priority")
    return reference


def _number(text: str) -> int | None:
    """Return the priority, ``None`` for that with which it came.

    :raises UsageError: it is none.
    """
    if text == "default":
        return None
    try:
        number = int(text)
    except ValueError:
        number = _MOST + 1
    if abs(number) > _MOST:
        raise UsageError(
            f"{text}: should be a whole number up to {_MOST:,}, the higher the earlier, or `default`"
        )
    return number

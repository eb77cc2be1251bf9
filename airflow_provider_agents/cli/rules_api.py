"""Rules for pull requests as Airflow's API shows them: their DAGs, and what they remember."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_agents.cli.api_client import ApiError, part
from airflow_provider_agents.cli.output import say
from airflow_provider_agents.cli.variables import variable, variables
from airflow_provider_agents.domain.pr_rule_state import VARIABLE_PREFIX, RuleState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_agents.cli.api_client import AirflowApi

_Answer = TypeVar("_Answer")

DAG_PREFIX = "pr_rule__"
_BROKEN_TAG = "broken"
_DRY_RUN = "(dry run)"
"""What the description of a DAG ends with."""
_FAULT = re.compile(r"rules/\S*:\d+: .*|rules/: .*")
_FAULTS_FILE = "pr_rules_faults.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as Airflow knows it."""

    name: str
    paused: bool
    broken: bool
    dry_run: bool
    fault: str
    """Of a broken one: the first, with file and line."""
    sweep_at: datetime | None
    """When its DAG runs although nothing happened."""
    state: RuleState

    @property
    def standing(self) -> str:
        """Return ``broken``, ``paused``, ``dry run`` or ``on``."""
        if self.broken:
            return "broken"
        return "paused" if self.paused else "dry run" if self.dry_run else "on"

    @property
    def next_at(self) -> datetime | None:
        """Return when it looks at the latest; a change at GitHub makes it look at once. ``None``: it does not."""
        if self.paused or self.broken:
            return None
        moments = [each for each in (self.state.look_at, self.sweep_at) if each]
        return min(moments, default=None)


def all_rules(api: AirflowApi) -> list[Rule]:
    """Return the rules by name."""
    texts = _unless_refused(lambda: variables(api, VARIABLE_PREFIX)) or {}
    dags = api.pages("/dags", "dags", tags="rules", dag_id_pattern=DAG_PREFIX, order_by="dag_id")
    return [
        _rule(dag, texts.get(VARIABLE_PREFIX + _name(dag), ""))
        for dag in dags
        if str(dag["dag_id"]).startswith(DAG_PREFIX)
    ]


def one_rule(api: AirflowApi, name: str) -> Rule | None:
    """Return a rule; ``None``: Airflow knows none of this name."""
    dag = api.optional(f"/dags/{part(DAG_PREFIX + name)}")
    if not isinstance(dag, dict):
        return None
    return _rule(dag, _unless_refused(lambda: variable(api, VARIABLE_PREFIX + name)) or "")


def file_faults(api: AirflowApi) -> list[str]:
    """Return what Airflow's page of import errors says about the rules' files: each fault with file and line."""
    found: dict[str, None] = {}
    for error in api.pages("/importErrors", "import_errors"):
        if str(error.get("filename") or "").endswith(_FAULTS_FILE):
            found |= dict.fromkeys(_FAULT.findall(str(error.get("stack_trace") or "")))
    return list(found)


def daily_limits() -> dict[str, float]:
    """Return the USD of a day of each rule by the files of this machine, which may have none."""
    from airflow_provider_agents import settings
    from airflow_provider_agents.domain.pr_rule_files import rule_files

    folder = settings.config_folder()
    if folder is None or not folder.is_dir():
        return {}
    return {file.name: file.rule.limits.usd_per_day for file in rule_files(folder) if file.rule is not None}


def today() -> str:
    """Return the UTC day, as the state counts them."""
    return datetime.now(UTC).date().isoformat()


def at(moment: datetime | None) -> str:
    """Return a moment for people: how long ago, or when."""
    from airflow_provider_agents.cli.agent_runs import since

    if moment is None:
        return ""
    now = datetime.now(UTC)
    if moment <= now:
        return f"{since(moment)} ago"
    if moment - now < timedelta(hours=24):
        return f"in {since(now, moment)}"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _unless_refused(read: Callable[[], _Answer]) -> _Answer | None:
    """Return what Variables say; ``None`` with a word to the person where they may not be read, as by a viewer."""
    try:
        return read()
    except ApiError as error:
        if error.status != 403:
            raise
        say(
            "This user may not read Variables, where rules keep what they did and what stands: that is not shown"
        )
        return None


def _rule(dag: Mapping[str, Any], text: str) -> Rule:
    name = _name(dag)
    broken = _BROKEN_TAG in set(_tags(dag))
    description = str(dag.get("description") or "")
    moment = dag.get("next_dagrun_run_after")
    return Rule(
        name=name,
        paused=bool(dag.get("is_paused")),
        broken=broken,
        dry_run=description.endswith(_DRY_RUN),
        fault=description if broken else "",
        sweep_at=datetime.fromisoformat(moment) if moment else None,
        state=_state(name, text),
    )


def _name(dag: Mapping[str, Any]) -> str:
    return str(dag["dag_id"]).removeprefix(DAG_PREFIX)


def _tags(dag: Mapping[str, Any]) -> Iterator[str]:
    for tag in dag.get("tags") or ():
        yield str(tag["name"] if isinstance(tag, dict) else tag)


def _state(name: str, text: str) -> RuleState:
    if not text:
        return RuleState()
    try:
        return RuleState.from_text(text)
    except ValueError as error:
        say(f"Variable {VARIABLE_PREFIX}{name} {error}; the next run of the rule begins anew")
        return RuleState()

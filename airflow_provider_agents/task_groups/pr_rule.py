"""The DAGs of rules: each looks at open pull requests, asks a model about those that changed, and acts within guards."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, AssetOrTimeSchedule, DeltaTriggerTimetable

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.operators.forge import FORGE_RETRY_POLICY
from airflow_provider_agents.operators.pr_rule_act import ActOnPullRequestsOperator
from airflow_provider_agents.operators.pr_rule_audit import decisions_outlet
from airflow_provider_agents.operators.pr_rule_calling import ESCALATION_DAG
from airflow_provider_agents.operators.pr_rule_decide import LABEL_KEY, DecideAboutPullRequestOperator
from airflow_provider_agents.operators.pr_rule_look import LookForPullRequestsOperator
from airflow_provider_agents.operators.start_run import StartRunOperator
from airflow_provider_agents.task_groups.definition_dags import START, broken_dag, definition_dags, raise_all
from airflow_provider_agents.task_groups.pr_rule_page import rule_page
from airflow_provider_agents.triggers.pr_rule_watch import rule_asset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_agents.domain.pr_rule_files import RuleFile

DAG_PREFIX = "pr_rule__"
TAGS = ("agents", "rules")
MOST_QUESTIONS = 4
"""Questions to the model at a time, in each run."""
_ANSWER_SECONDS = 60.0
"""Time of an answer where the rule cannot be read."""


def rule_dags(files: Iterable[RuleFile]) -> tuple[dict[str, DAG], list[str]]:
    """Return the DAGs of rules by id, and every fault of a rule that keeps it from working.

    A rule with faults has its DAG, too, so that its runs can be seen: without a schedule, and its tasks fail with the
    faults. Whatever is wrong with one rule, the others have theirs.

    :param files: the rules as read.
    """
    return definition_dags(files, make=pr_rule_dag, broken=broken_rule_dag)


def raise_faults(files: Iterable[RuleFile]) -> None:
    """Raise if a rule has a fault, or cannot be made a DAG.

    :raises InvalidInputError: names the faults, with file and line.
    """
    raise_all(rule_dags(files)[1], command="airflow agents rules check")


def pr_rule_dag(file: RuleFile) -> DAG:
    """Return the DAG of a rule.

    :param file: the rule, without faults.
    :raises ValueError: it has faults.
    """
    rule = file.rule
    if rule is None:
        raise ValueError(f"{file.place}: has faults")
    asset = rule_asset(file.name, rule)
    dag = DAG(
        f"{DAG_PREFIX}{file.name}",
        dag_display_name=f"Rule: {file.name}",
        description=f"Decides about pull requests by {file.file}{' (dry run)' if rule.dry_run else ''}",
        doc_md=rule_page(file, rule),
        schedule=AssetOrTimeSchedule(
            timetable=DeltaTriggerTimetable(timedelta(seconds=rule.sweep)), assets=[asset]
        ),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=3),
        tags=list(TAGS),
        auto_register=False,
    )
    _graph(dag, file.name, seconds=rule.model.timeout, inlets=[asset])
    return dag


def broken_rule_dag(file: RuleFile, faults: Sequence[str]) -> DAG:
    """Return the DAG of a rule with faults: as the rule's, without a schedule.

    :param file: the rule.
    :param faults: each names file and line.
    """
    dag = broken_dag(f"{DAG_PREFIX}{file.name}", f"Rule: {file.name}", faults, TAGS)
    _graph(dag, file.name, seconds=_ANSWER_SECONDS, inlets=[])
    return dag


def _graph(dag: DAG, name: str, *, seconds: float, inlets: list[Any]) -> None:
    """Add the tasks.

    :param seconds: of an answer of the model.
    """
    with dag:
        look = LookForPullRequestsOperator(task_id="look", rule=name, execution_timeout=timedelta(minutes=20))
        decide = DecideAboutPullRequestOperator.partial(
            task_id="decide",
            rule=name,
            max_active_tis_per_dagrun=MOST_QUESTIONS,
            # Reading the material, beside the model's time.
            execution_timeout=timedelta(seconds=seconds + 300),
            # Of a mapped task, Airflow sees what stands here and not what the operator itself fills in.
            map_index_template=f"{{{{ {LABEL_KEY} }}}}",
            retries=2,
            retry_delay=timedelta(seconds=20),
            retry_policy=FORGE_RETRY_POLICY,
        ).expand(item=look.output)
        act = ActOnPullRequestsOperator(
            task_id="act",
            rule=name,
            # One question that fails is not to keep the other answers from being carried out.
            trigger_rule="all_done",
            # One slot: no two rules, and no two schedulers, act at the same time.
            pool=RULES_POOL,
            inlets=inlets,
            outlets=[decisions_outlet()],
            execution_timeout=timedelta(minutes=30),
        )
        [look, decide] >> act
        StartRunOperator.partial(
            task_id="ask_people",
            trigger_dag_id=ESCALATION_DAG,
            # To Airflow two runs of the same moment would be the same run, and the second be skipped.
            logical_date=None,
            skip_when_already_exists=True,
            retries=2,
            retry_delay=timedelta(seconds=10),
            map_index_template="{{ task.trigger_run_id }}",
        ).expand_kwargs(act.output)

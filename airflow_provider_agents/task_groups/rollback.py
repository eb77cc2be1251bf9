"""The DAG of one rollback: from a degradation that lasts to an application that is well again, or to a person."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, TriggerRule

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.operators.pulled import Pulled
from airflow_provider_agents.operators.rollback_call import CallPersonOperator
from airflow_provider_agents.operators.rollback_candidate import FindCandidateOperator
from airflow_provider_agents.operators.rollback_confirm import ConfirmRollbackOperator
from airflow_provider_agents.operators.rollback_detect import DetectDegradationOperator
from airflow_provider_agents.operators.rollback_land import LandRollbackOperator
from airflow_provider_agents.operators.rollback_open import OpenRollbackOperator
from airflow_provider_agents.task_groups.definition_dags import START, broken_dag, definition_dags, raise_all
from airflow_provider_agents.triggers.argocd_health import health_asset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import Asset

    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
    from airflow_provider_agents.domain.rollback_files import RollbackFile

DAG_PREFIX = "rollback__"
TAGS = ("agents", "rollbacks")
ACTING_PRIORITY = 100

DOC = """\
### Rollback of `{name}`

Watches one application in Argo CD. Where a deployment made it ill, the files of the last good revision come back by a
pull request, which is merged within the same guards as any other.

* `detect` … is it Degraded, for long enough, and are replicas missing?
* `find_candidate` … which revision was good, and is it a change that made it ill?
* `open_pull_request` … one commit, one branch, one pull request
* `land` … checks, a person's yes where one is asked for, the merge
* `confirm` … is it well again?
* `call_person` … runs where any of them ended otherwise; skipped where nobody is needed

Definition: `rollbacks/{name}.yaml`. Trigger it by hand to have it look now.
"""


def rollback_dags(files: Iterable[RollbackFile]) -> tuple[dict[str, DAG], list[str]]:
    """Return the DAGs of rollbacks by id, and every fault of a definition that keeps it from working.

    :param files: the definitions as read.
    """
    return definition_dags(files, make=rollback_dag, broken=_broken_rollback_dag)


def raise_faults(files: Iterable[RollbackFile]) -> None:
    """Raise if a definition has a fault, or cannot be made a DAG.

    :raises InvalidInputError: names the faults, with file and line.
    """
    raise_all(rollback_dags(files)[1], command="airflow agents doctor")


def rollback_dag(file: RollbackFile) -> DAG:
    """Return the DAG of a rollback.

    :param file: its definition, without faults.
    :raises ValueError: it has faults.
    """
    definition = file.definition
    if definition is None:
        raise ValueError(f"{file.place}: has faults")
    asset = health_asset(file.name, definition) if definition.enabled else None
    dag = DAG(
        f"{DAG_PREFIX}{file.name}",
        dag_display_name=f"Rollback: {file.name}",
        description=f"Takes back what made {definition.application} ill{_words(definition)}",
        doc_md=DOC.format(name=file.name),
        schedule=[asset] if asset is not None else None,
        start_date=START,
        catchup=False,
        max_active_runs=1,
        tags=list(TAGS),
        auto_register=False,
    )
    _graph(dag, file.name, inlets=[asset] if asset is not None else [])
    return dag


def _words(definition: RollbackDefinition) -> str:
    if not definition.enabled:
        return " (switched off)"
    return " (dry run)" if definition.dry_run else ""


def _broken_rollback_dag(file: RollbackFile, faults: Sequence[str]) -> DAG:
    dag = broken_dag(f"{DAG_PREFIX}{file.name}", f"Rollback: {file.name}", faults, TAGS)
    _graph(dag, file.name, inlets=[])
    return dag


def _graph(dag: DAG, name: str, *, inlets: list[Asset]) -> None:
    """Add the tasks.

    :param inlets: the asset in whose state store the watcher and the tasks find each other's memory.
    """
    common: dict[str, Any] = {"rollback": name, "execution_timeout": timedelta(minutes=10)}
    # The pool has one slot, and an application that is ill does not wait behind rules that have time.
    acting: dict[str, Any] = {**common, "pool": RULES_POOL, "priority_weight": ACTING_PRIORITY}
    with dag:
        detect = DetectDegradationOperator(task_id="detect", inlets=inlets, **common)
        find = FindCandidateOperator(
            task_id="find_candidate", previous=Pulled(detect.task_id), inlets=inlets, **common
        )
        opened = OpenRollbackOperator(task_id="open_pull_request", previous=Pulled(find.task_id), **acting)
        land = LandRollbackOperator(task_id="land", previous=Pulled(opened.task_id), **acting)
        confirm = ConfirmRollbackOperator(task_id="confirm", previous=Pulled(land.task_id), **common)
        tasks = [detect, find, opened, land, confirm]
        call = CallPersonOperator(
            task_id="call_person",
            tasks=[task.task_id for task in tasks],
            trigger_rule=TriggerRule.ALL_DONE,
            **common,
        )
        detect >> find >> opened >> land >> confirm >> call

"""The DAG of one rollback: from a degradation that lasts to an application that is well again, or to a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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
from airflow_provider_agents.triggers.argocd_health import health_asset

if TYPE_CHECKING:
    from airflow_provider_agents.domain.rollback_files import RollbackFile

DAG_PREFIX = "rollback__"

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


def rollback_dag(file: RollbackFile) -> DAG:
    """Return the DAG of a rollback.

    One whose definition has faults has its DAG, too, without a watcher: `detect` fails and names them.

    :param file: its definition, as read.
    """
    definition = file.definition
    asset = health_asset(file.name, definition) if definition is not None and definition.enabled else None
    with DAG(
        f"{DAG_PREFIX}{file.name}",
        dag_display_name=f"Rollback: {file.name}",
        description=f"Takes back what made {definition.application if definition else file.name} ill",
        doc_md=DOC.format(name=file.name),
        schedule=[asset] if asset is not None else None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["agents", "rollbacks"],
    ) as dag:
        common: dict[str, Any] = {"rollback": file.name, "execution_timeout": timedelta(minutes=10)}
        record: dict[str, Any] = {"inlets": [asset]} if asset is not None else {}
        detect = DetectDegradationOperator(task_id="detect", **common, **record)
        find = FindCandidateOperator(
            task_id="find_candidate", previous=Pulled(detect.task_id), **common, **record
        )
        opened = OpenRollbackOperator(
            task_id="open_pull_request", previous=Pulled(find.task_id), pool=RULES_POOL, **common
        )
        land = LandRollbackOperator(
            task_id="land", previous=Pulled(opened.task_id), pool=RULES_POOL, **common
        )
        confirm = ConfirmRollbackOperator(task_id="confirm", previous=Pulled(land.task_id), **common)
        tasks = [detect, find, opened, land, confirm]
        call = CallPersonOperator(
            task_id="call_person",
            tasks=[task.task_id for task in tasks],
            trigger_rule=TriggerRule.ALL_DONE,
            **common,
        )
        detect >> find >> opened >> land >> confirm >> call
    return dag

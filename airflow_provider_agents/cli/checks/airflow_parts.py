"""Airflow's components, and the DAGs that this provider ships, as the metadata database knows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.report import Finding, failed, ok, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_agents.cli.deployment import Deployment

DAGS = {
    "coding_task": "takes tickets to merged pull requests",
    "pr_review": "reviews pull requests",
    "agents_maintenance": "deletes what runs left in the cluster",
}
"""The shipped DAGs. Only the first has to be there."""
_BUNDLE = "airflow_provider_agents.bundles.AgentsDagBundle"
_STARTS = {"scheduler": "scheduler", "triggerer": "triggerer", "dag_processor": "dag-processor"}
_WITHOUT = {
    "scheduler": "no task is ever started",
    "triggerer": "every step and every wait for a pull request hangs in state deferred",
    "dag_processor": "no DAG is read",
}


def database(deployment: Deployment) -> Iterator[Finding]:
    """Check that the metadata database answers and has Airflow's tables."""
    if said := database_fault():
        yield failed(
            f"the metadata database does not answer: {said}",
            "Check [database] sql_alchemy_conn, and run: airflow db migrate.",
        )
        return
    yield ok("the metadata database answers")


def database_fault() -> str | None:
    """Return why the metadata database cannot be used; ``None``: it can."""
    from airflow.utils.session import create_session
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session() as session:
            session.execute(text("SELECT 1 FROM job WHERE 1 = 0"))
    except SQLAlchemyError as error:
        return str(error.__cause__ or error).splitlines()[0]
    return None


def component(name: str) -> Callable[[Deployment], Iterator[Finding]]:
    """Return the check that a component is alive, by the same heartbeats as Airflow's own health page."""

    def check(deployment: Deployment) -> Iterator[Finding]:
        from airflow.api.common.airflow_health import get_airflow_health

        state = get_airflow_health()[name]
        heartbeat = state.get(f"latest_{name}_heartbeat")
        shown = name.replace("_", " ")
        if state["status"] == "healthy":
            yield ok(f"the {shown} is alive")
            return
        last = f"its last heartbeat was at {heartbeat}" if heartbeat else "it has never run"
        yield failed(
            f"no {shown} is alive: {last}; without it {_WITHOUT[name]}",
            f"Start it: airflow {_STARTS[name]} (or look at its log, if it is running).",
        )

    return check


def dags(deployment: Deployment) -> Iterator[Finding]:
    """Check that the shipped DAGs are there, import, and are not paused."""
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        known = {
            row.dag_id: (row.is_paused, row.is_stale)
            for row in session.scalars(select(DagModel).where(DagModel.dag_id.in_(DAGS)))
        }
        broken = [
            (row.filename or "", (row.stacktrace or "").strip().splitlines())
            for row in session.scalars(select(ParseImportError))
            if any((row.filename or "").endswith(f"{name}.py") for name in DAGS)
        ]
    for filename, trace in broken:
        yield failed(
            f"{filename} does not import: {trace[-1] if trace else 'unknown error'}",
            "Correct what the message names, often a file in [agents] config_path; `airflow dags list-import-errors` "
            "shows all of it.",
            filename,
        )
    for dag_id, purpose in DAGS.items():
        if dag_id not in known or known[dag_id][1]:
            if not any(filename.endswith(f"{dag_id}.py") for filename, _ in broken):
                yield _absent(dag_id, purpose)
        elif known[dag_id][0]:
            paused = f"the DAG {dag_id} is paused: it {purpose}, once it is not"
            yield warning(paused, f"Unpause it: airflow dags unpause {dag_id}.", dag_id)
        else:
            yield ok(f"the DAG {dag_id} is there and not paused", dag_id)


def _absent(dag_id: str, purpose: str) -> Finding:
    entry = {"name": "agents", "classpath": _BUNDLE, "kwargs": {}}
    if _bundle_configured():
        remedy = "Wait until the DAG processor has read the bundle, or look at its log."
    else:
        remedy = f"Add to [dag_processor] dag_bundle_config_list: {json.dumps(entry)}."
    text = f"there is no DAG {dag_id}, which {purpose}"
    return (failed if dag_id == "coding_task" else warning)(text, remedy, dag_id)


def _bundle_configured() -> bool:
    from airflow.sdk.configuration import conf

    return _BUNDLE in str(conf.get("dag_processor", "dag_bundle_config_list", fallback=""))

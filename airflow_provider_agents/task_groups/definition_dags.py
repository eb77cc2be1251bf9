"""One DAG for each definition that people write as a file; a broken one takes no other along.

Airflow takes all DAGs of a file that raises out of service. So the file that makes the DAGs never raises: a definition
with faults has a DAG that says so, and the faults are raised by a file of their own, which makes no DAG.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow.sdk import DAG

from airflow_provider_agents.domain.outbound import code_span
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BROKEN_TAG = "broken"
MOST_FAULTS = 40
"""Faults that the page of import errors shows; the column that keeps them holds 64 kB in MySQL."""
MOST_CHARACTERS = 500
START = datetime(2026, 1, 1, tzinfo=UTC)

_PAGE = """\
### {title} (broken)

Nothing is done by it until its file is mended. The next parse of the DAGs takes it up again.

{faults}
"""


class Definition(Protocol):
    """A file of a definition, as read."""

    @property
    def name(self) -> str:
        """Of the definition; empty where a fault leaves it unknown."""

    @property
    def place(self) -> str:
        """File and line, for people."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Every fault, each with file and line."""


D = TypeVar("D", bound=Definition)


def definition_dags(
    files: Iterable[D], *, make: Callable[[D], DAG], broken: Callable[[D, Sequence[str]], DAG]
) -> tuple[dict[str, DAG], list[str]]:
    """Return the DAGs of definitions by id, and every fault that keeps one from working.

    One with faults has its DAG, too, so that its runs can be seen. Whatever is wrong with one, the others have theirs.

    :param files: the definitions as read.
    :param make: makes the DAG of a definition without faults.
    :param broken: makes that of one with the faults that it is given.
    """
    dags: dict[str, DAG] = {}
    faults: list[str] = []
    ill: dict[str, tuple[D, list[str]]] = {}
    for file in files:
        found = file.faults
        if not found:
            try:
                dag = make(file)
            except Exception as error:  # whatever it is, it is this definition's alone
                found = (f"{file.place}: cannot be made a DAG: {type(error).__name__}: {error}",)
            else:
                dags[dag.dag_id] = dag
        faults += found
        if found and file.name:  # several, where a name is given twice
            ill.setdefault(file.name, (file, []))[1].extend(found)
    for file, its_faults in ill.values():
        dag = broken(file, its_faults)
        dags[dag.dag_id] = dag
    return dags, faults


def broken_dag(dag_id: str, title: str, faults: Sequence[str], tags: Iterable[str]) -> DAG:
    """Return the DAG of a definition with faults, without a schedule and without tasks.

    :param title: for people.
    :param faults: at least one.
    """
    return DAG(
        dag_id,
        dag_display_name=f"{title} (broken)",
        description=faults[0][:900],
        doc_md=_PAGE.format(
            title=title, faults="\n".join(f"- {code_span(fault, MOST_CHARACTERS)}" for fault in faults)
        ),
        schedule=None,
        start_date=START,
        catchup=False,
        max_active_runs=1,
        tags=[*tags, BROKEN_TAG],
        auto_register=False,
    )


def raise_all(faults: Sequence[str], *, command: str) -> None:
    """Raise faults, if there are any, for Airflow's page of import errors.

    :param command: that names all of them, where they are too many for the page.
    :raises InvalidInputError: names the first :data:`MOST_FAULTS` of them.
    """
    if not faults:
        return
    left = len(faults) - MOST_FAULTS
    more = [f"… and {left} more: `{command}` names them all"] if left > 0 else []
    raise InvalidInputError([*(fault[:MOST_CHARACTERS] for fault in faults[:MOST_FAULTS]), *more])

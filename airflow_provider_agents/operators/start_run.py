"""Starting runs of other DAGs with words of outsiders in their conf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

if TYPE_CHECKING:
    from collections.abc import Sequence


class StartRunOperator(TriggerDagRunOperator):
    """Airflow's ``TriggerDagRunOperator``, which takes nothing in its arguments for a template.

    Airflow 3.3 renders what a mapped task is given by ``expand_kwargs``: a title ``{{ conn.github_default.password }}``
    would put the password into the conf of the run that is started.
    """

    template_fields: Sequence[str] = ()

"""How a failing task tells why: an XCom that ``finish`` puts into the run's own reason."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_agents.exceptions import AgentsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

FAILURE_KEY = "failure"


@contextmanager
def leaving_reason(context: Context) -> Iterator[None]:
    """Push the text of an exception of ours as XCom ``failure`` on its way out."""
    try:
        yield
    except AgentsError as error:
        context["ti"].xcom_push(key=FAILURE_KEY, value=str(error))
        raise

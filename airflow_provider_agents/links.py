"""Buttons on a task's page in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PULL_REQUEST_URL_KEY = "pull_request_url"
"""XCom key under which a task leaves the address of its pull request."""

POD_URL_KEY = "pod_url"
"""XCom key under which a step leaves the address where a person can look at its pod."""


class _PushedLink(BaseOperatorLink):
    """A link whose address the task pushes as soon as it knows it.

    The UI reads the same XCom, so that the button works while the task waits.
    """

    key: str

    @property
    def xcom_key(self) -> str:
        """The key that the task itself pushes to."""
        return self.key

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that the task pushed, empty before it did."""
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


class PullRequestLink(_PushedLink):
    """Leads to the pull request that a task is about."""

    name = "Pull request"
    key = PULL_REQUEST_URL_KEY


class AgentPodLink(_PushedLink):
    """Leads to the pod of a step, where ``[agents] pod_url_template`` says how to look at one."""

    name = "Pod"
    key = POD_URL_KEY

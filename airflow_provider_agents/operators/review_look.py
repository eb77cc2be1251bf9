"""The first task of a review run: reads the pull request and decides, without a model, whether to review it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents import settings
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.review_request import parse_review_request, why_not
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.find_preset import find_preset, has_presets
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.domain.review_request import ReviewRequest
    from airflow_provider_agents.hooks.github_client import GitHubClient


class LookAtPullRequestOperator(ForgeMixin, BaseOperator):
    """Read a pull request, and let the review of its present head run where it is wanted.

    :param conf: the request, see :class:`~airflow_provider_agents.domain.review_request.ReviewRequest`;
        ``None``: the run's params. (templated)
    :param review_conn_id: Airflow connection of type ``github`` of the identity that reviews; none: that of
        ``github_conn_id``. (templated)
    :return: what is reviewed: ``repository``, ``number``, ``url``, ``title``, ``base_branch``, ``head_sha``,
        ``fork`` (``owner/name``, empty for a branch of the repository), ``mode``, and ``request`` for the
        review step.
    :raises InvalidInputError: something in the request is wrong; the message names each fault.
    """

    template_fields: Sequence[str] = ("conf", "github_conn_id", "review_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"conf": "json"}
    operator_extra_links = (PullRequestLink(),)
    ui_color = "#e6e0f8"

    def __init__(
        self,
        *,
        conf: Mapping[str, Any] | None = None,
        github_conn_id: str | None = None,
        review_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.conf = conf
        self.github_conn_id = connection_id(github_conn_id)
        self.review_conn_id = review_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        with leaving_reason(context):
            return self._look(context)

    def _look(self, context: Context) -> dict[str, Any]:
        request = self._request(context)
        if request.mode == "off":
            raise AirflowSkipException("Reviews are off.")
        self.github_conn_id = reviewer_connection(self.review_conn_id, self.github_conn_id)
        snapshot, head_repository, reviewed = self.ask_forge(
            request.repository, lambda client: _read(client, request)
        )
        context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=snapshot.url)
        if reason := why_not(request, snapshot, reviewed):
            raise AirflowSkipException(f"{snapshot.url} is not reviewed: {reason}")
        values = request.step_values(snapshot.base_branch)
        if faults := parse_request(values, Bounds())[1]:
            raise InvalidInputError(faults)
        if has_presets():
            base = snapshot.base_sha or snapshot.base_branch
            values["image_preset"] = self.ask_forge(
                request.repository, lambda client: find_preset(client, request.repository, base)
            )
        fork = "" if head_repository.casefold() == request.repository.casefold() else head_repository
        self.log.info("%s at %s%s", snapshot.url, snapshot.head_sha, f", from {fork}" if fork else "")
        return {
            "repository": request.repository,
            "number": snapshot.number,
            "url": snapshot.url,
            "title": snapshot.title,
            "base_branch": snapshot.base_branch,
            "head_sha": snapshot.head_sha,
            "fork": fork,
            "mode": request.mode,
            "request": values,
        }

    def _request(self, context: Context) -> ReviewRequest:
        values = self.conf if self.conf is not None else dict(context["params"])
        if not isinstance(values, Mapping):
            raise InvalidInputError([f"conf: must be a mapping, not {type(values).__name__}"])
        request, faults = parse_review_request(values)
        if request is None:
            raise InvalidInputError(faults)
        return request


def reviewer_connection(review_conn_id: str | None, github_conn_id: str) -> str:
    """Return the connection of the identity that reviews: the one given, the installation's, or the usual one."""
    return review_conn_id or settings.text("review_conn_id") or github_conn_id


async def _read(
    client: GitHubClient, request: ReviewRequest
) -> tuple[PullRequestSnapshot, str, dict[str, datetime]]:
    from airflow_provider_agents.hooks.github_review_calls import description, own_reviews

    repository, number = request.repository, request.pull_request_number
    snapshot = await client.snapshot(repository, number)
    described = await description(client, repository, number)
    reviewed = await own_reviews(client, repository, number, await client.viewer_login())
    return snapshot, described.head_repository, reviewed

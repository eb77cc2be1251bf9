"""Reviews any pull request: look, read, hold where a person is to decide, post."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, TriggerRule

from airflow_provider_agents.domain.pools import STEP_POOL
from airflow_provider_agents.operators.landing_keys import REVIEW_KEY
from airflow_provider_agents.operators.pulled import Pulled
from airflow_provider_agents.operators.review import AgentReviewOperator
from airflow_provider_agents.operators.review_hold import HoldReviewOperator
from airflow_provider_agents.operators.review_look import LookAtPullRequestOperator
from airflow_provider_agents.operators.review_submit import SubmitReviewOperator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta


def pr_review_group(
    group_id: str | None = "pr_review",
    *,
    conf: Mapping[str, Any] | None = None,
    github_conn_id: str | None = None,
    review_conn_id: str | None = None,
    hold_timeout: timedelta | None = None,
    step_arguments: Mapping[str, Any] | None = None,
) -> TaskGroup | None:
    """Add the review of a pull request to the DAG in whose context this is called.

    :param group_id: name of the task group; ``None`` adds the tasks without a group around them.
    :param conf: the request, see :class:`~airflow_provider_agents.domain.review_request.ReviewRequest`
        (templated); ``None``: the run's params.
    :param github_conn_id: Airflow connection of type ``github`` with which the pod reads.
    :param review_conn_id: the same of the identity that reviews; none: ``github_conn_id``.
    :param hold_timeout: how long a draft is held; a week if not given.
    :param step_arguments: further arguments of the review step, e.g. ``kubernetes_conn_id``.
    :return: the task group, if one was made. ``post`` is its only leaf.
    """
    identity: dict[str, Any] = {"github_conn_id": github_conn_id, "review_conn_id": review_conn_id}
    held: dict[str, Any] = {} if hold_timeout is None else {"hold_timeout": hold_timeout}
    group = TaskGroup(group_id, tooltip="A pull request is reviewed") if group_id else None
    with group or nullcontext():
        look = LookAtPullRequestOperator(task_id="look", conf=conf, **identity)
        pull_request = Pulled(look.task_id)
        read = AgentReviewOperator(
            task_id="review",
            pull_request=pull_request,
            post=False,
            **identity,
            **{"pool": STEP_POOL, **(step_arguments or {})},
        )
        review = Pulled(read.task_id, REVIEW_KEY)
        hold = HoldReviewOperator(
            task_id="hold", pull_request=pull_request, review=review, **identity, **held
        )
        post = SubmitReviewOperator(
            task_id="post",
            pull_request=pull_request,
            review=review,
            draft=Pulled(hold.task_id),
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
            **identity,
        )
        look >> read >> [hold, post]
        hold >> post
    return group

"""What a review is given to read, settled once: a retry asks the same question, and so is not paid for again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.digest import StepNote, digest
from airflow_provider_agents.domain.review import findings_of
from airflow_provider_agents.domain.review_text import findings_text
from airflow_provider_agents.domain.untrusted import fence
from airflow_provider_agents.hooks.github_review_calls import description
from airflow_provider_agents.operators.agent_settings import agent_settings
from airflow_provider_agents.operators.landing_keys import REVIEW_KEY
from airflow_provider_agents.operators.pulled import values_of
from airflow_provider_agents.prompts.step_prompts import step_prompt
from airflow_provider_agents.prompts.task_values import task_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from agent_runner.contract import AgentSettings
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot, ReviewThread
    from airflow_provider_agents.hooks.github_client import GitHubClient

_DESCRIPTION_BYTES = 20_000
_TICKET_BYTES = 40_000
_THREADS_BYTES = 12_000
_MOST_THREADS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewMaterial:
    """The head of a review and what the agent is told about it."""

    head_sha: str
    prompt: str

    def to_dict(self) -> dict[str, str]:
        """Return the material as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> ReviewMaterial:
        """Read what :meth:`to_dict` gave."""
        return cls(head_sha=values["head_sha"], prompt=values["prompt"])


async def read_pull_request(
    client: GitHubClient, repository: str, number: int
) -> tuple[PullRequestSnapshot, str]:
    """Return a reading of the pull request, and its description."""
    snapshot = await client.snapshot(repository, number)
    return snapshot, (await description(client, repository, number)).body


def material_of(
    task: CodingTask,
    snapshot: PullRequestSnapshot,
    body: str,
    context: Context,
    *,
    remark: str,
    review_prompt: str,
    earlier_reviews: Sequence[str],
    fixes: Sequence[str],
) -> ReviewMaterial:
    """Return what the agent is told about the head in ``snapshot``.

    :param body: description of the pull request.
    :param remark: what the person who started the run said beside the ticket; trusted.
    :param review_prompt: what to look at; trusted.
    :param earlier_reviews: task ids of the reviews before this one.
    :param fixes: task ids of the fix steps that answered them.
    """
    ticket = task.ticket
    ticket_source = f"{ticket.named}, written by {ticket.author or 'unknown'}" if ticket else ""
    author = f"description of the pull request, by {snapshot.author or 'unknown'}"
    reviews = values_of(context, earlier_reviews, REVIEW_KEY).values()
    values = task_values(task, "review", reviewer_settings(task)) | {
        "pull_request_number": snapshot.number,
        "head_sha": snapshot.head_sha,
        "description": fence(f"{snapshot.title}\n\n{body}", author, most_bytes=_DESCRIPTION_BYTES),
        "ticket": fence(f"{ticket.title}\n\n{ticket.body}", ticket_source, most_bytes=_TICKET_BYTES)
        if ticket
        else "",
        "prompt": remark,
        "review_prompt": review_prompt,
        "findings": findings_text(findings_of(reviews)),
        "answers": _answers(values_of(context, fixes), snapshot),
    }
    return ReviewMaterial(head_sha=snapshot.head_sha, prompt=step_prompt(task, "review", values).text)


def reviewer_settings(task: CodingTask) -> AgentSettings:
    """Return program, model and turns as the prompt names them."""
    request = task.request
    asked = agent_settings(
        task, "review", model=request.review_model, turns=request.review_turns, effort=request.review_effort
    )
    if request.review_agent in (None, asked.program):
        return asked
    return dataclasses.replace(asked, program=request.review_agent, model=request.review_model)


def _answers(fixes: Mapping[str, Any], snapshot: PullRequestSnapshot) -> str:
    notes = [StepNote.of(task_id, result) for task_id, result in fixes.items() if isinstance(result, Mapping)]
    ours = [_thread(thread) for thread in snapshot.threads if thread.comments and thread.comments[0].own]
    text = "\n\n".join(ours[:_MOST_THREADS])
    said = fence(text, "open threads of earlier reviews", most_bytes=_THREADS_BYTES) if ours else ""
    return "\n\n".join(part for part in (digest(notes), said) if part)


def _thread(thread: ReviewThread) -> str:
    where = f"{thread.path}:{thread.line}" if thread.line else thread.path
    replies = [
        f"{comment.author}: {comment.body}" for comment in thread.comments if comment.can_write or comment.own
    ]
    return "\n\n".join([f"At {where}", *replies])

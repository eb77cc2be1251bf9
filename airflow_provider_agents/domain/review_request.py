"""What a person, or a receiver of GitHub's events, asks of the review of one pull request: the run's conf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from airflow_provider_agents.domain.commands import parse_command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

ReviewRunMode = Literal["off", "on_request", "hold", "post"]
REVIEW_RUN_MODES: tuple[ReviewRunMode, ...] = get_args(ReviewRunMode)


class ReviewRequest(BaseModel):
    """The conf of a run that reviews one pull request. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)

    repository: str
    pull_request_number: int = Field(ge=1)
    mode: ReviewRunMode = "hold"
    """``off``: nothing; ``on_request``: where a person asked for it; ``hold``: a person submits the draft;
    ``post``: posted at once."""
    event: str | None = None
    """What started the run, e.g. ``pull_request.synchronize``; ``None``: a person did, by hand."""
    prompt: str | None = None
    agent: str | None = None
    model: str | None = None
    turns: int = Field(default=30, ge=1, le=500)
    budget_usd: float | None = Field(default=None, gt=0, le=100_000)

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    def step_values(self, base_branch: str) -> dict[str, Any]:
        """Return the request as the review step takes it, in the words of a coding task."""
        return {
            "repository": self.repository,
            "prompt": f"Review pull request #{self.pull_request_number}.",
            "base_branch": base_branch,
            "work_branch": f"pull/{self.pull_request_number}/head",
            "review_agent": self.agent,
            "review_model": self.model,
            "review_turns": self.turns,
            "review_prompt": self.prompt,
            "budget_usd": self.budget_usd,
        }


def parse_review_request(values: Mapping[str, Any]) -> tuple[ReviewRequest | None, list[str]]:
    """Read the conf of a run.

    :return: the request, or ``None`` and every fault found, each naming its field.
    """
    try:
        return ReviewRequest.model_validate(dict(values)), []
    except ValidationError as error:
        return None, [
            f"{'.'.join(map(str, fault['loc'])) or 'conf'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]


def why_not(
    request: ReviewRequest, snapshot: PullRequestSnapshot, reviewed: Mapping[str, datetime]
) -> str | None:
    """Say why the pull request is not to be reviewed now; ``None`` where it is.

    :param reviewed: head → when we last reviewed it.
    """
    if request.mode == "off":
        return "Reviews are off."
    if snapshot.state != "OPEN":
        return f"The pull request is {snapshot.state.lower()}."
    if (at := reviewed.get(snapshot.head_sha)) is not None:
        return f"{snapshot.head_sha[:12]} was reviewed {at:%Y-%m-%d %H:%M}; a head is reviewed once."
    if request.event is None or _asked_for(snapshot, reviewed):
        return None
    if request.mode == "on_request":
        return "Nobody with write access wrote /review since the last review."
    if snapshot.draft:
        return "It is a draft; write /review for a review of it."
    return None


def _asked_for(snapshot: PullRequestSnapshot, reviewed: Mapping[str, datetime]) -> bool:
    """Tell whether a person with write access wrote ``/review`` since the last review."""
    last = max(reviewed.values(), default=None)
    for comment in snapshot.comments:
        command = parse_command(comment)
        if command is None or command.name != "review":
            continue
        if last is None or (comment.created_at is not None and comment.created_at > last):
            return True
    return False

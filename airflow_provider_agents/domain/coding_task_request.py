"""What a person asks for: :class:`CodingTaskRequest`, the one definition of a run's conf.

The trigger form, its checks and the docs are made from it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.run_settings import (
    Bounds,
    Effort,
    RunSettings,
    checked_branch,
    checked_repository,
    form_field,
    list_items,
)
from airflow_provider_agents.domain.source_definition import NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_PROMPT_BYTES", "Bounds", "CodingTaskRequest", "Effort", "parse_request"]

MAX_PROMPT_BYTES = 100_000
"""Largest prompt of a run, in bytes of UTF-8. GitHub's own limit for an issue is 65,536 characters."""


class TicketFields(BaseModel):
    """What one run is about; what :class:`~.run_settings.RunSettings` does not have."""

    model_config = ConfigDict(frozen=True)

    repository: str = Field(
        description="Repository to work in, as `owner/name`.",
        max_length=140,
        json_schema_extra=form_field("Ticket", "Repository"),
    )
    issue_number: int | None = Field(
        default=None,
        ge=1,
        description="Issue to resolve. It is closed when the pull request is merged.",
        json_schema_extra=form_field("Ticket", "Issue number"),
    )
    prompt: str | None = Field(
        default=None,
        description="What to do, where there is no issue; beside an issue, a remark that is added to it.",
        json_schema_extra=form_field("Ticket", "Prompt", format="multiline"),
    )
    work_branch: str | None = Field(
        default=None,
        description="Branch that the agent pushes to. Empty: `ai/<task>`, one of its own for each run.",
        json_schema_extra=form_field("Branches", "Work branch"),
    )
    priority: int = Field(
        default=0,
        ge=-1_000_000,
        le=1_000_000,
        description="Where runs wait for their turn: the higher, the earlier.",
        json_schema_extra=form_field("Ticket", "Priority"),
    )

    ticket_source: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        description="Set by a ticket sync: the source that brought the ticket, as of `tickets/<name>.yaml`.",
        json_schema_extra=form_field("Ticket of a source", "Source"),
    )
    ticket_id: str | None = Field(
        default=None,
        max_length=300,
        description="Set by a ticket sync: the ticket there, by the tracker's own id; in place of an issue number.",
        json_schema_extra=form_field("Ticket of a source", "Id"),
    )
    ticket_key: str | None = Field(
        default=None,
        max_length=300,
        description="Set by a ticket sync: the same as people write it, e.g. `acme/shop#7`; for lists of runs.",
        json_schema_extra=form_field("Ticket of a source", "Key"),
    )
    ticket_asks: tuple[str, ...] = Field(
        default=(),
        max_length=1_000,
        description="Set by a ticket sync: the asks that the run answers.",
        json_schema_extra=form_field("Ticket of a source", "Asks"),
    )
    ticket_digest: str | None = Field(
        default=None,
        max_length=64,
        description="Set by a ticket sync: hash of the text that was asked for; the run does not begin on another one.",
        json_schema_extra=form_field("Ticket of a source", "Digest"),
    )

    @field_validator("repository")
    @classmethod
    def _repository_form(cls, value: str) -> str:
        return checked_repository(value)

    @field_validator("work_branch")
    @classmethod
    def _work_branch_form(cls, value: str | None) -> str | None:
        return None if value is None else checked_branch(value)

    @field_validator("ticket_asks", mode="before")
    @classmethod
    def _asks(cls, value: Any) -> Any:
        return list_items(value)

    @field_validator("prompt")
    @classmethod
    def _prompt_size(cls, value: str | None) -> str | None:
        if value and (size := len(value.encode())) > MAX_PROMPT_BYTES:
            raise PydanticCustomError(
                "prompt",
                "has {size} bytes, at most {most}; put long material into the repository or an issue",
                {"size": f"{size:,}", "most": f"{MAX_PROMPT_BYTES:,}"},
            )
        return value


class CodingTaskRequest(RunSettings, TicketFields):
    """What a person asks for: the run's conf. Unknown keys are refused."""

    @model_validator(mode="after")
    def _something_to_do(self) -> CodingTaskRequest:
        if self.issue_number is None and self.ticket_source is None and not self.prompt:
            raise PydanticCustomError("ticket", "give an issue_number or a prompt (both are empty)")
        if (self.ticket_source is None) != (self.ticket_id is None):
            raise PydanticCustomError("ticket", "ticket_source and ticket_id go together")
        if self.ticket_source is not None and self.issue_number is not None:
            raise PydanticCustomError("ticket", "give an issue_number or a ticket_source, not both")
        if self.work_branch is not None and self.work_branch == self.base_branch:
            raise PydanticCustomError("branch", "work_branch must differ from base_branch")
        return self

    @property
    def policy(self) -> LandingPolicy:
        """The landing policy of the request."""
        return LandingPolicy(
            auto_merge=self.auto_merge and not self.draft,
            merge_method=self.merge_method,
            github_auto_merge=self.github_auto_merge,
            auto_merge_max_risk=self.auto_merge_max_risk,
            update_branch=self.update_branch,
            no_checks=self.no_checks,
            no_checks_grace_seconds=self.no_checks_grace_seconds,
            settle_seconds=self.settle_seconds,
            rerun_flaky=self.rerun_flaky,
            max_rounds=self.max_rounds,
            max_rounds_per_reason=self.max_rounds_per_reason,
            hold_labels=self.hold_labels,
            freeze=self.freeze,
            review=self.review,
            resolve_threads=self.resolve_threads,
        )


def parse_request(values: Mapping[str, Any], bounds: Bounds) -> tuple[CodingTaskRequest | None, list[str]]:
    """Read the conf of a run.

    :return: the request, or ``None`` and every fault found, each naming its field.
    """
    try:
        return CodingTaskRequest.model_validate(_within(values, bounds), context=bounds), []
    except ValidationError as error:
        return None, [_fault_text(fault) for fault in error.errors(include_url=False)]


def _within(values: Mapping[str, Any], bounds: Bounds) -> dict[str, Any]:
    """Fill in the defaults of the bounded fields, which a small installation may have set lower."""
    defaults = {
        "max_attempts": min(3, bounds.max_attempts),
        "max_rounds": min(5, bounds.max_rounds),
    }
    return {**defaults, **values}


def _fault_text(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "conf"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(sorted(CodingTaskRequest.model_fields))
        return f"{where}: unknown key; known keys are {known}"
    if fault["type"] == "missing" or fault["input"] is None:
        return f"{where}: is missing"
    message = re.sub(r"^Value error, ", "", fault["msg"])
    shown = repr(fault["input"])
    return f"{where}: {message}" + (f" (given: {shown})" if len(shown) <= 80 and where != "conf" else "")

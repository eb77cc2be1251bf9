"""How a run works, whatever its ticket: :class:`RunSettings`, the one definition of each such setting.

The trigger form, ``repositories.yaml`` and ``.agents.yaml`` are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from agent_runner.contract import PROGRAM_PATTERN, REPOSITORY_PATTERN, branch_fault
from airflow_provider_agents.domain.freeze import freeze_faults
from airflow_provider_agents.domain.image_preset import ImagePreset  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.landing_policy import ReviewMode  # noqa: TC001 (read at run time)

_CPU = r"^([1-9][0-9]*m|[1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*)$"
_MEMORY = r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
_MODEL = r"^[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]*$"

Effort = Literal["low", "medium", "high", "xhigh", "max"]


ContextWindow = Literal["200k", "1m"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Parse-time bounds: how many attempts and rounds the graph has."""

    max_attempts: int = 3
    max_rounds: int = 5
    granted_rounds: int = 2
    """Further rounds, for those that people add."""


def form_field(section: str, title: str, **extra: Any) -> dict[str, Any]:
    return {"section": section, "title": title, **extra}


def checked_repository(value: str) -> str:
    """Return a repository's name, or raise the fault of a validator."""
    if not REPOSITORY_PATTERN.fullmatch(value) or value.split("/")[1] in (".", ".."):
        raise PydanticCustomError("repository", "must be owner/name, not a URL or a path")
    return value


def checked_branch(value: str) -> str:
    """Return a branch's name, or raise the fault of a validator."""
    if fault := branch_fault(value):
        raise PydanticCustomError("branch", "{fault}", {"fault": fault})
    return value


def list_items(value: Any) -> Any:
    """Return a list of the trigger form as its items: one that was emptied is null, an empty line is no item."""
    if value is None:
        return ()
    if isinstance(value, list | tuple):
        return tuple(item for item in value if not isinstance(item, str) or item.strip())
    return value


class RunSettings(BaseModel):
    """How a run works. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True, allow_inf_nan=False)

    base_branch: str = Field(
        default="main",
        description="Branch that the pull request is merged into.",
        json_schema_extra=form_field("Branches", "Base branch"),
    )
    read_repositories: tuple[str, ...] | None = Field(
        default=None,
        max_length=20,
        description="Further repositories, as `owner/name`, that the agent may fetch: submodules, shared "
        "libraries.",
        json_schema_extra=form_field("Branches", "Further repositories"),
    )
    submodules: bool = Field(
        default=True,
        description="Check out submodules: those in `repository` and `read_repositories`; others are left out.",
        json_schema_extra=form_field("Branches", "Submodules"),
    )
    lfs: bool = Field(
        default=True,
        description="Get the content of files in Git LFS. Off: they stay pointers.",
        json_schema_extra=form_field("Branches", "Large files (Git LFS)"),
    )
    agent: str | None = Field(
        default=None,
        pattern=f"^{PROGRAM_PATTERN.pattern}$",
        description="Agent program: `claude`, `codex`, `command`, or one that the image adds. "
        "Empty: `[agents] agent`.",
        json_schema_extra=form_field("Agent", "Program"),
    )
    plan_model: str | None = Field(
        default=None,
        pattern=_MODEL,
        max_length=100,
        description="Model that plans. Empty: the default of the installation, else of the agent program.",
        json_schema_extra=form_field("Agent", "Model: plan"),
    )
    implement_model: str | None = Field(
        default=None,
        pattern=_MODEL,
        max_length=100,
        description="Model that implements.",
        json_schema_extra=form_field("Agent", "Model: implement"),
    )
    fix_model: str | None = Field(
        default=None,
        pattern=_MODEL,
        max_length=100,
        description="Model that answers failing checks, conflicts and reviews.",
        json_schema_extra=form_field("Agent", "Model: fix"),
    )
    effort: Effort | None = Field(
        default=None,
        description="How much the model thinks, where it takes such a setting.",
        json_schema_extra=form_field("Agent", "Effort", unset="default of the program"),
    )
    plan_effort: Effort | None = Field(
        default=None,
        description="Effort of the step `plan`. Empty: `effort`.",
        json_schema_extra=form_field("Agent", "Effort: plan", unset="as `effort`"),
    )
    implement_effort: Effort | None = Field(
        default=None,
        description="Effort of the step `implement`. Empty: `effort`.",
        json_schema_extra=form_field("Agent", "Effort: implement", unset="as `effort`"),
    )
    fix_effort: Effort | None = Field(
        default=None,
        description="Effort of the step `fix`. Empty: `effort`.",
        json_schema_extra=form_field("Agent", "Effort: fix", unset="as `effort`"),
    )
    context_window: ContextWindow | None = Field(
        default=None,
        description="How much the model keeps in mind, in tokens: `1m` where the model has such a variant; `200k` "
        "keeps it from more, which costs less. Claude Code only.",
        json_schema_extra=form_field("Agent", "Context window", unset="default of the program"),
    )
    thinking: str | None = Field(
        default=None,
        pattern=r"^(on|off|[1-9][0-9]{3,5})$",
        description="Whether the model thinks before it answers: `on`, `off`, or the most tokens of one thought, e.g. "
        "`8000`. Empty: default of the program. Claude Code only.",
        json_schema_extra=form_field("Agent", "Thinking"),
    )
    plan_turns: int = Field(
        default=15,
        ge=1,
        le=500,
        description="Most model turns of the plan. The agent is told its turns.",
        json_schema_extra=form_field("Agent", "Turns: plan"),
    )
    implement_turns: int = Field(
        default=50,
        ge=1,
        le=500,
        description="Most model turns of one attempt.",
        json_schema_extra=form_field("Agent", "Turns: implement"),
    )
    fix_turns: int = Field(
        default=50,
        ge=1,
        le=500,
        description="Most model turns of one fix round.",
        json_schema_extra=form_field("Agent", "Turns: fix"),
    )
    budget_usd: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="Most that all model calls of the run may cost, in USD. Empty: `[agents] budget_usd`.",
        json_schema_extra=form_field("Budget", "Budget (USD)"),
    )
    budget_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Most tokens that all model calls of the run may use, cached ones included. Empty: no limit.",
        json_schema_extra=form_field("Budget", "Budget (tokens)"),
    )
    run_setup: bool = Field(
        default=True,
        description="Run the repository's set-up script, `.agents/setup.sh`, before the agent; off: leave it out.",
        json_schema_extra=form_field("Tests", "Run the set-up script"),
    )
    run_tests: bool = Field(
        default=True,
        description="Run the repository's tests after each attempt; off: open the pull request at once.",
        json_schema_extra=form_field("Tests", "Run tests"),
    )
    test_command: str | None = Field(
        default=None,
        max_length=2_000,
        description="Shell command that tests the repository; exit code 0 is a pass. Empty: found from its files.",
        json_schema_extra=form_field("Tests", "Test command"),
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="Most implement-and-test attempts. Up to `[agents] max_attempts`.",
        json_schema_extra=form_field("Tests", "Attempts"),
    )
    draft: bool = Field(
        default=False,
        description="Open the pull request as a draft, and wait until a person marks it ready.",
        json_schema_extra=form_field("Pull request", "Draft"),
    )
    auto_merge: bool = Field(
        default=True,
        description="Merge when checks and reviews pass; off: a person merges, and the run waits for it.",
        json_schema_extra=form_field("Merge", "Merge automatically"),
    )
    merge_method: Literal["squash", "merge", "rebase"] = Field(
        default="squash",
        description="How the pull request is merged.",
        json_schema_extra=form_field("Merge", "Merge method"),
    )
    github_auto_merge: bool = Field(
        default=False,
        description="Let GitHub's own auto-merge merge it while required checks still run. Without required "
        "checks it is not used.",
        json_schema_extra=form_field("Merge", "GitHub's auto-merge"),
    )
    auto_merge_max_risk: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Highest risk score that is merged without a person. Empty: any.",
        json_schema_extra=form_field("Merge", "Highest risk"),
    )
    update_branch: bool = Field(
        default=True,
        description="Bring the branch up to date with its base where the branch rules ask for it.",
        json_schema_extra=form_field("Merge", "Update the branch"),
    )
    hold_labels: tuple[str, ...] = Field(
        default=("do-not-merge",),
        max_length=20,
        description="Labels that keep the pull request from being merged.",
        json_schema_extra=form_field("Merge", "Holding labels"),
    )
    freeze: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        description="Times in which nothing is merged: `2026-12-20/2027-01-04`, "
        "`Fri 16:00 - Mon 08:00 Europe/Berlin`.",
        json_schema_extra=form_field("Merge", "Freeze windows"),
    )
    delete_branch: bool = Field(
        default=True,
        description="Delete the work branch after the merge.",
        json_schema_extra=form_field("Merge", "Delete the branch"),
    )
    settle_seconds: int = Field(
        default=30,
        ge=0,
        le=3600,
        description='Seconds since the last check appeared or ended before "all passed" is believed.',
        json_schema_extra=form_field("Checks", "Settling time (seconds)"),
    )
    no_checks_grace_seconds: int = Field(
        default=120,
        ge=0,
        le=24 * 3600,
        description="Seconds that the first check of a new head may take to appear.",
        json_schema_extra=form_field("Checks", "Grace for the first check (seconds)"),
    )
    rerun_flaky: bool = Field(
        default=True,
        description="Run failed checks of a head again, once, where something speaks for a flake.",
        json_schema_extra=form_field("Checks", "Run flaky checks again"),
    )
    max_rounds_per_reason: int = Field(
        default=3,
        ge=0,
        description="Most fix rounds for one reason among failing checks, conflicts, merge queue and review agent.",
        json_schema_extra=form_field("Pull request", "Fix rounds for one reason"),
    )
    resolve_threads: Literal["never", "answered"] = Field(
        default="never",
        description="Resolve review threads once a fix round answered them, or leave that to people.",
        json_schema_extra=form_field("Review", "Resolve threads"),
    )
    review: ReviewMode = Field(
        default="off",
        description="When the review agent reads a head. Its verdict gates the merge.",
        json_schema_extra=form_field("Review", "Review agent"),
    )
    review_agent: str | None = Field(
        default=None,
        pattern=f"^{PROGRAM_PATTERN.pattern}$",
        description="Agent program that reviews. Empty: the one that implements.",
        json_schema_extra=form_field("Review", "Program: review"),
    )
    review_model: str | None = Field(
        default=None,
        pattern=_MODEL,
        max_length=100,
        description="Model that reviews.",
        json_schema_extra=form_field("Review", "Model: review"),
    )
    review_effort: Effort | None = Field(
        default=None,
        description="Effort of the step `review`. Empty: `effort`.",
        json_schema_extra=form_field("Review", "Effort: review", unset="as `effort`"),
    )
    review_turns: int = Field(
        default=30,
        ge=1,
        le=500,
        description="Most model turns of one review.",
        json_schema_extra=form_field("Review", "Turns: review"),
    )
    review_budget_usd: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="Most that one review may spend of what the run has left, in USD. Empty: all of it.",
        json_schema_extra=form_field("Review", "Budget: review (USD)"),
    )
    review_prompt: str | None = Field(
        default=None,
        max_length=20_000,
        description="What the review agent is to look at, beside its own instructions.",
        json_schema_extra=form_field("Review", "Prompt: review", format="multiline"),
    )
    escalate: Literal["ask", "fail"] = Field(
        default="ask",
        description="Where the landing is stuck: ask a person, here and on the pull request, or fail the run.",
        json_schema_extra=form_field("People", "When stuck"),
    )
    plan_approval: bool = Field(
        default=False,
        description="Ask a person to approve the plan, here and on the ticket, before anything is changed.",
        json_schema_extra=form_field("People", "Approve the plan"),
    )
    plan_rounds: int = Field(
        default=3,
        ge=1,
        le=3,
        description="Most plans, each answering what people said to the last one.",
        json_schema_extra=form_field("People", "Plans"),
    )
    max_rounds: int = Field(
        default=5,
        ge=0,
        description="Most rounds in which failing checks, conflicts and reviews go back to the agent. "
        "Up to `[agents] max_rounds`.",
        json_schema_extra=form_field("Pull request", "Fix rounds"),
    )
    no_checks: Literal["escalate", "merge", "wait"] = Field(
        default="escalate",
        description="What to do when no check ever starts on the pull request.",
        json_schema_extra=form_field("Checks", "Without checks"),
    )
    land_timeout: float = Field(
        default=168,
        gt=0,
        le=24 * 60,
        description="Hours that one gate waits for checks, reviews and merge before it gives up.",
        json_schema_extra=form_field("Pull request", "Landing timeout (hours)"),
    )
    image: str | None = Field(
        default=None,
        max_length=500,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$",
        description="Image of the agent's pods. Empty: `[agents] image`.",
        json_schema_extra=form_field("Pod", "Image"),
    )
    image_preset: ImagePreset | None = Field(
        default=None,
        description="Toolchains of the image, where `[agents] image` contains `{preset}`. Empty: found from the "
        "files in the repository's root. Without effect beside `image`.",
        json_schema_extra=form_field("Pod", "Image preset", unset="found from the repository's files"),
    )
    cpu: str = Field(
        default="4",
        pattern=_CPU,
        description="CPU limit of a step's agent container, e.g. `4` or `500m`; half of it is requested.",
        json_schema_extra=form_field("Pod", "CPU"),
    )
    memory: str = Field(
        default="8Gi",
        pattern=_MEMORY,
        description="Memory limit of a step's agent container, e.g. `8Gi`; half of it is requested.",
        json_schema_extra=form_field("Pod", "Memory"),
    )
    workspace_size: str | None = Field(
        default=None,
        pattern=_MEMORY,
        description="Size of the claim that keeps the run's checkout and session, e.g. `10Gi`. "
        "Empty: `[agents] workspace_size`.",
        json_schema_extra=form_field("Pod", "Workspace size"),
    )
    step_timeout: float = Field(
        default=30,
        gt=0,
        le=24 * 60,
        description="Minutes that one step may take, counted from the start of its agent container.",
        json_schema_extra=form_field("Pod", "Step timeout (minutes)"),
    )
    stall_timeout: float = Field(
        default=5,
        gt=0,
        le=24 * 60,
        description="Minutes without a sign of life after which an agent is stopped and told to go on; while "
        "one of its tools runs, twice as long.",
        json_schema_extra=form_field("Pod", "Stall timeout (minutes)"),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("read_repositories", "hold_labels", "freeze", mode="before")
    @classmethod
    def _items(cls, value: Any, info: ValidationInfo) -> Any:
        return value if value is None and info.field_name == "read_repositories" else list_items(value)

    @field_validator("read_repositories")
    @classmethod
    def _repositories_form(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(checked_repository(name) for name in value)

    @field_validator("base_branch")
    @classmethod
    def _branch_form(cls, value: str) -> str:
        return checked_branch(value)

    @field_validator("freeze")
    @classmethod
    def _freeze_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faults := freeze_faults(value):
            raise PydanticCustomError("freeze", "{faults}", {"faults": "; ".join(faults)})
        return value

    @field_validator("max_attempts", "max_rounds")
    @classmethod
    def _within_bounds(cls, value: int, info: ValidationInfo) -> int:
        most = (
            getattr(info.context, info.field_name or "", None) if isinstance(info.context, Bounds) else None
        )
        if most is not None and value > most:
            raise PydanticCustomError(
                "bound",
                "is over the bound {most} ([agents] {field} of this installation)",
                {"most": most, "field": info.field_name},
            )
        return value

    @field_validator("thinking", mode="before")
    @classmethod
    def _thinking_text(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return "on" if value else "off"
        return str(value) if isinstance(value, int) else value

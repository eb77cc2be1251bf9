"""The variables of the prompts' templates: one definition, of which their check, samples and documentation are made.

A template of any step may use each of them: where a step has no such value, it is empty (``""``, ``None``, ``False``,
an empty list), so that ``{% if plan %}`` is right everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.untrusted import fence

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["text", "fenced", "number", "flag", "list", "record", "records"]
"""``list``: of texts; ``record``: with fields; ``records``: a list of such."""
PromptStep = Literal["plan", "implement", "fix", "review"]

STEPS: tuple[PromptStep, ...] = ("plan", "implement", "fix", "review")
"""Steps that have a template."""

MOST_ENTRIES = 100
"""Entries that a variable of the kind ``list`` has at the most."""

_EMPTY: dict[Kind, Any] = {
    "text": "",
    "fenced": "",
    "number": None,
    "flag": False,
    "list": (),
    "record": None,
    "records": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A name that a template may use."""

    name: str
    kind: Kind
    """``fenced``: text of outsiders, models or programs between markers, which a template can place, but not change."""
    description: str
    """One sentence in Markdown."""
    sample: Any
    steps: tuple[PromptStep, ...] = STEPS
    """Steps in which it may have a value."""
    fields: tuple[tuple[str, Kind], ...] = field(default=())
    """Of a ``record``: what stands behind its dot."""
    entries: Mapping[str, tuple[tuple[str, Kind], ...]] = field(default_factory=dict)
    """Of a ``record``: the fields of each entry, by the name of a field of the kind ``records``."""

    @property
    def empty(self) -> Any:
        """Its value where there is none."""
        return _EMPTY[self.kind]


def _all(kind: Kind, name: str, sample: Any, description: str) -> Variable:
    return Variable(name=name, kind=kind, sample=sample, description=description)


def _of(steps: tuple[PromptStep, ...], kind: Kind, name: str, sample: Any, description: str) -> Variable:
    return Variable(name=name, kind=kind, sample=sample, description=description, steps=steps)


_IMPLEMENT_FIX: tuple[PromptStep, ...] = ("implement", "fix")

VARIABLES: tuple[Variable, ...] = (
    _all("text", "step", "implement", "The step: `plan`, `implement`, `fix` or `review`."),
    _all("text", "task_id", "issue-7-1a2b3c4d", "Name of the task, one for each run."),
    _all(
        "fenced",
        "title",
        fence("The basket is empty after a reload", "title, written by mona"),
        "Title of the ticket, or first line of `prompt`: one line between its markers.",
    ),
    _all(
        "fenced",
        "ticket",
        fence("The basket is empty after a reload\n\nSteps: …", "issue #7, written by mona"),
        "The ticket: title, body, and what else of it the agent is given. Empty: the run has only a `prompt`.",
    ),
    _all("text", "ticket_key", "acme/shop#7", "The ticket as people write it: `acme/shop#7`, `ENG-12`."),
    _all(
        "number",
        "issue_number",
        7,
        "Number of the issue. Empty: the ticket is in another tracker, or there is none.",
    ),
    _all(
        "text",
        "prompt",
        "Keep the public interface.",
        "What the person who started the run wrote: the task, or a remark beside the ticket.",
    ),
    _all("text", "repository", "acme/shop", "`owner/name`."),
    _all("text", "repository_name", "shop", "The name without its owner."),
    _all("text", "branch", "ai/issue-7-1a2b3c4d", "The work branch."),
    _all("text", "base_branch", "main", "Branch that the pull request is merged into."),
    _of(("fix", "review"), "number", "pull_request_number", 12, "Number of the pull request."),
    _all("flag", "auto_merge", True, "Whether the run merges by itself."),
    _all("flag", "draft", False, "Whether the pull request is a draft."),
    _all("flag", "plan_approval", True, "Whether a person approves the plan before anything is changed."),
    _all(
        "text", "test_command", "make test", "Command that tests the repository. Empty: found from its files."
    ),
    _all("text", "agent", "claude", "Agent program."),
    _all("text", "model", "opus", "Model. Empty: the program's default."),
    _all("number", "max_turns", 50, "Most model turns of the step. Empty: no limit of the step."),
    _all("list", "read_repositories", ("acme/lib",), "Further repositories that the agent may fetch."),
    _all(
        "list",
        "protected_paths",
        ("deploy/**",),
        "Paths that no push may change, as the repository's settings say.",
    ),
    _all("list", "labels", ("agent",), "Labels that the pull request is given."),
    _all(
        "flag",
        "resumed",
        False,
        "Whether the agent knows what an earlier step told it: its session goes on, and only what is new is to be said.",
    ),
    _of(("implement",), "number", "attempt", 2, "Number of this attempt, from 1. Empty: there is only one."),
    _of(("implement",), "number", "attempts", 3, "Most attempts."),
    _of(("fix",), "number", "round", 1, "Number of this fix round, from 1. Empty: there is only one."),
    _of(("fix",), "number", "rounds", 5, "Most fix rounds."),
    _of(
        _IMPLEMENT_FIX,
        "fenced",
        "plan",
        fence("Keep the basket in the session.", "plan of an earlier step"),
        "The plan.",
    ),
    _of(
        ("plan",),
        "fenced",
        "earlier_plan",
        fence("Keep the basket in a cookie.", "plan of an earlier step"),
        "The last plan, which was not approved.",
    ),
    _of(
        ("plan", "fix"),
        "fenced",
        "feedback",
        fence("Please look at the time zone, too.", "review by hubot, changes requested"),
        "In `plan` what people said to the last plan, in `fix` all that the round has to answer.",
    ),
    _of(
        ("implement",),
        "fenced",
        "decided",
        fence("- Store: session", "choices of the plan"),
        "What people chose and said when they approved the plan.",
    ),
    Variable(
        name="failure",
        kind="record",
        description="The failed tests of the last attempt: `failure.command`, `failure.exit_code`, `failure.output`.",
        sample={
            "command": fence("make test", "test command"),
            "exit_code": 2,
            "output": fence("FAILED test_basket", "test output"),
        },
        steps=("implement",),
        fields=(("command", "fenced"), ("exit_code", "number"), ("output", "fenced")),
    ),
    _of(
        _IMPLEMENT_FIX,
        "fenced",
        "history",
        fence("build.attempt_1.implement: succeeded", "what was done so far in this task"),
        "What earlier steps did, for an agent that was not there.",
    ),
    _of(
        ("fix",),
        "fenced",
        "reason",
        fence("Checks failed: tests", "why it is not merged"),
        "Why the pull request is not merged, in a sentence.",
    ),
    _of(("fix",), "flag", "conflict", True, "Whether the branch conflicts with its base."),
    _of(("review",), "text", "head_sha", "a" * 40, "The commit that is reviewed."),
    _of(
        ("review",),
        "fenced",
        "description",
        fence("Keep the basket\n\nCloses #7.", "description of the pull request, by agents-bot"),
        "Title and description of the pull request.",
    ),
    _of(
        ("review",),
        "text",
        "review_prompt",
        "Look at the migrations first.",
        "The setting `review_prompt`: what to look at.",
    ),
    _of(
        ("review",),
        "fenced",
        "findings",
        fence("1. Divides by zero (high)", "findings of earlier reviews"),
        "What earlier reviews found.",
    ),
    _of(
        ("review",),
        "fenced",
        "answers",
        fence("Fixed in the last commit.", "open threads of earlier reviews"),
        "What was said and done in answer to them.",
    ),
)

BY_NAME: Mapping[str, Variable] = {variable.name: variable for variable in VARIABLES}


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every variable: that of ``values``, else its empty one.

    :raises ValueError: a value has the name of no variable.
    """
    if unknown := sorted(set(values) - set(BY_NAME)):
        raise ValueError(f"no variable of the prompts: {', '.join(unknown)}")
    return {name: values.get(name, variable.empty) for name, variable in BY_NAME.items()}


def samples(step: PromptStep) -> dict[str, Any]:
    """Return a sample of every variable that may have a value in a step; the others are empty."""
    found = {name: each.sample if step in each.steps else each.empty for name, each in BY_NAME.items()}
    return {**found, "step": step}

"""The prompt of a step: its template, its values, and its limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.prompt_fit import (
    RESUME_BYTES,
    SPEC_BYTES,
    Fitted,
    TooLongError,
    fit,
    window_bytes,
    written_size,
)
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.prompts.templates import StepTemplate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.prompt_variables import PromptStep

log = logging.getLogger(__name__)


def template_of(task: CodingTask, step: PromptStep) -> StepTemplate:
    """Return the template of a step: that of the repository's settings, else the shipped one.

    :raises InvalidInputError: the settings name a file that nobody has read: the task was not accepted.
    """
    override = getattr(task.platform.prompts, step)
    if override is not None and not isinstance(override, str):
        raise InvalidInputError([f"prompts.{step}: its file is read by `accept`; give the text"])
    return StepTemplate(step, override)


def step_prompt(
    task: CodingTask,
    step: PromptStep,
    values: Mapping[str, Any],
    *,
    resume_prompt: str = "",
    template: StepTemplate | None = None,
) -> Fitted:
    """Return the prompt of a step, with as much of its parts as the step's specification and the model take.

    :param values: of the template's variables; with ``resumed`` it is what is said to an agent whose session goes on.
    :param resume_prompt: what is said then, which shares the specification.
    :param template: in the place of :func:`template_of`.
    :raises InvalidInputError: the template is faulty, or what may not be cut is too long.
    """
    template = template or template_of(task, step)
    room = RESUME_BYTES if values.get("resumed") else SPEC_BYTES - written_size(resume_prompt)
    most = min(room, window_bytes(task.request.context_window))
    try:
        found = fit(template.render, values, most)
    except TooLongError as error:
        raise InvalidInputError(
            [f"{template.name}: the prompt has {error}; make the template shorter"]
        ) from None
    if found.left_out:
        log.warning("The prompt of %s was cut: %s", step, "; ".join(found.left_out))
    return found

"""The agents' instructions: one template a step, which a repository's settings may replace.

Everything that a template receives is plain text put in as a value; text of outsiders is fenced before
(:mod:`airflow_provider_agents.domain.untrusted`). No such text is ever itself a template. What templates may use is
in :mod:`airflow_provider_agents.domain.prompt_variables`, what they may do in
:mod:`airflow_provider_agents.domain.prompt_language`; a step's prompt is made by :mod:`.step_prompts`.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_agents.prompts.answer_schemas import (
    FIX_SCHEMA,
    IMPLEMENT_SCHEMA,
    PLAN_SCHEMA,
    REVIEW_SCHEMA,
)

__all__ = ["FIX_SCHEMA", "IMPLEMENT_SCHEMA", "PLAN_SCHEMA", "REVIEW_SCHEMA", "render"]


def render(template: str, **values: Any) -> str:
    """Render ``<template>.md.j2`` of this package with these values alone.

    :raises jinja2.UndefinedError: if the template uses a value that was not given.
    """
    from airflow_provider_agents.prompts.templates import shipped

    return shipped().get_template(f"{template}.md.j2").render(**values).strip() + "\n"

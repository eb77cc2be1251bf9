"""The agents' instructions: one template a step, and :func:`render`.

Everything that a template receives is plain text put in as a value; text of outsiders is fenced before
(:mod:`airflow_provider_agents.domain.untrusted`). No such text is ever itself a template.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["summary", "steps", "files", "risks"],
    "properties": {
        "summary": {"type": "string", "description": "The approach in one to three sentences."},
        "steps": {"type": "array", "items": {"type": "string"}, "description": "What to do, in order."},
        "files": {"type": "array", "items": {"type": "string"}, "description": "Files to change or add."},
        "risks": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What may go wrong or is unclear.",
        },
    },
}

IMPLEMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["title", "description"],
    "properties": {
        "title": {
            "type": "string",
            "description": "Title of the pull request, imperative, at most 72 characters.",
        },
        "description": {
            "type": "string",
            "description": "What changed, why, and how it was tested. Markdown.",
        },
    },
}

FIX_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["summary"],
    "properties": {"summary": {"type": "string", "description": "What was changed in answer to what."}},
}


def render(template: str, **values: Any) -> str:
    """Render ``<template>.md.j2`` of this package.

    :raises jinja2.UndefinedError: if the template uses a value that was not given.
    """
    return _environment().get_template(f"{template}.md.j2").render(**values).strip() + "\n"


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import PackageLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(
        loader=PackageLoader("airflow_provider_agents", "prompts"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )

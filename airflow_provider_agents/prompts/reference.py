"""The generated tables of ``docs/prompts.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.prompt_handlebars import names_table, syntax_table
from airflow_provider_agents.domain.prompt_variables import STEPS, VARIABLES
from airflow_provider_agents.prompts.templates import StepTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

END = "<!-- end of generated -->"


def variables_table() -> str:
    """Return the table of the variables as Markdown."""
    lines = ["| variable | kind | steps | what it is |", "|---|---|---|---|"]
    for each in VARIABLES:
        steps = "all" if each.steps == STEPS else ", ".join(each.steps)
        lines.append(f"| `{each.name}` | {each.kind} | {steps} | {each.description} |")
    return "\n".join(lines)


def blocks_table() -> str:
    """Return the blocks of the shipped templates as Markdown, in their order."""
    lines = ["| template | blocks |", "|---|---|"]
    for step in STEPS:
        blocks = ", ".join(f"`{name}`" for name in StepTemplate(step).checked.blocks)
        lines.append(f"| `{step}.md.j2` | {blocks} |")
    return "\n".join(lines)


TABLES: Mapping[str, Callable[[], str]] = {
    "variables": variables_table,
    "blocks": blocks_table,
    "handlebars syntax": syntax_table,
    "handlebars variables": names_table,
}


def with_generated(page: str) -> str:
    """Return the page with its generated parts made anew.

    :raises ValueError: a part is missing.
    """
    for name, table in TABLES.items():
        begin = f"<!-- generated: {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(END)
        if not found:
            raise ValueError(f"the page has no part between {begin!r} and {END!r}")
        page = f"{before}{begin}\n\n{table()}\n\n{END}{after}"
    return page

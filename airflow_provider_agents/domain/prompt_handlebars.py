"""Templates in Handlebars' form, which other systems have: they are refused, with the Jinja form named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Mapping[str, tuple[str, str]] = {
    "TASK_FILE": (
        '{% include "_task.md.j2" %}',
        "The task is in the prompt, not in a file; its parts are `ticket` and `prompt`.",
    ),
    "BRANCH_NAME": ("{{ branch }}", ""),
    "TASK_ID": ("{{ task_id }}", ""),
    "TASK_TITLE": ("{{ title }}", "It stands between markers, on lines of its own: people outside wrote it."),
    "REPO_NAME": ("{{ repository }}", "`owner/name`; the name alone is `repository_name`."),
    "AUTO_MERGE": ("{% if auto_merge %}", ""),
    "DRAFT_PR": ("{% if draft %}", ""),
    "ISSUE_NUMBER": ("{{ issue_number }}", ""),
    "PLANNING_MODE": (
        "{% if plan_approval %}",
        "Planning is a step of its own, with its own template: `plan`.",
    ),
    "PR_NUMBER": ("{{ pull_request_number }}", "In `fix` and `review`."),
    "TEST_COMMAND": ("{{ test_command }}", ""),
    "OUTPUT_PATH": ("", "Leave it out: the answer is structured, its schema is given to the agent."),
    "GIT_PLATFORM_GITLAB": ("", "Leave it out, with the part that it encloses: the forge is GitHub."),
}
"""Name there → what stands in its place, and a remark."""

SYNTAX: tuple[tuple[str, str], ...] = (
    ("{{#if NAME}}", "{% if name %}"),
    ("{{#unless NAME}}", "{% if not name %}"),
    ("{{else}}", "{% else %}"),
    ("{{/if}}", "{% endif %}"),
    ("{{#each NAMES}}", "{% for each in names %}"),
    ("{{/each}}", "{% endfor %}"),
    ("{{! remark }}", "{# remark #}"),
    ("{{{NAME}}}", "{{ name }}"),
    ("{{> part}}", '{% include "_task.md.j2" %}'),
)
"""Forms there → forms here."""

_TAG = re.compile(
    r"\{\{(?:(?P<sign>[#/!>^&]|\{)\s*|\s*(?=else\b))(?P<word>\w*)\s*(?P<name>\w*)[^}\n]{0,200}\}\}"
)


def handlebars_faults(source: str) -> list[tuple[int, str]]:
    """Return line and fault of each place that is Handlebars', in a template that is not sound Jinja."""
    faults = []
    for found in _TAG.finditer(source):
        line = source.count("\n", 0, found.start()) + 1
        shown = " ".join(found[0].split())
        wanted = _jinja(found["sign"] or "", found["word"], found["name"])
        faults.append((line, f"`{shown}` is Handlebars' form; in Jinja it is {wanted}"))
    return faults


def hint(name: str) -> str:
    """Return what to write for a variable of the other system, said after its name; empty: it has none of that name."""
    if name not in NAMES:
        return ""
    form, remark = NAMES[name]
    told = f"write `{form}`" if form else remark[0].lower() + remark[1:].rstrip(".")
    return f"is a variable of another system; {told}"


def names_table() -> str:
    """Return the table of the variables as Markdown."""
    rows = [
        f"| `{{{{{name}}}}}` | {f'`{form}`' if form else ''} | {remark} |"
        for name, (form, remark) in NAMES.items()
    ]
    return "\n".join(["| Handlebars | here | |", "|---|---|---|", *rows])


def syntax_table() -> str:
    """Return the table of the forms as Markdown."""
    rows = [f"| `{there}` | `{here}` |" for there, here in SYNTAX]
    return "\n".join(["| Handlebars | here |", "|---|---|", *rows])


def _jinja(sign: str, word: str, name: str) -> str:
    if sign == "#":
        if word == "each":
            return f"`{{% for each in {_variable(name) or 'names'} %}}`"
        return f"`{{% if {'not ' if word == 'unless' else ''}{_variable(name) or 'name'} %}}`"
    if sign == "/":
        return "`{% endfor %}`" if word == "each" else "`{% endif %}`"
    if sign == "^" or word == "else":
        return "`{% else %}`"
    if sign == "!":
        return "`{# … #}`"
    if sign == ">":
        return '`{% include "_task.md.j2" %}`'
    return f"`{{{{ {_variable(word) or 'name'} }}}}`"


def _variable(name: str) -> str:
    form = NAMES.get(name, ("", ""))[0]
    inner = re.sub(r"^\{[{%] *(?:if )?| *[}%]\}$", "", form)
    return inner if re.fullmatch(r"[a-z_]+", inner) else name.lower()

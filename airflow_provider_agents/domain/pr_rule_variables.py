"""What the text of a rule can name: one definition, of which its check, its samples and its documentation are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.prompt_variables import STEPS, Kind, Variable
from airflow_provider_agents.domain.prompt_vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

_Field = tuple[str, Kind, Any, str]
"""Name, kind, sample, description in Markdown."""

MOST_LABELS = 100
MOST_REVIEWS = 50
MOST_CHECKS = 60
MOST_IMAGES = 20

PULL_REQUEST: tuple[_Field, ...] = (
    ("number", "number", 7, "Its number."),
    ("title", "text", "Bump urllib3 from 2.2.1 to 2.2.2", "At most 256 characters."),
    (
        "author",
        "text",
        "dependabot[bot]",
        "Login; a bot's ends in `[bot]`, as on GitHub's pages; `ghost`: the account is deleted.",
    ),
    ("labels", "list", ("auto-merge", "staging"), "Names of its labels."),
    (
        "ciStatus",
        "text",
        "SUCCESS",
        (
            "Of all checks of the head: `FAILURE` or `ERROR` where one failed, else `PENDING` where one runs or a required one "
            "has not begun, else `SUCCESS`. `UNKNOWN`: there is none, or they cannot be read."
        ),
    ),
    ("mergeable", "text", "MERGEABLE", "`MERGEABLE`, `CONFLICTING` or `UNKNOWN`."),
    (
        "reviews",
        "records",
        ({"author": "mona", "state": "APPROVED", "canWrite": True, "current": True},),
        (
            "The latest review of each person: `author`; `state`: `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`, `DISMISSED`; "
            "`canWrite`: whether the author may push; `current`: whether it is of the head as it is now."
        ),
    ),
    ("body", "text", "Bumps urllib3.", "Its description, at most 8 kB. Naming it shows it to the model."),
    ("draft", "flag", False, "Whether it is a draft."),
    ("base", "text", "main", "Branch that it goes into."),
    ("head", "text", "dependabot/pip/urllib3-2.2.2", "Branch that it comes from."),
    ("url", "text", "https://github.com/acme/shop/pull/7", "Its page."),
    (
        "reviewDecision",
        "text",
        "APPROVED",
        "`APPROVED`, `CHANGES_REQUESTED`, `REVIEW_REQUIRED`; empty: the branch's rules ask for no review.",
    ),
    (
        "checks",
        "records",
        ({"name": "tests", "state": "passed", "required": True},),
        (
            "The checks of the head, failed ones first: `name`; `state`: `passed`, `failed`, `pending`, or `expected` where a "
            f"required one has not begun; `required`: empty where that is not known. At most {MOST_CHECKS}."
        ),
    ),
    ("unresolvedThreads", "number", 0, "Review threads that are not resolved."),
    ("fork", "flag", False, "Whether it comes from another repository; empty: not known."),
    ("additions", "number", 3, "Lines."),
    ("deletions", "number", 3, "Lines."),
    ("changedFiles", "number", 1, "Number of files."),
    (
        "ageDays",
        "number",
        2,
        "Whole days since it was opened. Naming it has the model asked again when it changes.",
    ),
    ("idleDays", "number", 1, "Whole days since anything in it changed; as `pr.ageDays`."),
)
ARGOCD: tuple[_Field, ...] = (
    (
        "health",
        "text",
        "Unknown",
        "`Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing`; `Unknown` too where Argo CD is off.",
    ),
    ("enabled", "flag", False, "Whether Argo CD is asked."),
    ("sync", "text", "Unknown", "`Synced`, `OutOfSync` or `Unknown`. Shown to the model where it is named."),
    ("revision", "text", "", "What runs: commit or version of the chart. Shown where it is named."),
    ("images", "list", (), f"What runs, at most {MOST_IMAGES} names. Shown where it is named."),
)
ENTRIES: Mapping[str, tuple[tuple[str, Kind], ...]] = {
    "reviews": (("author", "text"), ("state", "text"), ("canWrite", "flag"), ("current", "flag")),
    "checks": (("name", "text"), ("state", "text"), ("required", "flag")),
}
"""Fields of the entries of ``pr.reviews`` and ``pr.checks``."""


def _record(name: str, fields: tuple[_Field, ...], description: str) -> Variable:
    return Variable(
        name=name,
        kind="record",
        description=description,
        sample={each: sample for each, _, sample, _ in fields},
        steps=STEPS,
        fields=tuple((each, kind) for each, kind, _, _ in fields),
        entries=ENTRIES if name == "pr" else {},
    )


VARIABLES: tuple[Variable, ...] = (
    _record("pr", PULL_REQUEST, "The pull request."),
    Variable(name="repository", kind="text", description="`owner/name`.", sample="acme/shop"),
    Variable(
        name="environment",
        kind="text",
        description="The rule's, else the first of `staging`, `production`, `development` among the labels, else "
        "`unknown`.",
        sample="staging",
    ),
    _record("argocd", ARGOCD, "The application in Argo CD."),
)


def _meant(name: str) -> str:
    """Return what to write for a name that is a field's, said after it: people forget the record."""
    for record, fields in (("pr", PULL_REQUEST), ("argocd", ARGOCD)):
        for field, *_ in fields:
            if name.casefold() == field.casefold():
                return f"is a field of `{record}`; write `{record}.{field}`"
    return ""


VOCABULARY = Vocabulary(
    variables={variable.name: variable for variable in VARIABLES},
    hint=_meant,
    blocks=False,
    writes_lists=True,
)


def sample_facts() -> dict[str, Any]:
    """Return facts of a pull request for which everything is well."""
    found: dict[str, Any] = {variable.name: variable.sample for variable in VARIABLES}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in found.items()}


def variables_table() -> str:
    """Return the table of the variables as Markdown."""
    rows = [
        f"| `{variable.name}` | {variable.description} |" for variable in VARIABLES if not variable.fields
    ]
    for record, fields in (("pr", PULL_REQUEST), ("argocd", ARGOCD)):
        rows += [f"| `{record}.{name}` | {description} |" for name, _, _, description in fields]
    return "\n".join(["| value | what it is |", "|---|---|", *rows])

"""What each feature needs at GitHub, for tokens and for Apps: the one table that docs and doctor use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.hooks.github_app import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that is done at GitHub, and the permission that it takes.

    A classic token needs the scope :attr:`scope` for all of them. Fine-grained tokens and Apps call a permission
    by the same name.
    """

    feature: str
    permission: str
    """As Apps name it: ``pull_requests``."""
    level: str
    required: bool
    """Whether tasks fail without it; otherwise something is left out."""
    probe: str
    """Path below a repository that shows whether a token may read this; ``{branch}`` is its default branch."""
    reviewer: str = ""
    """Level that an identity which only reviews needs; empty: none."""
    scope: str = "repo"

    @property
    def shown(self) -> str:
        """The permission as GitHub's pages name it: ``Pull requests``."""
        return {"statuses": "Commit statuses"}.get(
            self.permission, self.permission.replace("_", " ").capitalize()
        )


FEATURES = (
    Feature("find the repository; ask who may command", "metadata", "read", True, "", reviewer="read"),
    Feature(
        "check out and push in the pods; merge, update and delete the branch",
        "contents",
        "write",
        True,
        "/branches/{branch}",
        reviewer="read",
    ),
    Feature(
        "open, comment, answer threads, review, merge queue, auto-merge",
        "pull_requests",
        "write",
        True,
        "/pulls?per_page=1",
        reviewer="write",
    ),
    Feature("read tickets, put plans on them, close them", "issues", "write", True, "/issues?per_page=1"),
    Feature("see which checks passed", "checks", "read", True, "/commits/{branch}/check-runs?per_page=1"),
    Feature("see which commit statuses passed", "statuses", "read", True, "/commits/{branch}/status"),
    Feature(
        "read logs of failed jobs; run suspected flakes a second time",
        "actions",
        "write",
        False,
        "/actions/runs?per_page=1",
    ),
)

CLASSIC_SCOPE = "repo"
UNNEEDED = "workflow"
"""Scope, and as ``workflows`` permission, that is better not granted: GitHub then refuses a push that changes CI."""


def lacking(granted: Mapping[str, str], *, reviews_only: bool = False) -> Iterator[tuple[Feature, str]]:
    """Yield each feature that permissions do not reach, with the level that it needs.

    :param granted: of an installation or a token: ``{"contents": "write"}``.
    :param reviews_only: of an identity that only posts reviews.
    """
    for feature in FEATURES:
        wanted = feature.reviewer if reviews_only else feature.level
        held = granted.get(feature.permission)
        rank = LEVELS.index(held) if held in LEVELS else -1
        if wanted and rank < LEVELS.index(wanted):
            yield feature, wanted


def permission_table() -> list[str]:
    """Return the table of the docs, as lines of Markdown."""
    lines = [
        "| feature | classic token | fine-grained token | GitHub App | reviewer | without it |",
        "|---|---|---|---|---|---|",
    ]
    for feature in FEATURES:
        need = f"{feature.shown}: {feature.level}"
        reviewer = f"{feature.shown}: {feature.reviewer}" if feature.reviewer else "–"
        without = "tasks fail" if feature.required else "left out"
        app = f"`{feature.permission}: {feature.level}`"
        lines.append(f"| {feature.feature} | `{feature.scope}` | {need} | {app} | {reviewer} | {without} |")
    return lines

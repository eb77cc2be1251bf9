"""An open pull request as the listing of a repository shows it: cheap, a hundred of them in one point of GitHub's.

It is what a rule's selector and its watcher look at. What is decided rests on a
:class:`~.pull_request.PullRequestSnapshot`, which is read only where the listing changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.pull_request import Mergeable


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPullRequest:
    """One entry of the listing."""

    node_id: str
    repository: str
    """``owner/name``."""
    number: int
    url: str
    title: str
    author: str
    """Login without ``[bot]``, as GraphQL gives it; empty for a deleted account."""
    author_is_bot: bool
    labels: tuple[str, ...]
    base_branch: str
    head_branch: str
    head_sha: str
    fork: bool
    """Whether the head is in another repository, or its repository is gone."""
    draft: bool
    mergeable: Mergeable
    merge_state: str
    review_decision: str
    checks_state: str
    """State of the head's check rollup (``SUCCESS``, ``PENDING``, ``FAILURE``, ``ERROR``, ``EXPECTED``); empty where
    there is no check, or it may not be read."""
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> str:
        """Return ``owner/name#7``, in small letters: GitHub's names differ in case alone for nobody."""
        return f"{self.repository.casefold()}#{self.number}"

    @property
    def fingerprint(self) -> str:
        """Return what changes whenever anything in the entry does: 16 hexadecimal digits."""
        return hashlib.sha256(repr(dataclasses.astuple(self)).encode(errors="replace")).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        values = dataclasses.asdict(self)
        return {
            **values,
            "labels": list(self.labels),
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OpenPullRequest:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            **{
                **values,
                "labels": tuple(values["labels"]),
                "created_at": datetime.fromisoformat(values["created_at"]),
                "updated_at": datetime.fromisoformat(values["updated_at"]),
            }
        )

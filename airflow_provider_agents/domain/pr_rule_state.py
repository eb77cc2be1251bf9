"""What a rule remembers from run to run: the Airflow Variable ``agents_rule__<name>``.

Its writers are the first and the last task of a run, and a rule has one run at a time. Losing it costs one answer of the model
for each pull request and nothing else: what must not happen twice is in the ledger of acts and at GitHub itself.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


VARIABLE_PREFIX = "agents_rule__"
VERSION = 1
KEEP_DAYS = 8
"""Days of costs that are kept."""
FORGET_AFTER = timedelta(days=30)
"""Time after which a pull request that is not listed any more is forgotten; one that is reopened may come back."""
MOST_GONE = 200
"""Of those, the last ones are kept."""

_MOMENTS = (
    "seen_at",
    "read_at",
    "head_first_seen",
    "considered_at",
    "unsettled_since",
    "answered_at",
    "retry_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one pull request."""

    seen_at: datetime
    """When it was listed last."""
    listing: str = ""
    """What the listing showed at the last full reading, see :func:`~.pr_rule_turn.listing_mark`; empty: read it
    again."""
    read_at: datetime | None = None
    """When it was read in full last."""
    head_sha: str = ""
    head_first_seen: datetime | None = None
    """By GitHub's clock."""
    considered_at: datetime | None = None
    """When it was last decided about, or found unchanged; the longest waiting come first."""
    unsettled_since: datetime | None = None
    """Since when nobody is asked because checks run, or because it could not be read whole."""
    version: str = ""
    """Of the rule that the answer is for; so are the next two."""
    context_hash: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Hash of each part of the facts, for what an answer waits for."""
    answer: RuleAnswer | None = None
    """The last answer; one that acts is gone once the head moves."""
    answered_at: datetime | None = None
    outcome: str = ""
    """Of the last act."""
    guard: str = ""
    failures: int = 0
    """Questions in a row that brought no answer for this head."""
    fault: str = ""
    """Of the last of them."""
    retry_at: datetime | None = None
    """When there is a reason to look again although nothing changed at GitHub."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values, without what is empty."""
        values: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, datetime):
                value = value.isoformat()
            elif isinstance(value, RuleAnswer):
                value = _answer_values(value)
            if value not in ("", None, 0, {}):
                values[item.name] = value
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Seen:
        """Read what :meth:`to_dict` wrote."""
        found = dict(values)
        for name in _MOMENTS:
            if found.get(name):
                found[name] = _moment(found[name])
        if found.get("answer"):
            found["answer"] = RuleAnswer.from_dict(found["answer"])
        return cls(**found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """How the last run went, for people."""

    at: datetime
    run_id: str = ""
    ended_at: datetime | None = None
    repositories: int = 0
    listed: int = 0
    """Open pull requests."""
    matched: int = 0
    """Those that the rule is for."""
    asked: int = 0
    """Those that the model was asked about."""
    left: int = 0
    """Those that wait for the next run."""
    acted: int = 0
    faults: tuple[str, ...] = ()
    """What went wrong, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """The Variable's content."""

    pull_requests: Mapping[str, Seen] = field(default_factory=dict)
    """By :attr:`~.open_pull_request.OpenPullRequest.key`."""
    last_pass: Pass | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    processed: int = 0
    """Decisions since the rule exists."""
    actions: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    """By type: ``github``, ``ai``, ``kubernetes``, ``argocd``."""
    usd: Mapping[str, float] = field(default_factory=dict)
    """By UTC day, ISO 8601."""
    reserved: Mapping[str, float] = field(default_factory=dict)
    """USD that a run set aside before it asked, by ``<UTC day>/<run id>``; what is not settled counts as spent."""
    look_at: datetime | None = None
    """Earliest moment at which there is something to do although nothing changed."""

    def spent(self, day: str) -> float:
        """Return the USD of one UTC day, with what was set aside."""
        return self.usd.get(day, 0.0) + sum(
            usd for key, usd in self.reserved.items() if key.startswith(f"{day}/")
        )

    def to_text(self) -> str:
        """Return it as the Variable's text."""
        values = {
            "version": VERSION,
            "pull_requests": {key: seen.to_dict() for key, seen in self.pull_requests.items()},
            "last_pass": _pass_values(self.last_pass) if self.last_pass else None,
            "last_error": self.last_error,
            "last_error_at": self.last_error_at.isoformat() if self.last_error_at else None,
            "processed": self.processed,
            "actions": dict(self.actions),
            "errors": dict(self.errors),
            "usd": dict(self.usd),
            "reserved": dict(self.reserved),
            "look_at": self.look_at.isoformat() if self.look_at else None,
        }
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> RuleState:
        """Read what :meth:`to_text` wrote.

        :raises ValueError: it is something else, or of another version.
        """
        try:
            values = json.loads(text)
            if values.pop("version") != VERSION:
                raise ValueError("is of another version")
            last = values["last_pass"]
            for name in ("actions", "errors", "usd", "reserved"):
                _check_numbers(name, values[name].values())
            _check_numbers("processed", [values["processed"]])
            return cls(
                **{
                    **values,
                    "pull_requests": {k: Seen.from_dict(v) for k, v in values["pull_requests"].items()},
                    "last_pass": _pass(last) if last else None,
                    "last_error_at": _moment(values["last_error_at"]),
                    "look_at": _moment(values["look_at"]),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"is damaged: {error!r}") from None


def _answer_values(answer: RuleAnswer) -> dict[str, Any]:
    """Return an answer without what is empty: there may be a thousand of them."""
    always = ("action", "reason", "confidence")
    return {key: value for key, value in answer.to_dict().items() if value or key in always}


def _pass_values(one: Pass) -> dict[str, Any]:
    return {
        **dataclasses.asdict(one),
        "at": one.at.isoformat(),
        "ended_at": one.ended_at.isoformat() if one.ended_at else None,
        "faults": list(one.faults),
    }


def _pass(values: Mapping[str, Any]) -> Pass:
    return Pass(
        **{
            **values,
            "at": _moment(values["at"]),
            "ended_at": _moment(values["ended_at"]),
            "faults": tuple(values["faults"]),
        }
    )


def _moment(text: str | None) -> datetime | None:
    found = datetime.fromisoformat(text) if text else None
    if found is not None and found.tzinfo is None:
        raise ValueError(f"is damaged: {text} has no time zone")
    return found


def _check_numbers(name: str, values: Iterable[Any]) -> None:
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        raise ValueError(f"is damaged: {name} is no number")

"""What a review agent says about a head: :class:`ReviewOutput`, read from a model's structured output.

Tolerant in form, since a model words a number or a name in many ways; strict in meaning: what cannot be
read is never taken for an approval.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_provider_agents.domain.untrusted import clean, clip, one_line

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing_history import ReviewVerdict

Severity = Literal["critical", "high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
MOST_FINDINGS = 6
"""Kept of one review: a reader who is given twenty remarks answers none."""

_WEIGHT: Mapping[Severity, float] = {"critical": 8.0, "high": 4.0, "medium": 2.0, "low": 1.0}
_BLOCKING: frozenset[Severity] = frozenset({"critical", "high"})
_VERDICTS: Mapping[str, ReviewVerdict] = {
    "approve": "approve",
    "approved": "approve",
    "requestchanges": "request_changes",
    "requestedchanges": "request_changes",
    "changesrequested": "request_changes",
    "reject": "request_changes",
    "rejected": "request_changes",
    "comment": "comment",
    "commented": "comment",
}
_SEVERITY_WORDS: Mapping[str, Severity] = {
    "critical": "critical",
    "blocker": "critical",
    "high": "high",
    "major": "high",
    "error": "high",
    "medium": "medium",
    "moderate": "medium",
    "warning": "medium",
    "low": "low",
    "minor": "low",
    "info": "low",
    "nit": "low",
}
_CONFIDENCE_WORDS = {"high": 0.9, "medium": 0.6, "low": 0.3}
_UNSTATED_CONFIDENCE = 0.5
_TITLE = 120
_BODY_BYTES = 4_000
_SUMMARY_BYTES = 6_000
_PATH = 500
_WORD = re.compile(r"[^\W\d_]+")
_SAME_TITLE = 0.6
"""Share of words that two titles have in common where they mean the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a review objects to or remarks. A model wrote its texts."""

    path: str
    """Of the file, from the root of the repository; empty: it is about the change as a whole."""
    line: int | None
    """Line in the new version of the file; ``None``: about the whole file."""
    severity: Severity
    confidence: float
    """0 to 1."""
    title: str
    body: str = ""

    @property
    def weight(self) -> float:
        """By which findings are ranked: severity times confidence."""
        return _WEIGHT[self.severity] * self.confidence

    @property
    def fingerprint(self) -> str:
        """What stays the same while the code around it moves: path and words, without line and numbers."""
        text = "\0".join([self.path, *sorted(self._words)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def same_as(self, other: Finding) -> bool:
        """Whether both say the same of one file, in other words perhaps."""
        if self.path != other.path:
            return False
        if self.fingerprint == other.fingerprint:
            return True
        every = self._words | other._words
        return bool(every) and len(self._words & other._words) / len(every) >= _SAME_TITLE

    @property
    def _words(self) -> frozenset[str]:
        return frozenset(_WORD.findall(self.title.casefold()))

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-ready values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewOutput:
    """A review of one head."""

    verdict: ReviewVerdict
    summary: str
    findings: tuple[Finding, ...] = ()
    """The best :data:`MOST_FINDINGS`, the weightiest first."""
    left_out: int = 0
    """How many findings there were beyond those."""
    remarks: tuple[str, ...] = ()
    """What could not be read of the output, or was read otherwise than it was said."""

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of the findings, in their order."""
        return tuple(finding.fingerprint for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the review as JSON-ready values."""
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "findings": [finding.to_dict() for finding in self.findings],
            "fingerprints": list(self.fingerprints),
            "left_out": self.left_out,
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReviewOutput:
        """Read what :meth:`to_dict` gave."""
        return cls(
            verdict=values["verdict"],
            summary=values["summary"],
            findings=tuple(Finding(**finding) for finding in values.get("findings", ())),
            left_out=int(values.get("left_out", 0)),
            remarks=tuple(values.get("remarks", ())),
        )


def read_review(output: Any, words: str = "") -> ReviewOutput:
    """Read the structured output of a review agent.

    An approval beside a finding of high or critical severity is none: it counts as a request for changes.
    A request for changes that names nothing is a comment, since nobody could answer it.

    :param output: what the agent gave; anything.
    :param words: its closing words: all there is where it gave no structured output.
    """
    if not isinstance(output, Mapping):
        remark = "The review agent gave no structured verdict; these are its words."
        return ReviewOutput(verdict="comment", summary=_text(words, _SUMMARY_BYTES), remarks=(remark,))
    remarks: list[str] = []
    verdict = _verdict(output.get("verdict"), remarks)
    findings = _findings(output.get("findings"), remarks)
    kept = findings[:MOST_FINDINGS]
    summary = _text(output.get("summary"), _SUMMARY_BYTES) or _text(words, _SUMMARY_BYTES)
    if verdict == "approve" and any(finding.severity in _BLOCKING for finding in kept):
        verdict = "request_changes"
        remarks.append("It approved beside a finding of high severity: read as a request for changes.")
    if verdict == "request_changes" and not kept and not summary:
        verdict = "comment"
        remarks.append("It asked for changes without naming any: read as a comment.")
    return ReviewOutput(
        verdict=verdict,
        summary=summary,
        findings=tuple(kept),
        left_out=len(findings) - len(kept),
        remarks=tuple(remarks),
    )


def new_findings(findings: Sequence[Finding], earlier: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return those of ``findings`` that none of ``earlier`` says already."""
    known = list(earlier)
    return tuple(finding for finding in findings if not any(finding.same_as(each) for each in known))


def findings_of(reviews: Iterable[Any]) -> tuple[Finding, ...]:
    """Return all findings of finished reviews.

    :param reviews: what :meth:`ReviewOutput.to_dict` gave, each; what is none is left out.
    """
    found: list[Finding] = []
    for review in reviews:
        if isinstance(review, Mapping):
            found += _findings(review.get("findings"), [])
    return tuple(found)


def _findings(given: Any, remarks: list[str]) -> list[Finding]:
    """Return readable findings, each said once, the weightiest first."""
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        remarks.append("Its findings are no list: left out.")
        return []
    read = [_finding(each) for each in given]
    if unreadable := sum(finding is None for finding in read):
        remarks.append(f"{unreadable} of its findings could not be read.")
    ranked = sorted((finding for finding in read if finding), key=lambda finding: -finding.weight)
    kept: list[Finding] = []
    for finding in ranked:
        if not any(finding.same_as(each) and finding.line == each.line for each in kept):
            kept.append(finding)
    return kept


def _finding(given: Any) -> Finding | None:
    if not isinstance(given, Mapping):
        return None
    body = _text(given.get("body") or given.get("description") or given.get("comment"), _BODY_BYTES)
    title = one_line(str(given.get("title") or ""), _TITLE) or one_line(body.partition("\n")[0], _TITLE)
    if not title:
        return None
    path = _path(given.get("path") or given.get("file"))
    return Finding(
        path=path,
        line=_line(given.get("line")) if path else None,
        severity=_SEVERITY_WORDS.get(_word(given.get("severity")), "medium"),
        confidence=_confidence(given.get("confidence")),
        title=title,
        body="" if body == title else body,
    )


def _verdict(given: Any, remarks: list[str]) -> ReviewVerdict:
    if found := _VERDICTS.get(_word(given)):
        return found
    remarks.append(f"Its verdict is none that is known ({one_line(str(given), 60)!r}): read as a comment.")
    return "comment"


def _word(given: Any) -> str:
    return re.sub(r"[^a-z]", "", str(given or "").casefold())


def _path(given: Any) -> str:
    """Return a path from the repository's root, empty for what is none."""
    path = one_line(str(given or ""), _PATH + 1).replace("\\", "/").strip("`'\" ")
    path = re.sub(r"^(?:\./)+", "", path)
    if len(path) > _PATH or path.startswith("/") or ".." in path.split("/"):
        return ""
    return path


def _line(given: Any) -> int | None:
    """Return a line number: of a range the last line, which is where GitHub shows a remark."""
    if isinstance(given, bool) or given is None:
        return None
    if isinstance(given, float):
        given = int(given) if math.isfinite(given) else ""
    form = r"\s*L?(\d{1,7})(?:\s*-\s*L?(\d{1,7})|:\d+)?\s*"
    numbers = re.fullmatch(form, str(given), re.IGNORECASE)
    line = int(numbers[2] or numbers[1]) if numbers else 0
    return line if line > 0 else None


def _confidence(given: Any) -> float:
    """Return a confidence between 0 and 1. A number over 1 is a percentage."""
    if isinstance(given, str):
        if (word := _CONFIDENCE_WORDS.get(given.strip().casefold())) is not None:
            return word
        number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", given)
        if number is None:
            return _UNSTATED_CONFIDENCE
        given = float(number[1]) / (100 if number[2] else 1)
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given) or given < 0:
        return _UNSTATED_CONFIDENCE
    return min(1.0, float(given) if given <= 1 else given / 100)


def _text(given: Any, most_bytes: int) -> str:
    return clip(clean(given), most_bytes) if isinstance(given, str) else ""

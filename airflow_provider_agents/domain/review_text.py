"""A review in words: for GitHub, where it is posted, and for the agent that answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.domain.review import SEVERITIES, Finding
from airflow_provider_agents.domain.review_remark import ReviewRemark
from airflow_provider_agents.domain.untrusted import fence, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_agents.domain.landing_history import ReviewVerdict
    from airflow_provider_agents.domain.review import ReviewOutput
    from airflow_provider_agents.domain.review_diff import DiffLines

ReviewEvent = Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"]

EVENTS: Mapping[ReviewVerdict, ReviewEvent] = {
    "approve": "APPROVE",
    "request_changes": "REQUEST_CHANGES",
    "comment": "COMMENT",
}
VERDICT_WORDS: Mapping[ReviewVerdict, str] = {
    "approve": "No objection",
    "request_changes": "Changes requested",
    "comment": "Remarks only",
}
_FINDING_BYTES = 5_000
_FEEDBACK_BYTES = 40_000
MARKER = "<!-- agents finding -->"
"""In every remark of ours at a line: hidden, and what makes it known again."""
_HEAD = re.compile(rf"\*\*({'|'.join(SEVERITIES)})\*\*: (.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedReview:
    """A review as it is posted."""

    event: ReviewEvent
    body: str
    remarks: tuple[ReviewRemark, ...]


def compose_review(
    review: ReviewOutput,
    *,
    findings: Sequence[Finding],
    head_sha: str,
    own_work: bool,
    lines: DiffLines,
) -> PostedReview:
    """Put a review into the form in which it is posted. Every text of the model is cleaned and defused.

    :param findings: those that were not posted before.
    :param own_work: whether the identity that posts wrote the code: it then only comments, since GitHub takes
        neither an approval nor an objection of the author, and nobody should approve what is their own.
    :param lines: where a remark can stand; what is said elsewhere goes into the body.
    """
    inline = [finding for finding in findings if finding.line in lines.get(finding.path, frozenset())]
    apart = [finding for finding in findings if finding not in inline]
    parts = [f"**{VERDICT_WORDS[review.verdict]}** at {head_sha[:12]}", outbound(review.summary)]
    parts += [_placed(finding) for finding in apart]
    if repeated := len(review.findings) - len(findings):
        are, findings_word = ("is", "finding") if repeated == 1 else ("are", "findings")
        parts.append(f"{repeated} {findings_word} of earlier reviews {are} still open.")
    if review.left_out:
        parts.append(f"{review.left_out} further findings of less weight are left out.")
    parts += [outbound(remark) for remark in review.remarks]
    parts.append("<sub>Written by a review agent.</sub>")
    return PostedReview(
        event="COMMENT" if own_work else EVENTS[review.verdict],
        body="\n\n".join(part for part in parts if part),
        remarks=tuple(
            ReviewRemark(
                path=finding.path,
                line=finding.line,
                body=f"{finding_text(finding)}\n\n{MARKER}",
            )
            for finding in inline
            if finding.line is not None
        ),
    )


def finding_in(path: str, line: int | None, comment: str) -> Finding | None:
    """Return the finding that a comment of ours at a line carries, as far as it tells; else ``None``.

    :param comment: text of the comment, which only our own identity can have written.
    """
    head = _HEAD.match(comment)
    if head is None or MARKER not in comment:
        return None
    severity = next(each for each in SEVERITIES if each == head[1])
    return Finding(path=path, line=line, severity=severity, confidence=1.0, title=head[2])


def review_feedback(review: ReviewOutput) -> dict[str, Any]:
    """Return an objection as the fix step takes it: ``reason``, ``text`` (fenced) and ``conflict``."""
    parts = [review.summary, *(_plain(finding) for finding in review.findings)]
    text = fence(
        "\n\n".join(part for part in parts if part), "review by the review agent", most_bytes=_FEEDBACK_BYTES
    )
    return {
        "reason": f"The review agent asks for changes: {one_line(review.summary)}",
        "text": f"## Review\n{text}",
        "conflict": False,
    }


def findings_text(findings: Iterable[Finding]) -> str:
    """Return findings as fenced text for a prompt; empty where there are none."""
    found = [_plain(finding) for finding in findings]
    return (
        fence("\n\n".join(found), "findings of earlier reviews", most_bytes=_FEEDBACK_BYTES) if found else ""
    )


def finding_text(finding: Finding) -> str:
    """Return a finding in words, without its place; cleaned and defused."""
    head = f"**{finding.severity}**: {finding.title}"
    text = outbound("\n\n".join(part for part in (head, finding.body) if part), _FINDING_BYTES)
    return f"{text}\n\n<sub>Confidence {finding.confidence:.0%}</sub>"


def place_of(path: str, line: int | None) -> str:
    """Return where in the code something is, fit for a code span."""
    place = f"{path}:{line}" if line else path
    return one_line(place, 300).replace("`", "'")


def placed(path: str, line: int | None, text: str) -> str:
    """Return a text with its place above it, cleaned and defused."""
    return f"`{outbound(place_of(path, line))}`\n\n{text}"


def _placed(finding: Finding) -> str:
    text = finding_text(finding)
    return placed(finding.path, finding.line, text) if finding.path else text


def _plain(finding: Finding) -> str:
    place = place_of(finding.path, finding.line) if finding.path else "(the change as a whole)"
    head = f"{place} {finding.severity}, confidence {finding.confidence:.1f}: {finding.title}"
    return f"{head}\n{finding.body}" if finding.body else head

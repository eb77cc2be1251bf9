"""A review that waits for a person: what can be edited of it, and how it is posted then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.domain.people import InputField, Option, Question
from airflow_provider_agents.domain.review_remark import ReviewRemark
from airflow_provider_agents.domain.review_text import (
    EVENTS,
    MARKER,
    VERDICT_WORDS,
    PostedReview,
    finding_text,
    placed,
)

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing_history import ReviewVerdict
    from airflow_provider_agents.domain.review import ReviewOutput
    from airflow_provider_agents.domain.review_diff import DiffLines

SUBMIT = "Submit"
DISCARD = "Discard"
MOST_COMMENTS = 50
"""Of a person: GitHub takes more, a reader does not."""

_COMMENT_BYTES = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileComment:
    """A remark about a file."""

    path: str
    line: int | None
    """``None``: about the whole file."""
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDraft:
    """A review as a person may edit it."""

    verdict: ReviewVerdict
    summary: str
    file_comments: tuple[FileComment, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the draft as JSON-ready values: ``verdict``, ``summary``, ``fileComments``."""
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "fileComments": [
                {"path": comment.path, "line": comment.line, "body": comment.body}
                for comment in self.file_comments
            ],
        }


def draft_of(review: ReviewOutput) -> ReviewDraft:
    """Return the draft of a review. What is about no file stands in the summary."""
    whole = [finding_text(finding) for finding in review.findings if not finding.path]
    return ReviewDraft(
        verdict=review.verdict,
        summary="\n\n".join(part for part in (review.summary, *whole) if part),
        file_comments=tuple(
            FileComment(path=finding.path, line=finding.line, body=finding_text(finding))
            for finding in review.findings
            if finding.path
        ),
    )


def read_draft(values: Mapping[str, Any]) -> tuple[ReviewDraft | None, list[str]]:
    """Read a draft that a person edited.

    :param values: as :meth:`ReviewDraft.to_dict` has them; ``fileComments`` may also be their JSON text.
    :return: the draft, or ``None`` and every fault found.
    """
    faults = []
    verdict = values.get("verdict")
    if verdict not in EVENTS:
        faults.append(f"verdict: must be one of {', '.join(EVENTS)}, not {verdict!r}")
    summary = values.get("summary") or ""
    if not isinstance(summary, str):
        faults.append("summary: must be text")
    given = values.get("fileComments") or []
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            faults.append(f"fileComments: not JSON: {error}")
            given = []
    if not isinstance(given, list) or len(given) > MOST_COMMENTS:
        faults.append(f"fileComments: must be a list of at most {MOST_COMMENTS} comments")
        given = []
    comments: list[FileComment] = []
    for number, each in enumerate(given):
        comment = _comment(each)
        if isinstance(comment, str):
            faults.append(f"fileComments[{number}]: {comment}")
        else:
            comments.append(comment)
    if faults:
        return None, faults
    return ReviewDraft(verdict=values["verdict"], summary=summary, file_comments=tuple(comments)), []


def review_question(
    draft: ReviewDraft, *, title: str, url: str, head_sha: str, edited: Mapping[str, Any] | None = None
) -> Question:
    """Return what is asked of the person who may submit, edit or discard a draft.

    :param title: of the pull request, already cleaned.
    :param edited: what a person wrote into the fields before, by name; it stands in them again.
    """
    comments = [
        placed(comment.path, comment.line, outbound(comment.body, _COMMENT_BYTES))
        for comment in draft.file_comments
    ]
    parts = [
        f"[{title}]({url}) at `{head_sha[:12]}`",
        f"**{VERDICT_WORDS[draft.verdict]}**",
        outbound(draft.summary),
        *comments,
        "A new commit on the pull request makes this draft stale: it is then not posted.",
    ]
    comments_json = json.dumps(draft.to_dict()["fileComments"], indent=2, ensure_ascii=False)
    values = {"verdict": draft.verdict, "summary": draft.summary, "file_comments": comments_json}
    values |= {name: str(text) for name, text in (edited or {}).items() if name in values and text}
    return Question(
        key=f"review-{head_sha}",
        facts=json.dumps([head_sha, draft.to_dict()], sort_keys=True),
        subject=f"Review of {title}",
        body="\n\n".join(part for part in parts if part),
        options=(
            Option(name=SUBMIT, explanation="The review is posted as it stands in the fields.", binding=True),
            Option(name=DISCARD, explanation="Nothing is posted."),
        ),
        fields=(
            InputField(
                name="verdict",
                title="Verdict",
                kind="choice",
                choices=tuple(EVENTS),
                default=values["verdict"],
            ),
            InputField(name="summary", title="Summary", kind="multiline", default=values["summary"]),
            InputField(
                name="file_comments",
                title="Comments on files (JSON)",
                kind="multiline",
                description="A list of {path, line, body}.",
                default=values["file_comments"],
            ),
        ),
    )


def compose_draft(
    draft: ReviewDraft, *, head_sha: str, own_work: bool, lines: DiffLines, by: str
) -> PostedReview:
    """Put a draft into the form in which it is posted.

    :param own_work: whether the identity that posts wrote the code: it then only comments.
    :param lines: where a remark can stand; what is said elsewhere goes into the body.
    :param by: who submitted it.
    """
    remarks, apart = [], []
    for comment in draft.file_comments:
        body = outbound(comment.body, _COMMENT_BYTES)
        if comment.line is not None and comment.line in lines.get(comment.path, frozenset()):
            remarks.append(ReviewRemark(path=comment.path, line=comment.line, body=f"{body}\n\n{MARKER}"))
        else:
            apart.append(placed(comment.path, comment.line, body))
    parts = [
        f"**{VERDICT_WORDS[draft.verdict]}** at {head_sha[:12]}",
        outbound(draft.summary),
        *apart,
        f"<sub>Drafted by a review agent, submitted by {outbound(by, 200)}.</sub>",
    ]
    return PostedReview(
        event="COMMENT" if own_work else EVENTS[draft.verdict],
        body="\n\n".join(part for part in parts if part),
        remarks=tuple(remarks),
    )


def _comment(given: Any) -> FileComment | str:
    """Return a comment, or what is wrong with it."""
    if not isinstance(given, Mapping):
        return "must be {path, line, body}"
    path, line, body = given.get("path"), given.get("line"), given.get("body")
    if not isinstance(path, str) or not path.strip():
        return "path is missing"
    if line is not None and (isinstance(line, bool) or not isinstance(line, int) or line < 1):
        return f"line must be a line number or null, not {line!r}"
    if not isinstance(body, str) or not body.strip():
        return "body is missing"
    return FileComment(path=path.strip(), line=line, body=body.strip())

"""What stands against a merge, written for the agent that is to answer it.

Every text in it comes from outside: names of checks, logs, reviews, names of files. Each is cleaned, cut and
fenced; what is written here in between is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.untrusted import fence, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_agents.domain.feedback import FailingCheck, Feedback
    from airflow_provider_agents.domain.pull_request import Review, ReviewThread

MOST_BYTES = 150_000
"""Of the whole text; a step's specification takes 200,000."""

_INSTRUCTION_BYTES, _ALL_INSTRUCTIONS = 6_000, 14_000
_REVIEW_BYTES, _ALL_REVIEWS = 4_000, 18_000
_THREAD_BYTES, _ALL_THREADS = 3_000, 36_000
_CHECK_BYTES, _NOTES_BYTES, _EXCERPT_BYTES, _TAIL_BYTES = 4_000, 4_000, 8_000, 6_000
_ALL_CHECKS = 38_000
_LIST_BYTES = 4_000
_MOST_CHECKS = 8
_MOST_FILES = 100
_MOST_COMMITS = 30


def feedback_text(feedback: Feedback) -> str:
    """Return the feedback as Markdown for a prompt; at most :data:`MOST_BYTES` of UTF-8.

    Every instruction, review and thread is in it: the more there are, the shorter each is cut.
    """
    parts = [
        *_instructions(feedback),
        *_conflict(feedback),
        *_others(feedback),
        *_people(feedback),
        *_checks(feedback),
    ]
    if feedback.missing:
        parts.append(
            f"Could not be read: {fence('; '.join(feedback.missing), 'faults', most_bytes=_LIST_BYTES)}"
        )
    return _bounded(parts)


def _bounded(parts: list[str]) -> str:
    """Join whole parts, because a cut one would lose the end of its fence."""
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part.encode()) + 2
        if size > MOST_BYTES - 200:
            kept.append(
                f"{len(parts) - len(kept)} further parts are left out: there is too much to answer at once."
            )
            break
        kept.append(part)
    return "\n\n".join(kept)


def _instructions(feedback: Feedback) -> Iterable[str]:
    told = [command for command in feedback.instructions if command.text.strip()]
    if not told:
        return
    yield "## Instructions\nPeople who may steer this run ask this of you:"
    most = min(_INSTRUCTION_BYTES, _ALL_INSTRUCTIONS // len(told))
    for command in told:
        yield fence(command.text, f"/{command.name}, written by {command.author}", most_bytes=most)


def _conflict(feedback: Feedback) -> Iterable[str]:
    if not feedback.conflicts_with:
        return
    base = one_line(feedback.conflicts_with)
    yield f"## Conflict\nThe branch conflicts with `{base}`."
    if files := feedback.conflict_files:
        names = _listed([one_line(name) for name in files], _MOST_FILES)
        yield "Both sides changed these files:\n" + fence(names, "names of files", most_bytes=_LIST_BYTES)


def _others(feedback: Feedback) -> Iterable[str]:
    if not feedback.pushed_by_others:
        return
    # The newest ones: those are what the branch now ends with.
    commits = [
        f"{c.sha[:12]} {one_line(c.title, 120)} ({one_line(c.author, 60)})" for c in feedback.pushed_by_others
    ]
    left = [f"… and {len(commits) - _MOST_COMMITS} earlier ones"] if len(commits) > _MOST_COMMITS else []
    text = "\n".join([*left, *commits[-_MOST_COMMITS:]])
    yield (
        "## Pushed by others\nOthers put these commits on the branch after your last one. Keep them: build on them, "
        "do not undo them, and merge instead of rebasing, which would rewrite them.\n"
        + fence(text, "commits of others", most_bytes=_LIST_BYTES)
    )


def _people(feedback: Feedback) -> Iterable[str]:
    reviews = [review for review in feedback.reviews if review.body.strip()]
    if not reviews and not feedback.threads:
        return
    yield "## Review"
    most = min(_REVIEW_BYTES, _ALL_REVIEWS // max(len(reviews), 1))
    before = feedback.answered_before
    for review in reviews:
        yield _review(review, most, before=bool(before) and review.key in before)
    most = min(_THREAD_BYTES, _ALL_THREADS // max(len(feedback.threads), 1))
    for number, thread in enumerate(feedback.open_threads, 1):
        yield _thread(thread, most, f"Thread T{number}:")
    for thread in feedback.threads:
        if thread.key in feedback.answered_before:
            yield _thread(
                thread, most, "A thread that was answered in an earlier round, with nothing said since:"
            )
    if feedback.threads_left:
        yield f"And {feedback.threads_left} more unresolved threads, which a later round is given."


def _review(review: Review, most: int, *, before: bool) -> str:
    source = f"review by {review.author}, {review.state.lower().replace('_', ' ')}"
    text = fence(review.body, source, most_bytes=most)
    return f"This review was given to an earlier round too:\n{text}" if before else text


def _thread(thread: ReviewThread, most: int, heading: str) -> str:
    where = f"{thread.path}:{thread.line}" if thread.line else thread.path
    comments = [f"{comment.author}: {comment.body}" for comment in thread.comments if comment.can_write]
    text = "\n\n".join([f"At {where}{' (outdated)' if thread.outdated else ''}", *comments])
    return f"{heading}\n{fence(text, 'unresolved review thread', most_bytes=most)}"


def _checks(feedback: Feedback) -> Iterable[str]:
    if not feedback.failing_checks:
        return
    yield "## Failing checks"
    shown = feedback.failing_checks[:_MOST_CHECKS]
    whole = _CHECK_BYTES + _NOTES_BYTES + _EXCERPT_BYTES + _TAIL_BYTES
    share = min(1.0, _ALL_CHECKS / (whole * len(shown)))
    for failing in shown:
        yield _check(failing, share)
    if left := feedback.failing_checks[_MOST_CHECKS:]:
        names = ", ".join(one_line(failing.check.name, 80) for failing in left)
        yield f"And {len(left)} more failing checks: {fence(names, 'names of checks', most_bytes=2_000)}"


def _check(failing: FailingCheck, share: float) -> str:
    """Write one check.

    :param share: how much of the usual bounds it may take.
    """
    check = failing.check
    lines = [f"Check: {check.name}", f"Conclusion: {check.conclusion or check.state}"]
    lines += [f"Details: {check.url}"] if check.url else []
    lines += [text for text in (check.title, check.summary) if text]
    notes = [f"{a.level} {a.path}:{a.line}: {a.message}" for a in failing.annotations]
    texts = (
        ("a failing check", "\n".join(lines), _CHECK_BYTES, False),
        ("annotations of that check", "\n".join(notes), _NOTES_BYTES, False),
        ("lines of that check's log that look like errors", failing.log_excerpt, _EXCERPT_BYTES, True),
        ("end of that check's log", failing.log_tail, _TAIL_BYTES, True),
    )
    return "\n".join(
        fence(text, source, most_bytes=int(most * share), log=log)
        for source, text, most, log in texts
        if text
    )


def _listed(items: list[str], most: int) -> str:
    left = [f"… and {len(items) - most} more"] if len(items) > most else []
    return "\n".join([*items[:most], *left])

"""What stands against a merge, written for the agent that is to answer it.

Every text in it comes from outside: names of checks, logs, reviews. Each is cleaned, cut and fenced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.untrusted import fence, one_line

if TYPE_CHECKING:
    from airflow_provider_agents.domain.feedback import FailingCheck, Feedback
    from airflow_provider_agents.domain.pull_request import Review, ReviewThread

_LOG_BYTES = 8_000
_REVIEW_BYTES = 4_000
_THREAD_BYTES = 3_000
_MOST_CHECKS = 8
_MOST_THREADS = 30


def feedback_text(feedback: Feedback) -> str:
    """Return the feedback as Markdown for a prompt; at most about 150,000 bytes."""
    parts = []
    if feedback.conflicts_with:
        parts.append(
            f"## Conflict\nThe branch conflicts with `{one_line(feedback.conflicts_with)}`. "
            f"`git fetch origin` and `git rebase origin/{one_line(feedback.conflicts_with)}` show the files."
        )
    if feedback.failing_checks:
        parts.append("## Failing checks")
        parts += [_check(check) for check in feedback.failing_checks[:_MOST_CHECKS]]
        if left := feedback.failing_checks[_MOST_CHECKS:]:
            names = ", ".join(one_line(check.check.name, 80) for check in left)
            parts.append(
                f"And {len(left)} more failing checks: {fence(names, 'names of checks', most_bytes=2_000)}"
            )
    if feedback.reviews or feedback.threads:
        parts.append("## Review")
        parts += [_review(review) for review in feedback.reviews if review.body.strip()]
        parts += [_thread(thread) for thread in feedback.threads[:_MOST_THREADS]]
        if (left_threads := len(feedback.threads) - _MOST_THREADS) > 0:
            parts.append(f"And {left_threads} more unresolved threads.")
    if feedback.missing:
        parts.append("Could not be read: " + one_line("; ".join(feedback.missing), 500))
    return "\n\n".join(parts)


def _check(failing: FailingCheck) -> str:
    check = failing.check
    lines = [f"Check: {check.name}", f"Conclusion: {check.conclusion or check.state}"]
    lines += [text for text in (check.title, check.summary) if text]
    lines += [f"{a.level} {a.path}:{a.line}: {a.message}" for a in failing.annotations]
    parts = [fence("\n".join(lines), "a failing check", most_bytes=_REVIEW_BYTES)]
    if failing.log_tail:
        parts.append(fence(failing.log_tail, "end of that check's log", most_bytes=_LOG_BYTES, log=True))
    return "\n".join(parts)


def _review(review: Review) -> str:
    source = f"review by {review.author}, {review.state.lower().replace('_', ' ')}"
    return fence(review.body, source, most_bytes=_REVIEW_BYTES)


def _thread(thread: ReviewThread) -> str:
    where = f"{thread.path}:{thread.line}" if thread.line else thread.path
    comments = [f"{comment.author}: {comment.body}" for comment in thread.comments if comment.can_write]
    text = "\n\n".join([f"At {where}{' (outdated)' if thread.outdated else ''}", *comments])
    return fence(text, "unresolved review thread", most_bytes=_THREAD_BYTES)

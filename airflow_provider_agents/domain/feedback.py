"""What stands between a pull request and its merge, with the words of those who said so.

Raw: whoever puts it into a prompt cleans and fences it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.outbound import outbound

if TYPE_CHECKING:
    from airflow_provider_agents.domain.commands import Command
    from airflow_provider_agents.domain.commits import CommitRef
    from airflow_provider_agents.domain.pull_request import Annotation, Check, Review, ReviewThread

MOST_THREADS = 30
"""Threads that one round is given. Further ones are left for the next."""
MOST_REPLY_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingCheck:
    """A failed check with what it told about the failure."""

    check: Check
    """With its summary, where the check wrote one."""
    annotations: tuple[Annotation, ...] = ()
    log_matches: tuple[str, ...] = ()
    """Lines of its log that look like errors, each once, without times and colours."""
    log_excerpt: str = ""
    """Those lines with their surroundings, as far as they are not in :attr:`log_tail`."""
    log_tail: str = ""
    """The end of its log; empty where there is none to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """All that one fix round has to answer."""

    repository: str
    number: int
    head_sha: str
    """The head that it is about."""
    reason: str
    """Why a fix is asked for: the reason of the landing decision."""
    failing_checks: tuple[FailingCheck, ...] = ()
    reviews: tuple[Review, ...] = ()
    """Latest reviews of people with write access that request changes or say something."""
    threads: tuple[ReviewThread, ...] = ()
    """Unresolved threads that people with write access started, with the comments of such people, at most
    :data:`MOST_THREADS`: those that await an answer, then those of :attr:`answered_before`."""
    threads_left: int = 0
    """Threads beyond that."""
    answered_before: frozenset[str] = frozenset()
    """Keys of the reviews and threads that an earlier round was given, and to which nothing was added since."""
    instructions: tuple[Command, ...] = ()
    """``/tell`` and ``/retry`` of people with write access that no round was given yet, oldest first."""
    conflicts_with: str | None = None
    """The base branch, where the head conflicts with it."""
    conflict_files: tuple[str, ...] = ()
    """Files that both sides changed, where there is a conflict: it is in some of them."""
    pushed_by_others: tuple[CommitRef, ...] = ()
    """Commits that others put on the branch after our last one, oldest first."""
    missing: tuple[str, ...] = ()
    """What could not be fetched, each with the reason."""

    @property
    def open_threads(self) -> tuple[ReviewThread, ...]:
        """Threads that await an answer."""
        return tuple(thread for thread in self.threads if thread.key not in self.answered_before)

    @property
    def thread_labels(self) -> dict[str, str]:
        """Short label (``T1``, ``T2`` …) → node id, for every thread that awaits an answer."""
        return {f"T{number}": thread.node_id for number, thread in enumerate(self.open_threads, 1)}

    @property
    def answered_keys(self) -> tuple[str, ...]:
        """Keys of the reviews, threads and commands that the round is given: it answers them."""
        keys = [review.key for review in self.reviews]
        keys += [thread.key for thread in self.threads]
        keys += [command.key for command in self.instructions]
        return tuple(keys)


def thread_answers(labels: Mapping[str, str], output: Mapping[str, Any]) -> dict[str, str]:
    """Return node id of a thread → what the agent answers in it, fit to be posted.

    :param labels: :attr:`Feedback.thread_labels` of the round.
    :param output: structured output of its fix step. A claim of a model: what has not the right form, names
        no thread of the round, or names one again, is left out.
    """
    listed = output.get("thread_replies")
    answers: dict[str, str] = {}
    for entry in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
        label, reply = (
            (entry.get(key) for key in ("thread", "reply")) if isinstance(entry, Mapping) else ("", "")
        )
        if not isinstance(label, str) or not isinstance(reply, str):
            continue
        thread = labels.get(label.strip().strip("[]").upper())
        if thread is None or thread in answers:
            continue
        if text := _cut(outbound(reply)):
            answers[thread] = text
    return answers


def _cut(text: str) -> str:
    return text if len(text) <= MOST_REPLY_CHARACTERS else text[: MOST_REPLY_CHARACTERS - 1].rstrip() + "…"

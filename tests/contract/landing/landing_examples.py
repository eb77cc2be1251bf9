"""Histories that are played each time, with their ends: one for each thing that a gate must not get wrong."""

from __future__ import annotations

from dataclasses import dataclass

from landing_history_plan import CI, Event, History

BROKEN = CI(ends="failure", log="E       AssertionError: 1 != 2")
FLAKE = CI(ends="failure", log="fatal: the remote end hung up unexpectedly", again="failure")
QUEUE = {"merge_queue": True, "required_checks": ("tests",)}
WORDS = ("basket", "price", "stock", "order", "invoice", "parcel")
DAYS = 24 * 3600


@dataclass(frozen=True)
class Example:
    """A history and what becomes of it."""

    name: str
    history: History
    ended: str
    rounds: tuple[str, ...] = ()
    """Reasons of the fix steps that run."""
    last: tuple[str, str] = ("done", "merged")
    """Last decision in the record."""
    looks: int | None = None
    """Looks of gates, where their number matters."""
    does: tuple[str, ...] = ()
    """Kinds of entries in GitHub's log that are to be ours, see :class:`demo.github.mutations.MutationLog`."""


def _told(*events: Event, **more: object) -> History:
    return History(events=events, **more)  # type: ignore[arg-type]


STOPPED = ("stop", "told_to_stop")
LEFT = ("stop", "left_by_person")
EXAMPLES = (
    Example("a green head is merged, and the gate sees it at once", History(), "merged", looks=2),
    Example(
        "a merge whose answer is lost is not made twice",
        _told(Event(20, "nods"), Event(1, "fault", ("502_after", 1, False)), Event(300, "nods")),
        "merged",
    ),
    Example(
        "the head moves just before the merge",
        _told(Event(20, "nods"), *(Event(1, "pushes", ambush=n) for n in (4, 5)), Event(300, "nods")),
        "merged",
    ),
    Example(
        "GitHub refuses to merge, again and again",
        _told(Event(20, "fault", ("refused", 50, None)), *(Event(700, "nods") for _ in range(9))),
        "stopped",
        last=LEFT,
    ),
    Example(
        "a chosen merge that has to wait, and a head that comes in between",
        _told(
            Event(300, "nods"),
            Event(0, "answers", "Merge"),
            Event(0, "pushes"),
            Event(300, "nods"),
            ci=((BROKEN,), (BROKEN,)),
            request={"max_rounds": 0},
        ),
        "stopped",
        last=LEFT,
    ),
    Example(
        "a stranger may not stop it",
        _told(Event(0, "says", "/stop", "eve"), Event(0, "objects", None, "eve")),
        "merged",
    ),
    Example("a writer may stop it", _told(Event(0, "says", "/stop")), "stopped", last=STOPPED),
    Example(
        "an objection is given to one round, and then waited for",
        _told(Event(0, "remarks"), Event(700, "nods"), Event(700, "nods"), Event(700, "nods")),
        "merged",
        rounds=("changes_requested",),
    ),
    Example(
        "a round that changes nothing is the last",
        History(ci=((BROKEN,),), fixes=("nothing",)),
        "stopped",
        rounds=("checks_failed",),
        last=LEFT,
    ),
    Example(
        "the same failure twice is no progress",
        History(ci=((BROKEN,), (BROKEN,), (BROKEN,))),
        "stopped",
        rounds=("checks_failed",),
        last=LEFT,
    ),
    Example(
        "a flake is run again once",
        History(ci=((FLAKE,),)),
        "merged",
        rounds=("checks_failed",),
    ),
    Example(
        "an explanation is given once, though the worker dies",
        _told(Event(20, "says", "/explain"), *(Event(0, "dies", n) for n in (12,)), Event(300, "nods")),
        "merged",
    ),
    *(
        Example(
            f"a worker that dies at its call {number} repeats nothing",
            _told(
                Event(0, "remarks"),
                Event(0, "dies", number),
                Event(40, "says", "/explain"),
                Event(40, "dies", number),
                Event(300, "resolves"),
                Event(40, "dies", number),
                Event(300, "nods"),
            ),
            "merged",
            rounds=("changes_requested",),
        )
        for number in range(1, 20)
    ),
    Example(
        "a merge that a person chose is of the head that was asked about",
        _told(
            Event(14, "nods"),
            Event(0, "answers", "Merge"),
            Event(0, "pushes"),
            Event(300, "nods"),
            ci=((BROKEN,), (BROKEN,)),
            request={"max_rounds": 0},
        ),
        "stopped",
        last=LEFT,
    ),
    Example(
        "another round is one more, once",
        _told(
            Event(300, "nods"),
            Event(0, "answers", "Another round"),
            Event(300, "nods"),
            ci=((BROKEN,), (BROKEN,)),
            request={"max_rounds": 0},
        ),
        "stopped",
        rounds=("told_by_person",),
        last=LEFT,
    ),
    Example(
        "the last gate gives no round that the graph has not",
        _told(
            *[Event(300, "nods")] * 8,
            Event(0, "says", "/retry first"),
            Event(4000, "nods"),
            Event(0, "says", "/retry second"),
            Event(4000, "nods"),
            Event(4000, "nods"),
            ci=tuple((CI(ends="failure", log=f"E       NameError: {word}"),) for word in WORDS),
            request={"max_rounds": 3, "max_rounds_per_reason": 3},
        ),
        "stopped",
        rounds=("checks_failed", "checks_failed", "checks_failed", "changes_requested"),
        last=LEFT,
    ),
    Example(
        "a person who is asked may close it",
        _told(Event(300, "nods"), Event(0, "answers", "Close"), ci=((BROKEN,),), request={"max_rounds": 0}),
        "stopped",
        last=("stop", "closed_by_person"),
    ),
    Example(
        "a deadline is kept",
        _told(
            Event(0, "drafts"), Event(4 * DAYS, "nods"), Event(4 * DAYS, "nods"), request={"escalate": "fail"}
        ),
        "stopped",
        last=("escalate", "timeout"),
    ),
    Example("the queue merges it", History(rules=QUEUE), "merged"),
    Example(
        "an objection takes it out of the queue",
        _told(
            Event(60, "nods"),
            Event(60, "objects"),
            Event(700, "nods"),
            Event(700, "nods"),
            rules=QUEUE,
            queue=(None, "success"),
        ),
        "merged",
        does=("merge_queue.left",),
        rounds=("changes_requested",),
    ),
    Example(
        "a branch is brought up to date",
        _told(Event(5, "base_moves"), rules={"required_checks": ("tests",), "strict_checks": True}),
        "merged",
    ),
)
"""A name, a history, and its end."""

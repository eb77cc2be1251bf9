"""What a ticket is to this project, wherever it is written: GitHub Issues, Linear, Jira.

A source gives it in two sizes. The :class:`TicketEntry` is small: one line of a list, read for thousands of
tickets. The :class:`TicketReading` is the whole, read for the few whose turn it is: who asked for an agent and
when, the text, what it depends on, and the :class:`Claim` that we left on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

SourceKind = Literal["github", "linear", "jira", "custom"]

AskKind = Literal["label", "assignee", "state", "command"]
"""How somebody asked for an agent: put a label on it, assigned it, moved it, or wrote ``/agent``."""

Stage = Literal["working", "in_review", "done", "stopped"]
"""Where the work on a ticket is; a source maps it to a state of its own, e.g. *In Progress*."""

RunState = Literal["claimed", "started", "ended"]

MOST_RUNS_KEPT = 20
"""Runs that a claim remembers; of older ones only the asks that they answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Somebody asked for an agent. Append-only at its source: who, when and how never change, nor does its key."""

    key: str
    """Id of the event or comment at the source; unique among all asks of the ticket, the same at each reading."""
    kind: AskKind
    by: str
    """Login, or the source's id of the person; empty: unknown, who has no authority."""
    at: datetime
    """Timezone-aware, by the source's clock."""
    label: str = ""
    """Which label, for the kind ``label``."""
    withdrawn: bool = False
    """Whether it holds no more: the label is off again, the ticket unassigned, or it has left that state. Whoever
    does it again asks anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Somebody changed the title or the body."""

    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketComment:
    """A comment of a person or an app; our own are left out."""

    key: str
    author: str
    body: str
    at: datetime
    edited_by: str = ""
    """Who edited it last, where that was somebody other than its author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that the ticket refers to."""

    name: str
    """As its author wrote it: untrusted, never a path."""
    url: str
    content_type: str = ""
    """As the source says; empty: unknown."""
    size: int | None = None
    """Bytes; ``None``: unknown."""
    author: str = ""
    """Login or id of who attached it; empty: the source does not tell, or the text that names it does."""
    comment: str = ""
    """Key of the comment that names it; empty: the ticket's own text does, or it is attached to the ticket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedTicket:
    """Another ticket that this one names."""

    key: str
    """As people write it: ``acme/shop#7``, ``ENG-12``."""
    title: str = ""
    state: Literal["open", "done", "cancelled", "unknown"] = "unknown"
    relation: Literal["depends_on", "parent", "child", "mentioned"] = "mentioned"
    order: int | None = None
    """Place among the children of their parent, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """A run that was started, or is about to be, in answer to asks."""

    run_id: str
    asks: tuple[str, ...]
    """Keys of the asks that it answers."""
    state: RunState = "claimed"
    """``claimed``: it may not have been triggered yet, and is to be, with the same id; ``started``: it was, and
    is never triggered again, even if Airflow has forgotten it."""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What we wrote on the ticket for ourselves, so that it survives Airflow's database."""

    runs: tuple[ClaimedRun, ...] = ()
    """Oldest first."""
    refused: tuple[str, ...] = ()
    """Keys of asks that were answered with a refusal."""

    @property
    def answered(self) -> frozenset[str]:
        """Return the keys of all asks that a run or a refusal answered."""
        return frozenset(key for run in self.runs for key in run.asks) | frozenset(self.refused)

    @property
    def latest(self) -> ClaimedRun | None:
        """Return the newest run."""
        return self.runs[-1] if self.runs else None

    def with_run(self, run: ClaimedRun) -> Claim:
        """Return the claim with ``run`` added, or in the place of the one with its id; asks are never lost."""
        merged, found = [], False
        for known in self.runs:
            if known.run_id == run.run_id:
                asks = tuple(dict.fromkeys((*known.asks, *run.asks)))
                state = max(known.state, run.state, key=_RUN_STATES.index)
                merged.append(dataclasses.replace(run, asks=asks, state=state, at=known.at or run.at))
                found = True
            else:
                merged.append(known)
        runs = tuple(merged) if found else (*self.runs, run)
        if len(runs) <= MOST_RUNS_KEPT:
            return dataclasses.replace(self, runs=runs)
        dropped, kept = runs[:-MOST_RUNS_KEPT], runs[-MOST_RUNS_KEPT:]
        forgotten = (key for old in dropped for key in old.asks)
        return Claim(runs=kept, refused=tuple(dict.fromkeys((*self.refused, *forgotten))))

    def with_state(self, run_id: str, state: RunState) -> Claim:
        """Return the claim with a run's state moved on; never back, and nothing where the run is unknown."""
        run = next((run for run in self.runs if run.run_id == run_id), None)
        return self if run is None else self.with_run(dataclasses.replace(run, state=state))

    def with_refusals(self, *asks: str) -> Claim:
        """Return the claim with asks added that were refused."""
        return dataclasses.replace(self, refused=tuple(dict.fromkeys((*self.refused, *asks))))

    def to_text(self) -> str:
        """Return the claim as one line of JSON, for where the source keeps it."""
        values = {
            "version": 1,
            "runs": [
                {
                    "run_id": run.run_id,
                    "asks": list(run.asks),
                    "state": run.state,
                    "at": run.at.isoformat() if run.at else None,
                }
                for run in self.runs
            ],
            "refused": list(self.refused),
        }
        return json.dumps(values, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_text(cls, text: str) -> Claim:
        """Read what :meth:`to_text` wrote.

        :raises ValueError: it is something else.
        """
        try:
            values = json.loads(text)
            return cls(
                runs=tuple(
                    ClaimedRun(
                        run_id=str(run["run_id"]),
                        asks=tuple(str(key) for key in run["asks"]),
                        state=_RUN_STATES[_RUN_STATES.index(run["state"])],
                        at=datetime.fromisoformat(run["at"]) if run.get("at") else None,
                    )
                    for run in values["runs"]
                ),
                refused=tuple(str(key) for key in values["refused"]),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no claim: {type(error).__name__}: {error}") from None


_RUN_STATES: tuple[RunState, ...] = ("claimed", "started", "ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketEntry:
    """A ticket in a list: what is known of all of them."""

    id: str
    """The source's own id, which never changes: GitHub's node id, Linear's UUID, Jira's issue id."""
    key: str
    """As people write it: ``acme/shop#7``, ``ENG-12``."""
    title: str
    url: str
    created_at: datetime
    updated_at: datetime
    actionable: bool
    """Open, and asked for as the source's definition says, by whomever."""
    repository: str = ""
    """``owner/name`` of where the work is to be done; empty: the definition's rules name none for it."""
    labels: tuple[str, ...] = ()
    priority: int = 0
    """As the definition maps labels or fields to it: the higher, the earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketReading:
    """The whole of a ticket. All text in it is untrusted."""

    entry: TicketEntry
    body: str = ""
    author: str = ""
    """Login, or the source's id of the person."""
    edits: tuple[Edit, ...] = ()
    """Of title and body, oldest first, as far as the source tells them: at least the last of each."""
    asks: tuple[Ask, ...] = ()
    """Oldest first; those too whose label was taken off again."""
    comments: tuple[TicketComment, ...] = ()
    """Oldest first, without ours."""
    attachments: tuple[Attachment, ...] = ()
    links: tuple[LinkedTicket, ...] = ()
    state: Literal["open", "done", "cancelled", "unknown"] = "open"
    """For those that depend on it: ``done`` is closed as completed."""
    claim: Claim | None = None
    """``None``: there is none, or somebody deleted it."""
    missing: tuple[str, ...] = ()
    """What could not be read, one sentence each: with any of these nothing may be started."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the source that its definition's rules read."""

    @property
    def digest(self) -> str:
        """Return the hash of what was asked for: title and body, by which an approval is held to its text."""
        return content_digest(self.entry.title, self.body)


def content_digest(title: str, body: str) -> str:
    """Return the hash of a ticket's title and body, 16 hexadecimal digits; line ends and outer spaces do not count."""
    text = "\n".join(part.replace("\r\n", "\n").strip() for part in (title, body))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def run_id_of(kind: SourceKind, ticket_id: str, ask_key: str, *, host: str = "") -> str:
    """Return the id of the run that answers an ask: the same for ever, whoever computes it.

    It is made of the ticket's and the ask's own ids, and of no count that somebody would have to keep: so two
    syncs, a webhook and a schedule, or a sync after a crash come to the same run, and asking again to another.

    :param host: of a GitHub Enterprise Server or a Jira, whose ids are unique to it alone; empty for
        github.com and Linear.
    """
    place = f"-{hashlib.sha256(host.lower().encode()).hexdigest()[:6]}" if host else ""
    ticket = re.sub(r"[^A-Za-z0-9_.-]", "-", ticket_id)
    # What the pattern made equal, or what is too long for Airflow's 250 characters, is told apart by the hash.
    if ticket != ticket_id or len(ticket) > 100:
        ticket = f"{ticket[:80]}-{hashlib.sha256(ticket_id.encode()).hexdigest()[:12]}"
    ask = hashlib.sha256(ask_key.encode()).hexdigest()[:10]
    return f"ticket__{kind}{place}__{ticket}__{ask}"

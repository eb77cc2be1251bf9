"""What rules, and rollbacks, did to pull requests lately: the Airflow Variable ``agents_rule_acts``.

One ledger for all rules, because their limits are for a repository and two rules may want the same pull request. It
is written by tasks in the pool ``agents_rules`` only, which has one slot. An act stands in it before its call, so
that a task that died in between finds what it may have done. What is read at GitHub counts more than what stands here.

Losing the Variable loses the count of the last hour and people's consents. A damaged one is therefore not taken for
an empty one: merges are held until that hour is over.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEDGER_VARIABLE = "agents_rule_acts"
VERSION = 1
WINDOW = timedelta(hours=1)
"""Time that the limits are for."""
KEPT = timedelta(days=30)
STALE_INTENT = timedelta(hours=1)
"""Age from which on an act that was intended, and of which nothing more is known, keeps no other rule from it."""
QUEUED_AT_MOST = timedelta(hours=24)
"""Time for which what a rule put into a merge queue is looked after."""
MOST_ACTS = 20
"""Acts of one pull request that are kept, the newest."""
MOST_PULL_REQUESTS = 200
"""Pull requests of one repository that are kept, those with the newest acts; the last hour's are kept in any case."""

Kind = Literal[
    "merge",
    "enqueue",
    "withdraw",
    "update_branch",
    "close",
    "comment",
    "label",
    "request_review",
    "escalate",
    "open",
]
"""``open``: a pull request was opened, which rollbacks do."""
MERGES: frozenset[Kind] = frozenset({"merge", "enqueue"})
ActState = Literal["intended", "done", "refused"]
"""``intended``: it may have happened. ``refused``: GitHub said no."""
Choice = Literal["merge", "close", "leave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that was done to a pull request, or was about to be."""

    kind: Kind
    head_sha: str
    rule: str
    at: datetime
    """Of the last call."""
    detail: str = ""
    """What tells it from another act of the kind on this head: the reason of an escalation, the digest of a text."""
    label: str = ""
    """Of an escalation: the label that it put on."""
    base: str = ""
    """Of an escalation: branch that the pull request goes into."""
    state: ActState = "intended"
    calls: int = 1
    said: str = ""
    """GitHub's reason, where it refused; of an escalation, what people are called for; of an entry in a merge queue,
    what became of it."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Return what an act of the same effect has in common with it."""
        return (self.kind, self.head_sha, self.rule, self.detail, self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What a person chose for one head and the branch that it goes into; it is void for every other one."""

    head_sha: str
    base: str
    choice: Choice
    person: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One pull request."""

    acts: tuple[Act, ...] = ()
    """Oldest first."""
    consents: tuple[Consent, ...] = ()

    def of(self, kind: Kind, head_sha: str | None = None) -> tuple[Act, ...]:
        """Return the acts of a kind.

        :param head_sha: on this head only.
        """
        return tuple(act for act in self.acts if act.kind == kind and head_sha in (None, act.head_sha))

    def consent(self, head_sha: str, base: str) -> Consent | None:
        """Return what a person chose last for exactly this head and branch that it goes into."""
        given = (each for each in reversed(self.consents) if (each.head_sha, each.base) == (head_sha, base))
        return next(given, None)

    def calls_for_people(self, head_sha: str, base: str) -> tuple[Act, ...]:
        """Return the escalations of exactly this head and branch that it goes into."""
        return tuple(act for act in self.of("escalate", head_sha) if act.base == base)

    @property
    def newest(self) -> datetime:
        """Return when something happened last."""
        moments = [act.at for act in self.acts] + [each.at for each in self.consents]
        return max(moments)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLedger:
    """The Variable's content."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    """By ``owner/name#7`` in small letters."""
    hold_until: datetime | None = None
    """Nothing is merged before: the ledger was damaged, and nobody knows what the last hour saw."""

    def entry(self, key: str) -> Entry:
        """Return what is known of a pull request."""
        return self.entries.get(key, Entry())

    def intending(self, key: str, act: Act) -> RuleLedger:
        """Return the ledger with an act that is about to be tried, once more where it was tried before."""
        entry = self.entry(key)
        earlier = next((each for each in entry.acts if each.identity == act.identity), None)
        if earlier is not None:
            act = dataclasses.replace(act, calls=earlier.calls + 1, said=act.said or earlier.said)
        others = tuple(each for each in entry.acts if each.identity != act.identity)
        return self._with(key, dataclasses.replace(entry, acts=(*others, act)))

    def ended(self, key: str, act: Act, state: ActState, said: str = "") -> RuleLedger:
        """Return the ledger with what came of an act that it has."""
        entry = self.entry(key)
        acts = tuple(
            dataclasses.replace(each, state=state, said=said) if each.identity == act.identity else each
            for each in entry.acts
        )
        return self._with(key, dataclasses.replace(entry, acts=acts))

    def consenting(self, key: str, consent: Consent) -> RuleLedger:
        """Return the ledger with what a person chose; it takes the place of earlier choices for that head."""
        entry = self.entry(key)
        same = (consent.head_sha, consent.base)
        others = tuple(each for each in entry.consents if (each.head_sha, each.base) != same)
        return self._with(key, dataclasses.replace(entry, consents=(*others, consent)))

    def merges(self, repository: str, now: datetime) -> list[datetime]:
        """Return when something was merged in a repository within the last hour, or may have been."""
        return sorted(
            act.at for _, act in self._acts(repository, now) if act.kind in MERGES and act.state != "refused"
        )

    def touched(self, repository: str, now: datetime, but: str = "") -> list[datetime]:
        """Return when each pull request of a repository was last done something to, within the last hour.

        :param but: key of a pull request that does not count.
        """
        latest: dict[str, datetime] = {}
        for key, act in self._acts(repository, now):
            if key != but and act.state != "refused":
                latest[key] = max(act.at, latest.get(key, act.at))
        return sorted(latest.values())

    def queued(self, rule: str, now: datetime) -> dict[str, Act]:
        """Return what a rule put into merge queues, as far as it is not known to have left them, by pull request."""
        return {
            key: act
            for key, entry in self.entries.items()
            for act in entry.of("enqueue")
            if act.rule == rule and act.state != "refused" and not act.said and act.at > now - QUEUED_AT_MOST
        }

    def _acts(self, repository: str, now: datetime) -> list[tuple[str, Act]]:
        prefix = f"{repository.casefold()}#"
        return [
            (key, act)
            for key, entry in self.entries.items()
            if key.startswith(prefix)
            for act in entry.acts
            if act.at > now - WINDOW
        ]

    def tidied(self, now: datetime) -> RuleLedger:
        """Return the ledger without what is too old, or too much."""
        entries: dict[str, Entry] = {}
        for key, entry in self.entries.items():
            acts = [act for act in entry.acts if act.at > now - KEPT]
            # Never those of the last hour: the limits count them.
            old = max(0, len(acts) - MOST_ACTS)
            acts = [act for index, act in enumerate(acts) if index >= old or act.at > now - WINDOW]
            consents = tuple(each for each in entry.consents if each.at > now - KEPT)[-MOST_ACTS:]
            if acts or consents:
                entries[key] = Entry(acts=tuple(acts), consents=consents)
        by_repository: dict[str, list[str]] = {}
        for key in sorted(entries, key=lambda each: entries[each].newest, reverse=True):
            by_repository.setdefault(key.rpartition("#")[0], []).append(key)
        for keys in by_repository.values():
            for key in keys[MOST_PULL_REQUESTS:]:
                if entries[key].newest <= now - WINDOW:
                    del entries[key]
        hold = self.hold_until if self.hold_until and self.hold_until > now else None
        return RuleLedger(entries=entries, hold_until=hold)

    def to_text(self) -> str:
        """Return the ledger as JSON, for the Variable."""
        values = {
            "version": VERSION,
            "entries": {
                key: {"acts": _plain(entry.acts), "consents": _plain(entry.consents)}
                for key, entry in self.entries.items()
            },
            "hold_until": self.hold_until.isoformat() if self.hold_until else None,
        }
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> RuleLedger:
        """Read what :meth:`to_text` wrote.

        :raises ValueError: it is something else, or of another version.
        """
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise ValueError(f"it has version {values['version']!r}, not {VERSION}")
            entries = {
                str(key): Entry(
                    acts=tuple(_act(each) for each in entry["acts"]),
                    consents=tuple(_consent(each) for each in entry["consents"]),
                )
                for key, entry in values["entries"].items()
            }
            hold = values["hold_until"]
            return cls(entries=entries, hold_until=_moment(hold) if hold else None)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is no ledger: {type(error).__name__}: {error}") from None

    @classmethod
    def lost(cls, now: datetime) -> RuleLedger:
        """Return the ledger that takes the place of a damaged one."""
        return cls(hold_until=now + WINDOW)

    def _with(self, key: str, entry: Entry) -> RuleLedger:
        return dataclasses.replace(self, entries={**self.entries, key: entry})


def free_at(moments: Sequence[datetime], limit: int, now: datetime) -> datetime | None:
    """Return when there is room again under a limit for an hour; ``None``: there is now.

    :param moments: what counts, within the last hour, oldest first.
    :param limit: most of them in an hour; with 0 there never is room, and it is worth a look in an hour.
    """
    if len(moments) < limit:
        return None
    return moments[len(moments) - limit] + WINDOW if limit else now + WINDOW


def _plain(items: Sequence[Any]) -> list[dict[str, Any]]:
    """Return JSON-ready values without what is as by default."""
    return [
        {
            part.name: value.isoformat() if isinstance(value, datetime) else value
            for part in dataclasses.fields(item)
            if (value := getattr(item, part.name)) != part.default
        }
        for item in items
    ]


def _act(values: Mapping[str, Any]) -> Act:
    act = Act(**{**values, "at": _moment(values["at"])})
    if act.kind not in get_args(Kind) or act.state not in get_args(ActState) or act.calls < 1:
        raise ValueError(f"it is no act: {act}")
    return act


def _consent(values: Mapping[str, Any]) -> Consent:
    consent = Consent(**{**values, "at": _moment(values["at"])})
    if consent.choice not in get_args(Choice):
        raise ValueError(f"it is no choice: {consent.choice!r}")
    return consent


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment

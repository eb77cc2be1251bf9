"""What must never happen, told without the rules of the product: from what GitHub itself knew at the time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from landing_forge import PERMISSIONS

from airflow_provider_agents.domain.freeze import frozen_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from landing_forge import Forge
    from landing_run import Run

    from airflow_provider_agents.domain.landing_policy import LandingPolicy

WRITERS = frozenset(login for login, permission in PERMISSIONS.items() if permission != "read") - {"agent"}
MOST_MERGE_CALLS = 5
"""Of one gate, for one head."""
PASSING = frozenset({"SUCCESS", "NEUTRAL", "SKIPPED"})


@dataclass(frozen=True)
class Truth:
    """What GitHub knew at one moment."""

    head: str
    open: bool
    draft: bool
    labels: frozenset[str]
    objecting: frozenset[str]
    """Logins of writers whose last word is an objection, and ids of unresolved threads that writers began."""
    failed: frozenset[str]
    running: frozenset[str]
    checks: frozenset[str]
    told_to_stop: bool
    """Whether the last word of writers among /stop, /retry and /merge is /stop."""


@dataclass(frozen=True)
class Reading:
    """A full reading of the gate."""

    began: datetime
    first: int
    """Number of the truth at its beginning."""
    last: int
    """Number of the truth at its end."""
    head: str


def truth_of(forge: Forge) -> Truth:
    """Return what GitHub knows now."""
    pull = forge.pull
    runs = [run for run in pull.repository.check_runs(pull.head_ref_oid) if not _hidden(run, forge)]
    words = [
        comment.body.split()[0]
        for comment in pull.comments
        if comment.author.login in WRITERS and comment.body.startswith("/")
    ]
    last = [word for word in words if word in ("/stop", "/retry", "/merge")][-1:]
    reviews = pull.latest_opinionated_reviews()
    threads = [t for t in pull.threads if not t.is_resolved and t.comments[0].author.login in WRITERS]
    return Truth(
        head=pull.head_ref_oid,
        open=pull.state == "OPEN",
        draft=pull.is_draft,
        labels=frozenset(label.name for label in pull.labels),
        objecting=frozenset(
            r.author.login for r in reviews if r.state == "CHANGES_REQUESTED" and r.author.login in WRITERS
        )
        | {thread.id for thread in threads},
        failed=frozenset(r.name for r in runs if r.status == "COMPLETED" and r.conclusion not in PASSING),
        running=frozenset(r.name for r in runs if r.status != "COMPLETED"),
        checks=frozenset(r.name for r in runs),
        told_to_stop=last == ["/stop"],
    )


def _hidden(run: Any, forge: Forge) -> bool:
    return bool(run.appears_at and run.appears_at > forge.clock.time())


class Oracle:
    """Watches one history; :meth:`watch` before the run, :meth:`conclude` after it."""

    def __init__(self, forge: Forge, policy: LandingPolicy) -> None:
        self._forge = forge
        self._policy = policy
        self._truths: list[tuple[datetime, Truth]] = []
        self._consents: dict[str, frozenset[str]] = {}
        self._words: set[str] = set()
        self.readings: list[Reading] = []
        self.gate = 0
        """Number of the gate that runs."""
        self.merge_calls: Counter[tuple[int, str]] = Counter()
        self.faults: list[str] = []

    def watch(self) -> None:
        """Begin."""
        self._forge.moved = self._note
        self._forge.sends.append(self._sent)
        self._note()

    def now(self) -> int:
        """Return the number of the present truth."""
        self._note()
        return len(self._truths) - 1

    def read(self, began: datetime, first: int, head: str) -> None:
        """Note a full reading of the gate.

        :param first: :meth:`now` at its beginning.
        """
        self.readings.append(Reading(began, first, self.now(), head))

    def consents(self, head: str, failing: frozenset[str] = frozenset()) -> None:
        """Note that a person with write access told us to merge ``head``, and in spite of what."""
        self._consents[head] = self._consents.get(head, frozenset()) | failing

    def conclude(self, run: Run) -> None:
        """Hold what must be true of the whole history."""
        log = [entry for entry in self._forge.server.mutations if entry["number"] == 1]
        merged = [entry for entry in log if entry["kind"] == "pull_request.merged"]
        assert len(merged) <= 1, f"merged {len(merged)} times"
        assert not self.faults, self.faults
        reruns = Counter(
            (entry["details"]["name"], entry["details"]["sha"])
            for entry in self._forge.server.mutations
            if entry["kind"] == "check.rerequested" and entry["actor"] == "agent"
        )
        assert max(reruns.values(), default=0) <= 1, f"run again more than once: {reruns}"
        for what, count in Counter(self._own_words()).items():
            assert count == 1, f"said {count} times: {what}"
        most = max(self.merge_calls.values(), default=0)
        assert most <= MOST_MERGE_CALLS, f"asked {most} times to merge one head"
        retries = [
            comment
            for comment in self._forge.pull.comments
            if comment.author.login in WRITERS and comment.body.split()[:1] == ["/retry"]
        ]
        granted = run.granted + len(retries)
        rounds, policy = Counter(run.rounds), self._policy
        # Told to go on while a person was asked, a /tell or a /retry is a round too.
        told = rounds.pop("told_by_person", 0)
        assert rounds.total() <= policy.max_rounds + granted, f"{rounds} are too many rounds"
        assert told <= granted + self._tells(), f"{told} rounds that nobody asked for"
        for reason in ("checks_failed", "conflict", "queue_ejected", "review"):
            assert rounds[reason] <= policy.max_rounds_per_reason + granted, f"too many rounds for {reason}"

    def _tells(self) -> int:
        comments = self._forge.pull.comments
        return sum(c.author.login in WRITERS and c.body.startswith("/tell ") for c in comments)

    def _own_words(self) -> list[tuple[str, str]]:
        pull = self._forge.pull
        said = [
            ("the conversation", comment.body) for comment in pull.comments if comment.author.login == "agent"
        ]
        markers = [(where, body.rpartition("<!--")[2]) for where, body in said]
        replies = [
            (thread.id, comment.body)
            for thread in pull.threads
            for comment in thread.comments
            if comment.author.login == "agent"
        ]
        return [*markers, *replies]

    def _note(self) -> None:
        now, truth = self._forge.now, truth_of(self._forge)
        for comment in self._forge.pull.comments:
            if comment.id not in self._words:
                self._words.add(comment.id)
                if comment.author.login in WRITERS and comment.body.split()[:1] == ["/merge"]:
                    self.consents(truth.head)
        if not self._truths or self._truths[-1][1] != truth:
            self._truths.append((now, truth))

    # Acts

    def _sent(self, method: str, path: str, body: Any) -> None:
        self._note()
        query = str((body or {}).get("query") or "") if isinstance(body, dict) else ""
        variables = (body or {}).get("variables") or {} if query else {}
        if method == "PUT" and path.endswith("/merge"):
            self.merge_calls[self.gate, body["sha"]] += 1
            self._judge("merge", body["sha"])
        elif "enqueuePullRequest" in query and "dequeuePullRequest" not in query:
            self._judge("enqueue", variables["head"])
        elif "enablePullRequestAutoMerge" in query:
            self._judge("auto-merge", variables["head"])

    def _judge(self, act: str, head: str) -> None:
        """Hold that the last reading before an act allows it."""
        if not self.readings:
            self.faults.append(f"{act} without a reading")
            return
        reading = self.readings[-1]
        if reading.head != head:
            self.faults.append(f"{act} of {head[:8]}, but {reading.head[:8]} was read")
        for what, holds in self._conditions(act, head, reading).items():
            if not any(holds(truth) for truth in self._visible(reading)):
                self.faults.append(f"{act} although not {what}, at {self._forge.now:%H:%M:%S}")

    def _visible(self, reading: Reading) -> list[Truth]:
        """Return what a reading may have shown."""
        first = reading.first
        if self._forge.worst_staleness:
            oldest = reading.began - timedelta(seconds=self._forge.worst_staleness)
            first = min(first, sum(at <= oldest for at, _ in self._truths) - 1)
        return [truth for _, truth in self._truths[max(first, 0) : reading.last + 1]]

    def _conditions(self, act: str, head: str, reading: Reading) -> dict[str, Callable[[Truth], bool]]:
        policy, consent = self._policy, head in self._consents
        overridden = self._consents.get(head, frozenset())
        hold = {label.casefold() for label in policy.hold_labels}
        found: dict[str, Callable[[Truth], bool]] = {
            "of that head": lambda t: t.head == head,
            "open": lambda t: t.open,
            "ready": lambda t: not t.draft,
            "without a hold label": lambda t: not hold & {label.casefold() for label in t.labels},
            "without an objection": lambda t: not t.objecting,
            "without a failed check": lambda t: t.head == head and t.failed <= overridden,
            "without a /stop": lambda t: not t.told_to_stop,
            "outside of freezes": lambda t: frozen_until(policy.freeze, reading.began) is None,
            "by a person's word": lambda t: policy.auto_merge or consent,
        }
        if act != "auto-merge":
            found["after all checks"] = lambda t: t.head == head and not t.running
            found["with a check"] = lambda t: bool(t.checks) or policy.no_checks == "merge" or consent
        return found

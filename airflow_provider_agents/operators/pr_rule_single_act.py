"""One act on one pull request: ask the guards, write the intent down, act, write down what came of it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pr_rule_guards import (
    MODEL,
    VOID,
    Circumstances,
    Guarded,
    act_detail,
    guarded,
)
from airflow_provider_agents.domain.pr_rule_ledger import MERGES, Act
from airflow_provider_agents.exceptions import ForgeError, ForgeRateLimitedError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.operators.pr_rule_acts import RuleActs, failed
from airflow_provider_agents.operators.pr_rule_application import Applications
from airflow_provider_agents.operators.pr_rule_calling import Called, ask_run_id, page_of
from airflow_provider_agents.operators.pr_rule_surroundings import looked_into
from airflow_provider_agents.operators.rule_ledger import read_ledger, write_ledger

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule import Action, PullRequestRule
    from airflow_provider_agents.domain.pr_rule_circumstances import PlatformGuards
    from airflow_provider_agents.domain.pr_rule_decision import Outcome, PullRequestDecision, RuleAnswer
    from airflow_provider_agents.domain.pr_rule_ledger import Kind
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

MOST_NEEDS = 4
"""Different things that guards may ask to be read for one pull request."""
MOST_MESSAGE = 500


class SingleAct:
    """Carries out one decision. Only for a task that is alone in the pool ``agents_rules``.

    :param platform: what ``repositories.yaml`` says about the repository.
    :param since: when the run began: what the ledger has from then on was done by an earlier try of it.
    :param applications: those of Argo CD, as all acts of a run read them.
    """

    def __init__(
        self,
        *,
        rule_name: str,
        rule: PullRequestRule,
        connection: str,
        platform: PlatformGuards,
        since: datetime,
        applications: Applications | None = None,
    ) -> None:
        self._name = rule_name
        self._rule = rule
        self._connection = connection
        self._platform = platform
        self._since = since
        self._applications = applications or Applications(rule)
        self.called: Called | None = None
        """What people were called for."""
        self.merging = False
        """Whether a merge was tried, so that what was read of others of the branch is old."""
        self.halted: ForgeRateLimitedError | None = None

    def carry_out(
        self,
        decision: PullRequestDecision,
        answer: RuleAnswer,
        s: PullRequestSnapshot,
        head_first_seen: datetime | None,
        *,
        base: str,
        calling: Guarded | None = None,
        by_person: bool = False,
    ) -> PullRequestDecision:
        """Do what the guards leave of an answer; return the decision with what came of it.

        :param s: a fresh reading.
        :param base: branch that it was to go into when it was decided about.
        :param calling: an escalation that is due whatever the answer is.
        :param by_person: whether a person chose it, whom nobody has to be called for.
        :raises ForgeError: something that a guard needs could not be read; nothing was done.
        """
        circumstances = Circumstances(
            rule_name=self._name,
            decided_head=decision.head_sha,
            decided_base=base,
            head_first_seen=head_first_seen,
            ledger=read_ledger(),
            platform=self._platform,
        )
        if (earlier := self._earlier_try(decision, s, circumstances, by_person)) is not None:
            return earlier
        if not by_person and (cut_off := self._cut_off(decision, s, circumstances)) is not None:
            return self._act(decision, answer, s, cut_off)
        ask = AgentsGitHubHook(self._connection, repository=s.repository).run
        found = guarded(answer, s, self._rule, circumstances, calling=calling)
        for _ in range(MOST_NEEDS):
            if not found.needs:
                break
            circumstances = looked_into(found.needs, circumstances, self._rule, s, ask, self._applications)
            found = guarded(answer, s, self._rule, circumstances, calling=calling)
        if found.guard == "nothing_to_do" and (tried := self._tried(decision, circumstances)) is not None:
            write_ledger(read_ledger().ended(decision.key, tried, "done"))
            return ended_as(decision, "done", "Done by an earlier try.", acted=True)
        if found.action == "wait" and not found.step:
            outcome: Outcome = (
                "superseded" if found.guard in VOID else "guarded" if found.guard else "waiting"
            )
            return ended_as(
                decision, outcome, found.message, action="wait", guard=found.guard, retry_at=found.retry_at
            )
        if by_person and found.action == "escalate":
            return ended_as(decision, "guarded", found.message, action="escalate", guard=found.guard)
        if self._rule.dry_run:
            text = f"Would {_words(found)}. {found.message}".strip()
            return ended_as(decision, "dry_run", text, action=found.action, guard=found.guard)
        return self._act(decision, answer, s, found)

    def taken_back(self, s: PullRequestSnapshot, decision: PullRequestDecision) -> PullRequestDecision | None:
        """Take a pull request out of the merge queue that the rule put it into, where something speaks against it now.

        :param decision: what is recorded then; ``None`` is returned where it may stay.
        """
        assert decision.answer is not None
        circumstances = Circumstances(
            rule_name=self._name,
            decided_head=s.head_sha,
            decided_base=s.base_branch,
            ledger=read_ledger(),
            platform=self._platform,
        )
        found = guarded(decision.answer, s, self._rule, circumstances)
        if found.step != "withdraw" or self._rule.dry_run:
            return None
        return self._act(decision, decision.answer, s, found)

    def _act(
        self, decision: PullRequestDecision, answer: RuleAnswer, s: PullRequestSnapshot, found: Guarded
    ) -> PullRequestDecision:
        kind: Kind = found.step or found.action  # type: ignore[assignment]
        escalates = kind == "escalate"
        detail = act_detail(answer, found)
        act = Act(
            kind=kind,
            head_sha=s.head_sha,
            rule=self._name,
            at=datetime.now(UTC),
            detail=detail,
            label=self._rule.escalation_label if escalates else "",
            base=s.base_branch if escalates else "",
            said=found.message[:MOST_MESSAGE] if escalates else "",
        )
        ledger = read_ledger().intending(decision.key, act)
        write_ledger(ledger)
        calls = next(each.calls for each in ledger.entry(decision.key).acts if each.identity == act.identity)
        link = ""
        if escalates:
            link = page_of(ask_run_id(s.repository, s.number, s.head_sha, s.base_branch, detail))
            # Also where GitHub's answer is lost, or is no: with the label on nobody would come back to it.
            self.called = Called(reason=detail, guard=found.guard, message=found.message)
        acts = RuleActs(
            connection=self._connection,
            rule_name=self._name,
            rule=self._rule,
            snapshot=s,
            answer=answer,
            run_link=link,
            calls=calls,
        )
        self.merging = kind in MERGES
        try:
            done = acts.act(kind, found)
        except ForgeError as error:
            done = failed(error, calls)
            if isinstance(error, ForgeRateLimitedError):
                self.halted = error
                done = dataclasses.replace(done, retry_at=error.retry_at or done.retry_at)
        said = act.said if escalates or done.state == "done" else done.message[:MOST_MESSAGE]
        write_ledger(read_ledger().ended(decision.key, act, done.state, said))
        return ended_as(
            decision,
            done.outcome,
            done.message,
            action=found.action,
            guard=found.guard,
            retry_at=done.retry_at,
            acted=True,
        )

    def _earlier_try(
        self,
        decision: PullRequestDecision,
        s: PullRequestSnapshot,
        circumstances: Circumstances,
        by_person: bool,
    ) -> PullRequestDecision | None:
        """Return what an earlier try of this run did, or what an act came to whose answer was lost."""
        for act in reversed(circumstances.ledger.entry(decision.key).acts):
            if act.rule != self._name or act.head_sha != decision.head_sha:
                continue
            if by_person and act.kind not in _kinds(decision):
                continue
            merged = act.kind in MERGES and s.state == "MERGED" and s.head_sha == act.head_sha
            closed = act.kind == "close" and s.state == "CLOSED"
            if merged or closed:
                if act.state != "done":
                    write_ledger(read_ledger().ended(decision.key, act, "done"))
            elif act.kind not in _ENDS or act.state != "done" or act.at < self._since:
                continue
            action: Action = "merge" if act.kind in MERGES else act.kind  # type: ignore[assignment]
            wanted = decision.answer.action if decision.answer else ""
            guard = act.detail if act.kind == "escalate" and wanted != "escalate" else ""
            if act.kind == "escalate":
                self.called = Called(reason=act.detail, guard=guard, message=act.said)
            outcome: Outcome = "guarded" if guard else "done"
            text = f"{act.said} Done at {act.at:%H:%M:%S} UTC.".strip()
            return ended_as(decision, outcome, text, action=action, guard=guard, acted=True)
        return None

    def _cut_off(
        self, decision: PullRequestDecision, s: PullRequestSnapshot, circumstances: Circumstances
    ) -> Guarded | None:
        """Return the call for people that an earlier try began and did not end: the label is on, nobody was asked."""
        label = self._rule.escalation_label.casefold()
        if s.state != "OPEN" or s.head_sha != decision.head_sha or label not in map(str.casefold, s.labels):
            return None
        for act in reversed(
            circumstances.ledger.entry(decision.key).calls_for_people(s.head_sha, s.base_branch)
        ):
            if act.rule == self._name and act.state == "intended":
                guard = "" if act.detail == MODEL else act.detail
                return Guarded(action="escalate", guard=guard, message=act.said)
        return None

    def _tried(self, decision: PullRequestDecision, circumstances: Circumstances) -> Act | None:
        """Return what was tried before, of which nobody knows how it ended."""
        for act in circumstances.ledger.entry(decision.key).acts:
            mine = act.rule == self._name and act.head_sha == decision.head_sha
            wanted = decision.answer.action if decision.answer else ""
            if mine and act.kind == wanted and act.state == "intended":
                return act
        return None


_ENDS = frozenset({"close", "comment", "label", "request_review", "escalate"})
"""Acts that leave nothing to be done for the answer. A branch that was updated has another head by now, and of a merge
the state tells."""


def _kinds(decision: PullRequestDecision) -> frozenset[Kind]:
    """Return the acts that carry a decision out."""
    action = decision.answer.action if decision.answer else ""
    return MERGES if action == "merge" else frozenset({action})  # type: ignore[arg-type]


def ended_as(
    decision: PullRequestDecision,
    outcome: Outcome,
    message: str,
    *,
    action: Action | None = None,
    guard: str = "",
    retry_at: datetime | None = None,
    acted: bool = False,
) -> PullRequestDecision:
    """Return a decision with what came of it.

    :param acted: whether something was done just now.
    """
    values: dict[str, Any] = {"outcome": outcome, "message": message[:MOST_MESSAGE], "guard": guard}
    return dataclasses.replace(
        decision,
        **values,
        action=action or decision.action,
        retry_at=retry_at,
        acted_at=datetime.now(UTC) if acted else None,
    )


def _words(found: Guarded) -> str:
    step = found.step or found.action
    special = {"enqueue": "put it into the merge queue", "escalate": "call a person"}
    return special.get(step, step.replace("_", " "))

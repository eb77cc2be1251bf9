"""Carrying out the answers of one run of a rule: read afresh, ask the guards, write the intent down, act, record."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.authority import named_teams
from airflow_provider_agents.domain.pr_rule_after import after, after_failure
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_guards import Guarded
from airflow_provider_agents.domain.pr_rule_item import RuleItem
from airflow_provider_agents.domain.pr_rule_look import Look
from airflow_provider_agents.domain.pr_rule_turn import GAVE_UP, GIVE_UP_AFTER, USELESS
from airflow_provider_agents.exceptions import (
    ForgeError,
    ForgeRateLimitedError,
    InvalidInputError,
    TaskStoppedError,
)
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_authority import ask_about
from airflow_provider_agents.hooks.github_owners import run_with_owners
from airflow_provider_agents.hooks.github_scope import rule_scope
from airflow_provider_agents.operators.pr_rule_acts import failed
from airflow_provider_agents.operators.pr_rule_application import Applications
from airflow_provider_agents.operators.pr_rule_audit import count_error, record_decisions
from airflow_provider_agents.operators.pr_rule_calling import ask_values
from airflow_provider_agents.operators.pr_rule_look import LOOK_KEY, STANDING_KEY
from airflow_provider_agents.operators.pr_rule_records import read_state, write_state
from airflow_provider_agents.operators.pr_rule_single_act import SingleAct, ended_as
from airflow_provider_agents.operators.pr_rule_sources import load_rule
from airflow_provider_agents.operators.pr_rule_surroundings import platform_guards
from airflow_provider_agents.operators.rule_ledger import read_ledger, write_ledger
from airflow_provider_agents.triggers.pr_rule_memory import LOOK_AT_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from airflow.sdk import Context

    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_circumstances import PlatformGuards
    from airflow_provider_agents.domain.pr_rule_state import RuleState
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.operators.pr_rule_act import ActOnPullRequestsOperator

BATCH = 10
"""Pull requests that are read right before they are acted on; as many as go into one query."""
_EDITED = "The rule was edited since."
_CALL = RuleAnswer(action="escalate", reason="", confidence=1.0)


class ActPass:
    """One run's acts."""

    def __init__(self, operator: ActOnPullRequestsOperator, context: Context) -> None:
        self._operator = operator
        self._context = context
        self._log = operator.log
        self._name = operator.rule
        self._asks: list[dict[str, Any]] = []
        self._platform: dict[str, PlatformGuards] = {}
        self._moved: set[tuple[str, str]] = set()
        self._halted: ForgeRateLimitedError | None = None
        self._taken_back: list[PullRequestDecision] = []
        self._at = datetime.now(UTC)
        self._applications: Applications | None = None

    def run(self) -> list[dict[str, Any]]:
        """Act; return what people are to be asked.

        :raises TaskStoppedError: the look failed.
        :raises ForgeError: nothing could be done, and there is another try.
        """
        look = self._look()
        self._at = look.at
        items = self._items()
        decisions = self._decisions(items)
        ended = self._carried_out(decisions, items)
        for each in ended:
            self._log.info("%s#%d %s", each.repository, each.number, _line(each))
        self._remember(look, ended)
        return self._asks

    # What the tasks before left

    def _look(self) -> Look:
        values = self._context["ti"].xcom_pull(task_ids=self._operator.look_task_id, key=LOOK_KEY)
        if values:
            return Look.from_dict(values)
        text = f"the task {self._operator.look_task_id} failed; its log says why"
        state = after_failure(read_state(self._name), "github", text, datetime.now(UTC))
        write_state(self._name, state)
        self._tell_watcher(state)
        count_error(self._name, "github")
        raise TaskStoppedError(f"There is nothing to act on: {text}.")

    def _items(self) -> dict[str, RuleItem]:
        """Return what the look handed on, by key of the pull request."""
        ti, task = self._context["ti"], self._operator.look_task_id
        values = [
            *(ti.xcom_pull(task_ids=task) or []),
            *(ti.xcom_pull(task_ids=task, key=STANDING_KEY) or []),
        ]
        items = [RuleItem.from_dict(each) for each in values]
        return {item.key: item for item in items}

    def _decisions(self, items: Mapping[str, RuleItem]) -> list[PullRequestDecision]:
        """Return what was decided, and what still stands; of a question that failed nothing came.

        After a clear Airflow keeps answers of map indexes that the look of now does not have: they are about facts
        of then.
        """
        found = self._context["ti"].xcom_pull(task_ids=self._operator.decide_task_id)
        values = [found] if isinstance(found, dict) else list(found or [])
        asked = [PullRequestDecision.from_dict(each) for each in values if isinstance(each, dict)]
        standing = [item.standing_decision() for item in items.values() if item.standing is not None]
        answers = [each for each in asked if each.key in items and _is_about(each, items[each.key])]
        return list({each.key: each for each in (*answers, *standing)}.values())

    # Acting

    def _carried_out(
        self, decisions: Sequence[PullRequestDecision], items: Mapping[str, RuleItem]
    ) -> list[PullRequestDecision]:
        try:
            rule = load_rule(self._name)
            self._applications = Applications(rule)
            connection = rule_scope(rule).connection
        except InvalidInputError as error:
            why = _gone(error)
            return [_superseded(each, why) if not each.outcome else each for each in decisions]
        ended: dict[str, PullRequestDecision] = {}
        due = []
        for each in decisions:
            if (settled := _settled(each, rule)) is not None:
                ended[each.key] = settled
            else:
                due.append(each)
        for start in range(0, len(due), BATCH):
            some = due[start : start + BATCH]
            # Hundreds of acts take minutes.
            if start and (why := self._edited(rule)):
                ended.update({each.key: _superseded(each, why) for each in some})
            else:
                self._batch(some, items, rule, connection, ended)
        self._unless_nothing(due, ended)
        self._look_after_queues({each.key for each in due}, rule, connection)
        return [ended[each.key] for each in decisions]

    def _edited(self, rule: PullRequestRule) -> str:
        """Return why the rule is not the one any more that the acts began with; empty: it is."""
        try:
            return "" if load_rule(self._name).version == rule.version else _EDITED
        except InvalidInputError as error:
            return _gone(error)

    def _batch(
        self,
        due: Sequence[PullRequestDecision],
        items: Mapping[str, RuleItem],
        rule: PullRequestRule,
        connection: str,
        ended: dict[str, PullRequestDecision],
    ) -> None:
        readings = self._read([(each.repository, each.number) for each in due], connection)
        self._moved.clear()
        for each in due:
            reading = readings.get((each.repository, each.number))
            try:
                if self._halted is not None:
                    raise self._halted
                if isinstance(reading, Exception) or reading is None:
                    raise reading or ForgeError(f"GitHub did not tell of {each.key}")
                ended[each.key] = self._one(each, items[each.key], rule, connection, reading)
            except ForgeRateLimitedError as error:
                self._halted = error
                ended[each.key] = ended_as(
                    each, "failed", str(error), retry_at=error.retry_at or failed(error, 1).retry_at
                )
            except Exception as error:  # whatever it is, it stops no other pull request
                if not isinstance(error, (ForgeError, InvalidInputError)):
                    self._log.exception("%s#%d could not be acted on", each.repository, each.number)
                ended[each.key] = ended_as(each, "failed", _text(error), retry_at=failed(error, 3).retry_at)

    def _read(
        self, refs: Sequence[tuple[str, int]], connection: str
    ) -> Mapping[tuple[str, int], PullRequestSnapshot | ForgeError]:
        if self._halted is not None:
            return {}
        for repository in dict.fromkeys(repository for repository, _ in refs):
            try:
                self._platform[repository] = platform_guards(repository)
            except InvalidInputError as error:
                self._log.error("repositories.yaml cannot be used, so nothing is done: %s", error)
                return dict.fromkeys(refs, ForgeError(_text(error)))
            ask_about(named_teams(self._platform[repository].authority))
        try:
            return run_with_owners(connection, lambda client: client.snapshots(refs))
        except ForgeRateLimitedError as error:
            self._halted = error
            return {}
        except ForgeError as error:
            return dict.fromkeys(refs, error)

    def _one(
        self,
        decision: PullRequestDecision,
        item: RuleItem,
        rule: PullRequestRule,
        connection: str,
        s: PullRequestSnapshot,
    ) -> PullRequestDecision:
        if (s.repository, s.base_branch) in self._moved:
            # What was merged since this was read may be in conflict with it.
            hook = AgentsGitHubHook(connection, repository=s.repository)
            s = hook.run(lambda client: client.snapshot(decision.repository, decision.number))
        one = self._one_act(decision.repository, rule, connection)
        answer, calling = _answer(decision)
        ended = one.carry_out(
            decision, answer, s, item.head_first_seen, base=item.entry.base_branch, calling=calling
        )
        if one.merging:
            self._moved.add((s.repository, s.base_branch))
        if one.called is not None:
            self._asks.append(ask_values(ended, item.entry, one.called))
        self._halted = one.halted
        return ended

    def _one_act(self, repository: str, rule: PullRequestRule, connection: str) -> SingleAct:
        return SingleAct(
            rule_name=self._name,
            rule=rule,
            connection=connection,
            platform=self._platform[repository],
            since=self._at,
            applications=self._applications,
        )

    def _look_after_queues(self, looked_at: Set[str], rule: PullRequestRule, connection: str) -> None:
        """Take out of merge queues what the rule put there and what something speaks against by now.

        Whatever was decided since, and also where nothing was: GitHub merges it without asking again.

        :param looked_at: keys of the pull requests that were read already.
        """
        queued = read_ledger().queued(self._name, datetime.now(UTC))
        keys = [key for key in queued if key not in looked_at]
        for start in range(0, len(keys), BATCH):
            refs = {key: _ref(key) for key in keys[start : start + BATCH]}
            readings = self._read(list(refs.values()), connection)
            for key, ref in refs.items():
                s = readings.get(ref)
                if s is None or isinstance(s, Exception):
                    self._log.warning("%s is in a merge queue and cannot be read: %s", key, s or self._halted)
                elif s.state != "OPEN":
                    write_ledger(read_ledger().ended(key, queued[key], "done", s.state.lower()))
                else:
                    self._look_after(s, ref[0], rule, connection)

    def _look_after(
        self, s: PullRequestSnapshot, repository: str, rule: PullRequestRule, connection: str
    ) -> None:
        answer = RuleAnswer(
            action="wait", reason="The rule put it into the merge queue before.", confidence=1.0
        )
        decision = PullRequestDecision(
            rule=self._name,
            version=rule.version,
            repository=s.repository,
            number=s.number,
            url=s.url,
            head_sha=s.head_sha,
            context_hash="",
            decided_at=datetime.now(UTC),
            answer=answer,
            asked=False,
        )
        try:
            ended = self._one_act(repository, rule, connection).taken_back(s, decision)
        except Exception:  # whatever it is, it stops no other pull request
            self._log.exception("%s#%d could not be looked after", s.repository, s.number)
            return
        if ended is not None:
            self._log.info("%s#%d %s", ended.repository, ended.number, _line(ended))
            self._taken_back.append(ended)

    # Recording

    def _unless_nothing(
        self, due: Sequence[PullRequestDecision], ended: Mapping[str, PullRequestDecision]
    ) -> None:
        """Fail where GitHub was away for all of them, so that the task is tried again; the last try records it."""
        ti = self._context["ti"]
        outcomes = [ended[each.key] for each in due]
        if not outcomes or self._halted is not None:
            return
        if any(each.outcome != "failed" or each.acted_at is not None for each in outcomes):
            return
        if int(ti.try_number) <= int(ti.max_tries or 0):
            raise ForgeError(f"Nothing could be done: {outcomes[0].message}")

    def _remember(self, look: Look, ended: Sequence[PullRequestDecision]) -> None:
        before = read_state(self._name)
        state = after(before, look, ended, datetime.now(UTC))
        write_state(self._name, state)
        self._tell_watcher(state)
        errors = dict(Counter(state.errors) - Counter(before.errors))
        record_decisions(
            self._context, self._name, [*ended, *self._taken_back], state.last_pass, errors=errors
        )

    def _tell_watcher(self, state: RuleState) -> None:
        """Say when there is something to do although nothing changes at GitHub."""
        stores = self._context.get("asset_state_store")
        for asset in self._operator.inlets if stores is not None else ():
            moment = state.look_at.isoformat() if state.look_at else ""
            try:
                stores[asset].set(LOOK_AT_KEY, moment)  # type: ignore[index]
            except Exception as error:  # the sweep looks all the same, only later
                self._log.warning("The watcher could not be told when to look again: %s", error)


def _settled(decision: PullRequestDecision, rule: PullRequestRule) -> PullRequestDecision | None:
    """Return the decision as it ends without a look at GitHub; ``None``: there is something to do."""
    if decision.outcome:
        return decision
    if decision.version != rule.version:
        return _superseded(decision, _EDITED)
    if decision.answer is None:
        gave_up = decision.fault in USELESS and decision.failures >= GIVE_UP_AFTER
        return (
            None
            if gave_up
            else ended_as(decision, "waiting", decision.detail, action="wait", retry_at=decision.retry_at)
        )
    if decision.answer.action == "wait":
        return ended_as(
            decision, "waiting", decision.answer.reason, action="wait", retry_at=decision.retry_at
        )
    return None


def _is_about(decision: PullRequestDecision, item: RuleItem) -> bool:
    same = (item.version, item.entry.head_sha, item.context_hash)
    return item.standing is None and (decision.version, decision.head_sha, decision.context_hash) == same


def _ref(key: str) -> tuple[str, int]:
    repository, _, number = key.rpartition("#")
    return repository, int(number)


def _answer(decision: PullRequestDecision) -> tuple[RuleAnswer, Guarded | None]:
    """Return the answer to carry out, or that people are called because there is none again and again."""
    if decision.answer is not None:
        return decision.answer, None
    text = f"{decision.failures} answers in a row were of no use ({decision.fault}: {decision.detail})."
    return _CALL, Guarded(action="escalate", guard=GAVE_UP, message=text)


def _superseded(decision: PullRequestDecision, why: str) -> PullRequestDecision:
    return ended_as(decision, "superseded", why, action="wait")


def _gone(error: InvalidInputError) -> str:
    return f"The rule is gone or broken: {error.faults[0]}"


def _text(error: Exception) -> str:
    return (
        "; ".join(error.faults)
        if isinstance(error, InvalidInputError)
        else str(error) or type(error).__name__
    )


def _line(decision: PullRequestDecision) -> str:
    guard = f" by guard {decision.guard}" if decision.guard else ""
    wanted = (
        f"{decision.answer.action} → "
        if decision.answer and decision.answer.action != decision.action
        else ""
    )
    return f"{wanted}{decision.action}{guard}: {decision.outcome}. {decision.message}"

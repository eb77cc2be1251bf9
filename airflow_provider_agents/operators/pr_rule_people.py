"""The tasks that ask people about a pull request of a rule, and carry out what they chose."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.domain.pr_rule_choice import (
    WORDS,
    CalledAbout,
    answer_of_person,
    choice_of,
    question_about,
)
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision
from airflow_provider_agents.domain.pr_rule_ledger import Consent
from airflow_provider_agents.exceptions import InvalidInputError, TaskStoppedError
from airflow_provider_agents.operators.asking import ask, take_answer
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import forge_defaults
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from airflow.sdk import Context

    from airflow_provider_agents.domain.people import Question
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_ledger import Choice
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient


class _OfRule:
    """The rule that called people, as its file is now, and its GitHub."""

    def __init__(self, about: CalledAbout) -> None:
        from airflow_provider_agents.hooks.github_scope import rule_scope
        from airflow_provider_agents.operators.pr_rule_sources import load_rule

        self.about = about
        self.rule: PullRequestRule = load_rule(about.rule)
        self.connection: str = rule_scope(self.rule).connection

    def ask(self, question: Callable[[GitHubClient], Coroutine[Any, Any, Any]]) -> Any:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        return AgentsGitHubHook(self.connection, repository=self.about.repository).run(question)

    def read(self) -> PullRequestSnapshot:
        about = self.about
        s: PullRequestSnapshot = self.ask(lambda client: client.snapshot(about.repository, about.number))
        return s

    def is_void(self, s: PullRequestSnapshot) -> bool:
        """Tell whether the question is about what is no more."""
        return (s.head_sha, s.base_branch) != (self.about.head_sha, self.about.base)

    def let_go_of_old(self, s: PullRequestSnapshot) -> bool:
        """Take the rule's label off a pull request that is another by now; return whether it was.

        Not where people were called about what it is now: then the label is that call's.
        """
        from airflow_provider_agents.operators.rule_ledger import read_ledger

        if read_ledger().entry(self.about.key).calls_for_people(s.head_sha, s.base_branch):
            return False
        self.let_go()
        return True

    def let_go(self) -> None:
        """Take the rule's label off, so that the rule decides anew."""
        about, label = self.about, self.rule.escalation_label
        self.ask(lambda client: client.remove_label(about.repository, about.number, label))


class AskAboutPullRequestOperator(BaseOperator):
    """Ask a person, on Airflow's page of required actions, what becomes of a pull request.

    The run's conf says what it is about, see :class:`~...domain.pr_rule_choice.CalledAbout`. Skipped where the pull
    request is not open any more, where nobody answers in time, or where it has another head: the question is void
    then, and the rule's label comes off, so that the rule decides about the new head.

    :param answer_timeout: how long people may take; the label stays afterwards.
    :param look_again: pause between two looks at the pull request.
    :return: ``choice`` (``merge``, ``close`` or ``leave``), ``person`` and ``at``.
    :raises InvalidInputError: the conf or the rule has faults, or nobody was called about this head.
    """

    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        answer_timeout: timedelta = timedelta(days=7),
        look_again: timedelta = timedelta(minutes=10),
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.answer_timeout = answer_timeout
        self.look_again = look_again

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask."""
        return self.resume(context, None)

    def resume(self, context: Context, event: Mapping[str, Any] | None) -> dict[str, Any]:
        """Take the answer, or look whether there still is something to ask."""
        with leaving_reason(context):
            about = called_about(context)
            question = question_about(about)
            if (answer := take_answer(self, context, event, question)) is not None:
                self.log.info("%s chose: %s.", answer.by, answer.option)
                return {"choice": choice_of(answer), "person": answer.by, "at": answer.at.isoformat()}
            self._wait(about, question, context)
        return {}

    def _wait(self, about: CalledAbout, question: Question, context: Context) -> NoReturn:
        from airflow_provider_agents.operators.rule_ledger import read_ledger

        called = read_ledger().entry(about.key).calls_for_people(about.head_sha, about.base)
        if not any(act.rule == about.rule and act.detail == about.reason for act in called):
            fault = f"the rule {about.rule} called nobody about {about.key} at {about.head_sha[:12]}"
            raise InvalidInputError([f"conf: {fault}; this DAG is started by the DAGs of rules"])
        left = self._since(context) + self.answer_timeout - datetime.now(UTC)
        if left <= timedelta(0):
            raise AirflowSkipException(f"Nobody answered within {self.answer_timeout}; the label stays.")
        place = _OfRule(about)
        s = place.read()
        if s.state != "OPEN":
            raise AirflowSkipException(f"The pull request is {s.state.lower()}.")
        if place.is_void(s):
            label = (
                "The label is off; the rule decides anew."
                if place.let_go_of_old(s)
                else "People were called about that, too."
            )
            raise AirflowSkipException(
                f"The question is void: it is about {about.head_sha[:12]} into {about.base}, and the pull request is "
                f"{s.head_sha[:12]} into {s.base_branch} by now. {label}"
            )
        ask(self, context, question, method_name="resume", look_again=min(self.look_again, left))

    def _since(self, context: Context) -> datetime:
        key = f"asked_since_{generation(self, context)}"
        since = recall(context, key)
        if not isinstance(since, str):
            since = datetime.now(UTC).isoformat()
            remember(context, key, since)
        return datetime.fromisoformat(since)


class CarryOutChoiceOperator(BaseOperator):
    """Carry out what a person chose about exactly one head, within the guards that nobody overrides.

    The choice goes into the ledger first. What has to be waited for (checks, a freeze, a limit) is waited for, without
    a worker; then the rule's label comes off. To leave it to people changes nothing but the comment.

    :param ask_task_id: task that asked.
    :param patience: how long is waited for a merge or a close to be possible.
    :return: the decision, as it stands in the audit.
    :raises TaskStoppedError: what was chosen is not possible; the message says why.
    """

    ui_color = "#d6f0e0"

    def __init__(
        self, *, ask_task_id: str = "ask", patience: timedelta = timedelta(hours=24), **kwargs: Any
    ) -> None:
        kwargs.setdefault("pool", RULES_POOL)
        super().__init__(**forge_defaults(kwargs))
        self.ask_task_id = ask_task_id
        self.patience = patience

    def execute(self, context: Context) -> dict[str, Any]:
        """Carry it out."""
        return self.look_again(context, None)

    def look_again(self, context: Context, event: Any) -> dict[str, Any]:
        """Try, or try again."""
        with leaving_reason(context):
            given = context["ti"].xcom_pull(task_ids=self.ask_task_id)
            choice: Choice = given["choice"]
            consent = Consent(
                head_sha=called_about(context).head_sha,
                base=called_about(context).base,
                choice=choice,
                person=str(given["person"]),
                at=datetime.fromisoformat(given["at"]),
            )
            decision = self._carry_out(_OfRule(called_about(context)), consent, context)
            return decision.to_dict()
        return {}

    def _carry_out(self, place: _OfRule, consent: Consent, context: Context) -> PullRequestDecision:
        from airflow_provider_agents.operators.pr_rule_audit import record_decisions
        from airflow_provider_agents.operators.rule_ledger import read_ledger, write_ledger

        about = place.about
        write_ledger(read_ledger().consenting(about.key, consent))
        decision = self._decision(place, consent)
        if consent.choice != "leave":
            decision = self._try(place, consent, decision, context)
        carried_out = decision.outcome in ("done", "waiting") and decision.action != "wait"
        impossible = decision.outcome == "failed" or decision.action == "escalate"
        if carried_out:
            place.let_go()
        elif decision.guard in ("head_moved", "base_moved"):
            place.let_go_of_old(place.read())
        if carried_out or impossible or consent.choice == "leave":
            self._tell(place, consent, decision.message if impossible else "")
        record_decisions(context, about.rule, [decision])
        if impossible:
            raise TaskStoppedError(
                f"{consent.person} chose {WORDS[consent.choice]}: {decision.message} {about.url}"
            )
        return decision

    def _decision(self, place: _OfRule, consent: Consent) -> PullRequestDecision:
        about = place.about
        answer = None if consent.choice == "leave" else answer_of_person(consent.choice, consent.person)
        return PullRequestDecision(
            rule=about.rule,
            version=place.rule.version,
            repository=about.repository,
            number=about.number,
            url=about.url,
            head_sha=about.head_sha,
            context_hash="",
            decided_at=consent.at,
            by="person",
            person=consent.person,
            answer=answer,
            asked=False,
            message=f"{consent.person} chose {WORDS[consent.choice]}.",
            outcome="done",
        )

    def _try(
        self, place: _OfRule, consent: Consent, decision: PullRequestDecision, context: Context
    ) -> PullRequestDecision:
        from airflow_provider_agents.domain.authority import named_teams
        from airflow_provider_agents.hooks.github_authority import ask_about
        from airflow_provider_agents.operators.pr_rule_single_act import SingleAct
        from airflow_provider_agents.operators.pr_rule_surroundings import platform_guards

        about = place.about
        platform = platform_guards(about.repository)
        ask_about(named_teams(platform.authority))
        one = SingleAct(
            rule_name=about.rule,
            rule=place.rule,
            connection=place.connection,
            platform=platform,
            since=consent.at,
        )
        answer = decision.answer
        assert answer is not None
        ended = one.carry_out(
            decision, answer, place.read(), self._first_seen(about), base=about.base, by_person=True
        )
        self.log.info("%s: %s. %s", ended.action, ended.outcome, ended.message)
        if ended.outcome in ("done", "dry_run", "superseded") or ended.action == "escalate":
            return ended
        if ended.action == "merge" and ended.outcome == "waiting":
            return ended  # in the merge queue
        if datetime.now(UTC) - consent.at > self.patience:
            text = f"It was not possible within {self.patience}: {ended.message}"
            return dataclasses.replace(ended, outcome="failed", message=text)
        self._defer_until(ended.retry_at, context)
        return None

    def _first_seen(self, about: CalledAbout) -> datetime | None:
        """Return when the rule saw the head first, at the latest when it called people about it."""
        from airflow_provider_agents.operators.pr_rule_records import read_state
        from airflow_provider_agents.operators.rule_ledger import read_ledger

        seen = read_state(about.rule).pull_requests.get(about.key)
        if seen is not None and seen.head_sha == about.head_sha and seen.head_first_seen is not None:
            return seen.head_first_seen
        called = read_ledger().entry(about.key).calls_for_people(about.head_sha, about.base)
        return min((act.at for act in called), default=None)

    def _defer_until(self, retry_at: datetime | None, context: Context) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        now = datetime.now(UTC)
        wanted = retry_at or now + timedelta(minutes=10)
        moment = min(max(wanted, now + timedelta(seconds=10)), now + timedelta(minutes=10))
        self.defer(trigger=DateTimeTrigger(moment=moment), method_name="look_again")

    def _tell(self, place: _OfRule, consent: Consent, why_not: str) -> None:
        """Bring the rule's comment up to date, so that nobody answers a question that is settled.

        :param why_not: why it was not done; empty where it was.
        """
        from airflow_provider_agents.domain.pr_rule_message import choice_comment, comment_marker

        about = place.about
        text = choice_comment(about.rule, consent.person, WORDS[consent.choice], consent.head_sha, why_not)
        place.ask(
            lambda client: client.comment_in_place(
                about.repository, about.number, comment_marker(about.rule), text
            )
        )


def called_about(context: Context) -> CalledAbout:
    """Return what the run is about.

    :raises InvalidInputError: its conf has faults, each is named.
    """
    conf = getattr(context.get("dag_run"), "conf", None)
    try:
        return CalledAbout.from_conf(conf)
    except ValueError as error:
        raise InvalidInputError([f"conf: {error}; this DAG is started by the DAGs of rules"]) from None

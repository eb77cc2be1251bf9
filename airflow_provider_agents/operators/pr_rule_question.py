"""One question about one pull request: what the model is shown, its answer, and the record of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pr_rule_decision import ModelCall, PullRequestDecision
from airflow_provider_agents.domain.pr_rule_item import RuleItem
from airflow_provider_agents.domain.pr_rule_prompt import build_prompt
from airflow_provider_agents.domain.pr_rule_turn import backoff
from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.exceptions import ForgeError, InvalidInputError
from airflow_provider_agents.hooks.pr_rule_models import rule_model
from airflow_provider_agents.operators.pr_rule_decide import LABEL_KEY
from airflow_provider_agents.operators.pr_rule_material import read_material
from airflow_provider_agents.operators.pr_rule_sources import load_rule
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.operators.pr_rule_decide import DecideAboutPullRequestOperator

_DETAIL = 500
"""Characters of a fault that are kept."""
_SHOWN_FACT = 120


class RuleQuestion:
    """The question of one mapped task."""

    def __init__(self, operator: DecideAboutPullRequestOperator, context: Context) -> None:
        self.operator = operator
        self.context = context
        self.log = operator.log
        self.item = RuleItem.from_dict(operator.item)
        self._key = f"question_{generation(operator, context)}"

    def run(self) -> dict[str, Any]:
        """Ask, unless an earlier try did.

        :raises InvalidInputError: the model's connection is missing or may not be used.
        """
        stored = recall(self.context, self._key) or {}
        if stored.get("about") != self._about:
            stored = {}
        if isinstance(stored.get("decision"), dict):
            self.log.info("The answer is the one that an earlier try got.")
            return self._tell(PullRequestDecision.from_dict(stored["decision"]))
        if stored:
            return self._tell(
                self._without_answer(
                    ModelCall(
                        answer=None,
                        fault="unavailable",
                        detail="the worker died while the model was asked; the question counts as paid",
                        model=str(stored.get("model", "")),
                        usd=self.item.most_usd,
                    )
                )
            )
        try:
            rule = load_rule(self.item.rule)
        except InvalidInputError as error:
            return self._tell(self._superseded(f"The rule cannot be read any more: {error.faults[0]}"))
        if rule.version != self.item.version:
            return self._tell(self._superseded("The rule was edited since the look."))
        return self._tell(self._ask(rule))

    @property
    def _about(self) -> str:
        """Return what the question is about: after a clear of the look this task may be another one's."""
        return f"{self.item.key}@{self.item.entry.head_sha} {self.item.context_hash}"

    def _ask(self, rule: PullRequestRule) -> PullRequestDecision:
        entry = self.item.entry
        try:
            material = read_material(rule, self.item)
        except ForgeError as error:
            call = ModelCall(answer=None, fault="unavailable", detail=f"nobody was asked: {error}")
            return self._without_answer(call)
        model = rule_model(rule)
        try:
            prompt = build_prompt(rule, self.item.facts, material, datetime.now(UTC))
        except ValueError as error:
            call = ModelCall(answer=None, fault="malformed", detail=f"nobody was asked: {error}")
            return self._without_answer(call)
        self.log.info("%s#%d %s", entry.repository, entry.number, one_line(entry.title))
        self.log.info("What the rule sees: %s", self._facts())
        remember(self.context, self._key, {"about": self._about, "model": model.name})
        call = model.ask(prompt)
        decision = self._answered(call) if call.answer else self._without_answer(call)
        remember(
            self.context,
            self._key,
            {"about": self._about, "model": call.model, "decision": decision.to_dict()},
        )
        return decision

    def _answered(self, call: ModelCall) -> PullRequestDecision:
        return self._decision(call, failures=0, retry_at=None)

    def _without_answer(self, call: ModelCall) -> PullRequestDecision:
        failures = self.item.failures + 1
        retry_at = datetime.now(UTC) + backoff(failures, call.retry_after)
        return self._decision(call, failures=failures, retry_at=retry_at)

    def _superseded(self, why: str) -> PullRequestDecision:
        call = ModelCall(answer=None)
        return self._decision(call, failures=0, retry_at=None, outcome="superseded", asked=False, message=why)

    def _decision(self, call: ModelCall, **values: Any) -> PullRequestDecision:
        entry = self.item.entry
        return PullRequestDecision(
            rule=self.item.rule,
            version=self.item.version,
            repository=entry.repository,
            number=entry.number,
            url=entry.url,
            head_sha=entry.head_sha,
            context_hash=self.item.context_hash,
            decided_at=datetime.now(UTC),
            answer=call.answer,
            fault=call.fault,
            detail=one_line(call.detail, _DETAIL),
            model=call.model,
            tokens=call.tokens,
            usd=call.usd,
            seconds=call.seconds,
            request_id=call.request_id,
            action=call.answer.action if call.answer else "wait",
            **values,
        )

    def _tell(self, decision: PullRequestDecision) -> dict[str, Any]:
        """Log a decision, name the task after it, and return it as the task's value."""
        entry, answer = self.item.entry, decision.answer
        name = f"{entry.repository}#{entry.number}"
        what = answer.action if answer else decision.outcome or decision.fault
        self.context[LABEL_KEY] = f"{name}: {what}"  # type: ignore[literal-required]
        if answer is not None:
            until = f", until {answer.until:%Y-%m-%d %H:%M} UTC" if answer.until else ""
            waits = f" for {answer.wait_for}{until}" if answer.action == "wait" else ""
            self.log.info(
                "%s: %s%s, %.0f %% sure: %s", name, what, waits, 100 * answer.confidence, answer.reason
            )
        else:
            self.log.warning("%s: no answer: %s", name, decision.detail or decision.message)
        tokens = decision.tokens
        if decision.asked:
            self.log.info(
                "Model %s: %d tokens in, %d from the cache, %d out; %.4f USD; %.1f s.",
                decision.model or "(not asked)",
                tokens.input + tokens.cache_write,
                tokens.cache_read,
                tokens.output,
                decision.usd,
                decision.seconds,
            )
        values = decision.to_dict()
        if decision.fault == "denied":
            # Pushed before the failure, or nobody would know what it was and that it cost nothing.
            self.context["ti"].xcom_push(key="return_value", value=values)
            raise InvalidInputError([decision.detail])
        return values

    def _facts(self) -> str:
        """Return the facts in one line, cut: whole texts of outsiders have no place in a log."""
        facts = {**self.item.facts, **{f"pr.{key}": value for key, value in self.item.facts["pr"].items()}}
        return ", ".join(
            f"{key}={one_line(json.dumps(value, ensure_ascii=False), _SHOWN_FACT)}"
            for key, value in facts.items()
            if key != "pr" and value not in ("", [], None)
        )

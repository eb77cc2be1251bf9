"""GitHub, a model and an Airflow in memory, for the looks and the questions of a rule."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, PutVariable, VariableResult

from agent_runner.contract import Tokens
from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_after import after
from airflow_provider_agents.domain.pr_rule_decision import ModelCall, PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_item import RuleItem
from airflow_provider_agents.domain.pr_rule_look import Look
from airflow_provider_agents.domain.pr_rule_state import RuleState
from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators import pr_rule_look_pass, pr_rule_material, pr_rule_question
from airflow_provider_agents.operators.pr_rule_decide import LABEL_KEY, DecideAboutPullRequestOperator
from airflow_provider_agents.operators.pr_rule_look import LookForPullRequestsOperator
from airflow_provider_agents.operators.pr_rule_records import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from airflow_provider_agents.domain.argocd_application import ApplicationReading
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt
    from airflow_provider_agents.exceptions import ForgeError

START = datetime(2026, 3, 5, 12, tzinfo=UTC)
SHOP = "acme/shop"
RULE = "staging"
VARIABLE = "agents_rule__staging"
PRICE, COST = 0.05, 0.01
"""USD that a question may cost, and costs."""


class Clock:
    def __init__(self) -> None:
        self.time = START

    def now(self, zone: Any = None) -> datetime:
        return self.time

    def pass_minutes(self, minutes: float) -> None:
        self.time += timedelta(minutes=minutes)


class Owners:
    """Stands for the client of all owners."""

    def __init__(self, world: TurnsWorld) -> None:
        self._world = world

    async def organization_repositories(self, organization: str) -> tuple[str, ...]:
        return tuple(sorted({ref[0] for ref in self._world.snapshots}))

    async def open_pull_requests(self, repositories: Sequence[str]) -> dict[str, Any]:
        world = self._world
        world.listings += 1
        if world.outage:
            raise world.outage
        return {
            name: world.unlisted.get(name)
            or tuple(world.entry(ref) for ref in world.snapshots if ref[0] == name and world.is_open(ref))
            for name in repositories
        }

    async def snapshots(self, refs: Sequence[tuple[str, int]]) -> dict[Any, Any]:
        world = self._world
        if world.no_more and world.reads:
            raise world.no_more
        world.reads += refs
        if all(ref in world.broken for ref in refs):
            raise world.broken[refs[0]]
        return {ref: world.broken.get(ref) or self.snapshot_of(ref) for ref in refs}

    def snapshot_of(self, ref: tuple[str, int]) -> PullRequestSnapshot:
        snapshot = self._world.snapshots[ref]
        return dataclasses.replace(snapshot, **self._world.moved.get(ref, {}))

    async def of(self, owner: str) -> Any:
        return SimpleNamespace(snapshot=self._snapshot)

    async def _snapshot(self, repository: str, number: int) -> PullRequestSnapshot:
        if fault := self._world.material_fault:
            raise fault
        return self.snapshot_of((repository, number))


class Model:
    """Stands for the model: says what it was told to say, counts what it was asked."""

    name = "claude-test"

    def __init__(self) -> None:
        self.asked: list[RulePrompt] = []
        self.answers: Callable[[RulePrompt], ModelCall] = lambda prompt: answered("merge")
        self.dies = False

    def ask(self, prompt: RulePrompt) -> ModelCall:
        self.asked.append(prompt)
        if self.dies:
            raise KeyboardInterrupt
        return self.answers(prompt)

    def most_usd(self, prompt: RulePrompt) -> float:
        return PRICE


def answered(action: Any, **values: Any) -> ModelCall:
    answer = RuleAnswer(**{"action": action, "reason": "Because.", "confidence": 0.9, **values})
    tokens = Tokens(input=900, output=40)
    return ModelCall(answer=answer, model="claude-test", tokens=tokens, usd=COST, seconds=1.5)


def fault(name: Any, **values: Any) -> ModelCall:
    told = {"answer": None, "fault": name, "detail": f"It is {name}.", "model": "claude-test"}
    return ModelCall(**{**told, **values})


class Store:
    """A task state store."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = value


class TurnsWorld:
    """One rule and everything around it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.rule: PullRequestRule | None = PullRequestRule(instruction="Merge it.", repositories=(SHOP,))
        self.snapshots: dict[tuple[str, int], PullRequestSnapshot] = {}
        self.moved: dict[tuple[str, int], dict[str, Any]] = {}
        """What changed between the listing and the reading."""
        self.broken: dict[tuple[str, int], ForgeError] = {}
        self.unlisted: dict[str, ForgeError] = {}
        self.outage: ForgeError | None = None
        self.no_more: ForgeError | None = None
        """Raised by all readings but the first."""
        self.material_fault: ForgeError | None = None
        self.applications: dict[Any, ApplicationReading] = {}
        self.listings = 0
        self.reads: list[tuple[str, int]] = []
        self.variables: dict[str, str] = {}
        self.airflow_down = False
        self.model = Model()
        self.xcoms: dict[str, Any] = {}
        self.labels: list[str] = []
        self.runs = 0
        owners = Owners(self)

        def run_with_owners(connection: str, work: Callable[[Owners], Any]) -> Any:
            async def session() -> Any:
                return await work(owners)

            return asyncio.run(session())

        for module in (pr_rule_look_pass, pr_rule_question):
            monkeypatch.setattr(module, "load_rule", self.load)
            monkeypatch.setattr(module, "datetime", SimpleNamespace(now=self.clock.now))
            monkeypatch.setattr(module, "rule_model", lambda rule: self.model)
        for module in (pr_rule_look_pass, pr_rule_material):
            monkeypatch.setattr(module, "run_with_owners", run_with_owners)
        monkeypatch.setattr(
            pr_rule_look_pass,
            "application_readings",
            lambda rule, places: {p: r for p, r in self.applications.items() if p in places},
        )
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=self.send), raising=False)

    def send(self, message: Any) -> Any:
        if self.airflow_down:
            return ErrorResponse(error=ErrorType.API_SERVER_ERROR)
        match message:
            case GetVariable(key=key):
                if key not in self.variables:
                    return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
                return VariableResult(key=key, value=self.variables[key])
            case PutVariable(key=key, value=value):
                self.variables[key] = str(value)
                return None
        raise AssertionError(f"unexpected message {message!r}")

    def load(self, name: str) -> PullRequestRule:
        if self.rule is None:
            raise InvalidInputError([f"rules/{name}.yaml:3: it is broken"])
        return self.rule

    def edit(self, **values: Any) -> None:
        assert self.rule is not None
        self.rule = PullRequestRule.model_validate({**self.rule.model_dump(), **values})

    # Pull requests

    def open(self, number: int, repository: str = SHOP, **values: Any) -> tuple[str, int]:
        ref = (repository, number)
        self.snapshots[ref] = PullRequestSnapshot(
            **{
                "repository": repository,
                "number": number,
                "node_id": f"PR_{repository}_{number}",
                "url": f"https://github.com/{repository}/pull/{number}",
                "title": f"Change {number}",
                "state": "OPEN",
                "head_sha": f"{number:040x}",
                "head_branch": f"topic-{number}",
                "base_branch": "main",
                "read_at": self.clock.time,
                "mergeable": "MERGEABLE",
                "merge_state": "CLEAN",
                "author": "mona",
                "fork": False,
                "created_at": self.clock.time - timedelta(hours=number),
                "updated_at": self.clock.time,
                "checks": (Check(name="test", state="passed", kind="check_run"),),
                **values,
            }
        )
        return ref

    def change(self, number: int, repository: str = SHOP, **values: Any) -> None:
        ref = (repository, number)
        values.setdefault("updated_at", self.clock.time)
        self.snapshots[ref] = dataclasses.replace(self.snapshots[ref], **values)

    def is_open(self, ref: tuple[str, int]) -> bool:
        return self.snapshots[ref].state == "OPEN"

    def entry(self, ref: tuple[str, int]) -> OpenPullRequest:
        s = self.snapshots[ref]
        pending = any(check.state == "pending" for check in s.checks)
        return OpenPullRequest(
            node_id=s.node_id,
            repository=s.repository,
            number=s.number,
            url=s.url,
            title=s.title,
            author=s.author,
            author_is_bot=s.author_is_bot,
            labels=s.labels,
            base_branch=s.base_branch,
            head_branch=s.head_branch,
            head_sha=s.head_sha,
            fork=bool(s.fork),
            draft=s.draft,
            mergeable=s.mergeable,
            merge_state=s.merge_state,
            review_decision=s.review_decision or "",
            checks_state="PENDING" if pending else "SUCCESS" if s.checks else "",
            created_at=s.created_at or START,
            updated_at=s.updated_at or START,
        )

    # Runs

    @property
    def state(self) -> RuleState:
        return RuleState.from_text(self.variables[VARIABLE])

    @property
    def look_found(self) -> Look:
        return Look.from_dict(self.xcoms["look"])

    @property
    def standing(self) -> list[RuleItem]:
        return [RuleItem.from_dict(values) for values in self.xcoms["standing"]]

    def look(self) -> list[dict[str, Any]]:
        """Run the task ``look``; return what is to be asked."""
        self.runs += 1
        self.xcoms = {}
        ti = SimpleNamespace(run_id=f"run-{self.runs}", xcom_push=self.push)
        operator = LookForPullRequestsOperator(task_id="look", rule=RULE)
        return operator.execute({"ti": ti})  # type: ignore[typeddict-item]

    def push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def decide(
        self, item: dict[str, Any], store: Store | None = None, max_tries: int = 2
    ) -> PullRequestDecision:
        """Run one task ``decide``."""
        operator = DecideAboutPullRequestOperator(task_id="decide", rule=RULE, item=item)
        context: Any = {
            "ti": SimpleNamespace(run_id="run", max_tries=max_tries, xcom_push=self.push),
            "task_state_store": store or Store(),
        }
        try:
            return PullRequestDecision.from_dict(operator.execute(context))
        finally:
            self.labels.append(context.get(LABEL_KEY, ""))

    def act(self, decisions: Sequence[PullRequestDecision], **outcome: Any) -> RuleState:
        """End the run as the task ``act`` does: each answer that acts is carried out."""
        look = self.look_found
        done = [
            dataclasses.replace(
                each, **{"outcome": "done" if each.action != "wait" else "waiting", **outcome}
            )
            for each in (*decisions, *(item.standing_decision() for item in self.standing))
        ]
        state = after(read_state(RULE), look, done, self.clock.time)
        write_state(RULE, state)
        return state

    def run(self, **outcome: Any) -> list[str]:
        """Run the whole rule once; return the keys of the pull requests that the model was asked about."""
        items = self.look()
        self.act([self.decide(item) for item in items], **outcome)
        return [RuleItem.from_dict(item).key for item in items]

"""Whole passes of a rule, look to act, in process: a stand-in GitHub and a stand-in model over real HTTP, no Airflow.

The tasks run one after another as Airflow would run them, each in a thread; Variables, XComs and task states are kept
here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml
from airflow.sdk import Asset
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, PutVariable, VariableResult

from airflow_provider_agents.domain.pr_rule_state import VARIABLE_PREFIX, RuleState
from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
from airflow_provider_agents.hooks import github_landing_calls, github_transport
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.operators import (
    pr_rule_act_pass,
    pr_rule_look_pass,
    pr_rule_question,
    pr_rule_single_act,
)
from airflow_provider_agents.operators.pr_rule_act import ActOnPullRequestsOperator
from airflow_provider_agents.operators.pr_rule_decide import DecideAboutPullRequestOperator
from airflow_provider_agents.operators.pr_rule_look import LookForPullRequestsOperator
from demo.model.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pytest

    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision
    from demo.github.server import StandInGitHub
    from demo.model.server import StandInModel

SHOP = "acme/shop"
PEOPLE: dict[str, Any] = {"robot": "write", "alice": "write", "bob": "write", "ci": "write"}
KEY = "sk-ant-canary-pass"


class Killed(BaseException):
    """The worker died."""


class Store:
    """State of a task, or of an asset."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = json.loads(json.dumps(value))

    def __getitem__(self, asset: Any) -> Store:
        return self


class Run:
    """One run of a rule's DAG."""

    def __init__(self, world: PassWorld, rule: str) -> None:
        world.runs += 1
        self.world = world
        self.rule = rule
        self.run_id = f"run_{world.runs}"
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.decided: dict[int, Any] = {}
        self.failures: dict[str, BaseException] = {}
        self.stores: dict[str, Store] = {}

    async def look(self) -> list[dict[str, Any]]:
        """Run the task ``look``."""
        return await self._task("look", LookForPullRequestsOperator(task_id="look", rule=self.rule)) or []

    async def decide(self) -> None:
        """Run the mapped task ``decide``."""
        for index, item in enumerate(self.xcoms.get(("look", "return_value")) or ()):
            operator = DecideAboutPullRequestOperator(task_id="decide", rule=self.rule, item=item)
            await self._task("decide", operator, index)

    async def act(self) -> list[dict[str, Any]]:
        """Run the task ``act``, a little later; return what people are to be asked."""
        self.world.pass_time(seconds=5)
        operator = ActOnPullRequestsOperator(task_id="act", rule=self.rule, inlets=[Asset("watch")])
        return await self._task("act", operator) or []

    async def all(self) -> Run:
        """Run all of it."""
        await self.look()
        await self.decide()
        await self.act()
        return self

    async def _task(self, name: str, operator: Any, index: int = -1) -> Any:
        store = self.stores.setdefault(f"{name}[{index}]", Store())
        ti = SimpleNamespace(
            dag_id=f"pr_rule__{self.rule}",
            run_id=self.run_id,
            task_id=name,
            map_index=index,
            max_tries=2,
            try_number=1,
            xcom_push=lambda key, value: self._push(name, index, key, value),
            xcom_pull=self._pull,
        )
        context: Any = {"ti": ti, "task_state_store": store, "asset_state_store": self.world.assets}
        try:
            value = await asyncio.to_thread(operator.execute, context)
        except Exception as error:
            self.failures[f"{name}[{index}]"] = error
            return None
        self._push(name, index, "return_value", value)
        return value

    def _push(self, task: str, index: int, key: str, value: Any) -> None:
        value = json.loads(json.dumps(value))
        if index >= 0:
            self.decided[index] = value
        else:
            self.xcoms[task, key] = value

    def _pull(self, task_ids: str, key: str = "return_value", **_: Any) -> Any:
        if task_ids == "decide":
            return [self.decided[index] for index in sorted(self.decided)] or None
        return self.xcoms.get((task_ids, key))


class PassWorld:
    """GitHub, a model, rules in a folder, and what Airflow keeps."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, github: StandInGitHub, model: StandInModel
    ) -> None:
        self.github = github
        self.model = model
        self.variables: dict[str, str] = {}
        self.assets = Store()
        self.runs = 0
        self.audit: list[PullRequestDecision] = []
        # Checks are a little older than the moment at which they are read: GitHub's times have no fractions.
        self.passed = timedelta(seconds=5)
        self.on_write: Callable[[str], None] = lambda key: None
        """Called before a Variable is written."""
        self._rules = folder / "rules"
        self._rules.mkdir()
        clock = SimpleNamespace(now=self.now)
        for module in (pr_rule_look_pass, pr_rule_question, pr_rule_act_pass, pr_rule_single_act):
            monkeypatch.setattr(module, "datetime", clock)
        read, read_all = GitHubClient.snapshot, GitHubClient.snapshots

        async def one(client: GitHubClient, repository: str, number: int) -> PullRequestSnapshot:
            found: PullRequestSnapshot = self._in_our_time(await read(client, repository, number))
            return found

        async def several(client: GitHubClient, refs: Any) -> dict[Any, Any]:
            return {ref: self._in_our_time(each) for ref, each in (await read_all(client, refs)).items()}

        monkeypatch.setattr(GitHubClient, "snapshot", one)
        monkeypatch.setattr(GitHubClient, "snapshots", several)
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(folder))
        monkeypatch.setattr(github_landing_calls, "MUTATION_PAUSE_SECONDS", 0)
        monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=self.send), raising=False)
        monkeypatch.setattr(pr_rule_act_pass, "record_decisions", self._record)
        _connect(monkeypatch, "GITHUB", "github", f"{github.url}/api/v3", github.add_token("robot"))
        _connect(monkeypatch, "ANTHROPIC", "anthropic", model.url, KEY)
        for login in ("alice", "bob", "ci"):
            github.add_token(login)

    def now(self, zone: Any = None) -> datetime:
        """Return the tasks' time."""
        return datetime.now(UTC) + self.passed

    def pass_time(self, **values: float) -> None:
        """Move the time of the tasks on."""
        self.passed += timedelta(**values)

    def _in_our_time(self, found: Any) -> Any:
        if not isinstance(found, PullRequestSnapshot):
            return found
        return dataclasses.replace(found, read_at=found.read_at + self.passed)

    def write(self, name: str = "staging", **values: Any) -> None:
        """Write a rule's file."""
        guards = {"settle_seconds": 0, "no_checks_grace_seconds": 0, **values.pop("guards", {})}
        rule = {"instruction": "Merge what is green.", "repositories": [SHOP], **values, "guards": guards}
        (self._rules / f"{name}.yaml").write_text(yaml.safe_dump(rule))

    def says(self, scenes: Sequence[Mapping[str, Any]] = (), **otherwise: Any) -> None:
        """Have the model answer by scenes, each a regular expression over the prompt with an answer, else so."""
        default = {"action": "merge", "reason": "All checks passed.", "confidence": 0.95, **otherwise}
        found = [_scene(f"scene {number}", **each) for number, each in enumerate(scenes)]
        self.model._script = Script.of({"scenes": [*found, _scene("otherwise", ".", default)]})

    async def open(self, number: int = 1, *, green: bool = True, **values: Any) -> int:
        """Have somebody, alice where nobody is named as ``who``, open a pull request with a check; return its number."""
        who = values.pop("who", "alice")
        branch = values.pop("branch", f"work-{number}")
        repository = values.pop("repository", SHOP)
        labels = values.pop("labels", [])
        files = values.pop("files", {f"file_{number}.py": f"{number}\n"})
        await self.github.act(
            "alice", "push_commit", repository, branch=branch, files=files, start="main", message="Change"
        )
        made = await self.github.act(
            who,
            "open_pull",
            repository,
            head=branch,
            base="main",
            **{"title": f"Change {number}", **values},
        )
        if labels:
            await self.github.act("alice", "label", repository, number=made["number"], labels=labels)
        await self.check(made["number"], "success" if green else "pending", repository)
        return int(made["number"])

    async def check(self, number: int, state: str, repository: str = SHOP) -> None:
        """Have a check of a pull request's head come to a state."""
        sha = self.pull(number, repository).head_ref_oid
        await self.github.act("ci", "status", repository, sha=sha, context="test", state=state)

    def pull(self, number: int, repository: str = SHOP) -> Any:
        """Return a pull request as GitHub has it."""
        found = self.github.forge.store.repository(repository)
        assert found is not None
        return found.pulls[number]

    async def run(self, rule: str = "staging") -> Run:
        """Run a rule once."""
        return await Run(self, rule).all()

    def state(self, rule: str = "staging") -> RuleState:
        """Return what a rule remembers."""
        return RuleState.from_text(self.variables[VARIABLE_PREFIX + rule])

    @property
    def asked(self) -> int:
        """How many requests the model had."""
        return int(self.model.requests()["count"])

    @property
    def deeds(self) -> list[str]:
        """What was changed at GitHub by the robot, in order, without the pushes that merges are."""
        kinds = [str(each["kind"]) for each in self.github.mutations if each.get("actor") == "robot"]
        return [kind for kind in kinds if kind != "push"]

    def outcomes(self) -> list[tuple[int, str, str, str]]:
        """Return number, action, guard and outcome of all records of the audit."""
        return [(each.number, each.action, each.guard, each.outcome) for each in self.audit]

    def send(self, message: Any) -> Any:
        """Answer as Airflow's supervisor does."""
        match message:
            case GetVariable(key=key):
                if key not in self.variables:
                    return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
                return VariableResult(key=key, value=self.variables[key])
            case PutVariable(key=key, value=value):
                self.on_write(key)
                self.variables[key] = str(value)
                return None
        return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)

    def _record(
        self, context: Any, rule: str, decisions: Sequence[PullRequestDecision], *_: Any, **__: Any
    ) -> None:
        self.audit += decisions


def _scene(name: str, matches: str, answer: Mapping[str, Any] | None = None, **turn: Any) -> dict[str, Any]:
    if answer is not None:
        turn["calls"] = [{"tool": "StructuredOutput", "input": dict(answer)}]
    return {"name": name, "when": {"fields": ["action"], "matches": matches}, "turns": [turn]}


def _connect(monkeypatch: pytest.MonkeyPatch, name: str, kind: str, url: str, token: str) -> None:
    values = {"conn_type": kind, "host": url, "password": token}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}_DEFAULT", json.dumps(values))

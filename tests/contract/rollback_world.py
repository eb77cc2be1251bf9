"""A repository, an application that follows it, and the tasks of its rollback, one after another as Airflow runs them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput, TaskDeferred

from airflow_provider_agents.domain.pr_rule_ledger import RuleLedger
from airflow_provider_agents.domain.rollback_files import RollbackFile, rollback_files
from airflow_provider_agents.hooks import argocd_client, github_landing_calls, github_transport
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.operators import rollback_limits
from airflow_provider_agents.operators.rollback_base import RollbackOperator
from airflow_provider_agents.task_groups.rollback import rollback_dag
from demo.argocd.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest
    from airflow.sdk import DAG

    from airflow_provider_agents.domain.health_record import HealthRecord
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from demo.argocd.server import StandInArgoCd
    from demo.github.server import StandInGitHub

REPOSITORY = "acme/shop"
APPLICATION = "shop-staging"
TASKS = ("detect", "find_candidate", "open_pull_request", "land", "confirm", "call_person")
_CLOCKS = ("base", "call", "detect", "land", "open")
MOST_LOOKS = 400
"""Of one task, until a test gives up on it."""


class Store:
    """State that outlives a task's tries, or an asset's."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        self.values[key] = json.loads(json.dumps(value))


class TaskInstance:
    """A running task instance of the world's one run."""

    dag_id = "rollback__shop"
    run_id = "run_1"
    map_index = -1
    max_tries = 3

    def __init__(self, world: RollbackWorld, task_id: str) -> None:
        self.task_id = task_id
        self.id = f"{task_id}-1"
        self._world = world

    def xcom_push(self, key: str, value: Any) -> None:
        self._world.xcoms[self.task_id, key] = value

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self._world.xcoms.get((task_ids, key))

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: dict(self._world.states)}


class _KilledError(Exception):
    """The process of a task is gone."""


class RollbackWorld:
    """The whole, with a time of its own for the tasks: a wait passes at once."""

    def __init__(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, github: StandInGitHub, argocd: StandInArgoCd
    ) -> None:
        self.github = github
        self.argocd = argocd
        self.definition: dict[str, Any] = {
            "application": APPLICATION,
            "repository": REPOSITORY,
            "guards": {"settle_seconds": 0, "no_checks_grace_seconds": 60, "max_risk": None},
        }
        self.passed = timedelta()
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.states: dict[str, str] = {}
        self.stores: dict[str, Store] = {}
        self.health = Store()
        self.questions: list[str] = []
        self.answers: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.ledger = RuleLedger()
        self.on_wait: Callable[[str, int], Awaitable[None]] = _nothing
        """Called at each wait, with the task and how many waits it had."""
        self.dies: Callable[[], bool] = lambda: False
        """Whether the task dies after a call to GitHub, before it learns what came of it."""
        self.deaths = 0
        self.event_age = timedelta()
        """Age of the watcher's event when the run begins."""
        self.told: dict[str, Any] = {}
        """What the watcher told; without it, what it would tell now."""
        self._folder = tmp_path / "config"
        self._monkeypatch = monkeypatch
        (self._folder / "rollbacks").mkdir(parents=True)
        monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(self._folder))
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr(argocd_client, "RETRY_DELAYS", (0.01,))
        monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.01,))
        monkeypatch.setattr(github_landing_calls, "MUTATION_PAUSE_SECONDS", 0)
        monkeypatch.setattr(rollback_limits, "read_ledger", lambda now: self.ledger)
        monkeypatch.setattr(rollback_limits, "write_ledger", self._write_ledger)
        for name in _CLOCKS:
            monkeypatch.setattr(f"airflow_provider_agents.operators.rollback_{name}.present", self.now)
        read = GitHubClient.snapshot

        async def in_our_time(client: GitHubClient, repository: str, number: int) -> PullRequestSnapshot:
            found = await read(client, repository, number)
            return dataclasses.replace(found, read_at=found.read_at + self.passed)

        monkeypatch.setattr(GitHubClient, "snapshot", in_our_time)
        ask = RollbackOperator.ask_forge

        def ask_and_die(operator: RollbackOperator, repository: str, question: Any) -> Any:
            answer = ask(operator, repository, question)
            if self.dies():
                self.deaths += 1
                raise _KilledError
            return answer

        monkeypatch.setattr(RollbackOperator, "ask_forge", ask_and_die)
        connect(monkeypatch, "ARGOCD", "argocd", argocd.url, argocd.add_token())
        connect(monkeypatch, "GITHUB", "github", f"{github.url}/api/v3", github.add_token("robot"))
        self._monkeypatch.setattr("airflow.sdk.execution_time.hitl.upsert_hitl_detail", self._asked)

    @classmethod
    async def make(
        cls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, github: StandInGitHub, argocd: StandInArgoCd
    ) -> RollbackWorld:
        """Return a world with a good deployment."""
        world = cls(tmp_path, monkeypatch, github, argocd)
        seed = tmp_path / "seed"
        for path, text in {"deploy/app.yaml": "replicas: 2\n", "docs/notes.md": "One.\n"}.items():
            (seed / path).parent.mkdir(parents=True, exist_ok=True)
            (seed / path).write_text(text)
        for login in ("alice", "ci"):
            github.add_token(login)
        permissions: Any = {"robot": "write", "alice": "write", "ci": "write"}
        await github.seed_repository(REPOSITORY, seed, permissions=permissions)
        follower = Follower(
            api=f"{github.url}/api/v3",
            token=github.add_token("argocd"),
            repository=REPOSITORY,
            broken_file="deploy/BROKEN",
            interval=0,
        )
        github.forge.store.repository(REPOSITORY).permissions["argocd"] = "read"  # type: ignore[union-attr]
        argocd.add(APPLICATION, f"https://github.com/{REPOSITORY}.git", follow=follower)
        await world.passing(await world.head())
        await world.look_at_argo()
        return world

    def now(self) -> datetime:
        """Return the tasks' time."""
        return datetime.now(tz=UTC) + self.passed

    async def head(self, branch: str = "main") -> str:
        """Return where a branch is."""
        found = await self._git().branch(branch)
        assert found is not None
        return found

    async def text(self, path: str, branch: str = "main") -> str | None:
        """Return a file's text."""
        data = await self._git().blob(await self.head(branch), path)
        return None if data is None else data.decode()

    async def push(self, files: dict[str, str | None], branch: str = "main") -> str:
        """Have alice push; return the commit."""
        made = await self.github.act("alice", "push_commit", REPOSITORY, branch=branch, files=files)
        return str(made["sha"])

    async def passing(self, sha: str, state: str = "success") -> None:
        """Have the checks of a commit end."""
        await self.github.act("ci", "status", REPOSITORY, sha=sha, context="ci", state=state)

    async def break_it(self) -> str:
        """Have a commit deployed that makes the application ill; return it."""
        sha = await self.push({"deploy/BROKEN": "yes", "deploy/app.yaml": "replicas: 3\n"})
        await self.look_at_argo()
        return sha

    async def look_at_argo(self) -> None:
        """Have Argo CD compare with git."""
        app = self.argocd.applications[APPLICATION]
        await self.argocd.followers[APPLICATION].look(app, self.argocd.now(), refresh=True)

    def remember(self, record: HealthRecord) -> None:
        """Have the watcher know this."""
        self.health.values["health"] = record.to_dict()

    @property
    def pulls(self) -> dict[int, Any]:
        """The pull requests."""
        found = self.github.forge.store.repository(REPOSITORY)
        assert found is not None
        return dict(found.pulls)

    @property
    def merges(self) -> list[Any]:
        """The rollbacks that were merged."""
        return [pull for pull in self.pulls.values() if pull.merged_at is not None]

    @property
    def definition_path(self) -> Path:
        """Where the definition is written."""
        return self._folder / "rollbacks" / "shop.yaml"

    @property
    def definition_text(self) -> str:
        """The definition as YAML."""
        return str(yaml.safe_dump(self.definition))

    def write_definition(self) -> RollbackFile:
        """Write the definition to its file and read it."""
        self.definition_path.write_text(self.definition_text)
        (found,) = rollback_files(self._folder)
        assert not found.faults, found.faults
        return found

    async def run(self, *tasks: str) -> dict[str, Any]:
        """Run the tasks in their order; return what the last one that did something left."""
        dag = rollback_dag(self.write_definition())
        for name in tasks or TASKS:
            await self.run_task(dag, name)
        left = [self.xcoms.get((name, "return_value")) for name in TASKS[:-1]]
        return next((value for value in reversed(left) if value), {})

    def forget_run(self) -> None:
        """Begin another run."""
        self.xcoms.clear()
        self.states.clear()
        self.stores.clear()

    async def run_task(self, dag: DAG, name: str) -> None:
        """Run one task to its end, over all its waits."""
        if name != "call_person" and any(state != "success" for state in self._before(name)):
            self.states[name] = "skipped" if "failed" not in self._before(name) else "upstream_failed"
            return
        event: Any = None
        for looks in range(MOST_LOOKS):
            task: Any = dag.get_task(name).prepare_for_execution()
            context = self._context(task, name)
            task.render_template_fields(context)
            try:
                value = await asyncio.to_thread(
                    task.execute if event is None else lambda c, t=task, e=event: t.resume(c, e), context
                )
            except AirflowSkipException:
                self.states[name] = "skipped"
                return
            except _KilledError:
                event = None
            except TaskDeferred as deferred:
                self.passed += datetime.fromisoformat(deferred.trigger.until) - self.now()
                event = {}
            except TaskAwaitingInput as waiting:
                event = self._answer() or {"timedout": True}
                self.passed += waiting.timeout or timedelta()
            except Exception as error:
                self.states[name] = "failed"
                self.failures[name] = error
                return
            else:
                self.states[name] = "success"
                self.xcoms[name, "return_value"] = json.loads(json.dumps(value))
                return
            await self.on_wait(name, looks)
        raise AssertionError(f"{name} never ended")

    def _before(self, name: str) -> list[str]:
        return [self.states.get(one, "skipped") for one in TASKS[: TASKS.index(name)]]

    def _context(self, task: Any, name: str) -> Any:
        store = self.stores.setdefault(name, Store())
        return {
            "ti": TaskInstance(self, name),
            "task": task,
            "run_id": "run_1",
            "params": {},
            "task_state_store": store,
            "asset_state_store": _Assets(self.health),
            "triggering_asset_events": self._events(),
        }

    def _events(self) -> dict[str, list[Any]]:
        app = self.argocd.applications[APPLICATION]
        payload = self.told or {
            "application": APPLICATION,
            "revision": app.history[-1].revision if app.history else "",
            "readings": 3,
            "since": app.health_since.isoformat(),
        }
        event = SimpleNamespace(
            extra={"from_trigger": True, "payload": payload}, timestamp=self.now() - self.event_age
        )
        return {"asset": [event]}

    def _asked(self, *, subject: str, body: str, **_: Any) -> None:
        self.questions.append(f"{subject}\n{body}")

    def _answer(self) -> dict[str, Any] | None:
        if not self.answers:
            return None
        return {
            "chosen_options": [self.answers.pop(0)],
            "responded_by_user": {"name": "mona"},
            "responded_at": self.now().isoformat(),
        }

    def _write_ledger(self, ledger: RuleLedger, now: datetime) -> None:
        self.ledger = RuleLedger.from_text(ledger.tidied(now).to_text())

    def _git(self) -> Any:
        found = self.github.forge.store.repository(REPOSITORY)
        assert found is not None
        return found.git


class _Assets:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, asset: Any) -> Store:
        return self._store


def connect(monkeypatch: pytest.MonkeyPatch, name: str, kind: str, url: str, token: str) -> None:
    """Make a default connection."""
    values = {"conn_type": kind, "host": url, "password": token}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}_DEFAULT", json.dumps(values))


async def _nothing(name: str, looks: int) -> None:
    return None

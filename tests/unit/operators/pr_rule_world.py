"""A rule's task ``act`` over its tries, with a GitHub and Variables that a test looks into."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, VariableResult
from fakes import HEAD, PASSED, GitHub, Store, TaskInstance, context, snapshot

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_item import RuleItem
from airflow_provider_agents.domain.pr_rule_ledger import LEDGER_VARIABLE, RuleLedger
from airflow_provider_agents.domain.pr_rule_look import Look, Question
from airflow_provider_agents.domain.pr_rule_state import RuleState
from airflow_provider_agents.domain.risk import ChangedFile
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks import github_scope
from airflow_provider_agents.hooks.github_models import MergeResult
from airflow_provider_agents.operators import pr_rule_act_pass, pr_rule_audit, pr_rule_sources
from airflow_provider_agents.operators.pr_rule_act import ActOnPullRequestsOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from airflow_provider_agents.domain.commits import CommitRef
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

REPOSITORY = "acme/shop"
RULE = "staging"
LONG_AGO = datetime.now(UTC) - timedelta(days=1)


class CrashError(BaseException):
    """The worker dies."""


class RuleGitHub(GitHub):
    """A GitHub with several pull requests, that change by what is done to them."""

    def __init__(self) -> None:
        super().__init__()
        del self.snapshots  # the method of this name
        self.pulls: dict[int, PullRequestSnapshot | Exception] = {}
        self.crash_after: str = ""
        """Beginning of what is done right before the worker dies."""
        self.refuse_merges: Exception | None = None
        self.reopeners: dict[int, str] = {}
        self.commits: tuple[CommitRef, ...] = ()
        self.made_labels: set[str] = set()
        self.files = (ChangedFile(path="README.md", status="modified", additions=1, deletions=0),)

    def add(self, number: int, **values: Any) -> None:
        facts = {
            "number": number,
            "node_id": f"PR_{number}",
            "url": f"https://github.com/{REPOSITORY}/pull/{number}",
            "author": "mona",
            "fork": False,
            "checks": (dataclasses.replace(PASSED, completed_at=LONG_AGO),),
        }
        self.pulls[number] = snapshot(**facts | values)

    def change(self, number: int, **values: Any) -> None:
        found = self.pulls[number]
        assert not isinstance(found, Exception)
        self.pulls[number] = dataclasses.replace(found, **values)

    def act(self, what: str) -> None:
        super().act(what)
        if self.crash_after and what.startswith(self.crash_after):
            self.crash_after = ""
            raise CrashError(what)

    async def snapshot(self, repository: str, number: int) -> PullRequestSnapshot:
        found = self.pulls[number]
        if isinstance(found, Exception):
            raise found
        return dataclasses.replace(found, read_at=datetime.now(UTC))

    async def snapshots(self, refs: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Any]:
        self.asked.append(f"snapshots {len(refs)}")
        if error := self.faults.get("snapshots"):
            raise error
        found = {}
        for repository, number in refs:
            one = self.pulls[number]
            found[repository, number] = (
                one if isinstance(one, Exception) else await self.snapshot(repository, number)
            )
        return found

    async def merge_pull_request(
        self, repository: str, number: int, head_sha: str, method: str, **texts: str
    ) -> MergeResult:
        if self.refuse_merges is not None:
            self.done.append(f"refused merge #{number}")
            raise self.refuse_merges
        self.change(number, state="MERGED")
        self.act(f"merge #{number} {head_sha} {method}")
        return MergeResult(sha="d" * 40)

    async def enqueue(self, pull_request_id: str, expected_head_sha: str) -> None:
        self.act(f"enqueue {pull_request_id}")

    async def dequeue(self, pull_request_id: str) -> None:
        self.act(f"dequeue {pull_request_id}")
        self.change(int(pull_request_id.removeprefix("PR_")), queue_entry=None)

    async def close_pull_request(self, repository: str, number: int) -> None:
        self.change(number, state="CLOSED")
        self.act(f"close #{number}")

    async def comment_in_place(self, repository: str, number: int, marker: str, body: str) -> Any:
        self.comments[f"{number} {marker}"] = body
        self.act(f"comment #{number} {marker}")

    async def ensure_label(self, repository: str, name: str, description: str) -> bool:
        new = name not in self.made_labels
        self.made_labels.add(name)
        return new

    async def add_labels(self, repository: str, number: int, labels: Sequence[str]) -> None:
        self.change(number, labels=(*self.pulls[number].labels, *labels))  # type: ignore[union-attr]
        self.act(f"label #{number}: {', '.join(labels)}")

    async def remove_label(self, repository: str, number: int, name: str) -> None:
        self.change(number, labels=tuple(each for each in self.pulls[number].labels if each != name))  # type: ignore[union-attr]
        self.act(f"unlabel #{number}: {name}")

    async def request_reviewers(self, repository: str, number: int, reviewers: Sequence[str]) -> None:
        self.act(f"ask #{number}: {', '.join(reviewers)}")

    async def update_branch(self, repository: str, number: int, expected_head_sha: str) -> None:
        self.act(f"update #{number}")

    async def reopened_by(self, repository: str, number: int) -> str:
        return self.reopeners.get(number, "")

    async def pull_request_commits(self, repository: str, number: int) -> tuple[CommitRef, ...]:
        return self.commits

    async def viewer_login(self) -> str:
        return "agents"


class Variables:
    """Airflow's Variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: dict[str, str] = {}
        self.crash_at: str = ""
        """Name of the Variable whose next writing the worker does not outlive."""
        self.writes: list[str] = []
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", self, raising=False)
        monkeypatch.setattr(Variable, "set", self.set)

    def send(self, message: Any) -> Any:
        if message.key in self.values:
            return VariableResult(key=message.key, value=self.values[message.key])
        return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)

    def set(self, key: str, value: str, description: str | None = None) -> None:
        if key == self.crash_at:
            self.crash_at = ""
            raise CrashError(key)
        self.writes.append(key)
        self.values[key] = value


class World:
    """One rule, its GitHub and its runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **rule: Any) -> None:
        self.github = RuleGitHub()
        self.github.install(monkeypatch)
        self.variables = Variables(monkeypatch)
        self.rule: PullRequestRule | None = a_rule(**rule)
        self.audit: list[PullRequestDecision] = []
        self.ti = TaskInstance("act", retries=2)
        self.ti.id = "1"  # type: ignore[attr-defined]
        self.store = Store()
        self.watcher = Store()
        for place in (pr_rule_act_pass, pr_rule_audit):  # here and below: also where a function imports it
            monkeypatch.setattr(place, "record_decisions", self._record)
        monkeypatch.setattr(pr_rule_act_pass, "count_error", lambda name, kind: None)
        for module in (pr_rule_act_pass, pr_rule_sources):
            monkeypatch.setattr(module, "load_rule", self._load)
        scope = SimpleNamespace(connection="github_default")
        for place in (pr_rule_act_pass, github_scope):
            monkeypatch.setattr(place, "rule_scope", lambda rule: scope)
        monkeypatch.setattr(
            pr_rule_act_pass, "run_with_owners", lambda conn, work: asyncio.run(work(self.github))
        )

    def _load(self, name: str) -> PullRequestRule:
        if self.rule is None:
            raise InvalidInputError([f"rules/{name}.yaml:3: instruction: is missing"])
        return self.rule

    def _record(self, context: Any, name: str, decisions: Any, one_pass: Any = None, **more: Any) -> None:
        self.audit += list(decisions)

    @property
    def ledger(self) -> RuleLedger:
        return RuleLedger.from_text(self.variables.values[LEDGER_VARIABLE])

    @property
    def state(self) -> RuleState:
        return RuleState.from_text(self.variables.values[f"agents_rule__{RULE}"])

    @property
    def acts(self) -> list[str]:
        return self.github.done

    def begin(
        self,
        answers: Mapping[int, RuleAnswer | None],
        *,
        standing: Sequence[int] = (),
        at: datetime | None = None,
        **decided: Any,
    ) -> None:
        """Leave what ``look`` and ``decide`` would have left for a new run."""
        version = decided.pop("version", None) or (self.rule.version if self.rule else "0" * 12)
        moment = at or datetime.now(UTC)
        items = {
            number: self._item(number, version, answers[number], number in standing, moment)
            for number in answers
        }
        asked = {number: items[number] for number in items if number not in standing}
        look = Look(
            rule=RULE,
            version=version,
            run_id="run_1",
            at=moment,
            repositories=1,
            listed=len(items),
            matched=tuple(item.key for item in items.values()),
            asked={item.key: Question(usd=0.01, context_hash="c", parts={}) for item in asked.values()},
            standing=tuple(items[number].key for number in standing),
        )
        decisions = [
            self._decision(items[number], answers[number], moment, **decided).to_dict() for number in asked
        ]
        self.ti._others = {
            "look:return_value": [item.to_dict() for item in asked.values()],
            "look:standing": [items[number].to_dict() for number in standing],
            "look:look": look.to_dict(),
            "decide:return_value": decisions,
        }
        self.ti.try_number = 1

    def act(self) -> list[dict[str, Any]]:
        """Run a try of the task."""
        asset = "watch"
        operator = ActOnPullRequestsOperator(task_id="act", rule=RULE)
        operator.inlets = [asset]
        return operator.execute(context(self.ti, self.store, asset_state_store={asset: self.watcher}))

    def run(self, answers: Mapping[int, RuleAnswer | None], **values: Any) -> list[PullRequestDecision]:
        """Run the task once; return what became of each answer."""
        before = len(self.audit)
        self.begin(answers, **values)
        self.called = self.act()
        return self.audit[before:]

    def _item(
        self, number: int, version: str, answer: RuleAnswer | None, stands: bool, moment: datetime
    ) -> RuleItem:
        found = self.github.pulls[number]
        s = found if not isinstance(found, Exception) else snapshot(number=number)
        entry = OpenPullRequest(
            node_id=s.node_id,
            repository=REPOSITORY,
            number=number,
            url=f"https://github.com/{REPOSITORY}/pull/{number}",
            title=s.title,
            author=s.author,
            author_is_bot=False,
            labels=s.labels,
            base_branch="main",
            head_branch="work",
            head_sha=HEAD,
            fork=False,
            draft=False,
            mergeable="MERGEABLE",
            merge_state="CLEAN",
            review_decision="",
            checks_state="SUCCESS",
            created_at=LONG_AGO,
            updated_at=LONG_AGO,
        )
        return RuleItem(
            rule=RULE,
            version=version,
            entry=entry,
            facts={},
            context_hash="c",
            parts={},
            head_first_seen=LONG_AGO,
            standing=answer if stands else None,
            answered_at=moment if stands else None,
        )

    def _decision(
        self, item: RuleItem, answer: RuleAnswer | None, moment: datetime, **values: Any
    ) -> PullRequestDecision:
        facts: dict[str, Any] = {
            "rule": RULE,
            "version": item.version,
            "repository": item.entry.repository,
            "number": item.entry.number,
            "url": item.entry.url,
            "head_sha": HEAD,
            "context_hash": "c",
            "decided_at": moment,
            "answer": answer,
            "model": "claude",
            "action": answer.action if answer else "wait",
        }
        return PullRequestDecision(**facts | values)


def a_rule(**values: Any) -> PullRequestRule:
    facts: dict[str, Any] = {
        "instruction": "Merge what is green.",
        "actions": (
            "merge",
            "wait",
            "escalate",
            "close",
            "comment",
            "label",
            "request_review",
            "update_branch",
        ),
        "labels": ("stale",),
        "reviewers": ("olga",),
    }
    return PullRequestRule(**facts | values)


def said(action: str, **values: Any) -> RuleAnswer:
    return RuleAnswer(**{"action": action, "reason": "Because.", "confidence": 0.9} | values)  # type: ignore[arg-type]

"""ai-devops-operator's rules at work: an organisation as its chart names one, Argo CD, and a model that reads.

The model follows the words of the rule that it is asked by, from nothing but the facts that it was sent.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pr_rule_pass_world import KEY, PEOPLE, PassWorld

from demo.argocd.server import StandInArgoCd
from demo.github.server import StandInGitHub
from demo.model.script import Script
from demo.model.server import StandInModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import pytest
    from aiohttp import web

    from demo.model.apis import Api

ORGANIZATION = "my-org"
PAYMENT, USER, INVENTORY = REPOSITORIES = tuple(
    f"{ORGANIZATION}/{name}" for name in ("payment-service", "user-service", "inventory-service")
)
"""Those of the chart's default values."""
MANIFESTS = Path(__file__).parents[1] / "unit" / "domain" / "manifests"
"""Their examples."""
CHART = Path(__file__).parent / "ai_devops_operator" / "chart-rules.yaml"
"""What their chart renders from its default values."""
DEPENDABOT = "dependabot[bot]"
STAGING, PRODUCTION, UPDATES = "staging-automerge", "production-approval", "dependabot-automerge"

Facts = dict[str, Any]
_FACT = re.compile(r"^⟦([^⟧]+)⟧ (.*)$", re.MULTILINE)


def facts_in(prompt: str) -> Facts:
    """Return the facts that a prompt shows, by name; the first line of a name counts."""
    facts: Facts = {}
    for name, text in _FACT.findall(prompt):
        facts.setdefault(name, json.loads(text) if text[:1] in '"[' else text)
    return facts


def _staging(facts: Facts) -> tuple[str, str]:
    ci, health = facts["pr.ciStatus"], facts["argocd.health"]
    wanted = "auto-merge" in facts["pr.labels"]
    if (
        ci == "SUCCESS"
        and facts["pr.mergeable"] == "MERGEABLE"
        and health in ("Degraded", "Progressing")
        and wanted
    ):
        return "merge", "Green, and the application needs it."
    if health == "Healthy":
        return "close", "The application is healthy again."
    if ci == "PENDING":
        return "wait", "CI is running."
    return "escalate", f"CI is {ci}, the application is {health}."


def _production(facts: Facts) -> tuple[str, str]:
    ci = facts["pr.ciStatus"]
    if ci == "SUCCESS" and facts["pr.mergeable"] == "MERGEABLE":
        return "escalate", "Ready for a maintainer."
    if ci in ("FAILURE", "ERROR"):
        return "escalate", "CI failed."
    return "wait", "It is not ready."


def _updates(facts: Facts) -> tuple[str, str]:
    ci, labels = facts["pr.ciStatus"], facts["pr.labels"]
    red = ci in ("FAILURE", "ERROR") or facts["pr.mergeable"] == "CONFLICTING"
    if red or {"breaking-change", "major-version"} & set(labels):
        return "escalate", "A person has to look at it."
    theirs = facts["pr.author"] == DEPENDABOT and facts["pr.title"].startswith("Bump ")
    if ci == "SUCCESS" and facts["pr.mergeable"] == "MERGEABLE" and theirs:
        return "merge", "A green update."
    return "wait", "CI is not done."


FOLLOWED: Mapping[str, Callable[[Facts], tuple[str, str]]] = {
    "the staging environment": _staging,
    "the production environment": _production,
    "updates of dependencies": _updates,
}
"""By words of the rule's text: what a model makes of it that does as the text says."""


def script_of(answer: Mapping[str, Any]) -> Script:
    """Return a script that answers every question so."""
    turn = {"calls": [{"tool": "StructuredOutput", "input": dict(answer)}]}
    return Script.of({"scenes": [{"name": "answer", "when": {"matches": "."}, "turns": [turn]}]})


class ReadingModel(StandInModel):
    """A model over HTTP that does what the rule says, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(script_of({"action": "wait", "reason": "Nothing."}), api_key=KEY)
        self.bodies: list[Mapping[str, Any]] = []
        self.follows = True
        """Off: it plays its script."""

    async def _read(self, request: web.Request, api: Api, record: dict[str, Any]) -> Mapping[str, Any]:
        body = await super()._read(request, api, record)
        self.bodies.append(body)
        if self.follows:
            facts = facts_in(facts_part(body))
            (follow,) = [each for words, each in FOLLOWED.items() if words in rule_part(body)]
            action, reason = follow(facts)
            self._script = script_of({"reason": reason, "action": action, "confidence": 0.95})
        return body


def rule_part(body: Mapping[str, Any]) -> str:
    """Return what a request says of the rule."""
    return str(body["system"][1]["text"])


def facts_part(body: Mapping[str, Any]) -> str:
    """Return what a request says of the pull request."""
    return str(body["messages"][0]["content"])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pull request, and what becomes of it."""

    then: str
    """Action and outcome, e.g. ``merge done``; empty: nobody is asked about it, and nothing is done."""
    repository: str = PAYMENT
    title: str = "Change"
    labels: tuple[str, ...] = ()
    ci: str = "success"
    """State of its one check; empty: it has none."""
    conflict: bool = False
    author: str = "alice"
    fork: bool = False
    """Whether it comes from its author's."""


class OperatorWorld(PassWorld):
    """Their installation, here."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        github: StandInGitHub,
        model: ReadingModel,
        argocd: StandInArgoCd,
    ) -> None:
        super().__init__(folder, monkeypatch, github, model)
        self.rules = folder / "rules"
        self.reader = model
        self.argocd = argocd
        self._opened = 0
        monkeypatch.setenv("AIRFLOW__AGENTS__RULES_ORGANIZATION", ORGANIZATION)
        monkeypatch.setenv(
            "AIRFLOW__AGENTS__RULES_REPOSITORIES", ", ".join(name.partition("/")[2] for name in REPOSITORIES)
        )
        values = {"conn_type": "argocd", "host": argocd.url, "password": argocd.add_token()}
        monkeypatch.setenv("AIRFLOW_CONN_ARGOCD_DEFAULT", json.dumps(values))

    def load(self, *files: Path) -> None:
        """Put files of theirs where rules are, unchanged."""
        for file in files:
            shutil.copy(file, self.rules)

    def application(self, repository: str, health: str) -> None:
        """Have the staging application of a repository be so."""
        name = f"{repository.partition('/')[2]}-staging"
        if name in self.argocd.applications:
            self.argocd.set_health(name, health)
        else:
            self.argocd.add(name, f"https://github.com/{repository}.git", health=health)

    async def propose(self, case: Case) -> int:
        """Have a pull request opened; return its number."""
        self._opened += 1
        branch, who, act = f"work-{self._opened}", case.author, self.github.act
        files = {"a.py": f"{self._opened}\n"} if case.conflict else {f"file_{self._opened}.py": "1\n"}
        from_ = {"from_fork": case.fork}
        await act(who, "push_commit", case.repository, branch=branch, files=files, start="main", **from_)
        made = await act(
            who, "open_pull", case.repository, head=branch, base="main", title=case.title, **from_
        )
        number = int(made["number"])
        if case.labels:
            await act("alice", "label", case.repository, number=number, labels=list(case.labels))
        if case.ci:
            await self.check(number, case.ci, case.repository)
        return number

    async def propose_all(self, cases: list[Case]) -> dict[tuple[str, int], Case]:
        """Have pull requests opened, the main branches moved under those in conflict, and time pass."""
        found = {(case.repository, await self.propose(case)): case for case in cases}
        for repository in {case.repository for case in cases if case.conflict}:
            await self.github.act("alice", "push_commit", repository, branch="main", files={"a.py": "main\n"})
        self.pass_time(minutes=5)
        return found

    def became(self, repository: str, number: int) -> str:
        """Return what was done about a pull request, as in :attr:`Case.then`."""
        last = [each for each in self.audit if (each.repository, each.number) == (repository, number)][-1:]
        return " ".join(f"{each.action} {each.outcome}" for each in last)


@asynccontextmanager
async def operator_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OperatorWorld]:
    """Yield the installation, with nothing in its repositories but one file."""
    monkeypatch.setenv("NO_PROXY", "*")
    async with (
        StandInGitHub(None, mergeability_delay=0) as github,
        ReadingModel() as model,
        StandInArgoCd() as argocd,
    ):
        for repository in REPOSITORIES:
            await github.seed_synthetic(
                repository, {"a.py": "1\n"}, permissions={**PEOPLE, DEPENDABOT: "write", "eve": "read"}
            )
        yield OperatorWorld(folder, monkeypatch, github, model, argocd)

"""Rules for pull requests in the end-to-end tests: they come, change and go while Airflow runs; and what they are for."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import yaml

from demo.airflow_client import surely
from demo.environment import REPOSITORY_ROOT
from demo.http_json import HttpError, call
from demo.processes import wait_for
from tests.e2e.helpers import mutations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from demo.stack import DemoStack

EXAMPLES = REPOSITORY_ROOT / "dags" / "rules"
ESCALATION_DAG = "pr_rule_escalation"
BOT = "dependabot[bot]"
PEOPLE = {"agent": "write", "mona": "write", "ci": "write", BOT: "write"}
SECONDS = 120.0
INTERVAL = 10
"""The shortest that a rule may have."""


@dataclass(frozen=True)
class Rule:
    """One rule of the stack."""

    stack: DemoStack
    name: str

    @property
    def dag_id(self) -> str:
        return f"pr_rule__{self.name}"

    @property
    def file(self) -> Path:
        return self.stack.folder / "agents" / "rules" / f"{self.name}.yaml"

    def write(self, text: str) -> None:
        """Write the file, whole at once: Airflow may read it at any moment."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def change(self, **values: Any) -> None:
        """Give keys of the file another value."""
        self.write(yaml.safe_dump({**yaml.safe_load(self.file.read_text()), **values}))

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs of its DAG, the oldest first."""
        try:
            found = self.stack.airflow.runs(self.dag_id)
        except HttpError as error:
            if error.status != 404:
                raise
            return []
        return sorted(found, key=lambda run: str(run["run_after"]))

    def pass_now(self) -> dict[str, Any]:
        """Have it look although nothing says that it should, and return the run."""
        run_id = surely(lambda: self.stack.trigger(self.dag_id))
        return self.stack.wait_for_run(self.dag_id, run_id, SECONDS)

    def records(self) -> list[dict[str, Any]]:
        """Return what the audit has of it, the oldest first."""
        asset = f"agents_decisions__{self.name}"
        query = urlencode({"name_pattern": asset})
        assets = self.stack.airflow.request("GET", f"/assets?{query}")["assets"]
        found = [each["id"] for each in assets if each["name"] == asset]
        if not found:
            return []
        query = urlencode({"asset_id": found[0], "order_by": "timestamp", "limit": 100})
        return [
            each["extra"]
            for each in self.stack.airflow.request("GET", f"/assets/events?{query}")["asset_events"]
        ]

    def record(self, number: int, outcome: str) -> dict[str, Any]:
        """Wait for the record of a pull request with an outcome, and return it."""

        def found() -> dict[str, Any] | None:
            fitting = [each for each in self.records() if each["number"] == number]
            return next((each for each in fitting if each["outcome"] == outcome), None)

        try:
            return wait_for(found, what=f"{outcome} #{number} by {self.name}", seconds=SECONDS, interval=0.5)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; records: {json.dumps(self.records(), indent=1)}") from None


@contextmanager
def ruling(stack: DemoStack, **texts: str) -> Iterator[dict[str, Rule]]:
    """Add rules by name, as the texts of their files; in the end take them away, and with them their DAGs."""
    rules = {name.replace("_", "-"): text for name, text in texts.items()}
    made = {name: Rule(stack, name) for name in rules}
    for name, text in rules.items():
        made[name].write(text)
    try:
        for rule in made.values():
            stack.wait_for_dag(rule.dag_id)
        yield made
    finally:
        for rule in made.values():
            rule.file.unlink(missing_ok=True)


def example(name: str, repository: str) -> str:
    """Return an example of the project for another repository; nothing else is changed."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    assert text.count("acme/shop") == 1
    return text.replace("acme/shop", repository)


def definition(repository: str, **values: Any) -> str:
    """Return a rule that looks often and believes at once that all checks have passed."""
    guards = {"settle_seconds": 0, "no_checks_grace_seconds": 0}
    text = "Merge what is green: {{ pr.ciStatus }}."
    rule = {"instruction": text, "repositories": [repository], "interval": INTERVAL, "guards": guards}
    made: str = yaml.safe_dump({**rule, **values})
    return made


def seed(stack: DemoStack, repository: str) -> None:
    """Make a repository."""
    body = {"name": repository, "files": {"README.md": "Letters.\n"}, "permissions": PEOPLE}
    call("POST", f"{stack.forge.url}/_demo/repositories", body)


def open_pull(
    stack: DemoStack,
    repository: str,
    title: str,
    *,
    by: str = "mona",
    labels: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
    check: str = "success",
) -> int:
    """Open a pull request with one commit and one check, and return its number.

    :param check: state of the check; empty: there is none yet.
    """
    branch = re.sub(r"\W+", "-", title).lower()
    changed = dict(files or {f"{branch}.txt": "Changed.\n"})
    stack.forge.act(by, "push_commit", repository, branch=branch, files=changed, message=title, start="main")
    made = stack.forge.act(by, "open_pull", repository, head=branch, title=title)
    number = int(made["number"])
    if labels:
        stack.forge.act("mona", "label", repository, number=number, labels=list(labels))
    if check:
        report(stack, repository, number, check)
    return number


def report(stack: DemoStack, repository: str, number: int, state: str) -> None:
    """Have the check of a pull request's head come to a state."""
    sha = stack.forge.get(f"/repos/{repository}/pulls/{number}")["head"]["sha"]
    stack.forge.act("ci", "status", repository, sha=sha, context="tests", state=state)


def wait_until_merged(stack: DemoStack, repository: str, number: int) -> dict[str, Any]:
    """Wait for the merge of a pull request, and return the change."""

    def found() -> dict[str, Any] | None:
        return next((each for each in merges(stack, repository) if each["number"] == number), None)

    return wait_for(found, what=f"a merge of {repository}#{number}", seconds=SECONDS)


def merges(stack: DemoStack, repository: str) -> list[dict[str, Any]]:
    """Return the merges in a repository, in order."""
    return mutations(stack, repository, "pull_request.merged")


def asked(stack: DemoStack, scene: str) -> int:
    """Return how often a scene of the model's script was asked for."""
    listed = call("GET", f"{stack.model_url}/_demo/requests")["requests"]
    return sum(each["scene"] == scene for each in listed)


def labels_of(stack: DemoStack, repository: str, number: int) -> set[str]:
    """Return the labels of a pull request."""
    return {label["name"] for label in stack.forge.issue(repository, number)["labels"]}

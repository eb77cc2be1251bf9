"""ai-devops-operator's three example rules, and those of its chart's default values, loaded unchanged, decide as documented.

Whole passes over real HTTP. The model is one that does what the text says, from the facts that it is sent: what is
tested is what the text's variables stand for, and what becomes of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ai_devops_operator_world import (
    CHART,
    DEPENDABOT,
    INVENTORY,
    MANIFESTS,
    PAYMENT,
    PRODUCTION,
    STAGING,
    UPDATES,
    USER,
    Case,
    OperatorWorld,
    facts_in,
    facts_part,
    operator_world,
)

from airflow_provider_agents.domain.pr_rule_files import rule_files
from airflow_provider_agents.task_groups.pr_rule import rule_dags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

AUTO = ("auto-merge", "staging")
NEEDS_PERSON = "needs-human-approval"
BUMP = "Bump urllib3 from 2.2.1 to 2.2.2"
UPDATE: dict[str, Any] = {"author": DEPENDABOT, "title": BUMP}

STAGING_CASES = [
    # Degraded: it is needed
    Case(labels=AUTO, then="merge done"),
    Case(labels=(*AUTO, "urgent"), then="merge done"),
    Case(labels=AUTO, ci="pending", then=""),
    Case(labels=AUTO, ci="failure", then="escalate done"),
    Case(labels=AUTO, ci="error", then="escalate done"),
    Case(labels=AUTO, ci="", then="escalate done"),
    Case(labels=AUTO, conflict=True, then="escalate done"),
    Case(labels=("staging",), then=""),
    Case(labels=(*AUTO, "wip"), then=""),
    Case(labels=(*AUTO, "do-not-merge"), then=""),
    # Progressing: so it is
    Case(repository=INVENTORY, labels=AUTO, then="merge done"),
    Case(repository=INVENTORY, labels=AUTO, ci="failure", then="escalate done"),
    # Healthy: it is not
    Case(repository=USER, labels=AUTO, then="close done"),
    Case(repository=USER, labels=AUTO, ci="failure", then="close done"),
    Case(repository=USER, labels=AUTO, ci="pending", then=""),
]
PRODUCTION_CASES = [
    Case(labels=("production",), then="escalate done"),
    Case(labels=("production", "auto-merge"), then="escalate done"),
    Case(labels=("production",), ci="failure", then="escalate done"),
    Case(labels=("production",), ci="error", then="escalate done"),
    Case(labels=("production",), ci="pending", then=""),
    Case(labels=("production",), ci="", then="wait waiting"),
    Case(labels=("production",), conflict=True, then="wait waiting"),
    Case(labels=("production", "wip"), then=""),
    Case(labels=("staging",), then=""),
]
UPDATE_CASES = [
    Case(labels=("dependencies",), **UPDATE, then="merge done"),
    Case(labels=("dependencies", "python"), **UPDATE, then="merge done"),
    Case(labels=("dependencies",), **UPDATE, ci="pending", then=""),
    Case(labels=("dependencies",), **UPDATE, ci="failure", then="escalate done"),
    Case(labels=("dependencies",), **UPDATE, conflict=True, then="escalate done"),
    Case(labels=("dependencies", "breaking-change"), **UPDATE, then="escalate done"),
    Case(labels=("dependencies", "major-version"), **UPDATE, then="escalate done"),
    Case(labels=("dependencies",), author=DEPENDABOT, title="Bumper cars", then=""),
    Case(labels=("dependencies",), title=BUMP, then=""),
    Case(labels=(), **UPDATE, then=""),
    Case(labels=("dependencies", "do-not-merge"), **UPDATE, then=""),
]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OperatorWorld]:
    async with operator_world(tmp_path, monkeypatch) as made:
        yield made


async def decided(world: OperatorWorld, rule: str, cases: list[Case]) -> None:
    """Run a rule over all cases, and once more when green ones have settled; compare what became of each."""
    found = await world.propose_all(cases)
    for _ in range(2):
        assert (await world.run(rule)).failures == {}
        world.pass_time(minutes=1)
    for (repository, number), case in found.items():
        assert world.became(repository, number) == case.then, case
        pull = world.pull(number, repository)
        action = case.then.partition(" ")[0]
        assert pull.state == {"merge": "MERGED", "close": "CLOSED"}.get(action, "OPEN"), case
        assert (NEEDS_PERSON in [label.name for label in pull.labels]) is (action == "escalate"), case
        assert len(pull.comments) == (action in ("escalate", "close")), case
    assert world.asked == sum(bool(case.then) for case in cases), (
        "each once, and only where something is decided"
    )


async def test_staging(world: OperatorWorld) -> None:
    world.load(MANIFESTS / f"{STAGING}-rule.yaml")
    for repository, health in ((PAYMENT, "Degraded"), (INVENTORY, "Progressing"), (USER, "Healthy")):
        world.application(repository, health)
    await decided(world, STAGING, STAGING_CASES)


@pytest.mark.parametrize("health", ["Missing", "Suspended", ""])
async def test_staging_of_an_application_that_nobody_thought_of(world: OperatorWorld, health: str) -> None:
    """Neither ill nor well, or Argo CD has none of that name: a person's, and stops nobody."""
    world.load(MANIFESTS / f"{STAGING}-rule.yaml")
    if health:
        world.application(PAYMENT, health)
    await decided(world, STAGING, [Case(labels=AUTO, then="escalate done")])


async def test_staging_of_an_application_that_falls_ill_is_asked_about_again(world: OperatorWorld) -> None:
    """No change at GitHub, one at Argo CD: the answer is another one."""
    world.load(MANIFESTS / f"{STAGING}-rule.yaml")
    world.application(PAYMENT, "Suspended")
    world.reader.follows = False
    world.says(action="wait", reason="Not yet.")
    ((place, _),) = (await world.propose_all([Case(labels=AUTO, then="")])).items()
    for _ in range(2):
        await world.run(STAGING)
        world.pass_time(minutes=1)
    assert (world.asked, world.became(*place)) == (1, "wait waiting")
    world.application(PAYMENT, "Degraded")
    world.reader.follows = True
    await world.run(STAGING)
    assert (world.asked, world.became(*place)) == (2, "merge done")


async def test_production(world: OperatorWorld) -> None:
    world.load(MANIFESTS / f"{PRODUCTION}-rule.yaml")
    await decided(world, PRODUCTION, PRODUCTION_CASES)


async def test_updates(world: OperatorWorld) -> None:
    world.load(MANIFESTS / f"{UPDATES}-rule.yaml")
    await decided(world, UPDATES, UPDATE_CASES)


async def test_the_chart_as_it_is_installed(world: OperatorWorld) -> None:
    """Its staging rule names Argo CD's health while Argo CD is off: it is ``Unknown``, and so a person decides."""
    world.load(CHART)
    dags, faults = rule_dags(rule_files(world.rules.parent))
    assert (sorted(dags), faults) == (
        [f"pr_rule__{name}" for name in sorted((STAGING, PRODUCTION, UPDATES))],
        [],
    )
    found = await world.propose_all(
        [
            Case(repository=PAYMENT, labels=AUTO, then="escalate done"),
            Case(repository=USER, labels=("production",), then="escalate done"),
            Case(repository=INVENTORY, labels=("dependencies",), **UPDATE, then="merge done"),
        ]
    )
    for _ in range(2):
        for rule in (STAGING, PRODUCTION, UPDATES):
            assert (await world.run(rule)).failures == {}
        world.pass_time(minutes=1)
    assert world.asked == 3
    assert {place: world.became(*place) for place in found} == {
        place: case.then for place, case in found.items()
    }
    assert facts_in(facts_part(world.reader.bodies[0]))["argocd.health"] == "Unknown"
    assert world.argocd.requests == []

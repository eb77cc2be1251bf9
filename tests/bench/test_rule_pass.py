"""What whole passes of a rule over a thousand pull requests in twenty repositories cost, look to act.

Real HTTP to a server of this process, whose time and answers are in the numbers; points are those of GitHub's published
formula. The model's answers are made here: what they cost is its price, and :mod:`test_rule_hour` counts them.
"""

from __future__ import annotations

import time
import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_item import RuleItem
from demo.model.script import Script
from demo.model.server import StandInModel
from tests.bench.open_pulls_server import ManyRepositories
from tests.bench.table import Row, show
from tests.contract.pr_rule_pass_world import KEY, PassWorld, Run

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORIES, EACH = 20, 50
MOST = REPOSITORIES * EACH
OPERATOR_QUERIES = REPOSITORIES
"""Of ai-devops-operator in each pass, whether anything changed or not; and 4 points for each."""

pytestmark = pytest.mark.timeout(600)


def answered(run: Run, world: PassWorld) -> None:
    """Answer all questions of a run with ``wait``, as the mapped task does."""
    for index, values in enumerate(run.xcoms["look", "return_value"]):
        item = RuleItem.from_dict(values)
        reason = "The release is tomorrow, and what it changes is a part of it."
        decision = PullRequestDecision(
            rule=item.rule,
            version=item.version,
            repository=item.entry.repository,
            number=item.entry.number,
            url=item.entry.url,
            head_sha=item.entry.head_sha,
            context_hash=item.context_hash,
            decided_at=world.now(),
            answer=RuleAnswer(action="wait", reason=reason, confidence=0.9),
            model="claude-haiku-4-5",
            usd=0.001,
        )
        run.decided[index] = decision.to_dict()


async def one_pass(world: PassWorld, server: ManyRepositories) -> tuple[Run, dict[str, float]]:
    """Run a rule once; return what it took."""
    server.spent()
    run = Run(world, "staging")
    began = time.perf_counter()
    await run.look()
    assert run.failures == {}
    looked = time.perf_counter()
    answered(run, world)
    answering = time.perf_counter() - looked
    await run.act()
    seconds = time.perf_counter() - began - answering
    assert run.failures == {}
    requests, points, size = server.spent()
    return run, {"requests": requests, "points": points, "MB of answers": size / 1e6, "s": seconds}


async def test_two_passes_over_a_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ManyRepositories(REPOSITORIES, EACH)
    script = Script.of({"scenes": [{"name": "x", "when": {"matches": "."}, "turns": [{"text": "x"}]}]})
    rows: list[Row] = []
    async with StandInModel(script, api_key=KEY) as model:
        async for port in server.serve():
            github: Any = SimpleNamespace(
                url=f"http://127.0.0.1:{port}", add_token=lambda login: f"token-of-{login}"
            )
            world = PassWorld(tmp_path, monkeypatch, github, model)
            world.write(
                repositories=list(server.names),
                selector={"labels": {"include": ["staging"]}},
                max_pull_requests=MOST,
                # A run asks about no more than it has time for.
                model={"timeout": 20},
                limits={"usd_per_day": 1000},
            )
            for name, targets in (
                ("first pass", {"requests": 150, "points": 400, "s": 60.0}),
                ("nothing changed", {"requests": 20, "points": 20, "s": 5.0}),
            ):
                run, cost = await one_pass(world, server)
                last = world.state().last_pass
                assert last is not None
                assert (last.matched, last.asked) == (MOST, MOST if name == "first pass" else 0)
                direct = {"requests": f"{OPERATOR_QUERIES}", "points": f"{4 * OPERATOR_QUERIES}"}
                rows += [
                    Row(
                        name=f"{name}, {unit}",
                        direct=direct.get(unit, "-"),
                        ours=f"{cost[unit]:.4g}",
                        measured=cost[unit],
                        unit=unit,
                        at_most=most,
                    )
                    for unit, most in targets.items()
                ]
                rows.append(size_of(run, name))
            tracemalloc.start()
            del world.variables["agents_rule__staging"]
            await one_pass(world, server)
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            rows.append(row("a first pass, peak memory", peak, "MiB", 256))
            rows.append(
                row("memory of the rule", len(world.variables["agents_rule__staging"]) / 1000, "kB", 1_500)
            )
    print()
    show(rows)
    assert [each.name for each in rows if not each.met] == []


def size_of(run: Run, name: str) -> Row:
    """Return how much a run's tasks hand to each other."""
    return row(f"{name}, between tasks", sum(len(str(each)) for each in run.xcoms.values()) / 1e6, "MB", 10)


def row(name: str, measured: float, unit: str, most: float) -> Row:
    """Return a row without a comparison."""
    return Row(name=name, direct="-", ours=f"{measured:.4g}", measured=measured, unit=unit, at_most=most)

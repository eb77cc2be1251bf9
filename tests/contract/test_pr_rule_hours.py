"""An hour in which nothing happens: a hundred pull requests in every state, and a rule that runs every 30 seconds.

It is the worst case: with its watcher a rule has no run at all while nothing changes. What it costs is measured in
``tests/bench/test_rule_hour.py``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from pr_rule_pass_world import KEY, PEOPLE, SHOP, PassWorld

from demo.github.server import StandInGitHub
from demo.model.script import Script
from demo.model.server import StandInModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PASSES = 120
KINDS = {
    # word in the title: how many there are, the state of their check, what the model wants
    "patience": (30, "success", "wait"),
    "red": (20, "failure", "merge"),
    "call": (20, "success", "escalate"),
    "mark": (15, "success", "label"),
    "running": (15, "pending", "merge"),
}
ASKED = sum(count for count, state, _ in KINDS.values() if state != "pending")

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PassWorld]:
    script = Script.of({"scenes": [{"name": "x", "when": {"matches": "."}, "turns": [{"text": "x"}]}]})
    async with (
        StandInGitHub(None, mergeability_delay=0) as github,
        StandInModel(script, api_key=KEY) as model,
    ):
        await github.seed_synthetic(SHOP, {"a.py": "1\n"}, permissions=PEOPLE)
        yield PassWorld(tmp_path, monkeypatch, github, model)


async def test_a_hundred_unchanged_pull_requests(world: PassWorld) -> None:
    world.write(
        actions=["merge", "escalate", "label"],
        labels=["stale"],
        limits={"pull_requests_per_hour": 100, "usd_per_day": 100},
    )
    answers = {
        word: {"action": action, "reason": "So it is.", "confidence": 0.9}
        | ({"labels": ["stale"]} if action == "label" else {})
        for word, (_, _, action) in KINDS.items()
    }
    world.says([{"matches": f"Is {word}", "answer": answer} for word, answer in answers.items()])
    numbers: dict[int, str] = {}
    for word, (count, state, _) in KINDS.items():
        for _ in range(count):
            number = await world.open(len(numbers) + 1, title=f"Is {word}")
            await world.check(number, state)
            numbers[number] = word
    assert len(numbers) == 100

    assert (await world.run()).failures == {}
    # What was labelled has another context now, of which the rule's own label is all that is new.
    assert (await world.run()).failures == {}
    first = world.asked
    assert first == ASKED + KINDS["mark"][0]
    deeds, comments = list(world.deeds), sum(len(world.pull(number).comments) for number in numbers)
    assert comments == KINDS["call"][0]
    labels = Counter(label.name for number in numbers for label in world.pull(number).labels)
    assert labels == {"needs-human-approval": KINDS["call"][0], "stale": KINDS["mark"][0]}

    world.github.requests.clear()
    kept = len(world.audit)
    for _ in range(PASSES):
        world.pass_time(seconds=25)
        assert (await world.run()).failures == {}

    assert world.asked == first, "nobody is asked about what did not change"
    assert world.deeds == deeds
    assert sum(len(world.pull(number).comments) for number in numbers) == comments
    assert world.audit[kept:] == []
    told = world.github.requests.describe()
    # One page of the listing for each pass; labels, and what does not show in a listing, once in a while.
    assert told["counts"]["graphql OpenPullRequests"] == PASSES
    assert told["graphql_points"] <= 2 * PASSES + 20
    assert told["total"] <= 2 * PASSES + 20
    known = world.state()
    assert known.last_pass is not None
    assert (known.last_pass.listed, known.last_pass.asked, known.processed) == (100, 0, first)
    assert len(known.to_text()) < 100_000

"""Single histories with their ends; among them those that a property once failed on."""

from __future__ import annotations

import pytest
from landing_examples import EXAMPLES, Example
from landing_run import TALLY, play


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example: Example) -> None:
    """Each ends as it should, and nothing of what must never happen happened on the way."""
    check(example)


def check(example: Example) -> None:
    """Play an example."""
    before = TALLY.looks
    run = play(example.history)
    assert (run.ended, tuple(run.rounds)) == (example.ended, example.rounds), run.decisions
    assert run.decisions[-1] == example.last, run.decisions
    ours = {entry["kind"] for entry in run.log if entry["actor"] == "agent"}
    assert ours >= set(example.does), f"never did {set(example.does) - ours}"
    if example.looks is not None:
        assert TALLY.looks - before == example.looks, run.decisions

"""What is remembered of labels, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_agents.hooks.github_open_labels import LONGEST, SETTLED, LabelMemory

CHANGED = "2026-01-01T10:00:00Z"
AT = datetime(2026, 1, 1, 10, tzinfo=UTC)
LATER = AT + timedelta(hours=1)


def test_what_is_settled_is_relied_on_until_it_changes_or_is_old() -> None:
    memory = LabelMemory()
    memory.keep("PR_1", CHANGED, ("staging",), LATER)
    assert memory.recall("PR_1", CHANGED, LATER) == ("staging",)
    assert memory.recall("PR_1", CHANGED, LATER + LONGEST) == ("staging",)
    assert memory.recall("PR_1", CHANGED, LATER + LONGEST + timedelta(seconds=1)) is None
    assert memory.recall("PR_1", "2026-01-01T10:00:01Z", LATER) is None
    assert memory.recall("PR_2", CHANGED, LATER) is None


def test_no_label_at_all_is_known_as_well() -> None:
    memory = LabelMemory()
    memory.keep("PR_1", CHANGED, (), LATER)
    assert memory.recall("PR_1", CHANGED, LATER) == ()


@pytest.mark.parametrize(("age", "known"), [(timedelta(0), False), (SETTLED / 2, False), (SETTLED, True)])
def test_what_was_read_within_the_second_of_its_change_is_read_again(age: timedelta, known: bool) -> None:
    memory = LabelMemory()
    memory.keep("PR_1", CHANGED, ("staging",), AT + age)
    assert (memory.recall("PR_1", CHANGED, LATER) is not None) is (known and LATER - (AT + age) <= LONGEST)
    assert (memory.recall("PR_1", CHANGED, AT + age) is not None) is known


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01T10:00:00"])
def test_a_change_without_a_moment_is_never_settled(text: str) -> None:
    memory = LabelMemory()
    memory.keep("PR_1", text, ("staging",), LATER)
    assert memory.recall("PR_1", text, LATER) is None


def test_what_nobody_lists_any_more_is_forgotten() -> None:
    memory = LabelMemory()
    for n in range(1_000):
        memory.keep(f"PR_{n}", CHANGED, ("staging",), AT)
    memory.keep("PR_new", CHANGED, ("staging",), AT + 2 * LONGEST)
    memory.forget_old(AT + 2 * LONGEST + timedelta(seconds=1))
    assert len(memory) == 1

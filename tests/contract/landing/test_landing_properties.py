"""For any history: one merge at most and a right one, an end, nothing said twice, strangers unheard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from landing_profiles import SECONDS, profile
from landing_run import play, without
from landing_strategies import HISTORIES

if TYPE_CHECKING:
    from landing_history_plan import History

pytestmark = pytest.mark.timeout(SECONDS)


@given(HISTORIES)
@profile()
def test_any_history(history: History) -> None:
    """See :class:`landing_oracle.Oracle` for what holds at each act, :meth:`landing_run.Run.calm` for the end."""
    play(history)


@given(HISTORIES)
@profile(0.2)
def test_what_strangers_say_changes_nothing(history: History) -> None:
    """The same history with the stranger only looking on has the same decisions and the same end."""
    strange = [event for event in history.events if event.who == "eve" and not event.ambush]
    assume(strange and all(event.who != "eve" or not event.ambush for event in history.events))
    one, other = play(history), play(without(history, "eve"))
    assert (one.ended, one.decisions, one.rounds) == (other.ended, other.decisions, other.rounds)

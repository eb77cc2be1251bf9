"""Notices an agent that makes the same tool call again and again and gets the same answer each time."""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

REMARK_AT = 3
"""So many equal calls in a row, and the agent is told."""
GIVE_UP_AT = 5
"""So many, the remark notwithstanding, and the step ends."""
_MAX_LANES = 64
_MAX_SHOWN = 300

# What differs between two runs of a command that came to the same: durations, times of day, addresses.
_VOLATILE = re.compile(
    r"\b\d+(?:\.\d+)?\s?(?:ns|µs|us|ms|s|secs?|seconds?|m|mins?|minutes?)\b"
    r"|\b\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?\b"
    r"|\b0x[0-9a-fA-F]{6,}\b"
)

Advice = Literal["remark", "give_up"]


@dataclass(frozen=True, slots=True)
class Repeated:
    """A tool call that was made several times in a row, with one and the same outcome."""

    tool: str
    call: str
    """Its input in short, e.g. the command line."""
    times: int


@dataclass(slots=True)
class _Streak:
    digest: bytes
    repeated: Repeated


class Repetition:
    """Counts equal calls in a row, each lane (the agent, and each of its subagents) for itself.

    The count goes on over several runs of one session.
    """

    def __init__(self) -> None:
        self._streaks: OrderedDict[str, _Streak] = OrderedDict()
        self._longest: Repeated | None = None
        self._remarked = False

    def observe(self, name: str, given: object, output: object, *, lane: str = "") -> None:
        """Take in a call that ended; see :meth:`~agent_runner.agents.base.AgentTranscript.observe_tool`."""
        digest = hashlib.sha256(
            b"\0".join((name.encode(errors="replace"), _canonical(given), _canonical(_settled(output))))
        ).digest()
        streak = self._streaks.pop(lane, None)
        times = streak.repeated.times + 1 if streak is not None and streak.digest == digest else 1
        repeated = Repeated(name, _shown(given), times)
        self._streaks[lane] = _Streak(digest, repeated)
        while len(self._streaks) > _MAX_LANES:
            self._streaks.popitem(last=False)
        if self._longest is None or times > self._longest.times:
            self._longest = repeated

    @property
    def advice(self) -> tuple[Advice, Repeated] | None:
        """What is to be done now, and about which call; a remark is due only until :meth:`remarked`."""
        longest = self._longest
        if longest is None or longest.times < REMARK_AT:
            return None
        if longest.times >= GIVE_UP_AT:
            return "give_up", longest
        return None if self._remarked else ("remark", longest)

    def remarked(self) -> None:
        """Note that the agent was told; it is told once in a step."""
        self._remarked = True


def _settled(value: object) -> object:
    """Return ``value`` with what differs from run to run taken out of its texts."""
    if isinstance(value, str):
        return _VOLATILE.sub("~", value)
    if isinstance(value, list):
        return [_settled(item) for item in value]
    if isinstance(value, dict):
        return {key: _settled(item) for key, item in value.items()}
    return value


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode(errors="replace")


def _shown(given: object) -> str:
    if isinstance(given, dict) and len(given) == 1:
        (given,) = given.values()
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"

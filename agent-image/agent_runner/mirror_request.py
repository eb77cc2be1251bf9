"""The runner's questions to the gateway about the mirror of the step's repository."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent_runner.cache_locks import CacheLock, take
from agent_runner.console import one_line, say
from agent_runner.failure import StepCancelled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_runner.deadline import Deadline
    from agent_runner.gateway_address import GatewayAddress
    from agent_runner.stop import StopRequest

LOCK = "lock"
"""File of the repository's folder: held, shared, by all that use the mirror."""
WAIT_SECONDS = 300.0
"""How long a step waits for the mirror before it goes on without."""
_PROGRESS_SECONDS = 15.0
_ASK_SECONDS = 30.0
_MAX_ANSWER_BYTES = 16_384
_GENERATION = re.compile(r"g-[0-9a-f]{16}")


class NoMirrorError(Exception):
    """The mirror is not there to borrow from; the text says why."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A bare repository that a checkout may borrow objects from."""

    path: Path
    lock: CacheLock | None = None
    """Keeps it from being removed, also while the gateway, which holds one too, is away."""

    @property
    def objects(self) -> Path:
        return self.path / "objects"


class MirrorRequest:
    """Asks for one checkout's objects.

    :param folder: the repository's folder on the cache claim, as this container has it.
    :param refs: full name of a ref → its commit.
    """

    def __init__(self, folder: Path, gateway: GatewayAddress, refs: Mapping[str, str]) -> None:
        self._folder = folder
        self._gateway = gateway
        self._body = json.dumps({"refs": dict(refs)})

    def wait(self, deadline: Deadline, stop: StopRequest) -> Mirror:
        """Return the mirror once it holds what is asked for.

        :param deadline: of the step; at most half of what is left of it is waited for.
        :raises NoMirrorError: it does not, or not in time.
        :raises StepCancelled: a stop was asked for.
        """
        started = said = time.monotonic()
        limit = deadline.within(min(WAIT_SECONDS, deadline.remaining() / 2))
        while True:
            answer = self._ask("")
            if stop.received is not None:
                raise StepCancelled(stop.received)
            match answer.get("state"):
                case "ready":
                    return self._found(answer)
                case "waiting":
                    if limit.passed():
                        raise NoMirrorError(f"it was not ready after {time.monotonic() - started:.0f} s")
                    if time.monotonic() - said > _PROGRESS_SECONDS:
                        said = time.monotonic()
                        say(f"checkout: waiting for the mirror, {said - started:.0f} s so far")
                case _:
                    raise NoMirrorError(one_line(str(answer.get("reason", "the gateway does not say why"))))

    def suspect(self) -> None:
        """Tell the gateway that a checkout failed with what it had borrowed. Never raises."""
        try:
            self._ask("/suspect")
        except NoMirrorError as error:
            say(f"checkout: the gateway was not told: {error}")

    def _found(self, answer: Mapping[str, Any]) -> Mirror:
        name = str(answer.get("generation"))
        lock = self._lock()
        if not _GENERATION.fullmatch(name) or not (self._folder / name / "objects").is_dir():
            raise NoMirrorError("this container does not see what the gateway has fetched: is it one claim?")
        if warning := answer.get("warning"):
            say(f"checkout: the mirror is not fresh, which takes longer: {one_line(str(warning))}")
        return Mirror(self._folder / name, lock)

    def _lock(self) -> CacheLock | None:
        try:
            return take(self._folder / LOCK, exclusive=False, readable=True)
        except OSError:
            return None  # the gateway's has to do

    def _ask(self, path: str) -> Mapping[str, Any]:
        # Here, because most of its import is for what is not used.
        import http.client

        parts = urlsplit(self._gateway.refresh())
        connection = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port, timeout=_ASK_SECONDS
        )
        try:
            connection.request("POST", f"{parts.path}/mirror{path}", self._body)
            answer = json.loads(connection.getresponse().read(_MAX_ANSWER_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoMirrorError(f"the gateway did not answer: {type(error).__name__}") from None
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise NoMirrorError("the gateway gave an answer of another form")
        return answer

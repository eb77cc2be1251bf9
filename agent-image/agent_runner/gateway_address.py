"""Where the gateway listens: read from its file, and read again, because a restart may move it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_runner.failure import failed

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.deadline import Deadline
    from agent_runner.stop import StopRequest

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1
_MAX_BYTES = 2_048
_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}(?:/[A-Za-z0-9._~-]+)*")


class GatewayAddress:
    """The gateway's base URL, ``http://127.0.0.1:PORT/NONCE``."""

    def __init__(self, file: Path, stop: StopRequest) -> None:
        self._file = file
        self._stop = stop
        self.current = ""
        """The address read last."""

    def wait(self, deadline: Deadline, seconds: float = WAIT_SECONDS) -> str:
        """Return the address as soon as the gateway has written it.

        :param seconds: how long to wait at most.
        :raises StepFailed: it is not there in time; the gateway did not start.
        """
        limit = deadline.within(seconds)
        while not self.refresh():
            if limit.passed():
                raise failed(
                    "gateway_missing", f"The gateway of this pod gave no address within {seconds:.0f} s."
                )
            self._stop.wait(min(_POLL_SECONDS, max(0.01, limit.remaining())))
        return self.current

    def refresh(self) -> str:
        """Read the file again and return the address; the last one known where the file has none."""
        try:
            with self._file.open("rb") as file:
                text = file.read(_MAX_BYTES).decode("ascii", "replace").strip().rstrip("/")
        except OSError:
            text = ""
        if len(text) < _MAX_BYTES and _ADDRESS.fullmatch(text):
            self.current = text
        return self.current

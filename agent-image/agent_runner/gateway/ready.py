"""``agent-runner gateway-ready``: the sidecar's startup probe, run by exec.

It waits for the gateway itself, because Kubernetes repeats a probe after a second at the earliest.
Standard library only: it runs beside a gateway that is starting and needs the processor.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner.contract import ENV_GATEWAY_URL_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS = 4.0
"""How long one probe waits: well below its ``timeoutSeconds``, so that it says itself what is missing."""
POLL_SECONDS = 0.05

_URL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}/[A-Za-z0-9_-]{20,}")


def main(*, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> int:
    """Return 0 once the gateway has written where it listens, else 1 and the reason on standard error.

    Waits for :data:`WAIT_SECONDS` at most.
    """
    name = os.environ.get(ENV_GATEWAY_URL_FILE)
    if not name:
        return _not_ready(f"{ENV_GATEWAY_URL_FILE} is not set")
    give_up = clock() + WAIT_SECONDS
    while fault := _fault(Path(name)):
        if clock() >= give_up:
            return _not_ready(fault)
        sleep(POLL_SECONDS)
    return 0


def _fault(file: Path) -> str | None:
    """Return what is wrong with the address's file, if anything."""
    try:
        text = file.read_text(encoding="ascii")
    except FileNotFoundError:
        return f"{file} is not written yet"
    except (OSError, UnicodeDecodeError) as error:
        return f"{file}: {error}"
    return None if _URL.fullmatch(text.strip()) else f"{file} holds no complete address"


def _not_ready(reason: str) -> int:
    sys.stderr.write(f"gateway not ready: {reason}\n")
    return 1

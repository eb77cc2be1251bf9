"""``agent-runner gateway-ready``: the sidecar's startup probe, run by exec.

Standard library only: it is started often, beside an agent that needs the processor.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from agent_runner.contract import ENV_GATEWAY_URL_FILE

_URL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}/[A-Za-z0-9_-]{20,}")


def main() -> int:
    """Return 0 once the gateway has written where it listens, else 1 and the reason on standard error."""
    name = os.environ.get(ENV_GATEWAY_URL_FILE)
    if not name:
        return _not_ready(f"{ENV_GATEWAY_URL_FILE} is not set")
    try:
        text = Path(name).read_text(encoding="ascii")
    except FileNotFoundError:
        return _not_ready(f"{name} is not written yet")
    except (OSError, UnicodeDecodeError) as error:
        return _not_ready(f"{name}: {error}")
    return 0 if _URL.fullmatch(text.strip()) else _not_ready(f"{name} holds no complete address")


def _not_ready(reason: str) -> int:
    sys.stderr.write(f"gateway not ready: {reason}\n")
    return 1

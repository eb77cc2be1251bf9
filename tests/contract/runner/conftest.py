from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pod import make_forge, make_pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pod import Pod


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heard() -> None:
    """A shell's background job ignores SIGINT, and so would every program that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_forge(tmp_path_factory.mktemp("forge") / "forge")


@pytest.fixture
def pod(tmp_path: Path, forge: Path) -> Iterator[Pod]:
    """A pod with a repository whose branch ``main`` has one commit."""
    made = make_pod(tmp_path, forge)
    yield made
    made.git_server.shutdown()
    made.git_server.server_close()

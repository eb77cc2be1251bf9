"""Where the real agent programs are on this machine."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path


def claude_program() -> str | None:
    """Claude Code: the one that claude-agent-sdk brings, or on the PATH."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    bundled = Path(spec.origin).parent / "_bundled/claude" if spec and spec.origin else None
    return str(bundled) if bundled and bundled.is_file() else shutil.which("claude")


def codex_folder() -> Path | None:
    """Folder of Codex: of the package that brings it, or on the PATH."""
    spec = importlib.util.find_spec("codex_cli_bin")
    bundled = Path(spec.origin).parent / "bin" if spec and spec.origin else None
    if bundled and (bundled / "codex").is_file():
        return bundled
    found = shutil.which("codex")
    return Path(found).parent if found else None

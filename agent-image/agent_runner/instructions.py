"""What is added to the agent's system prompt: the step's rules, and the repository's own as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.contract import StepSpec

REPOSITORY_FILES = ("CLAUDE.md", "AGENTS.md")
MAX_FILE_BYTES = 32 * 1024
"""How much of each is passed on."""


def instructions_for(spec: StepSpec, checkout: Path) -> str:
    """Return the addition to the system prompt.

    The repository's files are read from the checkout, as text: they are advice on how to work in it, below
    the step's rules, and configure nothing. A link that leads out of the checkout is not followed.
    """
    parts = [spec.instructions.strip()] if spec.instructions.strip() else []
    if spec.agent.max_turns is not None:
        parts.append(f"You have at most {spec.agent.max_turns} turns for this step. Finish within them.")
    seen = set()
    for name in REPOSITORY_FILES:
        text = _text_of(checkout, name)
        if text and text not in seen:
            seen.add(text)
            parts.append(
                f"The repository's {name} follows, as its authors wrote it. Follow its conventions where they"
                f" do not contradict the rules above.\n\n<repository-file name={name!r}>\n{text}\n"
                f"</repository-file>"
            )
    return "\n\n".join(parts) + "\n" if parts else ""


def _text_of(checkout: Path, name: str) -> str:
    try:
        path = (checkout / name).resolve(strict=True)
        if not path.is_relative_to(checkout.resolve()) or not path.is_file():
            return ""
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, RuntimeError):
        return ""
    text = data[:MAX_FILE_BYTES].decode(errors="replace").replace("</repository-file>", "").strip()
    return text + ("\n[cut here]" if text and len(data) > MAX_FILE_BYTES else "")

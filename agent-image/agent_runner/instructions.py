"""What is added to the agent's system prompt: the step's rules, and the repository's own as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_runner.contract import StepSpec
    from agent_runner.git import Git

REPOSITORY_FILES = ("CLAUDE.md", "AGENTS.md")
MAX_FILE_BYTES = 32 * 1024
"""How much of each is passed on."""


def instructions_for(spec: StepSpec, files: Mapping[str, str], *, cut_off: bool = False) -> str:
    """Return the addition to the system prompt.

    :param files: name → text of the repository's files: advice on how to work in it, below the step's rules.
        They configure nothing.
    :param cut_off: the checkout has not all of the history.
    """
    parts = [spec.instructions.strip()] if spec.instructions.strip() else []
    if spec.agent.max_turns is not None:
        parts.append(f"You have at most {spec.agent.max_turns} turns for this step. Finish within them.")
    if cut_off:
        parts.append(
            "The checkout has the newest commits only, so `git log` and `git blame` end early. Where older ones "
            f"matter, `git fetch --deepen=200 origin {spec.base_branch}` gets more."
        )
    seen = set()
    for name, text in files.items():
        if text and text not in seen:
            seen.add(text)
            parts.append(
                f"The repository's {name} follows, as its authors wrote it. Follow its conventions where they"
                f" do not contradict the rules above.\n\n<repository-file name={name!r}>\n{text}\n"
                f"</repository-file>"
            )
    return "\n\n".join(parts) + "\n" if parts else ""


def files_in(checkout: Path) -> dict[str, str]:
    """Return the repository's files as the checkout has them. A link that leads out of it is not followed."""
    return {name: _text_of(checkout, name) for name in REPOSITORY_FILES}


def files_at(git: Git, commit: str) -> dict[str, str]:
    """Return the repository's files as ``commit`` has them. Links are not followed."""
    return {name: _text_at(git, commit, name) for name in REPOSITORY_FILES}


def _text_at(git: Git, commit: str, name: str) -> str:
    entry = git.attempt("ls-tree", commit, "--", name)
    if not entry.ok or not entry.text.startswith("100"):
        return ""
    blob = git.attempt("cat-file", "blob", f"{commit}:{name}")
    return _as_text(blob.stdout) if blob.ok else ""


def _text_of(checkout: Path, name: str) -> str:
    try:
        path = (checkout / name).resolve(strict=True)
        if not path.is_relative_to(checkout.resolve()) or not path.is_file():
            return ""
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, RuntimeError):
        return ""
    return _as_text(data)


def _as_text(data: bytes) -> str:
    text = data[:MAX_FILE_BYTES].decode(errors="replace").replace("</repository-file>", "").strip()
    return text + ("\n[cut here]" if text and len(data) > MAX_FILE_BYTES else "")

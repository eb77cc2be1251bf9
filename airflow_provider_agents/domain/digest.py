"""What earlier steps of a run did, for an agent whose own memory of it is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_agents.domain.untrusted import fence, one_line

_NOTE_BYTES = 2_000
_DIGEST_BYTES = 12_000
_MOST_FILES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNote:
    """One earlier step."""

    name: str
    """Where it was in the run, e.g. ``build.attempt_1.implement``."""
    outcome: str
    summary: str = ""
    files: tuple[str, ...] = ()
    failure: str = ""

    @classmethod
    def of(cls, task_id: str, result: Mapping[str, Any]) -> StepNote:
        """Read the result of a step."""
        output = result.get("output")
        summary = output.get("summary") or output.get("description") if isinstance(output, Mapping) else None
        failure = result.get("failure")
        return cls(
            name=task_id,
            outcome=str(result.get("outcome")),
            summary=str(summary or result.get("summary") or ""),
            files=tuple(str(file) for file in result.get("files_changed") or ()),
            failure=str(failure.get("message") or "") if isinstance(failure, Mapping) else "",
        )


def digest(notes: Sequence[StepNote]) -> str:
    """Return the notes as fenced text; empty where there is none. Models and programs wrote what is in them."""
    parts = []
    for note in notes:
        lines = [f"{one_line(note.name)}: {one_line(note.outcome)}"]
        if note.files:
            more = len(note.files) - _MOST_FILES
            names = ", ".join(one_line(name) for name in note.files[:_MOST_FILES])
            lines.append(f"Files changed: {names}" + (f" and {more} more" if more > 0 else ""))
        lines += [text[:_NOTE_BYTES] for text in (note.summary.strip(), note.failure.strip()) if text]
        parts.append("\n".join(lines))
    if not parts:
        return ""
    return fence("\n\n".join(parts), "what was done so far in this task", most_bytes=_DIGEST_BYTES)

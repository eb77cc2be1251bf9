"""What a container says when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.logs import LogFile

MAX_MESSAGE = 4_096
"""Longest termination message of one container, in bytes; the end of a longer one is kept."""

MAX_POD_MESSAGES = 12 * 1024
"""Longest termination messages of all containers of a pod, each of which gets an equal part."""

_FALLBACK_LINES = 80
_FALLBACK_SIZE = 2_048


def termination_message(spec: Json, exit_code: int, file: Path, log: LogFile) -> str:
    """Return the termination message of a container.

    :param spec: the container; with ``terminationMessagePolicy: FallbackToLogsOnError`` the end of the log
        stands in for an empty message of a container that failed.
    :param file: what the container could write to.
    """
    try:
        with file.open("rb") as source:
            size = source.seek(0, 2)
            source.seek(max(0, size - MAX_MESSAGE))
            text = source.read(MAX_MESSAGE).decode("utf-8", "replace")
    except OSError:
        text = ""  # the container has removed it, or put something else in its place
    if not text and exit_code != 0 and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        return log.last_lines(_FALLBACK_LINES, _FALLBACK_SIZE)
    return text


def cut_messages(statuses: list[Json]) -> None:
    """Cut the termination messages in the container statuses of one pod so that all fit together."""
    part = MAX_POD_MESSAGES // max(1, len(statuses))
    for status in statuses:
        for state in (status["state"], status["lastState"]):
            terminated = state.get("terminated") or {}
            if len((terminated.get("message") or "").encode()) > part:
                terminated["message"] = terminated["message"].encode()[:part].decode("utf-8", "ignore")

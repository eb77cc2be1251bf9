"""Claude Code's outcome, judged from its last result event.

Neither ``subtype`` nor the exit code decides: a refused key ends with subtype ``success``, an interrupted
run with exit code 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_runner.agents.ending import CODE_OF_STATUS, crashed
from agent_runner.console import one_line
from agent_runner.contract import Failure, failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_runner.process import Ended

_BILLING = ("credit balance", "billing", "spend limit", "usage limit", "quota")
_PHRASES = {
    "no conversation found": "session_lost",
    "not logged in": "model_credential",
    "invalid api key": "model_credential",
    "credit balance": "model_quota",
    "prompt is too long": "prompt_too_long",
}
_CONNECTION = (
    "connection",
    "econn",
    "network",
    "timed out",
    "timeout",
    "fetch failed",
    "socket",
    "enotfound",
)


def verdict(result: Mapping[str, Any] | None, ended: Ended, errors: str) -> Failure | None:
    """Return why the run failed, or ``None`` where it did its work.

    :param result: the last ``result`` event; ``None``: there was none.
    :param ended: how the process ended.
    :param errors: last part of standard error.
    """
    if result is None:
        return _without_result(ended, errors)
    words = _words(result)
    if not result.get("is_error"):
        return failure("model_refused", words) if result.get("stop_reason") == "refusal" else None
    reason = result.get("terminal_reason")
    if isinstance(reason, str) and reason in ("max_turns", "budget_exhausted", "prompt_too_long"):
        return failure(reason, words)
    code = _of_api(result.get("api_error_status"), words.lower()) or _of_words(result, words.lower())
    return failure(code, words)


def _of_api(status: Any, words: str) -> str | None:
    """Judge by the HTTP status of the model's API."""
    if not isinstance(status, int):
        return None
    if status in (400, 403) and any(word in words for word in _BILLING):
        return "model_quota"
    if status == 400 and "prompt is too long" in words:
        return "prompt_too_long"
    return CODE_OF_STATUS.get(status, "model_unavailable" if status >= 500 else "model_request_refused")


def _of_words(result: Mapping[str, Any], words: str) -> str:
    """Judge by the text, where there is nothing better."""
    if result.get("subtype") == "error_max_turns":
        return "max_turns"
    if result.get("subtype") == "error_max_budget_usd":
        return "budget_exhausted"
    if result.get("api_error_type") == "connection_failed":
        return "model_unavailable"
    for phrase, code in _PHRASES.items():
        if phrase in words:
            return code
    if result.get("terminal_reason") == "api_error" and any(word in words for word in _CONNECTION):
        return "model_unavailable"
    if str(result.get("terminal_reason")).startswith("aborted"):
        return "agent_aborted"
    return "agent_error"


def _without_result(ended: Ended, errors: str) -> Failure:
    said = f" It said: {one_line(errors[-800:], 600)}" if errors.strip() else ""
    if "unknown option" in errors:
        return failure(
            "agent_incompatible",
            f"Claude Code does not know an option it was given.{said}",
            remedy="Use the version of Claude Code that agent-image/Dockerfile pins.",
        )
    if "No conversation found" in errors:
        return failure("session_lost", f"The session cannot be resumed.{said}")
    if "ENOSPC" in errors or "No space left on device" in errors:
        return failure("disk_full", f"Claude Code ended without a result: the disk is full.{said}")
    return crashed("Claude Code", ended, f"without a result.{said}")


def _words(result: Mapping[str, Any]) -> str:
    parts = [result.get("result"), *_list(result.get("errors"))]
    text = "; ".join(part for part in parts if isinstance(part, str) and part)
    return one_line(text, 1_000) or f"Claude Code ended with {result.get('subtype') or 'an error'}."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""Claude Code's outcome, judged from its last result event.

Neither ``subtype`` nor the exit code decides: a refused key ends with subtype ``success``, an interrupted
run with exit code 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_runner.console import one_line
from agent_runner.contract import Failure, FailureCategory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_runner.process import Ended

SESSION_LOST = "session_lost"
"""Code of the failure for a session that cannot be resumed."""

_STATUS: dict[int, tuple[FailureCategory, str, str, bool]] = {
    400: ("agent", "model_request_refused", "Read the message: the model's API refused the request.", False),
    401: (
        "auth",
        "model_credential",
        "Replace the model's API key in the secret of the installation.",
        False,
    ),
    402: ("budget", "budget_exhausted", "Raise the budget of the task, or make the task smaller.", False),
    403: ("auth", "model_forbidden", "Check what the model's API key may use.", False),
    404: ("config", "model_not_found", "Correct the model's name.", False),
    408: ("network", "model_unavailable", "Run the step again later.", True),
    413: ("context", "prompt_too_long", "Make the task smaller.", False),
    429: (
        "rate_limit",
        "model_rate_limited",
        "Run fewer steps at once, or raise the limit of the key.",
        True,
    ),
    529: ("rate_limit", "model_overloaded", "Run the step again later.", True),
}
_UNAVAILABLE: tuple[FailureCategory, str, str, bool] = (
    "network",
    "model_unavailable",
    "Run the step again later.",
    True,
)
_BILLING = ("credit balance", "billing", "spend limit", "usage limit", "quota")
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
        if result.get("stop_reason") == "refusal":
            return _failure("agent", "model_refused", words, "Word the task differently.")
        return None
    match result.get("terminal_reason"):
        case "max_turns":
            return _failure(
                "agent", "max_turns", words, "Allow more turns (agent.max_turns), or make the task smaller."
            )
        case "budget_exhausted":
            return _failure(*_STATUS[402][:2], words, _STATUS[402][2])
        case "prompt_too_long":
            return _failure(*_STATUS[413][:2], words, _STATUS[413][2])
    return _of_api(result.get("api_error_status"), words) or _of_words(result, words)


def _of_api(status: Any, words: str) -> Failure | None:
    """Judge by the HTTP status of the model's API."""
    if not isinstance(status, int):
        return None
    if status in (400, 403) and any(word in words.lower() for word in _BILLING):
        return _out_of_credit(words)
    if status == 400 and "prompt is too long" in words.lower():
        status = 413
    category, code, remedy, retryable = _STATUS.get(status, _UNAVAILABLE if status >= 500 else _STATUS[400])
    return _failure(category, code, words, remedy, retryable=retryable)


def _of_words(result: Mapping[str, Any], words: str) -> Failure:
    """Judge by the text, where there is nothing better."""
    lower = words.lower()
    if result.get("subtype") == "error_max_turns":
        return _failure("agent", "max_turns", words, "Allow more turns (agent.max_turns).")
    if result.get("subtype") == "error_max_budget_usd":
        return _failure(*_STATUS[402][:2], words, _STATUS[402][2])
    if "no conversation found" in lower:
        return _failure("agent", SESSION_LOST, words, "Start a new session.")
    if "not logged in" in lower or "invalid api key" in lower:
        return _failure(*_STATUS[401][:2], words, _STATUS[401][2])
    if "credit balance" in lower:
        return _out_of_credit(words)
    if "prompt is too long" in lower:
        return _failure(*_STATUS[413][:2], words, _STATUS[413][2])
    if result.get("api_error_type") == "connection_failed" or (
        result.get("terminal_reason") == "api_error" and any(word in lower for word in _CONNECTION)
    ):
        category, code, remedy, retryable = _UNAVAILABLE
        return _failure(category, code, words, remedy, retryable=retryable)
    if str(result.get("terminal_reason")).startswith("aborted"):
        return _failure("agent", "agent_aborted", words, "Run the step again.", retryable=True)
    return _failure("agent", "agent_error", words, "Read the task log.")


def _without_result(ended: Ended, errors: str) -> Failure:
    said = f" It said: {one_line(errors[-800:], 600)}" if errors.strip() else ""
    if "unknown option" in errors:
        return _failure(
            "image",
            "agent_incompatible",
            f"Claude Code does not know an option it was given.{said}",
            "Use the version of Claude Code that agent-image/Dockerfile pins.",
        )
    if "No conversation found" in errors:
        return _failure(
            "agent", SESSION_LOST, f"The session cannot be resumed.{said}", "Start a new session."
        )
    how = f"was killed by {ended.signal_name}" if ended.signal_name else f"ended with code {ended.returncode}"
    remedy = "Run the step again."
    if ended.signal_name == "SIGKILL":
        remedy = (
            "Run the step again, with more memory if it comes back: the kernel kills what exceeds its limit."
        )
    return _failure(
        "agent", "agent_crashed", f"Claude Code {how} without a result.{said}", remedy, retryable=True
    )


def _out_of_credit(words: str) -> Failure:
    return _failure("quota", "model_quota", words, "Add credit to the account of the model's API key.")


def _words(result: Mapping[str, Any]) -> str:
    parts = [result.get("result"), *_list(result.get("errors"))]
    text = "; ".join(part for part in parts if isinstance(part, str) and part)
    return one_line(text, 1_000) or f"Claude Code ended with {result.get('subtype') or 'an error'}."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _failure(
    category: FailureCategory, code: str, message: str, remedy: str, *, retryable: bool = False
) -> Failure:
    return Failure(category=category, code=code, message=message, remedy=remedy, retryable=retryable)

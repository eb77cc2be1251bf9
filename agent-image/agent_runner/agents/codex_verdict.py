"""Codex's outcome, judged from its last words on an error.

The program states no HTTP status but in the text, and for some errors not even there.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from agent_runner.agents.ending import CODE_OF_STATUS, crashed
from agent_runner.console import one_line
from agent_runner.contract import FAILURES, Failure, failure

if TYPE_CHECKING:
    from agent_runner.process import Ended

CODE_OF_STATUS_WORDS = re.compile(
    r"unexpected status (?P<status>\d{3})[^:]*: (?P<words>.*?)(?:, url: \S+(?:, .*)?)?", re.DOTALL
)
_LASTCODE_OF_STATUS = re.compile(r"last status: (\d{3})")

_GATEWAY = "agent gateway: "
"""Starts the words of the pod's gateway, whose codes are ours."""

_CODES = {
    "context_length_exceeded": "prompt_too_long",
    "insufficient_quota": "model_quota",
    "billing_hard_limit_reached": "model_quota",
    "rate_limit_exceeded": "model_rate_limited",
    "model_not_found": "model_not_found",
    "invalid_api_key": "model_credential",
    "invalid_prompt": "model_refused",
    "content_policy_violation": "model_refused",
    "server_is_overloaded": "model_overloaded",
}
"""The API's own code of an error → ours."""

_WORDS = (
    ("context window", "prompt_too_long"),
    ("quota exceeded", "model_quota"),
    ("exceeded your current quota", "model_quota"),
    ("usage limit", "model_quota"),
    ("rate limit", "model_rate_limited"),
    ("at capacity", "model_overloaded"),
    ("high demand", "model_unavailable"),
    ("usage policy", "model_refused"),
    ("flagged", "model_refused"),
    ("connection failed", "model_unavailable"),
    ("stream disconnected", "model_unavailable"),
    ("error sending request", "model_unavailable"),
    ("timed out", "model_unavailable"),
    ("timeout", "model_unavailable"),
    ("interrupted", "agent_aborted"),
)
"""Texts of the program itself, in lower case → our code; the first that is found counts."""


def verdict(completed: bool, failed: str | None, ended: Ended, errors: str) -> Failure | None:
    """Return why the run failed, or ``None`` where it did its work.

    :param completed: the program said that its last turn was completed.
    :param failed: what it said last about an error that did not pass.
    :param ended: how the process ended.
    :param errors: last part of standard error.
    """
    if completed:
        return None
    if failed is not None:
        return _of_message(failed)
    return _without_verdict(ended, errors)


def _of_message(message: str) -> Failure:
    code, words = _code_of_body(message)
    if code is None and (found := CODE_OF_STATUS_WORDS.fullmatch(message)):
        words = found["words"]
        code = _of_status(int(found["status"]), words)
    elif code is None and (last := _LASTCODE_OF_STATUS.search(message)):
        code = _of_status(int(last[1]), message)
    return failure(
        code or _of_words(words) or "agent_error", one_line(words, 1_000) or "Codex gave no reason."
    )


def _code_of_body(message: str) -> tuple[str | None, str]:
    """Read a message that is the body of the API's answer: so the program shows an answer of status 400."""
    try:
        error: Any = json.loads(message)["error"]
        words = str(error["message"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, message
    if error.get("code") in FAILURES and words.startswith(_GATEWAY):
        return str(error["code"]), words
    code = _CODES.get(str(error.get("code"))) or _CODES.get(str(error.get("type")))
    return code or _of_status(400, words), words


def _of_status(status: int, words: str) -> str:
    if status in (400, 403, 429) and (code := _of_words(words)):
        return code
    return CODE_OF_STATUS.get(status, "model_unavailable" if status >= 500 else "model_request_refused")


def _of_words(words: str) -> str | None:
    lower = words.lower()
    return next((code for text, code in _WORDS if text in lower), None)


def _without_verdict(ended: Ended, errors: str) -> Failure:
    said = f" It said: {one_line(errors[-800:], 600)}" if errors.strip() else ""
    if "no rollout found" in errors or "thread/resume failed" in errors:
        return failure("session_lost", f"The session cannot be resumed.{said}")
    if "unexpected argument" in errors or "loading config" in errors:
        return failure("agent_incompatible", f"Codex does not know what it was given.{said}")
    return crashed("Codex", ended, f"before its turn was over.{said}")

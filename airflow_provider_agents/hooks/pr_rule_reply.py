"""What one request to a model brought, whichever library sent it, and how its faults are named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_runner.contract import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_agents.domain.pr_rule_decision import Fault

MOST_WORDS = 300
"""Characters of an API's own words that are kept."""
PASSING: frozenset[Fault] = frozenset({"rate_limited", "overloaded", "unavailable"})
"""Faults after which the same question may be answered a moment later."""
_TOO_LONG = ("prompt is too long", "context window", "context length", "context_length_exceeded", "too large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back for one request: values, or a fault."""

    values: Mapping[str, Any] | None = None
    fault: Fault = ""
    detail: str = ""
    model: str = ""
    """That answered, where the answer says it."""
    tokens: Tokens = field(default_factory=Tokens)
    cache_write_1h: int = 0
    """How many of ``tokens.cache_write`` are kept for an hour."""
    request_id: str = ""
    retry_after: float | None = None
    """Seconds, where the API named them."""
    repeatable: bool = True
    """Of a passing fault: ``False`` where the API says that the same request is no use."""


class Secrets:
    """What must not be told about a connection.

    :param values: its secrets; short ones are words that stand anywhere, and none.
    """

    def __init__(self, values: Iterable[object]) -> None:
        texts = {value.strip() for value in values if isinstance(value, str) and len(value.strip()) > 3}
        # As an error's text shows them as well: with what cannot be printed written out.
        self._texts = sorted(texts | {repr(text)[1:-1] for text in texts}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Secrets({len(self._texts)})"

    def told(self, words: object) -> str:
        """Return ``words`` on one line, cut, and without the secrets."""
        text = str(words)
        for secret in self._texts:
            text = text.replace(secret, "***")
        return one_line(text)


def one_line(words: object) -> str:
    """Return ``words`` on one line, cut."""
    return " ".join(str(words).split())[:MOST_WORDS]


def status_fault(status: int, words: str) -> Fault:
    """Return what an HTTP status means for the question.

    :param words: the API's own; a prompt that is too long is a matter of one pull request, not of the connection.
    """
    if status in (408, 504):
        return "timeout"
    if status == 429:
        return "rate_limited"
    if status == 529:
        return "overloaded"
    if status >= 500 or status == 409:
        return "unavailable"
    if status == 413 or (status in (400, 422) and any(text in words.lower() for text in _TOO_LONG)):
        return "truncated"
    return "denied"


def status_detail(status: int, words: str, *, connection: str, model: str) -> str:
    """Return one sentence about a refusal, with the remedy where a person can act.

    :param words: the API's own, without secrets.
    """
    said = f"HTTP {status}" + (f", {words!r}" if words else "")
    match status_fault(status, words):
        case "denied" if status == 401:
            return f"the API refuses the key of the connection {connection!r} ({said}): put a valid key into its password"
        case "denied" if status in (402, 403):
            return (
                f"the API does not let the connection {connection!r} use {model!r} ({said}): give its key the right, "
                "or name another model or connection in the rule's `model`"
            )
        case "denied" if status == 404:
            return (
                f"the API knows no model {model!r} ({said}): correct `model.name` of the rule, `[agents] rules_model` or "
                f"the model of the connection {connection!r}, or its host"
            )
        case "denied":
            return f"the API takes no such request for {model!r} from the connection {connection!r} ({said})"
        case "truncated":
            return f"the prompt is too long for {model!r} ({said}): show less in the rule's `context`"
        case "timeout":
            return f"the API gave up waiting for {model!r} ({said})"
        case "rate_limited":
            return f"a rate limit of the connection {connection!r} is used up ({said})"
        case _:
            return f"the API cannot answer at the moment ({said})"


def json_object(text: str) -> Mapping[str, Any]:
    """Read an answer that is JSON and nothing else.

    :raises ValueError: it is not, or no object, or names a key twice.
    """
    found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ValueError(f"the answer is {type(found).__name__}, not an object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the answer names a key twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"the answer holds {text}")


def root_cause(error: BaseException) -> str:
    """Return name and text of what an error of a library comes from."""
    seen = {id(error)}
    while (inner := error.__cause__ or error.__context__) is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    return f"{type(error).__name__}: {error}".rstrip(": ")

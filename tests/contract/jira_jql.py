"""The part of JQL that the stand-in Jira understands; anything else it refuses, as Jira does."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from jira_world import Issue

Test = "Callable[[Issue], bool]"

_TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|(>=|!=|[()=~,])|([^\s()"=~,!>]+))')


class JqlError(ValueError):
    """What Jira answers with status 400."""


def parse(jql: str, now: datetime) -> Callable[[Issue], bool]:
    """Return the test of a query; its order is always that of creation."""
    if not re.search(r" ORDER BY created ASC, key ASC$", jql):
        raise JqlError("the stand-in lists in the order of creation only")
    parser = _Parser(jql.rpartition(" ORDER BY ")[0], now)
    found = parser.either()
    if parser.tokens:
        raise JqlError(f"Error in the JQL Query: unexpected {parser.tokens[0][1]!r}")
    return found


class _Parser:
    def __init__(self, text: str, now: datetime) -> None:
        self.now = now
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise JqlError(f"Error in the JQL Query: the character at {at} is not understood")
            if found[1] is not None:
                self.tokens.append(("string", re.sub(r"\\(.)", r"\1", found[1])))
            else:
                self.tokens.append(("mark", found[2]) if found[2] else ("word", found[3]))
            at = found.end()

    def _next(self) -> tuple[str, str]:
        if not self.tokens:
            raise JqlError("Error in the JQL Query: it ends too early")
        return self.tokens.pop(0)

    def _is(self, word: str) -> bool:
        if self.tokens and self.tokens[0][0] != "string" and self.tokens[0][1].upper() == word:
            self.tokens.pop(0)
            return True
        return False

    def either(self) -> Callable[[Issue], bool]:
        parts = [self._all()]
        while self._is("OR"):
            parts.append(self._all())
        return lambda issue: any(part(issue) for part in parts)

    def _all(self) -> Callable[[Issue], bool]:
        parts = [self._one()]
        while self._is("AND"):
            parts.append(self._one())
        return lambda issue: all(part(issue) for part in parts)

    def _one(self) -> Callable[[Issue], bool]:
        if self._is("("):
            inner = self.either()
            if not self._is(")"):
                raise JqlError("Error in the JQL Query: a parenthesis is not closed")
            return inner
        field, operator = self._next()[1], self._next()[1]
        if operator.lower() == "in":
            return self._clause(field, "=", self._list())
        return self._clause(field, operator, [self._next()[1]])

    def _list(self) -> list[str]:
        if not self._is("("):
            raise JqlError("Error in the JQL Query: a list is expected")
        values = [self._next()[1]]
        while self._is(","):
            values.append(self._next()[1])
        if not self._is(")"):
            raise JqlError("Error in the JQL Query: a list is not closed")
        return values

    def _clause(self, field: str, operator: str, values: list[str]) -> Callable[[Issue], bool]:
        wanted = {value.casefold() for value in values}
        match field, operator:
            case "updated", ">=":
                return self._since(values[0])
            case "comment", "~":
                words = re.compile(rf"\b{re.escape(values[0])}s?\b", re.IGNORECASE)
                return lambda issue: any(words.search(comment.plain()) for comment in issue.comments)
            case "statusCategory", "!=":
                return lambda issue: issue.category().casefold() not in wanted
            case _, "=":
                return self._equal(field, wanted)
        raise JqlError(f"The operator '{operator}' is not supported by the '{field}' field.")

    def _equal(self, field: str, wanted: set[str]) -> Callable[[Issue], bool]:
        values: dict[str, Callable[[Any], set[str]]] = {
            "project": lambda issue: {issue.key.partition("-")[0].casefold()},
            "labels": lambda issue: {label.casefold() for label in issue.labels},
            "assignee": lambda issue: {issue.assignee.casefold()} if issue.assignee else set(),
            "status": lambda issue: {issue.status.casefold()},
            "parent": lambda issue: {issue.parent.casefold()} if issue.parent else set(),
        }
        if field not in values:
            raise JqlError(f"Field '{field}' does not exist or you do not have permission to view it.")
        return lambda issue: bool(values[field](issue) & wanted)

    def _since(self, value: str) -> Callable[[Issue], bool]:
        found = re.fullmatch(r"-(\d+)m", value)
        if found is None:
            raise JqlError("the stand-in knows times that are relative to its clock, in minutes")
        # To the minute, as Jira reads it.
        since = (self.now - timedelta(minutes=int(found[1]))).replace(second=0, microsecond=0)
        return lambda issue: issue.updated >= since

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.argocd_errors import (
    ArgoCdAbsentError,
    ArgoCdAnswerError,
    answer_error,
    fault_kind,
)

NOW = datetime(2026, 5, 4, tzinfo=UTC)
DENIED = {"error": "permission denied", "code": 7, "message": "permission denied"}
ABSENT = {"error": "gone", "code": 5, "message": 'applications.argoproj.io "shop" not found'}
LOGIN = "<!doctype html><html>log in</html>"


def error(status: int, body: Any = "", headers: dict[str, str] | None = None) -> ForgeError:
    found = answer_error("read the application shop", status, headers or {}, body, NOW)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("status", "body", "kind", "cls", "words"),
    [
        (
            401,
            {"code": 16, "message": "invalid session: expired"},
            "denied",
            ForgeAccessError,
            "expired or was revoked",
        ),
        (403, DENIED, "denied", ForgeAccessError, "It answers so, too, where there is no such application"),
        (404, ABSENT, "missing", ArgoCdAbsentError, "Check name and project"),
        (404, "Not Found\n", "denied", ForgeAccessError, "Its API is not at this address"),
        (404, {"message": "no route"}, "denied", ForgeAccessError, "Its API is not at this address"),
        (200, LOGIN, "denied", ForgeAccessError, "the answer is a web page"),
        (302, LOGIN, "denied", ForgeAccessError, "A login page or a proxy stands before"),
        (307, "", "denied", ForgeAccessError, "it wants https"),
        (200, "{cut", "malformed", ArgoCdAnswerError, "no JSON object"),
        (200, [1], "malformed", ArgoCdAnswerError, "no JSON object"),
        (400, {"message": "bad project"}, "malformed", ArgoCdAnswerError, "HTTP 400, 'bad project'"),
        (500, {"message": "broken"}, "unavailable", ForgeUnavailableError, "HTTP 500, 'broken'"),
        (503, LOGIN, "unavailable", ForgeUnavailableError, "HTTP 503"),
        (429, "", "unavailable", ForgeRateLimitedError, "limits the rate"),
    ],
)
def test_each_answer_is_its_own_fault(
    status: int, body: Any, kind: str, cls: type[ForgeError], words: str
) -> None:
    found = error(status, body)
    assert type(found) is cls
    assert fault_kind(found) == kind
    assert words in str(found)
    assert "read the application shop" in str(found)
    assert "<" not in str(found)


def test_an_object_is_an_answer() -> None:
    assert answer_error("read", 200, {}, {}, NOW) is None


def test_the_place_of_a_redirect_is_told_without_its_query() -> None:
    found = str(error(302, "", {"Location": "https://sso.test/auth?state=secret"}))
    assert "https://sso.test/auth)" in found
    assert "secret" not in found


def test_long_words_are_cut() -> None:
    assert len(str(error(500, {"message": "x" * 10_000}))) < 500
    assert len(str(error(500, "y " * 10_000))) < 500
    assert "[]" not in str(error(500, {"message": []}))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("9" * 400, 3600),
        ("²", 60),
        ("soon", 60),
        ("", 60),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
    ],
)
def test_a_rate_limit_says_until_when(value: str, seconds: float) -> None:
    found = error(429, "", {"Retry-After": value})
    assert isinstance(found, ForgeRateLimitedError)
    assert found.retry_at == NOW + timedelta(seconds=seconds)

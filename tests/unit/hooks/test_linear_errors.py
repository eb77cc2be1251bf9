from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.linear_errors import (
    LinearCredentialError,
    LinearRefusalError,
    answer_error,
    refused,
)

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def said(kind: str = "", code: str = "", message: str = "no", shown: str = "") -> dict[str, Any]:
    extensions = {"type": kind, "code": code, "userPresentableMessage": shown}
    return {"errors": [{"message": message, "extensions": {k: v for k, v in extensions.items() if v}}]}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, "", LinearCredentialError),
        (403, "forbidden by a proxy", LinearCredentialError),
        (400, said("authentication error"), LinearCredentialError),
        (200, said("forbidden"), LinearCredentialError),
        (200, said("feature not accessible"), LinearCredentialError),
        (200, said(code="UNAUTHENTICATED"), LinearCredentialError),
        (400, said("invalid input"), LinearRefusalError),
        (200, said("user error"), LinearRefusalError),
        (200, said(code="INPUT_ERROR"), LinearRefusalError),
        (200, said(code="INVALID_INPUT"), LinearRefusalError),
        (200, said("usage limit exceeded"), LinearRefusalError),
        (404, "", LinearRefusalError),
        (400, said("graphql error"), ForgeAccessError),
        (400, said(code="GRAPHQL_VALIDATION_FAILED"), ForgeAccessError),
        (200, said("internal error"), ForgeUnavailableError),
        (200, said("lock timeout"), ForgeUnavailableError),
        (400, said("something new"), ForgeUnavailableError),
        (200, said(), ForgeUnavailableError),
        (500, "", ForgeUnavailableError),
        (503, said("invalid input"), ForgeUnavailableError),
        (200, "", ForgeUnavailableError),
        (200, {"data": None}, ForgeUnavailableError),
        (418, {}, ForgeUnavailableError),
        (429, "slow down", ForgeRateLimitedError),
        (400, said("ratelimited"), ForgeRateLimitedError),
        (400, said("other", "RATELIMITED"), ForgeRateLimitedError),
        (200, {"data": {}, **said(code="RATELIMITED")}, ForgeRateLimitedError),
    ],
)
def test_each_refusal_is_the_exception_that_says_what_to_do(
    status: int, body: Any, error: type[ForgeError]
) -> None:
    found = answer_error("do it", status, {}, body, NOW)
    assert type(found) is error


def test_data_is_no_error() -> None:
    assert answer_error("do it", 200, {}, {"data": {}}, NOW) is None
    assert answer_error("do it", 200, {}, {"data": {}, **said("internal error")}, NOW) is None


def test_linears_own_words_are_kept() -> None:
    body = said("invalid input", message="Entity not found: Issue", shown="Could not find it.")
    assert "Entity not found: Issue (Could not find it.)" in str(answer_error("do it", 400, {}, body, NOW))
    found = answer_error("do it", 200, {}, {"errors": [{"message": "a\n" * 5_000}] * 9}, NOW)
    assert len(str(found)) < 600


def test_an_absence_without_an_error_passes_by_itself() -> None:
    assert type(refused("do it", [])) is ForgeUnavailableError


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, timedelta(minutes=1)),
        ({"Retry-After": "30"}, timedelta(seconds=30)),
        ({"Retry-After": "0"}, timedelta(seconds=1)),
        ({"Retry-After": "99999999999"}, timedelta(hours=1)),
        ({"Retry-After": "soon"}, timedelta(minutes=1)),
        ({"Requests": ("0", 120)}, timedelta(minutes=2)),
        ({"Complexity": ("0", 120)}, timedelta(minutes=2)),
        ({"Endpoint-Requests": ("0", 120)}, timedelta(minutes=2)),
        ({"Requests": ("0", 60), "Complexity": ("0", 300)}, timedelta(minutes=5)),
        ({"Requests": ("12", 60), "Complexity": ("0", 300)}, timedelta(minutes=5)),
        ({"Requests": ("12", 60)}, timedelta(minutes=1)),
        ({"Requests": ("0", -60)}, timedelta(seconds=1)),
        ({"Requests": ("0", 86_400)}, timedelta(hours=1)),
        ({"X-RateLimit-Requests-Remaining": "0", "X-RateLimit-Requests-Reset": "?"}, timedelta(minutes=1)),
        (
            {"X-RateLimit-Requests-Remaining": "0", "X-RateLimit-Requests-Reset": "9" * 40},
            timedelta(minutes=1),
        ),
    ],
)
def test_a_limit_ends_when_linear_says_so(headers: dict[str, Any], wait: timedelta) -> None:
    sent: dict[str, str] = {}
    for name, value in headers.items():
        if isinstance(value, tuple):
            reset = NOW + timedelta(seconds=value[1])
            sent[f"X-RateLimit-{name}-Remaining"] = value[0]
            sent[f"X-RateLimit-{name}-Reset"] = str(int(reset.timestamp() * 1000))
        else:
            sent[name] = value
    found = answer_error("do it", 429, sent, "", NOW)
    assert isinstance(found, ForgeRateLimitedError)
    assert found.retry_at == NOW + wait

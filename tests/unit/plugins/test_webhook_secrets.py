"""Where the secrets come from, and how often they are read."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.models import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.plugins.webhook_secrets import (
    ABSENT_SECONDS,
    KEPT_SECONDS,
    SHORTEST,
    WebhookSecrets,
)

GOOD, NEXT = "a" * SHORTEST, "b" * SHORTEST


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the connection's password is; an exception is raised."""
    state: dict[str, Any] = {"value": GOOD}

    def read(conn_id: str) -> Connection:
        assert conn_id == "github_webhook"
        if isinstance(state["value"], Exception):
            raise state["value"]
        return Connection(conn_id=conn_id, password=state["value"])  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Connection, "get_connection_from_secrets", read)
    return state


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        (GOOD, (GOOD,)),
        (f" {GOOD}\n{NEXT}\t", (GOOD, NEXT)),
        ("", ()),
        (None, ()),
        (" \n", ()),
        (GOOD[:-1], ()),
        (f"{GOOD} {NEXT[:-1]}", ()),
        (AirflowNotFoundException("none"), ()),
    ],
)
def test_secrets_of_a_password(password: dict[str, Any], value: Any, secrets: tuple[str, ...]) -> None:
    password["value"] = value
    assert WebhookSecrets().read("github_webhook") == secrets


def test_they_are_read_again_after_a_minute(password: dict[str, Any]) -> None:
    clock = Clock()
    kept = WebhookSecrets(clock)
    assert kept.known("github_webhook") is None
    kept.read("github_webhook")
    assert kept.known("github_webhook") == (GOOD,)
    clock.now += KEPT_SECONDS - 1
    assert kept.known("github_webhook") == (GOOD,)
    clock.now += 2
    assert kept.known("github_webhook") is None


def test_that_there_is_none_is_forgotten_sooner(password: dict[str, Any]) -> None:
    clock = Clock()
    kept = WebhookSecrets(clock)
    password["value"] = ""
    kept.read("github_webhook")
    assert kept.known("github_webhook") == ()
    clock.now += ABSENT_SECONDS + 1
    assert kept.known("github_webhook") is None


def test_a_backend_that_fails_leaves_nothing_known(password: dict[str, Any]) -> None:
    kept = WebhookSecrets()
    password["value"] = OSError("the secrets backend is away")
    with pytest.raises(OSError, match="away"):
        kept.read("github_webhook")
    assert kept.known("github_webhook") is None

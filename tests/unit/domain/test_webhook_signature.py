"""Who signed a delivery, and when it was sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.webhook_signature import (
    github_digest,
    is_of_now,
    is_signed,
    linear_digest,
)
from demo.github.webhooks import signature_of

SECRET = "correct horse battery"
BODY = b'{"zen": "Keep it logically awesome."}'
HEADER = signature_of(SECRET, BODY)


def test_githubs_documented_example() -> None:
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert github_digest(f"sha256={digest}") == digest
    assert is_signed(b"Hello, World!", digest, ["It's a Secret to Everybody"])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "sha256=",
        "sha1=" + "a" * 40,
        "sha256=" + "a" * 63,
        "sha256=" + "a" * 65,
        "sha256=" + "A" * 64,
        "a" * 64,
        "sha256=" + "é" * 64,
        "sha256=" + "a" * 64 + "\n",
        "sha256= " + "a" * 64,
    ],
)
def test_no_digest_of_github(header: str) -> None:
    assert github_digest(header) is None


def test_linears_digest_has_no_prefix() -> None:
    assert linear_digest("a" * 64) == "a" * 64
    assert linear_digest("sha256=" + "a" * 64) is None


def test_either_secret_fits_while_one_replaces_the_other() -> None:
    digest = github_digest(HEADER)
    assert digest is not None
    assert is_signed(BODY, digest, [SECRET])
    assert is_signed(BODY, digest, ["another secret", SECRET])
    assert is_signed(BODY, digest, [SECRET, "another secret"])
    assert not is_signed(BODY, digest, ["another secret"])
    assert not is_signed(BODY, digest, [])


def test_an_empty_secret_fits_nothing() -> None:
    digest = github_digest(signature_of("", BODY))
    assert digest is not None
    assert not is_signed(BODY, digest, [""])


@given(at=st.integers(0, len(BODY) - 1), to=st.integers(0, 255))
def test_any_other_body_does_not_fit(at: int, to: int) -> None:
    changed = bytearray(BODY)
    changed[at] = to
    assert is_signed(bytes(changed), HEADER.removeprefix("sha256="), [SECRET]) == (bytes(changed) == BODY)


@pytest.mark.parametrize(
    ("sent", "fits"),
    [
        (1_000_000, True),
        (1_000_000.5, True),
        (1_060_000, True),
        (940_000, True),
        (1_060_001, False),
        (939_999, False),
        (1_000, False),
        ("1000000", False),
        (None, False),
        (True, False),
        (float("nan"), False),
        (float("inf"), False),
        (10**4000, False),
        ([], False),
    ],
)
def test_of_now(sent: Any, fits: bool) -> None:
    assert is_of_now({"webhookTimestamp": sent}, 1_000.0) is fits


def test_without_a_moment_it_is_not_of_now() -> None:
    assert not is_of_now({}, 1_000.0)

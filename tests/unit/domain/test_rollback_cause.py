"""Which deployment is the cause, and what was deployed before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_agents.domain.argocd_application import (
    ApplicationReading,
    ApplicationSource,
    DeployedRevision,
)
from airflow_provider_agents.domain.health_record import HealthRecord, RevisionHealth
from airflow_provider_agents.domain.rollback_cause import (
    MOST_CANDIDATES,
    application_path,
    deployed_at,
    deployed_revision,
    earlier_revisions,
    followed_branch,
    not_caused,
)

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
SHOP = ApplicationSource(repo_url="git@github.com:acme/shop.git", path="./deploy/", target_revision="HEAD")
CHART = ApplicationSource(repo_url="https://charts.test", chart="redis", target_revision="1.2")


def reading(*history: str, compared: str = "", sources: tuple[ApplicationSource, ...] = (SHOP,)) -> Any:
    return ApplicationReading(
        name="shop",
        observed_at=NOW,
        revisions=(compared or (history[-1] if history else ""),),
        sources=sources,
        history=tuple(
            DeployedRevision(id=n, revisions=(one,), deployed_at=NOW + timedelta(minutes=n))
            for n, one in enumerate(history)
        ),
    )


def known(*revisions: str) -> HealthRecord:
    return HealthRecord(
        revisions=tuple(
            RevisionHealth(revision=one, first_seen=NOW + timedelta(minutes=n), last_seen=NOW)
            for n, one in enumerate(revisions)
        )
    )


def test_what_runs_is_what_was_deployed_last_not_what_git_has() -> None:
    assert deployed_revision(reading("a", "b", compared="c"), "acme/shop") == "b"
    assert deployed_revision(reading(compared="c"), "acme/shop") == "c"
    assert deployed_revision(reading("a"), "acme/other") == ""


def test_earlier_revisions_newest_first_each_once() -> None:
    assert earlier_revisions(reading("a", "b", "a", "c"), "acme/shop", HealthRecord(), "c") == ["a", "b"]
    assert earlier_revisions(reading("a", "c", "b"), "acme/shop", HealthRecord(), "c") == ["a"]
    assert earlier_revisions(reading("c"), "acme/shop", known("x", "y", "c", "z"), "c") == ["y", "x"]
    assert earlier_revisions(reading("b", "c"), "acme/shop", known("a", "b", "c"), "c") == ["b", "a"]
    many = [str(n) for n in range(30)]
    assert len(earlier_revisions(reading(*many), "acme/shop", HealthRecord(), "29")) == MOST_CANDIDATES


def test_when_it_was_deployed() -> None:
    assert deployed_at(reading("a", "b", "a"), "acme/shop", known(), "a") == NOW + timedelta(minutes=2)
    assert deployed_at(reading("a", "b", "b", "b"), "acme/shop", known(), "b") == NOW + timedelta(minutes=1)
    assert deployed_at(reading("a", "b"), "acme/shop", known("b"), "b") == NOW + timedelta(minutes=1)
    assert deployed_at(reading("b", "b"), "acme/shop", known("b"), "b") == NOW
    assert deployed_at(reading("b", "b"), "acme/shop", known("a", "b"), "b") == NOW
    assert deployed_at(reading(), "acme/shop", known("x", "a"), "a") == NOW + timedelta(minutes=1)
    assert deployed_at(reading(), "acme/shop", known(), "a") is None


@pytest.mark.parametrize(
    ("began", "deployed", "earlier", "words"),
    [
        (NOW, NOW, ["a"], ""),
        (NOW + timedelta(hours=1), NOW, ["a"], ""),
        (NOW - timedelta(minutes=1), NOW, ["a"], ""),
        (
            NOW - timedelta(minutes=20),
            NOW,
            ["a"],
            "not caused by a change: it began 20 min before b was deployed",
        ),
        (NOW + timedelta(hours=2), NOW, ["a"], "not caused by a change: b had been deployed for 2.0 h"),
        (NOW, None, ["a"], "Nobody knows when"),
        (NOW, NOW, [], "No deployment before"),
    ],
)
def test_whether_a_deployment_is_the_cause(
    began: datetime, deployed: datetime | None, earlier: list[str], words: str
) -> None:
    found = not_caused(began, deployed, earlier, 3600, "b")
    assert bool(found) == bool(words)
    assert words in found


@pytest.mark.parametrize(
    ("path", "expected"),
    [("./deploy/", "deploy"), (".", ""), ("", ""), ("a/./b", "a/b"), (".config", ".config")],
)
def test_the_folder(path: str, expected: str) -> None:
    source = ApplicationSource(repo_url="https://github.com/Acme/Shop", path=path)
    assert application_path(reading(sources=(CHART, source)), "acme/shop") == expected


@pytest.mark.parametrize(
    ("target", "expected"), [("HEAD", ""), ("", ""), ("main", "main"), ("refs/heads/release", "release")]
)
def test_the_branch(target: str, expected: str) -> None:
    source = ApplicationSource(repo_url="https://github.com/acme/shop", target_revision=target)
    assert followed_branch(reading(sources=(CHART, source)), "acme/shop") == expected
    assert followed_branch(reading(sources=(CHART,)), "acme/shop") == ""

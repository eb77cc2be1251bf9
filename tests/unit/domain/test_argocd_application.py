from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.argocd_application import (
    ApplicationReading,
    ApplicationSource,
    DeployedRevision,
    Workload,
)
from airflow_provider_agents.domain.argocd_names import (
    MOST_LENGTH,
    application_name,
    is_application_name,
    needs_environment,
    pattern_faults,
    points_to,
)

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
WHOLE = ApplicationReading(
    name="shop-staging",
    observed_at=NOW,
    health="Degraded",
    health_message="no pods",
    health_since=NOW,
    sync="Synced",
    revisions=("chart-1.2.3", "b" * 40),
    sources=(
        ApplicationSource(repo_url="https://charts.test", chart="shop", target_revision="1.*"),
        ApplicationSource(repo_url="git@github.com:Acme/Shop.git", path="deploy", target_revision="main"),
    ),
    project="team",
    destination_namespace="shop",
    images=("shop:1",),
    history=(
        DeployedRevision(id=3, revisions=("chart-1.2.2", "a" * 40), deployed_at=NOW),
        DeployedRevision(id=4, revisions=("chart-1.2.3",), deployed_at=None),
        DeployedRevision(id=5, revisions=("chart-1.2.3", "b" * 40), deployed_at=None),
    ),
    automated=True,
    operation_phase="Succeeded",
    operation_message="done",
    conditions=("SyncError: no",),
    reconciled_at=NOW,
)


@pytest.mark.parametrize(
    "reading",
    [
        WHOLE,
        ApplicationReading(name="a", observed_at=NOW),
        ApplicationReading(name="a", observed_at=NOW, fault="it is gone", fault_kind="missing"),
    ],
)
def test_a_reading_goes_through_json_and_back(reading: ApplicationReading) -> None:
    assert ApplicationReading.from_dict(json.loads(json.dumps(reading.to_dict()))) == reading


def test_the_revision_of_a_repository_is_that_of_its_source() -> None:
    assert WHOLE.revision == "chart-1.2.3"
    assert WHOLE.deploys("acme/shop", "github.com")
    assert WHOLE.revision_of("ACME/shop") == "b" * 40
    assert WHOLE.deployments_of("acme/shop") == (("a" * 40, NOW), ("b" * 40, None))


def test_another_repository_has_no_revision() -> None:
    assert not WHOLE.deploys("acme/other")
    assert not WHOLE.deploys("acme/shop", "ghes.test")
    assert WHOLE.revision_of("acme/other") == ""
    assert WHOLE.deployments_of("acme/other") == ()


def test_a_source_without_a_revision_has_none() -> None:
    reading = ApplicationReading(
        name="a", observed_at=NOW, sources=(ApplicationSource(repo_url="https://github.com/acme/shop"),)
    )
    assert (reading.revision, reading.revision_of("acme/shop")) == ("", "")
    assert reading.source == ApplicationSource(repo_url="https://github.com/acme/shop")


def test_a_helm_repository_is_no_repository_of_the_forge() -> None:
    source = ApplicationSource(repo_url="https://github.com/acme/shop", chart="shop")
    assert not ApplicationReading(name="a", observed_at=NOW, sources=(source,)).deploys("acme/shop")


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        ("", False),
        ("unnamed", False),
        ("missing", False),
        ("denied", True),
        ("unavailable", True),
        ("malformed", True),
    ],
)
def test_what_is_argo_cds_fault(kind: str, failed: bool) -> None:
    assert ApplicationReading(name="a", observed_at=NOW, fault_kind=kind).failed is failed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("desired", "available", "short"), [(2, 2, False), (2, 1, True), (0, 0, False), (1, 2, False)]
)
def test_a_workload_is_short_of_copies(desired: int, available: int, short: bool) -> None:
    assert (
        Workload(kind="Deployment", namespace="n", name="w", desired=desired, available=available).short
        is short
    )


@pytest.mark.parametrize(
    ("pattern", "repository", "environment", "name"),
    [
        ("{{repository}}-{{environment}}", "acme/shop", "staging", "shop-staging"),
        ("{{ repository }}-{{  environment}}", "Acme/Shop", "staging", "shop-staging"),
        ("prod.{{repository}}", "acme/shop", "production", "prod.shop"),
        ("one-for-all", "acme/shop", "staging", "one-for-all"),
        ("{{repository}}", "acme/" + "a" * 253, "", "a" * 253),
        ("{{repository}}{{repository}}", "acme/a", "", "aa"),
    ],
)
def test_the_name_of_an_application(pattern: str, repository: str, environment: str, name: str) -> None:
    assert application_name(pattern, repository, environment) == name


@pytest.mark.parametrize(
    ("pattern", "repository", "words"),
    [
        ("{{repository}}", "acme/my_shop", "no name of an application"),
        ("{{repository}}", "acme/.github", "no name of an application"),
        ("{{repository}}", "acme/" + "a" * 254, "no name of an application"),
        ("{{repository}}", "acme/..", "no name of an application"),
        ("{{repository}}", "acme/a?project=x", "no name of an application"),
        ("{{repository}}", "acme/a\n", "no name of an application"),
        ("{{repository}}-{{environment}}", "acme/shop", "no name of an application"),
        ("{{owner}}-x", "acme/shop", "there is no {{owner}}"),
        ("{{repository.__class__}}", "acme/shop", "there is no {{repository.__class__}}"),
        ("{{repository|upper}}", "acme/shop", "makes no name"),
        ("../{{repository}}", "acme/shop", "makes no name"),
        ("{% if x %}", "acme/shop", "makes no name"),
        ("", "acme/shop", "makes no name"),
    ],
)
def test_what_is_no_name_is_refused(pattern: str, repository: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        application_name(pattern, repository, "")


def test_a_pattern_is_checked_before_there_is_a_repository() -> None:
    assert pattern_faults("{{repository}}-{{ environment }}") == []
    assert pattern_faults("{{repo}} {{env}}") == [
        "there is no {{repo}}; `{{repository}}` and `{{environment}}` are what may stand there",
        "there is no {{env}}; `{{repository}}` and `{{environment}}` are what may stand there",
    ]


@pytest.mark.parametrize(
    ("pattern", "needed"), [("a-{{ environment }}", True), ("{{repository}}", False), ("environment", False)]
)
def test_whether_a_pattern_needs_an_environment(pattern: str, needed: bool) -> None:
    assert needs_environment(pattern) is needed


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_repository_or_environment_makes_a_name_that_is_none(repository: str, environment: str) -> None:
    try:
        name = application_name("{{repository}}-{{environment}}", repository, environment)
    except ValueError:
        return
    assert is_application_name(name)
    assert len(name) <= MOST_LENGTH
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/acme/shop",
        "https://github.com/acme/shop.git",
        "https://github.com/Acme/Shop/",
        "https://user:token@github.com/acme/shop.git",
        "https://github.com:443/acme/shop",
        "ssh://git@github.com/acme/shop.git",
        "ssh://git@github.com:22/acme/shop",
        "git@github.com:acme/shop.git",
        "git@github.com:/acme/shop.git",
        "github.com:acme/shop",
        "git://github.com/acme/shop.git",
        " https://GITHUB.com/acme/shop ",
    ],
)
def test_addresses_of_one_repository(address: str) -> None:
    assert points_to(address, "acme/shop")
    assert points_to(address, "Acme/Shop", "GitHub.com")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "acme/shop",
        "https://github.com/acme/shopping",
        "https://github.com/acme/shop/tree/main",
        "https://github.com/other/shop",
        "https://evil.test/x?github.com/acme/shop",
        "https://ghes.test/acme/shop",
        "https://github.com.evil.test/acme/shop",
        "git@evil.test:acme/shop.git",
        "file:///acme/shop",
        "oci://github.com/acme/shop",
        "https://[bad/acme/shop",
        "git@github.com://acme/shop",
    ],
)
def test_addresses_of_others(address: str) -> None:
    assert not points_to(address, "acme/shop", "github.com")


def test_no_repository_is_nobodys() -> None:
    assert not points_to("https://github.com/", "")

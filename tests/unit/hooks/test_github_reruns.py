"""Second runs of failed checks."""

from __future__ import annotations

import pytest

from airflow_provider_agents.domain.pull_request import Check
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks import github_reruns
from airflow_provider_agents.hooks.github_reruns import job_of

API = "/api/v3/repos/acme/shop"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_reruns, "MUTATION_PAUSE_SECONDS", 0)


def job(name: str, run: int, number: int) -> Check:
    url = f"https://github.com/acme/shop/actions/runs/{run}/job/{number}"
    return Check(name=name, state="failed", kind="check_run", url=url, database_id=number)


def other(name: str, number: int | None = 50, kind: str = "check_run") -> Check:
    return Check(name=name, state="failed", kind=kind, url="https://ci.example.com/9", database_id=number)  # type: ignore[arg-type]


async def rerun(client, *checks: Check) -> tuple[str, ...]:
    return await client.rerun_checks("acme/shop", checks)


async def test_each_app_in_its_way(client, stub) -> None:
    stub.on(f"POST {API}/actions/jobs/11/rerun", (201, {}))
    stub.on(f"POST {API}/actions/runs/2/rerun-failed-jobs", (201, {}))
    stub.on(f"POST {API}/check-runs/50/rerequest", (201, {}))
    checks = (job("lint", 1, 11), job("test", 2, 21), other("coverage"), job("docs", 2, 22))
    status, unnumbered = other("deploy", kind="status"), other("x", number=None)
    assert await rerun(client, *checks, status, unnumbered) == ("lint", "test", "docs", "coverage")
    assert len(stub.asked) == 3


async def test_a_run_that_runs_already_counts_as_asked(client, stub) -> None:
    said = {"message": "The workflow run containing this job is already running"}
    stub.on(f"POST {API}/actions/jobs/11/rerun", (403, said))
    assert await rerun(client, job("lint", 1, 11)) == ("lint",)


async def test_a_lost_answer_is_asked_again(client, stub) -> None:
    said = {"message": "This workflow is already running"}
    stub.on(f"POST {API}/actions/jobs/11/rerun", (502, "bad gateway"), (403, said))
    assert await rerun(client, job("lint", 1, 11)) == ("lint",)


async def test_another_app_is_asked_once(client, stub) -> None:
    stub.on(f"POST {API}/check-runs/50/rerequest", (502, "bad gateway"), (201, {}))
    with pytest.raises(ForgeUnavailableError):
        await rerun(client, other("coverage"))
    assert len(stub.asked) == 1


async def test_a_check_that_may_not_be_run_again_is_left_out(client, stub) -> None:
    stub.on(f"POST {API}/check-runs/50/rerequest", (403, {"message": "Resource not accessible"}))
    stub.on(f"POST {API}/actions/jobs/11/rerun", (201, {}))
    assert await rerun(client, other("coverage"), job("lint", 1, 11)) == ("lint",)
    with pytest.raises(ForgeAccessError, match="Actions: write"):
        await rerun(client, other("coverage"))


async def test_a_limit_ends_the_asking(client, stub) -> None:
    limit = (403, {"message": "You have exceeded a secondary rate limit"})
    stub.on(f"POST {API}/actions/jobs/11/rerun", limit)
    stub.on(f"POST {API}/actions/jobs/21/rerun", (201, {}))
    with pytest.raises(ForgeRateLimitedError):
        await rerun(client, job("lint", 1, 11), job("test", 2, 21))
    assert len(stub.asked) == 1
    # What was asked for before is told.
    assert await rerun(client, job("test", 2, 21), job("lint", 1, 11)) == ("test",)


async def test_github_away(client, stub) -> None:
    stub.on(f"POST {API}/actions/jobs/11/rerun", (502, "bad gateway"))
    with pytest.raises(ForgeUnavailableError):
        await rerun(client, job("lint", 1, 11))


async def test_nothing_to_run_again(client, stub) -> None:
    assert await rerun(client, other("deploy", kind="status")) == ()
    assert stub.asked == []


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://github.com/acme/shop/actions/runs/7/job/8", (7, 8)),
        ("https://ghes.example.com/acme/shop/actions/runs/7/jobs/8?pr=1", (7, 8)),
        ("https://github.com/acme/shop/runs/8", None),
        ("", None),
    ],
)
def test_job_of(url: str, found: tuple[int, int] | None) -> None:
    assert job_of(Check(name="x", state="failed", kind="check_run", url=url)) == found

"""Runs checks in order, each bounded in time, none of them able to hide the others."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.report import CheckReport, Finding, Report, failed, skipped
from airflow_provider_agents.exceptions import ForgeRateLimitedError, ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.operators.kubernetes_objects import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_agents.cli.deployment import Deployment

CHECK_SECONDS = 20.0
"""Limit of one check; each of its calls has a shorter one of its own."""

LEFT_OUT = "left out by --skip"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that doctor looks at.

    :param id: stable name, ``area.subject``.
    :param needs: ids of checks without which this one cannot say anything.
    """

    id: str
    title: str
    run: Callable[[Deployment], Iterable[Finding]]
    needs: tuple[str, ...] = ()


def unknown_patterns(checks: Sequence[Check], patterns: Sequence[str]) -> list[str]:
    """Return those of ``patterns`` that fit no check's id."""
    return [pattern for pattern in patterns if not any(fnmatchcase(c.id, pattern) for c in checks)]


def run_checks(
    checks: Sequence[Check],
    deployment: Deployment,
    *,
    skip: Sequence[str] = (),
    progress: Callable[[Check], None] = lambda check: None,
    check_seconds: float = CHECK_SECONDS,
) -> Report:
    """Run checks in order.

    A check whose needs failed is skipped, with the reason. One that the user leaves out stops no other.

    :param skip: patterns of ids to leave out.
    :param progress: told of each check before it runs.
    """
    report = Report()
    failed_need: dict[str, str] = {}  # check that gave no answer → the failed one that this goes back to
    for check in checks:
        if any(fnmatchcase(check.id, pattern) for pattern in skip):
            report.checks.append(CheckReport(check.id, check.title, (skipped(LEFT_OUT),)))
            continue
        missing = next((failed_need[need] for need in check.needs if need in failed_need), None)
        if missing is not None:
            failed_need[check.id] = missing
            finding = skipped(f"needs {missing}, which failed")
            report.checks.append(CheckReport(check.id, check.title, (finding,)))
            continue
        progress(check)
        begun = time.monotonic()
        findings = _bounded(check, deployment, check_seconds)
        done = CheckReport(check.id, check.title, findings, time.monotonic() - begun)
        report.checks.append(done)
        if done.status == "failed":
            failed_need[check.id] = check.id
    return report


def _bounded(check: Check, deployment: Deployment, seconds: float) -> tuple[Finding, ...]:
    """Run one check; a thread that hangs is left behind, and ends with the process."""
    found: list[tuple[Finding, ...]] = []
    thread = threading.Thread(
        target=lambda: found.append(_guarded(check, deployment)), name=check.id, daemon=True
    )
    thread.start()
    thread.join(seconds)
    if found:
        return found[0]
    return (
        failed(
            f"no answer within {seconds:g} s",
            "Look whether the service that this check asks is overloaded or behind a firewall that drops packets.",
        ),
    )


def _guarded(check: Check, deployment: Deployment) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    try:
        for finding in check.run(deployment):
            findings.append(finding)  # one by one: those before an exception are kept
    except Exception as error:
        findings += _of_error(error, check.id)
    return tuple(findings)


def _of_error(error: Exception, check_id: str) -> list[Finding]:
    """Return what an exception of a check says."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    match error:
        case InvalidInputError():
            return [_fault(text) for text in error.faults]
        case ForgeRateLimitedError():
            return [
                failed(str(error), "Wait, then run again; whatever uses the same account shares its limit.")
            ]
        case ForgeUnavailableError():
            return [failed(str(error), "Check network, proxy and firewall between this machine and GitHub.")]
        case ApiException() | HTTPError():
            return [
                failed(
                    f"Kubernetes: {told(error)}",
                    "If it names a right, grant it (docs/deploy.md); otherwise check that the cluster is healthy.",
                )
            ]
    # A fault of the check itself, or one that nobody foresaw: the others go on.
    return [
        failed(
            f"{type(error).__name__}: {error}",
            f"This check ended with an error that it does not know; leave it out with --skip {check_id}.",
        )
    ]


def _fault(text: str) -> Finding:
    """Return the finding for a fault of an input, which names its remedy after the first sentence."""
    for separator in ("; ", ". "):
        what, found, remedy = text.partition(separator)
        if found and remedy:
            return failed(what, remedy[:1].upper() + remedy[1:])
    return failed(text, "Correct it as the message says.")

"""The pod that tries the network from inside: its script with a stand-in for curl, and the pod itself."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from egress import Network
from manifests import DEPLOY, Json, base, objects

from airflow_provider_agents.local.pod_security import violations

if TYPE_CHECKING:
    from pathlib import Path

CURL = """#!/bin/sh
insecure=
for last; do [ "$last" != --insecure ] || insecure=yes; done
grep --quiet --line-regexp --fixed-strings "$last" "$REACHED" || exit 28
# Whoever signed the certificate of a cluster's API server is unknown to curl.
case $last in https://10.*) [ -n "$insecure" ] || exit 60;; esac
"""
GOOD = ["https://api.github.com/"]


def pod() -> Json:
    (found,) = objects(DEPLOY / "checks" / "network.yaml")
    return found


def run(tmp_path: Path, reached: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the script where curl reaches these addresses and no others."""
    (tmp_path / "curl").write_text(CURL)
    (tmp_path / "curl").chmod(0o755)
    (tmp_path / "reached").write_text("".join(f"{each}\n" for each in reached))
    (container,) = pod()["spec"]["containers"]
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REACHED": str(tmp_path / "reached"),
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    }
    command = [*container["command"], *container["args"]]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10)


def test_it_succeeds_where_the_policies_hold(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("as it should be") == 4
    assert not done.stderr


@pytest.mark.parametrize(
    "opened", ["http://169.254.169.254/", "https://10.96.0.1/", "http://api.github.com/"]
)
def test_it_names_what_is_open_and_should_not_be(tmp_path: Path, opened: str) -> None:
    done = run(tmp_path, [*GOOD, opened])
    assert done.returncode == 1
    assert f"OPEN: {opened}" in done.stdout


def test_it_names_what_is_closed_and_should_not_be(tmp_path: Path) -> None:
    done = run(tmp_path, [])
    assert done.returncode == 1
    assert "CLOSED: https://api.github.com/" in done.stdout


def test_what_it_expects_is_what_the_policies_say() -> None:
    network = Network([item for item in base() if item["kind"] == "NetworkPolicy"])
    labels = pod()["metadata"]["labels"]
    assert network.reaches_address(labels, "140.82.121.6", 443)
    assert not network.reaches_address(labels, "140.82.121.6", 80)
    assert not network.reaches_address(labels, "169.254.169.254", 80)
    assert not network.reaches_address(labels, "10.96.0.1", 443)


def test_the_namespace_lets_it_in() -> None:
    assert violations(pod()["spec"]) == []
    assert pod()["spec"]["automountServiceAccountToken"] is False

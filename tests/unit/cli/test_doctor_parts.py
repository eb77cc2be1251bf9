"""Doctor's own parts: the order and bounds of checks, the report, what it looks like, and its tables."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from airflow_provider_agents.cli.checks.clock import compared
from airflow_provider_agents.cli.checks.network import METADATA_ADDRESS, PRIVATE_ADDRESSES, pod_labels
from airflow_provider_agents.cli.definition import get_agents_cli_commands
from airflow_provider_agents.cli.deployment import Deployment
from airflow_provider_agents.cli.github_permissions import FEATURES, lacking, permission_table
from airflow_provider_agents.cli.network_policy import egress_allowed, ingress_rules, matches, selecting
from airflow_provider_agents.cli.registry import CHECKS
from airflow_provider_agents.cli.render import as_document, as_table
from airflow_provider_agents.cli.report import CheckReport, Finding, Report, failed, ok, skipped, warning
from airflow_provider_agents.cli.rights import RIGHTS
from airflow_provider_agents.cli.runner import Check, run_checks, unknown_patterns
from airflow_provider_agents.exceptions import (
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github_app import OPERATOR_PERMISSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "doctor.md").read_text()


def check(name: str, *findings: Finding, needs: tuple[str, ...] = ()) -> Check:
    return Check(name, name.title(), lambda deployment: findings, needs)


def raising(name: str, error: Exception) -> Check:
    def run(deployment: Deployment) -> Iterable[Finding]:
        raise error

    return Check(name, name, run)


def found(*checks: Check, **options: Any) -> dict[str, CheckReport]:
    return {done.check_id: done for done in run_checks(checks, Deployment(), **options).checks}


# The order and the bounds of checks


def test_a_failed_check_skips_those_that_need_it_and_no_other() -> None:
    done = found(
        check("a", failed("x", "y")),
        check("b", ok("fine"), needs=("a",)),
        check("c", ok("fine"), needs=("b",)),
        check("d", ok("fine")),
    )
    assert [done[name].status for name in "abcd"] == ["failed", "skipped", "skipped", "ok"]
    assert done["c"].findings[0].message == "needs a, which failed"


def test_a_check_that_could_not_look_skips_no_other() -> None:
    done = found(check("a", skipped("may not look")), check("b", ok("fine"), needs=("a",)))
    assert done["b"].status == "ok"


def test_what_the_user_leaves_out_stops_no_other() -> None:
    done = found(
        check("a.x", failed("x", "y")), check("a.y", ok("fine")), check("b", ok("fine"), needs=("a.x",)),
        skip=["a.*"],
    )  # fmt: skip
    assert [done[name].status for name in ("a.x", "a.y", "b")] == ["skipped", "skipped", "ok"]


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        (InvalidInputError(["it is wrong; correct it"]), "it is wrong", "Correct it"),
        (ForgeUnavailableError("GitHub is away"), "GitHub is away", "firewall"),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh", "--skip a"),
    ],
)
def test_a_check_that_raises_is_a_finding(error: Exception, message: str, remedy: str) -> None:
    done = found(raising("a", error), check("b", ok("fine")))
    (finding,) = done["a"].findings
    assert (finding.status, message in finding.message, remedy in finding.remedy) == ("failed", True, True)
    assert done["b"].status == "ok"


def test_what_a_check_found_before_it_raised_is_kept() -> None:
    def run(deployment: Deployment) -> Iterable[Finding]:
        yield warning("of another type", "change it")
        raise InvalidInputError(["it is wrong; correct it"])

    done = found(Check("a", "a", run))
    assert [finding.status for finding in done["a"].findings] == ["warning", "failed"]


def test_a_request_that_the_cluster_refuses_is_told_without_its_headers() -> None:
    from kubernetes.client.exceptions import ApiException

    error = ApiException(status=403, reason="Forbidden")
    error.headers, error.body = {"Audit-Id": "x"}, json.dumps({"message": "may not ask"})
    (finding,) = found(raising("a", error))["a"].findings
    assert (finding.status, finding.message) == ("failed", "Kubernetes: may not ask")
    assert "docs/deploy.md" in finding.remedy


def test_a_rate_limit_is_not_blamed_on_the_network() -> None:
    (finding,) = found(raising("a", ForgeRateLimitedError("until 12:00")))["a"].findings
    assert "firewall" not in finding.remedy
    assert "Wait" in finding.remedy


def test_a_check_that_hangs_is_left_behind() -> None:
    release = threading.Event()

    def hang(deployment: Deployment) -> Iterable[Finding]:
        release.wait(30)
        return [ok("late")]

    begun = time.monotonic()
    try:
        done = found(Check("a", "a", hang), check("b", ok("fine")), check_seconds=0.1)
    finally:
        release.set()
    assert time.monotonic() - begun < 10
    assert done["a"].findings[0].message == "no answer within 0.1 s"
    assert done["b"].status == "ok"


def test_a_pattern_that_fits_no_check_is_named() -> None:
    assert unknown_patterns(CHECKS, ["airflow.*", "kubernets.*"]) == ["kubernets.*"]


def test_checks_have_ids_of_their_own_and_need_earlier_ones() -> None:
    seen: set[str] = set()
    for each in CHECKS:
        assert each.id not in seen
        assert set(each.needs) <= seen, f"{each.id} needs what comes later"
        seen.add(each.id)


# The report


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([ok("a"), skipped("b")], "ok"),
        ([ok("a"), warning("b", "c")], "warning"),
        ([warning("a", "b"), failed("c", "d")], "failed"),
        ([], "skipped"),
    ],
)
def test_a_check_is_as_bad_as_its_worst_finding(findings: list[Finding], status: str) -> None:
    assert CheckReport("a", "A", tuple(findings)).status == status


def example() -> Report:
    long = "a sentence that goes on and on " * 8
    return Report(
        [
            CheckReport("a.b", "A", (ok("fine"), failed(long, f"Do this: {long}", "x"))),
            CheckReport("c.d", "C", (warning("token hunter2secret", "hide hunter2secret"),)),
        ]
    )


def hide(text: str) -> str:
    return text.replace("hunter2secret", "***")


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_fits_the_terminal_and_shows_each_remedy(width: int) -> None:
    lines = as_table(example(), hide, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.lstrip().startswith("→ ") for line in lines) == 2
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "2 checks: 1 failed, 1 warning."
    assert "hunter2secret" not in "".join(lines)


def test_colours_are_ended_on_their_line() -> None:
    coloured = [
        line for line in as_table(example(), hide, colour=True, width=80).splitlines() if "\x1b" in line
    ]
    assert coloured
    assert all(line.count("\x1b[0m") == 1 for line in coloured)


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_the_document_has_every_finding_and_no_secret(form: str, read: Any) -> None:
    text = as_document(example(), form, hide)
    document = read(text)
    assert (document["version"], document["ok"]) == (1, False)
    assert document["counts"] == {"failed": 1, "warning": 1, "ok": 0, "skipped": 0}
    assert [each["id"] for each in document["checks"]] == ["a.b", "c.d"]
    assert set(document["checks"][0]["findings"][0]) == {"status", "subject", "message", "remedy"}
    assert "hunter2secret" not in text


def test_the_longest_secret_is_hidden_first() -> None:
    deployment = Deployment()
    for secret in ("secret1", "secret1-and-more", "", "no"):
        deployment.keep_secret(secret)
    assert deployment.hide("secret1-and-more secret1 no") == "*** *** no"


# Clocks


@pytest.mark.parametrize(
    ("seconds", "status", "word"),
    [(0, "ok", "agrees"), (-30, "ok", "agrees"), (31, "warning", "behind"), (-90, "warning", "ahead of")],
)
def test_clocks_are_compared(seconds: int, status: str, word: str) -> None:
    finding = compared(timedelta(seconds=seconds), "GitHub")
    assert (finding.status, word in finding.message) == (status, True)


# Policies


def policies() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy" / "base" / "network-policy.yaml").read_text()))


def test_the_shipped_policies_are_what_doctor_wants() -> None:
    shipped, labels = policies(), pod_labels()
    assert egress_allowed(shipped, labels, "140.82.112.3", 443)
    for address in (METADATA_ADDRESS, *PRIVATE_ADDRESSES):
        assert not egress_allowed(shipped, labels, address, 443)
        assert not egress_allowed(shipped, labels, address, 80)
    assert ingress_rules(shipped, labels) == []


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"podSelector": {}, "policyTypes": ["Ingress"]}, True),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, False),
        ({"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Egress"]}, True),
        ({"podSelector": {}, "egress": [{}]}, True),
        ({"podSelector": {}, "egress": [{"ports": [{"port": 80}]}]}, False),
        ({"podSelector": {}, "egress": [{"ports": [{"port": 400, "endPort": 500}]}]}, True),
        ({"podSelector": {}, "egress": [{"ports": [{"protocol": "UDP", "port": 443}]}]}, False),
        ({"podSelector": {}, "egress": [{"ports": [{"protocol": "TCP"}]}]}, True),
        ({"podSelector": {}, "egress": [{"ports": [{"port": "https"}]}]}, False),
        ({"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]}, False),
        ({"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "1.0.0.0/8"}}]}]}, True),
        (
            {
                "podSelector": {},
                "egress": [{"to": [{"ipBlock": {"cidr": "1.0.0.0/8", "except": ["1.2.0.0/16"]}}]}],
            },
            False,
        ),
    ],
)
def test_a_policy_is_read_as_kubernetes_reads_it(spec: dict[str, Any], allowed: bool) -> None:
    assert egress_allowed([{"spec": spec}], {"app": "agent"}, "1.2.3.4", 443) is allowed


def test_policies_add_up() -> None:
    closed: dict[str, Any] = {"spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    open_: dict[str, Any] = {"spec": {"podSelector": {}, "egress": [{}]}}
    assert egress_allowed([closed, open_], {}, "1.2.3.4", 443)
    assert len(selecting([closed, open_], {}, "Egress")) == 2
    assert ingress_rules([closed], {}) is None


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [("In", ["a"], True), ("In", ["b"], False), ("NotIn", ["a"], False), ("Exists", [], True),
     ("DoesNotExist", [], False), ("Unheard", [], False)],
)  # fmt: skip
def test_expressions_of_selectors(operator: str, values: list[str], fits: bool) -> None:
    selector = {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}
    assert matches(selector, {"k": "a"}) is fits


# Rights and permissions: the tables of code, docs and deploy/ are the same


def _granted(*files: str) -> set[tuple[str, str]]:
    rights = set()
    for file in files:
        for document in yaml.safe_load_all((ROOT / "deploy" / file).read_text()):
            rules = list(document.get("rules") or [])
            for patch in document.get("patches") or []:
                rules += [entry["value"] for entry in yaml.safe_load(patch["patch"])]
            rights |= {(name, verb) for rule in rules for name in rule["resources"] for verb in rule["verbs"]}
    return rights


def test_the_shipped_role_grants_what_doctor_asks_for() -> None:
    base = _granted("base/airflow-role.yaml")
    optional = _granted(
        "components/short-lived-credentials/kustomization.yaml",
        "components/check-secret/kustomization.yaml",
        "components/storage-classes/role.yaml",
    )
    always = {
        (right.resource, verb)
        for right in RIGHTS
        if right.need in ("always", "claims")
        for verb in right.verbs
    }
    every = {(right.resource, verb) for right in RIGHTS for verb in right.verbs}
    assert always <= base
    assert every == base | optional
    assert ("pods/exec", "create") not in base | optional


def test_the_docs_have_the_table_of_rights() -> None:
    for right in RIGHTS:
        assert f"| `{right.resource}` | {', '.join(right.verbs)} |" in DOCS
        assert right.purpose in DOCS


def test_the_docs_have_the_table_of_permissions() -> None:
    assert "\n".join(permission_table()) in DOCS


def test_the_table_is_what_the_operators_use() -> None:
    assert {feature.permission: feature.level for feature in FEATURES} == dict(OPERATOR_PERMISSIONS)


def test_what_permissions_lack_is_named() -> None:
    assert list(lacking(OPERATOR_PERMISSIONS)) == []
    found = [(each.permission, level) for each, level in lacking({**OPERATOR_PERMISSIONS, "issues": "read"})]
    assert found == [("issues", "write")]
    assert [each.permission for each, _ in lacking({"metadata": "read"}, reviews_only=True)] == [
        "contents", "pull_requests",
    ]  # fmt: skip


def test_the_docs_have_every_check() -> None:
    listed = {
        line.split("`")[1]
        for line in DOCS.splitlines()
        if line.startswith("| `") and "." in line.split("`")[1]
    }
    assert {each.id for each in CHECKS} == listed


# The command line


def test_airflows_parser_takes_the_commands() -> None:
    (group,) = get_agents_cli_commands()
    assert {command.name for command in group.subcommands} >= {"doctor", "init", "run", "status", "logs"}
    from airflow.cli.cli_parser import get_parser

    parsed = get_parser().parse_args(
        ["agents", "doctor", "-o", "json", "--skip", "a.*", "--repository", "a/b"]
    )
    assert (parsed.output, parsed.skip, parsed.repository) == ("json", ["a.*"], ["a/b"])
    parsed = get_parser().parse_args(["agents", "logs", "a/b#7", "plan", "-f"])
    assert (parsed.run, parsed.step, parsed.follow) == ("a/b#7", "plan", True)


def test_no_flag_takes_a_secret() -> None:
    (group,) = get_agents_cli_commands()
    flags = {flag for command in group.subcommands for arg in command.args for flag in arg.flags}
    assert not [flag for flag in flags if any(word in flag for word in ("token", "password", "secret"))]


def test_declaring_the_commands_imports_nothing_heavy() -> None:
    program = (
        "import sys, airflow.cli.cli_config; before = set(sys.modules); "
        "import airflow_provider_agents.cli.definition as d; d.get_agents_cli_commands(); "
        "new = set(sys.modules) - before; "
        "print([m for m in new if not m.startswith('airflow_provider_agents')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"

"""``docker-compose.yaml`` read as YAML: what must hold of every service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ONCE = {"settings", "agent-image", "agent-image-export", "cluster-init", "airflow-init", "demo"}
DEMO = {"github", "model", "demo"}
TOKENS = {"GITHUB_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "OPENAI_API_KEY"}


@pytest.fixture(params=sorted(SERVICES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(name: str) -> dict[str, Any]:
    return SERVICES[name]


def waits(name: str) -> dict[str, dict[str, Any]]:
    return dict(SERVICES[name].get("depends_on") or {})


def test_ports_are_published_on_loopback_only(service: dict[str, Any]):
    for port in service.get("ports", ()):
        assert str(port).startswith("127.0.0.1:")


def test_what_runs_on_has_a_health_check_and_what_ends_has_none(name: str, service: dict[str, Any]):
    assert ("healthcheck" in service) == (name not in ONCE)


def test_only_what_runs_on_is_restarted(name: str, service: dict[str, Any]):
    # The demo's stand-ins lose their state with their process: started again they would be others.
    expected = "no" if name in ONCE | DEMO else "unless-stopped"
    assert service["restart"] == expected


def test_every_wait_is_for_health_or_for_the_end(name: str):
    for other, wait in waits(name).items():
        expected = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert wait["condition"] == expected, other
        # Outside of the demo its services are not there.
        assert wait.get("required", True) == (other not in DEMO or name in DEMO), other


def test_everything_waits_for_what_checks_the_credentials():
    def reached(name: str) -> set[str]:
        return set(waits(name)) | {far for near in waits(name) for far in reached(near)}

    alone = {"settings", "agent-image", "agent-image-export"} | {"github", "model"}
    assert not {name for name in SERVICES if name not in alone and "settings" not in reached(name)}


def test_images_are_pinned_or_built_here(service: dict[str, Any]):
    image, _, tag = service["image"].partition(":")
    if tag == "local":
        built = [one for one in SERVICES.values() if one.get("build") and one["image"] == service["image"]]
        assert len(built) == 1
        assert service.get("build") or service.get("pull_policy") == "never", (
            "it would be looked for elsewhere"
        )
    else:
        assert re.match(r"v?\d+\.\d+", tag), image


def test_credentials_reach_one_service_only(name: str, service: dict[str, Any]):
    named = set(re.findall(r"\$\{(\w+)", yaml.safe_dump(service)))
    assert (named & TOKENS) == (TOKENS if name == "settings" else set())


def test_no_secret_stands_in_the_file():
    text = (ROOT / "docker-compose.yaml").read_text()
    secret = re.findall(r"(?im)^\s*(\w*(?:password|secret|token|key)\w*):\s*(\S.*)$", text)
    assert {name for name, value in secret if not value.startswith(("${", "/run/"))} == set()


def test_every_variable_has_a_default():
    text = (ROOT / "docker-compose.yaml").read_text()
    assert not [found for found in re.findall(r"\$\{[^}]*\}", text) if ":-" not in found]


def test_only_the_node_is_privileged_and_only_the_export_reaches_the_engine():
    assert [name for name, one in SERVICES.items() if one.get("privileged")] == ["k3s"]
    mounts = {name: str(one.get("volumes")) for name, one in SERVICES.items()}
    assert [name for name, text in mounts.items() if "docker.sock" in text] == ["agent-image-export"]


def test_keys_and_the_administrators_kubeconfig_reach_no_airflow():
    mounted = {
        name: {str(volume).split(":")[0] for volume in one.get("volumes", ())}
        for name, one in SERVICES.items()
    }
    readers = {
        volume: {name for name, volumes in mounted.items() if volume in volumes}
        for volume in ("kept", "admin", "credentials", "database-password")
    }
    assert readers == {
        "kept": {"settings"},
        "admin": {"k3s", "cluster-init"},
        "credentials": {"settings", "cluster-init"},
        "database-password": {"settings", "postgres"},
    }


def test_every_volume_is_declared_and_used():
    used = {
        source
        for one in SERVICES.values()
        for volume in one.get("volumes", ())
        if re.fullmatch(r"[a-z][a-z0-9-]*", source := str(volume).split(":")[0])
    }
    assert used == set(FILE["volumes"])


def test_every_mounted_file_of_this_repository_is_there():
    mounted = {
        str(volume).split(":")[0]
        for one in SERVICES.values()
        for volume in one.get("volumes", ())
        if str(volume).startswith("./")
    }
    assert mounted
    assert not [path for path in mounted if not (ROOT / path).exists()]


def test_memory_is_limited(name: str, service: dict[str, Any]):
    if name not in ONCE | DEMO:
        assert service["deploy"]["resources"]["limits"]["memory"]


def test_airflows_variables_are_options_of_airflow_or_of_this_provider():
    from airflow.configuration import conf, retrieve_configuration_description

    from airflow_provider_agents.get_provider_info import get_provider_info

    description = retrieve_configuration_description(include_providers=False)
    options = {(section, option) for section, part in description.items() for option in part["options"]}
    options |= {("agents", option) for option in get_provider_info()["config"]["agents"]["options"]}
    named = set()
    for one in SERVICES.values():
        for variable in one.get("environment", {}):
            if variable.startswith("AIRFLOW__"):
                _, section, option = variable.lower().split("__")
                named.add((section, option))
                # Secrets belong into airflow.cfg of the volume, which the service `settings` writes.
                assert (section, option) not in conf.sensitive_config_values
    assert named
    assert named - options == set()


def test_the_options_that_the_settings_write_are_real(tmp_path: Path):
    import configparser
    import subprocess
    import sys

    from airflow.configuration import retrieve_configuration_description

    from airflow_provider_agents.get_provider_info import get_provider_info

    arguments = ["settings", "kept", "database-password", "credentials", "demo-github"]
    subprocess.run(
        [
            sys.executable,
            ROOT / "deploy" / "compose" / "settings.py",
            *(f"--{name}={tmp_path / name}" for name in arguments),
            "--demo-model=http://model",
            "--database=postgres/airflow",
        ],
        env={"GITHUB_TOKEN": "t", "OPENAI_API_KEY": "k"},
        check=True,
        timeout=30,
        capture_output=True,
    )
    written = configparser.ConfigParser(interpolation=None)
    written.read(tmp_path / "settings" / "airflow.cfg")
    description = retrieve_configuration_description(include_providers=False)
    known = {section: set(part["options"]) for section, part in description.items()}
    known["agents"] = set(get_provider_info()["config"]["agents"]["options"])
    assert {section: set(written[section]) - known[section] for section in written.sections()} == {
        section: set() for section in written.sections()
    }


def test_the_demos_policy_names_the_ports_of_the_stand_ins():
    policy = yaml.safe_load((ROOT / "deploy" / "compose" / "demo-network-policy.yaml").read_text())
    opened = {rule["to"][0]["ipBlock"]["cidr"]: rule["ports"][0]["port"] for rule in policy["spec"]["egress"]}
    assert f"--port={opened['STAND_IN_GITHUB/32']}" in SERVICES["github"]["command"]
    assert f"--port={opened['STAND_IN_MODEL/32']}" in SERVICES["model"]["command"]
    addresses = SERVICES["cluster-init"]["environment"]
    for name in ("github", "model"):
        own = SERVICES[name]["networks"]["default"]["ipv4_address"]
        assert addresses[f"STAND_IN_{name.upper()}"] == own
    assert f"--demo-model=http://{addresses['STAND_IN_MODEL']}:4000" in SERVICES["settings"]["command"]
    assert f"--url=http://{addresses['STAND_IN_GITHUB']}:3000" in SERVICES["github"]["command"]


def test_the_images_python_and_airflow_are_those_of_the_constraints():
    dockerfile = (ROOT / "deploy" / "compose" / "Dockerfile").read_text()
    pinned = re.search(r"(?m)^apache-airflow==(.*)$", (ROOT / "constraints.txt").read_text())
    assert pinned
    assert f"ARG AIRFLOW_VERSION={pinned[1]}\n" in dockerfile
    drivers = set(re.findall(r'"((?:psycopg2-binary|asyncpg)==[^"]+)"', dockerfile))
    tested = (ROOT / "tests" / "contract" / "compose_tools" / "requirements.txt").read_text()
    assert len(drivers) == 2
    assert all(driver in tested for driver in drivers)

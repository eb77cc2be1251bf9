from __future__ import annotations

import dataclasses
import math
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_runner import contract
from agent_runner.contract import Budget, GatewayConfig, Reserve, TokenPrice
from agent_runner.gateway import ready
from agent_runner.gateway.address import Address, listen, write_atomically
from agent_runner.gateway.credentials import CredentialError, CredentialMissingError, Credentials
from agent_runner.gateway.settings import Settings, SettingsError, config_faults

CONFIG = GatewayConfig(repository="o/n", work_branch="w")
ENVIRONMENT = {
    contract.ENV_GATEWAY_CONFIG: CONFIG.to_json(),
    contract.ENV_GATEWAY_URL_FILE: "/v/url",
    contract.ENV_SECRETS_DIR: "/v/secrets",
    contract.ENV_SCRATCH_DIR: "/v/scratch",
    contract.ENV_LEDGER_DIR: "/v/ledger",
    contract.ENV_POD_NAME: "agent-implement-x1",
    contract.ENV_TERMINATION_LOG: "/v/message",
}


def test_settings_from_the_environment() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    assert settings == Settings(
        config=CONFIG,
        secrets_dir=Path("/v/secrets"),
        scratch_dir=Path("/v/scratch"),
        ledger_dir=Path("/v/ledger"),
        pod_name="agent-implement-x1",
        url_file=Path("/v/url"),
        termination_log=Path("/v/message"),
    )


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        (contract.ENV_GATEWAY_CONFIG, "", "AGENT_GATEWAY_CONFIG is not set"),
        (contract.ENV_GATEWAY_CONFIG, "{", "gateway configuration: not JSON"),
        (contract.ENV_GATEWAY_CONFIG, "{}", "repository is missing"),
        (contract.ENV_GATEWAY_CONFIG, '{"repository":"o/n","work_branch":"w","x":1}', "unknown key 'x'"),
        (contract.ENV_GATEWAY_CONFIG, '{"repository":"../n","work_branch":"w"}', "is not owner/name"),
        (contract.ENV_GATEWAY_CONFIG, '{"repository":"o","work_branch":"w"}', "is not owner/name"),
        (contract.ENV_GATEWAY_CONFIG, '{"repository":"o/n","work_branch":"a b"}', "work_branch"),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","expected_head":"abc"}',
            "expected_head: 'abc' is not a commit id",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","forge_url":"ftp://x"}',
            "forge_url: 'ftp://x' is not an http or https URL",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","anthropic_url":"http://u:canary@x"}',
            "anthropic_url: credentials do not belong in a URL",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","openai_url":"https://h/v1?key=canary"}',
            "openai_url: a URL without a query or a fragment is needed",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","read_repositories":["o/m","o/.."]}',
            "gateway configuration: read_repositories: 'o/..' is not owner/name",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","prices":{"m":{"input":1,"output":-1}}}',
            "prices.m.output: -1 is not a finite number",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","prices":{"":{"input":1,"output":1}}}',
            "prices: a model family has no name",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","budget":{"usd":1e999}}',
            "is not a finite number",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","budget":{"unsettled":[{"pod":"../p","usd":1,"tokens":1}]}}',
            "budget.unsettled: '../p' is not the name of a pod",
        ),
        (
            contract.ENV_GATEWAY_CONFIG,
            '{"repository":"o/n","work_branch":"w","budget":{"unsettled":[%s,%s]}}'
            % (('{"pod":"p","usd":1,"tokens":1}',) * 2),
            "budget.unsettled: pod p is there twice",
        ),
        *(
            (
                contract.ENV_GATEWAY_CONFIG,
                f'{{"repository":"o/n","work_branch":"w","protected_paths":["a","{pattern}"]}}',
                f"protected_paths: {pattern!r} names no path",
            )
            for pattern in ("", "/", "//")
        ),
        (contract.ENV_SECRETS_DIR, "", "AGENT_SECRETS_DIR is not set"),
        (contract.ENV_SCRATCH_DIR, "", "AGENT_SCRATCH_DIR is not set"),
        (contract.ENV_POD_NAME, "", "AGENT_POD_NAME is not set"),
        (contract.ENV_POD_NAME, "../other", "AGENT_POD_NAME: '../other' is not the name of a pod"),
        (contract.ENV_LEDGER_DIR, "", "AGENT_LEDGER_DIR is not set"),
    ],
)
def test_faults_are_kept_to_be_said(name: str, value: str, fault: str) -> None:
    settings = Settings.from_environment({**ENVIRONMENT, name: value})
    assert settings.config is None
    assert settings.fault
    assert fault in settings.fault
    assert "canary" not in settings.fault


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"budget": Budget(usd=math.nan)}, "budget.usd: nan is not a finite number of zero or more"),
        ({"budget": Budget(tokens=-1)}, "budget.tokens: -1 is not"),
        (
            {"budget": Budget(unsettled=(Reserve(pod="p", usd=-1.0, tokens=0),))},
            "budget.unsettled: the reserve of pod p is not of zero or more",
        ),
        (
            {"prices": {"m": TokenPrice(input=1, output=2, cache_write=1e9)}},
            "prices.m.cache_write: 1000000000.0 is not a price of 0 to 1,000,000 USD",
        ),
        (
            {"prices": {"m": TokenPrice(input=1, output=math.inf)}},
            "prices.m.output: inf is not a price of 0 to 1,000,000 USD per million tokens",
        ),
    ],
)
def test_amounts_that_no_json_can_bring_are_faults_too(config: dict[str, Any], fault: str) -> None:
    (said,) = config_faults(dataclasses.replace(CONFIG, **config))
    assert said.startswith("gateway configuration: " + fault)


def test_without_a_file_for_the_address_there_is_no_start() -> None:
    with pytest.raises(SettingsError, match="AGENT_GATEWAY_URL_FILE is not set"):
        Settings.from_environment({})


def test_the_address_is_kept_over_a_restart(tmp_path: Path) -> None:
    listener, address = listen(Address.load(tmp_path))
    address.keep(tmp_path)
    listener.close()
    again, same = listen(Address.load(tmp_path))
    with again:
        assert same == address
        assert same.url == f"http://127.0.0.1:{address.port}/{address.nonce}"
        assert again.getsockname()[0] == "127.0.0.1"
    assert (tmp_path / "address.json").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_given_up_but_the_nonce_stays(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        kept = Address(other.getsockname()[1], "0" * 32)
        listener, address = listen(kept)
        with listener:
            assert address.nonce == kept.nonce
            assert address.port != kept.port


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"port":0,"nonce":"x"}', '{"port":80,"nonce":"../x"}', '"x"']
)
def test_an_unreadable_kept_address_is_dropped(tmp_path: Path, text: str) -> None:
    (tmp_path / "address.json").write_text(text)
    assert Address.load(tmp_path) is None


def test_credentials_are_read_anew_each_time(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path, "s")
    (tmp_path / "one").write_text(" \tfirst\r\n")
    (tmp_path / "key").symlink_to("one")
    assert credentials.read("key") == "first"
    (tmp_path / "two").write_text("second")
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "key")
    assert credentials.read("key") == "second"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no credential: key key of secret s does not exist; add it"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"canary\nline", "is not one line of ASCII"),
        (b"canary word", "is not one line of ASCII"),
        ("canaryé".encode(), "is not one line of ASCII"),
        (b"canary\0", "is not one line of ASCII"),
        (b"canary" * 10_000, "is not one line of ASCII"),
    ],
)
def test_unusable_credentials_are_named_and_not_shown(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(CredentialError) as caught:
        Credentials(tmp_path, "s").read("key")
    assert fault in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_missing_secret_volume_is_a_missing_credential(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="does not exist"):
        Credentials(tmp_path / "none", "s").read("key")
    (tmp_path / "key").mkdir()
    with pytest.raises(CredentialError, match="cannot be read: Is a directory"):
        Credentials(tmp_path, "s").read("key")


def test_the_first_credential_that_is_there_is_used(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path, "s")
    with pytest.raises(
        CredentialMissingError, match=r"^no credential: key a of secret s does not exist; add it, or key b$"
    ):
        credentials.first(["a", "b"])
    (tmp_path / "b").write_text("second")
    assert credentials.first(["a", "b"]) == ("b", "second")
    (tmp_path / "a").write_text("")
    assert credentials.first(["a", "b"]) == ("b", "second")
    (tmp_path / "a").write_text("first")
    assert credentials.first(["a", "b"]) == ("a", "first")
    # Set, but not usable: using the other one silently would hide that.
    (tmp_path / "a").write_text("two words")
    with pytest.raises(CredentialError, match="key a of secret s is not one line"):
        credentials.first(["a", "b"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("http://127.0.0.1:8080/" + "0" * 32, 0),
        ("http://127.0.0.1:8080/" + "0" * 32 + "\n", 0),
        ("", 1),
        ("http://127.0.0.1:8080/00", 1),
        ("http://127.0.0.1:8", 1),
        ("http://10.0.0.1:8080/" + "0" * 32, 1),
        (None, 1),
    ],
)
def test_ready_once_the_address_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, code: int
) -> None:
    monkeypatch.setenv(contract.ENV_GATEWAY_URL_FILE, str(tmp_path / "url"))
    if text is not None:
        write_atomically(tmp_path / "url", text, 0o644)
    moments = iter((0.0, ready.WAIT_SECONDS))
    assert ready.main(clock=lambda: next(moments), sleep=lambda _: None) == code


def test_the_probe_waits_for_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes would repeat it after a second only."""
    monkeypatch.setenv(contract.ENV_GATEWAY_URL_FILE, str(tmp_path / "url"))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            write_atomically(tmp_path / "url", "http://127.0.0.1:8080/" + "0" * 32, 0o644)

    assert ready.main(clock=lambda: sum(slept), sleep=sleep) == 0
    assert len(slept) == 3
    assert max(slept) <= 0.1


def test_the_probe_gives_up_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(contract.ENV_GATEWAY_URL_FILE, str(tmp_path / "url"))
    slept: list[float] = []
    assert ready.main(clock=lambda: sum(slept), sleep=slept.append) == 1
    assert ready.WAIT_SECONDS <= sum(slept) < ready.WAIT_SECONDS + 0.2
    assert "is not written yet" in capsys.readouterr().err


def test_not_ready_without_a_file_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(contract.ENV_GATEWAY_URL_FILE, raising=False)
    assert ready.main() == 1
    assert "AGENT_GATEWAY_URL_FILE is not set" in capsys.readouterr().err


def test_the_probe_imports_no_server() -> None:
    package = Path(contract.__file__).parents[2]
    code = "import agent_runner.__main__, agent_runner.gateway.ready, sys; print('aiohttp' in sys.modules, 'asyncio' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=package,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert out.stdout.split() == ["False", "False"]

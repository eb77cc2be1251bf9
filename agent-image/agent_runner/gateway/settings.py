"""The gateway's settings, from its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from yarl import URL

from agent_runner.contract import (
    ENV_GATEWAY_CONFIG,
    ENV_GATEWAY_URL_FILE,
    ENV_LEDGER_DIR,
    ENV_SECRETS_DIR,
    ENV_TERMINATION_LOG,
    REPOSITORY_PATTERN,
    SHA_PATTERN,
    ContractError,
    GatewayConfig,
    branch_fault,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class SettingsError(Exception):
    """The gateway cannot start: nobody would find it. The text names the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one gateway process works with."""

    config: GatewayConfig | None
    """``None`` where the configuration is unusable; then :attr:`fault` says why."""
    fault: str | None = None
    secrets_dir: Path
    ledger_dir: Path
    url_file: Path
    termination_log: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        A faulty configuration is kept as :attr:`fault`, so that the gateway starts and can say so.

        :param environ: by default the environment of this process.
        :raises SettingsError: if the file for the address is not named.
        """
        environ = os.environ if environ is None else environ
        url_file = environ.get(ENV_GATEWAY_URL_FILE)
        if not url_file:
            raise SettingsError(
                f"{ENV_GATEWAY_URL_FILE} is not set: it names the file for the gateway's address"
            )
        config, faults = None, []
        text = environ.get(ENV_GATEWAY_CONFIG)
        if not text:
            faults.append(f"{ENV_GATEWAY_CONFIG} is not set")
        else:
            try:
                config = GatewayConfig.from_json(text)
            except ContractError as error:
                faults.append(str(error))
            else:
                faults += config_faults(config)
        secrets, ledger = environ.get(ENV_SECRETS_DIR), environ.get(ENV_LEDGER_DIR)
        faults += [
            f"{name} is not set"
            for name, value in ((ENV_SECRETS_DIR, secrets), (ENV_LEDGER_DIR, ledger))
            if not value
        ]
        termination_log = environ.get(ENV_TERMINATION_LOG)
        return cls(
            config=None if faults else config,
            fault="; ".join(faults) or None,
            secrets_dir=Path(secrets or os.devnull),
            ledger_dir=Path(ledger or os.devnull),
            url_file=Path(url_file),
            termination_log=Path(termination_log) if termination_log else None,
        )


def config_faults(config: GatewayConfig) -> list[str]:
    """Return what is wrong with the values of ``config``."""
    faults = []
    if not REPOSITORY_PATTERN.fullmatch(config.repository) or {".", ".."} & set(config.repository.split("/")):
        faults.append(f"gateway configuration: repository: {config.repository!r} is not owner/name")
    if fault := branch_fault(config.work_branch):
        faults.append(f"gateway configuration: work_branch: {fault}")
    if config.expected_head is not None and not SHA_PATTERN.fullmatch(config.expected_head):
        faults.append(f"gateway configuration: expected_head: {config.expected_head!r} is not a commit id")
    faults += [
        f"gateway configuration: {name}: {fault}"
        for name in ("forge_url", "anthropic_url")
        if (fault := _url_fault(getattr(config, name)))
    ]
    return faults


def _url_fault(text: str) -> str | None:
    try:
        url = URL(text)
        if url.user or url.password:
            return "credentials do not belong in a URL"
        if url.scheme not in ("http", "https") or not url.host:
            return f"{text!r} is not an http or https URL"
        if url.raw_query_string or url.raw_fragment:
            return f"{text!r} has a query or a fragment"
    except ValueError:
        return "not a URL"
    return None

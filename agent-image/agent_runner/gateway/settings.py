"""The gateway's settings, from its environment."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from yarl import URL

from agent_runner.contract import (
    ENV_GATEWAY_CONFIG,
    ENV_GATEWAY_URL_FILE,
    ENV_LEDGER_DIR,
    ENV_MIRROR_DIR,
    ENV_POD_NAME,
    ENV_SCRATCH_DIR,
    ENV_SECRETS_DIR,
    ENV_TERMINATION_LOG,
    HEADER_PATTERN,
    REPOSITORY_PATTERN,
    SHA_PATTERN,
    ContractError,
    GatewayConfig,
    branch_fault,
    name_faults,
)
from agent_runner.gateway.attachments import image_faults
from agent_runner.gateway.protected_paths import ProtectedPaths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent_runner.contract import Budget, McpServer, TokenPrice


_POD_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
"""A Kubernetes name: also a safe file name, as which it is used."""


_DEAREST_PRICE = 1_000_000


class SettingsError(Exception):
    """The gateway cannot start: nobody would find it. The text names the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one gateway process works with."""

    config: GatewayConfig | None
    """``None`` where the configuration is unusable; then :attr:`fault` says why."""
    fault: str | None = None
    secrets_dir: Path
    scratch_dir: Path
    """The gateway's own volume; ends with the pod."""
    ledger_dir: Path
    """Where each pod of the run has its ledger."""
    pod_name: str
    url_file: Path
    termination_log: Path | None = None
    mirror_dir: Path | None = None
    """The repository's mirror on the cache claim; ``None``: there is none."""

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
        needed = {
            name: environ.get(name, "")
            for name in (ENV_SECRETS_DIR, ENV_SCRATCH_DIR, ENV_LEDGER_DIR, ENV_POD_NAME)
        }
        faults += [f"{name} is not set" for name, value in needed.items() if not value]
        pod_name = needed[ENV_POD_NAME]
        if pod_name and not _POD_NAME.fullmatch(pod_name):
            faults.append(f"{ENV_POD_NAME}: {pod_name!r} is not the name of a pod")
        termination_log = environ.get(ENV_TERMINATION_LOG)
        mirror_dir = environ.get(ENV_MIRROR_DIR)
        return cls(
            config=None if faults else config,
            fault="; ".join(faults) or None,
            secrets_dir=Path(needed[ENV_SECRETS_DIR] or os.devnull),
            scratch_dir=Path(needed[ENV_SCRATCH_DIR] or os.devnull),
            ledger_dir=Path(needed[ENV_LEDGER_DIR] or os.devnull),
            pod_name=pod_name,
            url_file=Path(url_file),
            termination_log=Path(termination_log) if termination_log else None,
            mirror_dir=Path(mirror_dir) if mirror_dir else None,
        )


def config_faults(config: GatewayConfig) -> list[str]:
    """Return what is wrong with the values of ``config``."""
    faults = []
    if fault := _repository_fault(config.repository):
        faults.append(f"repository: {fault}")
    faults += [
        f"read_repositories: {fault}"
        for name in config.read_repositories
        if (fault := _repository_fault(name))
    ]
    if fault := branch_fault(config.work_branch):
        faults.append(f"work_branch: {fault}")
    if config.expected_head is not None and not SHA_PATTERN.fullmatch(config.expected_head):
        faults.append(f"expected_head: {config.expected_head!r} is not a commit id")
    faults += [
        f"{name}: {fault}"
        for name in ("forge_url", "anthropic_url", "openai_url")
        if (fault := _url_fault(getattr(config, name)))
    ]
    faults += [
        f"protected_paths: {pattern!r} names no path"
        for pattern in config.protected_paths
        if not ProtectedPaths([pattern])
    ]
    return [
        f"gateway configuration: {fault}"
        for fault in (
            *faults,
            *_price_faults(config.prices),
            *_budget_faults(config.budget),
            *image_faults(config),
            *_mcp_faults(config.mcp_servers),
        )
    ]


def _repository_fault(name: str) -> str | None:
    if REPOSITORY_PATTERN.fullmatch(name) and not {".", ".."} & set(name.split("/")):
        return None
    return f"{name!r} is not owner/name"


def _price_faults(prices: Mapping[str, TokenPrice]) -> Iterator[str]:
    for family, price in prices.items():
        if not family:
            yield "prices: a model family has no name"
        for name, value in dataclasses.asdict(price).items():
            if value is not None and not (_amount(value) and value <= _DEAREST_PRICE):
                yield (
                    f"prices.{family}.{name}: {value} is not a price of 0 to {_DEAREST_PRICE:,} USD per million "
                    "tokens"
                )


def _budget_faults(budget: Budget) -> Iterator[str]:
    for name in ("usd", "tokens"):
        value = getattr(budget, name)
        if value is not None and not _amount(value):
            yield f"budget.{name}: {value} is not a finite number of zero or more"
    pods = [reserve.pod for reserve in budget.unsettled]
    for reserve in budget.unsettled:
        if not _POD_NAME.fullmatch(reserve.pod):
            yield f"budget.unsettled: {reserve.pod!r} is not the name of a pod"
        elif pods.count(reserve.pod) > 1:
            yield f"budget.unsettled: pod {reserve.pod} is there twice"
        if not (_amount(reserve.usd) and _amount(reserve.tokens)):
            yield f"budget.unsettled: the reserve of pod {reserve.pod} is not of zero or more"


def _mcp_faults(servers: Sequence[McpServer]) -> Iterator[str]:
    for fault in name_faults((server.name for server in servers), "an MCP server"):
        yield f"mcp_servers: {fault}"
    for server in servers:
        if (wrong := _url_fault(server.url)) is not None:
            yield f"mcp_servers.{server.name}.url: {wrong}"
        if server.header is not None and not HEADER_PATTERN.fullmatch(server.header):
            yield f"mcp_servers.{server.name}.header: {server.header!r} is no name of a header"


def _amount(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _url_fault(text: str) -> str | None:
    try:
        url = URL(text)
        if url.user or url.password:
            return "credentials do not belong in a URL"
        if url.raw_query_string or url.raw_fragment:
            return "a URL without a query or a fragment is needed"
        if url.scheme not in ("http", "https") or not url.host:
            return f"{text!r} is not an http or https URL"
    except ValueError:
        return "not a URL"
    return None

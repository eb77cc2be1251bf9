"""The model's key, tried with the one call that costs nothing: the list of models."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent_runner.contract import SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH, SECRET_KEY_OPENAI
from airflow_provider_agents import settings
from airflow_provider_agents.cli.report import Finding, failed, ok, skipped, warning
from airflow_provider_agents.operators.step_credentials import MODEL_KEYS, OAUTH_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment

MODEL_SECONDS = 10.0


def accepted(deployment: Deployment) -> Iterator[Finding]:
    """Check that the model's API accepts the key that the agent program will use."""
    program = deployment.program
    wanted = MODEL_KEYS.get(program)
    if wanted is None:
        yield skipped(f"which model key the agent program {program!r} uses is not known here")
        return
    values = deployment.model_values()
    key = next((key for key in wanted if values.get(key)), None)
    if key is None:
        hidden = deployment.source == "secret" and deployment.installation_secret.state == "hidden"
        why = f": {deployment.installation_secret.said}" if hidden else ""
        yield skipped(f"no key for {program} could be read from here{why}")
        return
    yield from check_key(key, values[key])


def check_key(key: str, value: str) -> Iterator[Finding]:
    """Check one credential.

    :param key: its name in the secret.
    """
    from airflow_provider_agents.hooks.model_api import ModelCredential, check

    if key == SECRET_KEY_ANTHROPIC and value.startswith(OAUTH_PREFIX):
        yield failed(
            f"{key} holds the OAuth token of a subscription, which is not sent as an API key",
            f"Put it under {SECRET_KEY_ANTHROPIC_OAUTH}.",
            key,
        )
        return
    url = _url(key)
    verdict = asyncio.run(check(url, ModelCredential(key, value), timeout_seconds=MODEL_SECONDS))
    if verdict.state == "accepted":
        yield ok(f"{url} accepts {key}", key)
    elif verdict.state == "refused":
        yield failed(
            f"{url} refuses {key}: {verdict.detail}",
            "Replace it by a valid key of the model's provider; `airflow agents init --force` does.",
            key,
        )
    else:
        yield warning(
            f"whether {url} accepts {key} is not known: {verdict.detail}",
            "If only the pods reach this address, nothing is wrong; otherwise check it, proxy and firewall.",
            key,
        )


def _url(key: str) -> str:
    if key == SECRET_KEY_OPENAI:
        return settings.text("openai_url", "https://api.openai.com")
    return settings.text("anthropic_url", "https://api.anthropic.com")

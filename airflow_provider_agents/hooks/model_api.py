"""Asks the API of a model whether it accepts a credential, without paying for anything."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Literal

from agent_runner.contract import SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH, SECRET_KEY_OPENAI
from airflow_provider_agents.hooks.own_authorization import AUTHORIZATION, own_authorization

TIMEOUT_SECONDS = 15.0
MOST_BYTES = 16_384
"""Of a refusal that is read."""

State = Literal["accepted", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class ModelCredential:
    """A model's credential, and by its key in a secret how it is sent."""

    key: str
    value: str = field(repr=False)

    def headers(self) -> dict[str, str]:
        """Return the headers of a request.

        :raises ValueError: the key is none of a model.
        """
        if self.key == SECRET_KEY_ANTHROPIC:
            return {"x-api-key": self.value, "anthropic-version": "2023-06-01"}
        if self.key == SECRET_KEY_ANTHROPIC_OAUTH:
            return {
                AUTHORIZATION: f"Bearer {self.value}",
                "anthropic-version": "2023-06-01",
                "anthropic-beta": "oauth-2025-04-20",
            }
        if self.key == SECRET_KEY_OPENAI:
            return {AUTHORIZATION: f"Bearer {self.value}"}
        raise ValueError(f"{self.key!r} is no key of a model's credential")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an API made of a credential."""

    state: State
    detail: str = ""
    """Its words, without the credential."""


async def check(
    base_url: str, credential: ModelCredential, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> Verdict:
    """Ask for the list of models, which costs nothing.

    ``refused`` only where the API says that of the credential; whatever else goes wrong is ``unknown``, as
    the pods may reach an API that this machine does not, or one that has no list of models. So is a 403 of
    a credential that is good for inference alone: the token of a subscription, or a key of few scopes.

    :param base_url: root that ``/v1/models`` is below.
    """
    import aiohttp

    limit = "?limit=1" if credential.key != SECRET_KEY_OPENAI else ""
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                middlewares=(own_authorization,),
                trust_env=True,
            ) as session,
            session.get(
                f"{base_url.rstrip('/')}/v1/models{limit}",
                headers=credential.headers(),
                allow_redirects=False,
            ) as response,
        ):
            status = response.status
            body = await response.content.read(MOST_BYTES) if status != 200 else b""
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # Its cause stays out: it may hold the request's headers.
        words = f"{type(error).__name__}: {error}".rstrip(": ").replace(credential.value, "***")
        return Verdict("unknown", words[:300])
    said = _said(body).replace(credential.value, "***")
    detail = f"HTTP {status}" + (f", {said!r}" if said else "")
    if status == 200:
        return Verdict("accepted")
    narrow = credential.key == SECRET_KEY_ANTHROPIC_OAUTH or "scope" in said.lower()
    if status == 401 or (status == 403 and not narrow):
        return Verdict("refused", detail)
    return Verdict("unknown", detail)


def _said(body: bytes) -> str:
    text = body.decode(errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return " ".join(text.split())[:300]

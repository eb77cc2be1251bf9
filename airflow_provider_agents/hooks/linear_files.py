"""Addresses of Linear's files that open them for a while, without the key of the connection."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_agents.hooks.linear import AgentsLinearHook
from airflow_provider_agents.hooks.linear_errors import refused
from airflow_provider_agents.hooks.linear_queries import FILES

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNED_SECONDS = 3_600
"""How long an address opens its file: until the pod that it is made for has started, with its image and volumes."""
_SIGN = "public-file-urls-expire-in"
_URL = re.compile(r"https?://[^\s<>()\[\]\"'\\]{1,4000}")


async def sign_files(connection: str, ticket: str, urls: Sequence[str]) -> dict[str, str]:
    """Return a signed address for each of ``urls`` that the ticket names still.

    :param connection: Airflow connection of type ``linear``.
    :param ticket: its id or key.
    :raises InvalidInputError: there is no such connection.
    :raises ForgeError: Linear did not answer, or there is no such ticket.
    """
    what = "sign the files of a ticket"
    async with AgentsLinearHook(connection).client() as transport:
        answer = await transport.query(FILES, {"id": ticket}, what, headers={_SIGN: str(SIGNED_SECONDS)})
    if answer.errors or not answer.data.get("issue"):
        raise refused(what, answer.errors)
    found = {
        _bare(url): url for url in _URL.findall(json.dumps(answer.data, ensure_ascii=False)) if "?" in url
    }
    return {url: found[_bare(url)] for url in urls if _bare(url) in found}


def _bare(url: str) -> str:
    """Return an address without what is behind its path."""
    parts = urlsplit(url)
    return f"{parts.netloc.lower()}{parts.path}"

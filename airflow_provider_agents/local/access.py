"""Who may use the API: whoever has the bearer token, which is made at the first start and kept in the data folder."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import stat
from typing import TYPE_CHECKING

from aiohttp import web

from airflow_provider_agents.local.api_errors import ApiError
from airflow_provider_agents.local.objects import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_agents.local.server import Handler

log = logging.getLogger(__name__)

TOKEN_FILE = "token"

_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def kept_token(folder: Path) -> str:
    """Return the token that an earlier start left in a folder, or make one and leave it there.

    One that is damaged, or that other users could have read, is replaced.

    :raises OSError: if the file cannot be read or written.
    """
    file = folder / TOKEN_FILE
    if file.exists():
        token = file.read_text(encoding="utf-8", errors="replace").strip()
        for_this_user = not stat.S_IMODE(file.stat().st_mode) & 0o077
        if for_this_user and _TOKEN.fullmatch(token):
            return token
        why = "is damaged" if for_this_user else "could be read by other users"
        log.warning("The token in %s %s: a new one is made, clients have to read it again", file, why)
    token = secrets.token_urlsafe(_BYTES)
    write_atomically(file, token + "\n")
    return token


class TokenCheck:
    """Refuses every request that does not bring the token.

    :param token: what ``Authorization: Bearer …`` has to say.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Pass a request on, or refuse it with 401, whatever its path."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # The header may hold bytes that are no text.
        token = given.strip().encode(errors="surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token, self._token):
            raise ApiError(
                401,
                "Unauthorized",
                "Unauthorized: send the token of the runtime's data folder (--data DIR) as "
                "'Authorization: Bearer TOKEN'; DIR/kubeconfig has it for Kubernetes clients",
            )
        return await handler(request)

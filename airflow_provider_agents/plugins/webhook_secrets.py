"""The secrets that webhooks are signed with: passwords of Airflow connections."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""How long a connection is not read again, so that strangers' requests do not reach the database."""
ABSENT_SECONDS = 5.0
"""The same where it has no secret."""
SHORTEST = 16
"""Characters of a secret; a shorter one can be guessed from one delivery."""


class WebhookSecrets:
    """Reads them as Airflow reads connections: environment, secrets backends, database.

    :param clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def known(self, conn_id: str) -> tuple[str, ...] | None:
        """Return the connection's secrets as they were read a short while ago; ``None``: they are to be read."""
        until, secrets = self._known.get(conn_id, (0.0, ()))
        return secrets if self._clock() < until else None

    def read(self, conn_id: str) -> tuple[str, ...]:
        """Return the connection's secrets, several of them while one replaces the other; it blocks.

        The empty tuple: there is no such connection, or its password is empty or has too short a part.
        """
        from airflow.models import Connection
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            secrets = tuple((Connection.get_connection_from_secrets(conn_id).password or "").split())
        except AirflowNotFoundException:
            log.warning("Webhooks are refused: there is no connection %r.", conn_id)
            secrets = ()
        else:
            if not secrets:
                log.warning("Webhooks are refused: the connection %r has no password.", conn_id)
            elif min(map(len, secrets)) < SHORTEST:
                log.warning(
                    "Webhooks are refused: a secret in the password of connection %r has fewer than %d "
                    "characters. `openssl rand -hex 32` makes a good one.",
                    conn_id,
                    SHORTEST,
                )
                secrets = ()
        self._known[conn_id] = self._clock() + (KEPT_SECONDS if secrets else ABSENT_SECONDS), secrets
        return secrets

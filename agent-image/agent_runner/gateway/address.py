"""Where the gateway listens, kept over a restart: the agent has read it already."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "address.json"
_NONCE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Address:
    """A port of 127.0.0.1 and the secret first segment of every path."""

    port: int
    nonce: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.nonce}"

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Return the address that an earlier process kept in ``directory``, if there is one."""
        try:
            kept = json.loads((directory / FILE_NAME).read_bytes())
            port, nonce = kept["port"], kept["nonce"]
            if isinstance(port, int) and 0 < port < 65_536 and _NONCE.fullmatch(nonce):
                return cls(port, nonce)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def keep(self, directory: Path) -> None:
        """Keep the address in ``directory``; without that a restart moves, which agents can survive."""
        try:
            write_atomically(
                directory / FILE_NAME, json.dumps({"port": self.port, "nonce": self.nonce}), 0o600
            )
        except OSError as error:
            log.warning("the address cannot be kept in %s: %s", directory, error.strerror or error)


def listen(kept: Address | None) -> tuple[socket.socket, Address]:
    """Bind a port of 127.0.0.1: the kept one if it is still free.

    :raises OSError: if no port is free.
    """
    nonce = kept.nonce if kept else secrets.token_hex(16)
    for port in [kept.port, 0] if kept else [0]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            listener.close()
            if not port:
                raise
            log.warning("port %d is no longer free (%s); taking another", port, error.strerror)
            continue
        return listener, Address(listener.getsockname()[1], nonce)
    raise AssertionError("unreachable: the last port tried is any")


def write_atomically(path: Path, text: str, mode: int) -> None:
    """Write ``path`` so that a reader sees the old content or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
    temporary.replace(path)

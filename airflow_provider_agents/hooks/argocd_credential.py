"""What an Airflow connection of type ``argocd`` says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    import ssl

    from airflow.sdk import Connection

EXTRAS = ("verify", "ca_file", "ca_certificate", "namespace", "project")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_IN_CLUSTER = (".svc", ".cluster.local")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgoCdCredential:
    """Which Argo CD, and how to get in; the token is kept out of its ``repr``."""

    url: str
    """Root address, without a slash at the end; ``/api/v1`` follows."""
    token: str = field(repr=False)
    verify: bool = True
    """Whether the server's certificate is checked."""
    ca_file: str = ""
    ca_certificate: str = ""
    """PEM of the authority that signed the server's certificate."""
    namespace: str = ""
    """Of the applications, where it is not Argo CD's own."""
    project: str = ""
    """Of the applications. With it Argo CD says whether an application is absent or forbidden."""

    def hide(self, words: str) -> str:
        """Return ``words`` without the token."""
        return words.replace(self.token, "***")

    def ssl(self) -> ssl.SSLContext | bool:
        """Return what aiohttp takes as ``ssl``.

        :raises InvalidInputError: the authority's certificate cannot be read.
        """
        import ssl

        if not self.verify:
            return False
        if not (self.ca_file or self.ca_certificate):
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_file or None, cadata=self.ca_certificate or None)
        except (OSError, ValueError) as error:
            where = self.ca_file or "ca_certificate"
            raise InvalidInputError(
                [
                    f"the certificate authority of Argo CD's connection cannot be read from {where}: {error}; put PEM there"
                ]
            ) from None


def credential(connection: Connection) -> ArgoCdCredential:
    """Return what a connection says.

    ``host`` is the address, ``password`` the token of an account or of a project's role; ``extra`` may have
    :data:`EXTRAS`.

    :raises InvalidInputError: no token, no address, or an extra that is none.
    """
    name = connection.conn_id
    token = re.sub(r"^bearer(\s+|$)", "", (connection.password or "").strip(), flags=re.IGNORECASE)
    if not token:
        fault = f"connection {name!r} has no token; put one of an Argo CD account into its password: argocd account generate-token"
        raise InvalidInputError([fault])
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInputError([f"connection {name!r}: its password is not a token"])
    extra = _extra(connection.extra, name)
    return ArgoCdCredential(
        url=_url(connection.host, connection.schema, connection.port, name),
        token=token,
        verify=_flag(extra.get("verify"), name),
        **{key: _word(extra.get(key), key, name) for key in EXTRAS if key != "verify"},
    )


def _extra(text: str | None, name: str) -> dict[str, Any]:
    if not (text or "").strip():
        return {}
    try:
        found = json.loads(text or "")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidInputError([f"extra of the connection {name!r}: it is not a JSON object"])
    if unknown := sorted(set(found) - set(EXTRAS)):
        fault = f"there is no {unknown[0]!r}; it may have {', '.join(EXTRAS)}"
        raise InvalidInputError([f"extra of the connection {name!r}: {fault}"])
    return found


def _flag(value: Any, name: str) -> bool:
    if value is None or value == "":
        return True
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise InvalidInputError([f"extra of the connection {name!r}: verify is {value!r}, not true or false"])


def _word(value: Any, key: str, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError([f"extra of the connection {name!r}: {key} is not text"])
    found = value.strip()
    if key == "ca_file" and found and not Path(found).is_absolute():
        raise InvalidInputError([f"extra of the connection {name!r}: ca_file is not an absolute path"])
    return found


def _url(host: str | None, schema: str | None, port: int | None, name: str) -> str:
    written = (host or "").strip()
    if not written:
        raise _bad_host(name, "it is empty")
    scheme = schema if schema in ("http", "https") else "https"
    parts = urlsplit(written if "://" in written else f"{scheme}://{written}")
    try:
        machine, number = (parts.hostname or "").lower(), parts.port or port
    except ValueError:
        raise _bad_host(name, "its port is not a number") from None
    if not machine or parts.scheme not in ("https", "http"):
        raise _bad_host(name, "it is not an https address")
    inside = machine in _LOOPBACK or not {".", ":"} & set(machine) or machine.endswith(_IN_CLUSTER)
    if parts.scheme == "http" and not inside:
        raise _bad_host(
            name,
            "the token would go over the network in the clear; use https, or the name of the service in the cluster, which "
            "ends in .svc",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _bad_host(name, "it holds more than scheme, host, port and path")
    place = (f"[{machine}]" if ":" in machine else machine) + (f":{number}" if number else "")
    return f"{parts.scheme}://{place}{parts.path.rstrip('/').removesuffix('/api/v1')}"


def _bad_host(name: str, fault: str) -> InvalidInputError:
    return InvalidInputError(
        [
            f"host of the connection {name!r}: {fault}; write Argo CD's address, e.g. https://argocd.example.com"
        ]
    )

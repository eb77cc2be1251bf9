"""Where one GitHub answers: from a connection's ``host`` to the addresses of its three interfaces."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_agents.exceptions import InvalidInputError

_PUBLIC_HOSTS = frozenset({"github.com", "www.github.com", "api.github.com"})
_REST_PATH = "/api/v3"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubUrls:
    """Addresses of one GitHub, each without a trailing slash."""

    rest_url: str
    graphql_url: str
    git_url: str
    """``<git_url>/owner/name.git`` is a repository's remote; also the root of its web pages."""


def github_urls(host: str | None, port: int | None = None) -> GitHubUrls:
    """Return the addresses of the GitHub that a connection's ``host`` names.

    :param host: empty for github.com; else the REST base URL of a GitHub Enterprise Server
        (``https://ghes.example.com/api/v3``). A missing scheme, a trailing slash and a missing ``/api/v3``
        are tolerated; so is a GitHub Enterprise Cloud domain (``https://octo.ghe.com``).
    :param port: the connection's port; used where ``host`` names none.
    :raises InvalidInputError: when ``host`` is no such address.
    """
    text = (host or "").strip()
    if not text:
        return _public()
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        name, named_port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _invalid("its port is not a number") from None
    if parts.scheme not in ("https", "http") or not name:
        raise _invalid("it is not an http(s) address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _invalid("it holds more than scheme, host, port and path; the token belongs into the password")
    if name in _PUBLIC_HOSTS:
        return _public()
    number = named_port or port
    authority = (f"[{name}]" if ":" in name else name) + (f":{number}" if number else "")
    if name.endswith(".ghe.com"):
        domain = authority.removeprefix("api.")
        return GitHubUrls(
            rest_url=f"https://api.{domain}",
            graphql_url=f"https://api.{domain}/graphql",
            git_url=f"https://{domain}",
        )
    path = parts.path.rstrip("/")
    if path and not path.endswith(_REST_PATH):
        raise _invalid(f"its path is not {_REST_PATH}")
    root = f"{parts.scheme}://{authority}{path.removesuffix(_REST_PATH)}"
    return GitHubUrls(rest_url=root + _REST_PATH, graphql_url=f"{root}/api/graphql", git_url=root)


def _public() -> GitHubUrls:
    return GitHubUrls(
        rest_url="https://api.github.com",
        graphql_url="https://api.github.com/graphql",
        git_url="https://github.com",
    )


def _invalid(fault: str) -> InvalidInputError:
    # The value itself stays out of the message: a mistaken user puts the token there.
    remedy = (
        "Leave it empty for github.com, or give the REST base URL of the server, "
        "e.g. https://ghes.example.com/api/v3"
    )
    return InvalidInputError([f"host of the GitHub connection: {fault}. {remedy}"])

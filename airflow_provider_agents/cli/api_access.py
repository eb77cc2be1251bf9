"""Where the address and the credential of Airflow's API come from; never from the command line.

The address: ``AIRFLOW_AGENTS_API_URL``, else ``[api] base_url`` of Airflow's configuration. The credential:
``AIRFLOW_AGENTS_API_TOKEN``; else a token for ``AIRFLOW_AGENTS_API_USERNAME`` and ``AIRFLOW_AGENTS_API_PASSWORD``;
else one without a login, where Airflow lets everybody in; else one for what a person at the terminal types.
"""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_agents.cli.api_client import AirflowApi, ApiError, exchange, http_client, parse, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "AIRFLOW_AGENTS_API_URL"
TOKEN = "AIRFLOW_AGENTS_API_TOKEN"
USERNAME = "AIRFLOW_AGENTS_API_USERNAME"
PASSWORD = "AIRFLOW_AGENTS_API_PASSWORD"

_DEFAULT_URL = "http://localhost:8080"
_TOKEN_PATH = "/auth/token"


def airflow_api(environ: Mapping[str, str] | None = None) -> AirflowApi:
    """Return a client for this environment. Nothing is sent before its first request.

    :raises ApiError: the address is none.
    """
    values = os.environ if environ is None else environ
    url = api_url(values)
    return AirflowApi(url, EnvironmentTokens(url, values))


def api_url(environ: Mapping[str, str]) -> str:
    """Return the root of Airflow's API, without a trailing slash.

    :raises ApiError: what is set is no http(s) address.
    """
    url, source = environ.get(URL, "").strip(), URL
    if not url:
        from airflow.sdk.configuration import conf

        url, source = str(conf.get("api", "base_url", fallback="") or "").strip(), "[api] base_url"
    url = url or _DEFAULT_URL
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    # Whatever else is wrong with it, what may be a password is not repeated.
    if "@" in url:
        raise ApiError(f"{source} holds a credential; put it into {USERNAME} and {PASSWORD}, or {TOKEN}")
    if not good or parts.query or parts.fragment:
        raise ApiError(f"{source}: {url} is no address of Airflow; write it as https://airflow.example.com")
    return url.rstrip("/").removesuffix("/api/v2")


class EnvironmentTokens:
    """Takes the token from the environment, or gets one for what is there.

    :param url: root of Airflow's API.
    """

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self._url = url
        self._environ = environ
        self._token = environ.get(TOKEN, "").strip()
        self._given = bool(self._token)
        self._login: dict[str, str] = {}

    def token(self) -> str:
        """Return the token; the first call may ask Airflow, and a person.

        :raises ApiError: there is none to be had.
        """
        if not self._token:
            self._token = self._new()
        return self._token

    def renewed(self) -> str | None:
        """Return a new token in place of one that expired; ``None`` where it was given as such."""
        if self._given:
            return None
        self._token = self._new()
        return self._token

    def _new(self) -> str:
        username, password = self._environ.get(USERNAME, ""), self._environ.get(PASSWORD, "")
        if bool(username) != bool(password):
            missing = PASSWORD if username else USERNAME
            raise ApiError(f"{missing} is not set; {USERNAME} and {PASSWORD} belong together")
        if username:
            self._login = {"username": username, "password": password}
        if not self._login:
            if token := self._open_door():
                return token
            self._login = _ask(self._url)
        status, headers, content = self._exchange("POST", self._login)
        if status not in (200, 201):
            raise ApiError(refusal(self._url, "POST", _TOKEN_PATH, status, headers, content), status)
        return self._read(content)

    def _open_door(self) -> str:
        """Return a token that Airflow gives to everybody; empty: it gives none."""
        status, _, content = self._exchange("GET", None)
        return self._read(content) if status in (200, 201) else ""

    def _exchange(self, method: str, body: dict[str, str] | None) -> tuple[int, Mapping[str, str], bytes]:
        import httpx

        with http_client() as client:
            try:
                return exchange(client, method, f"{self._url}{_TOKEN_PATH}", body=body)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                text = str(error) or type(error).__name__
                message = f"Airflow at {self._url} does not answer ({text}); is it up, and is {URL} right?"
                raise ApiError(message) from None

    def _read(self, content: bytes) -> str:
        answer = parse(content, self._url)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise ApiError(f"{self._url}{_TOKEN_PATH} gives no token; set {TOKEN}")
        return token


def _ask(url: str) -> dict[str, str]:
    """Return what a person types.

    :raises ApiError: nobody is there.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ApiError(f"Airflow at {url} asks for a login; set {TOKEN}, or {USERNAME} and {PASSWORD}")
    sys.stderr.write(f"Login at {url}\nUsername: ")
    sys.stderr.flush()
    username = sys.stdin.readline().strip()
    password = getpass.getpass("Password (hidden): ")
    if not username or not password:
        raise ApiError("no login was given")
    return {"username": username, "password": password}

"""The provider's endpoints as Airflow's API server has them: real HTTP, real database, Airflow's middleware."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import hmac
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import uvicorn

if "AIRFLOW_HOME" not in os.environ:  # before Airflow is imported, which writes its configuration file there
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-webhooks-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

from airflow import settings as airflow_settings
from airflow.models import Connection, Variable
from fastapi import FastAPI
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, sessionmaker

from airflow_provider_agents.plugins import webhook_endpoints
from airflow_provider_agents.plugins.agents_plugin import AgentsPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from sqlalchemy import Engine

GITHUB_SECRET = "a-secret-of-thirty-three-characters"
LINEAR_SECRET = f"linear-{GITHUB_SECRET}"
VARIABLE = "agents_wake"
START_SECONDS = 20.0
ANSWER_SECONDS = 10.0
"""What GitHub waits for."""
_guid = iter(range(10**9))


@dataclass
class Answer:
    """What an endpoint answered."""

    status: int
    """0: the connection was cut before the answer could be read."""
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> str | None:
        """What became of a delivery that was taken."""
        return self.json.get("result")


def signed(body: bytes, secret: str = GITHUB_SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github(body: bytes, *, event: str = "issues", secret: str = GITHUB_SECRET) -> dict[str, str]:
    """Return the headers of a genuine delivery of GitHub."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": f"0f5a-{next(_guid)}",
        "X-Hub-Signature-256": f"sha256={signed(body, secret)}",
    }


def linear(body: bytes, *, secret: str = LINEAR_SECRET) -> dict[str, str]:
    """Return the headers of a genuine delivery of Linear."""
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Linear-Event": "Issue",
        "Linear-Delivery": f"1e5b-{next(_guid)}",
        "Linear-Signature": signed(body, secret),
    }


@dataclass
class WebhookWorld:
    """A running server.

    :param port: on 127.0.0.1.
    :param engine: of the metadata database.
    """

    port: int
    engine: Engine

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send(self, *parts: bytes, pause: float = 0.0) -> Answer:
        """Send raw bytes, with pauses between them, and read the answer; the connection is given up after it."""
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answered = asyncio.create_task(self._read(reader))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for part in parts:
                    if answered.done():
                        break
                    try:
                        writer.write(part)
                        await writer.drain()
                    except ConnectionError:  # it answered and closed before it read everything
                        break
                    if pause:
                        await asyncio.wait({answered}, timeout=pause)
                try:
                    status, headers, body = await answered
                except (ConnectionError, asyncio.IncompleteReadError):
                    status, headers, body = 0, {}, b""
        finally:
            answered.cancel()
            writer.close()
        return Answer(status, headers, body, time.monotonic() - begun)

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def post(
        self, headers: dict[str, str] | list[tuple[str, str]], body: bytes, *, to: str = "github"
    ) -> Answer:
        """Deliver a body with exactly these headers."""
        pairs = list(headers.items()) if isinstance(headers, dict) else headers
        pairs = [*pairs, ("Content-Length", str(len(body)))]
        return await self.send(self.head(pairs, to=to) + body)

    def head(self, pairs: list[tuple[str, str]], *, to: str = "github", method: str = "POST") -> bytes:
        lines = [f"{method} /agents/webhooks/{to} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in pairs]
        return "\r\n".join([*lines, "", ""]).encode("utf-8")

    async def deliver(self, event: str, payload: Any) -> Answer:
        """Deliver an event as GitHub does."""
        body = json.dumps(payload).encode()
        return await self.post(github(body, event=event), body)

    async def deliver_linear(self, payload: dict[str, Any], *, age: float = 0.0) -> Answer:
        """Deliver an event as Linear does, sent ``age`` seconds ago."""
        body = json.dumps({"webhookTimestamp": (time.time() - age) * 1000, **payload}).encode()
        return await self.post(linear(body), body, to="linear")

    def variables(self) -> dict[str, str]:
        """Return all Variables of this Airflow."""
        with Session(self.engine) as session:
            return {each.key: each.val for each in session.scalars(select(Variable))}

    def marks(self) -> dict[str, int]:
        """Return what is marked."""
        return json.loads(self.variables().get(VARIABLE, "{}"))


@contextmanager
def webhook_world(folder: Path, monkeypatch: pytest.MonkeyPatch, **secrets: str) -> Iterator[WebhookWorld]:
    """Serve the endpoints.

    :param secrets: ``github`` and ``linear``, in place of the usual ones; empty: no connection is named.
    """
    engine = create_engine(
        f"sqlite:///{folder / 'airflow.db'}", connect_args={"check_same_thread": False, "timeout": 5}
    )
    Variable.metadata.create_all(engine, tables=[Variable.__table__, Connection.__table__])
    sessions = sessionmaker(engine, expire_on_commit=False)
    for name in ("Session", "NonScopedSession"):
        monkeypatch.setattr(airflow_settings, name, sessions)
    for name, secret in {"github": GITHUB_SECRET, "linear": LINEAR_SECRET, **secrets}.items():
        monkeypatch.setenv(
            f"AIRFLOW__AGENTS__{name.upper()}_WEBHOOK_CONN_ID", f"{name}_webhook" if secret else ""
        )
        monkeypatch.setenv(
            f"AIRFLOW_CONN_{name.upper()}_WEBHOOK", json.dumps({"conn_type": "generic", "password": secret})
        )
    # A busy machine takes its time; tests of these limits set their own.
    monkeypatch.setattr(webhook_endpoints, "BODY_SECONDS", 8.0)
    monkeypatch.setattr(webhook_endpoints, "ANSWER_SECONDS", 9.0)
    yield WebhookWorld(_server().serve(api_server()), engine)
    engine.dispose()


def api_server() -> FastAPI:
    """Return an app that has the plugin as Airflow's has it."""
    from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
    from fastapi.middleware.gzip import GZipMiddleware

    app = FastAPI()
    app.add_middleware(JWTRefreshMiddleware)
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    (served,) = AgentsPlugin().fastapi_apps
    app.mount(served["url_prefix"], served["app"])
    return app


class Server:
    """uvicorn in a thread, for as long as this process lives; what it serves changes."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(self._forward, log_level="warning", lifespan="off", interface="asgi3")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            assert time.monotonic() < end, f"uvicorn did not start within {START_SECONDS} s"
            time.sleep(0.01)

    def serve(self, app: FastAPI) -> int:
        """Serve ``app`` from now on; return the port."""
        self._app = app
        port: int = self._listener.getsockname()[1]
        return port

    async def _forward(self, scope: Any, receive: Any, send: Any) -> None:
        assert self._app is not None
        await self._app(scope, receive, send)


_server = cache(Server)

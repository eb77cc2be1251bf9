"""Public endpoints that GitHub and Linear deliver webhooks to. All that a delivery can do is to have us look.

They need no login, so each refuses to work without a secret, and trusts nothing of a request before its
signature fits. Everything works without them, too, by schedule.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.domain.webhook_events import names_of_github, names_of_linear
from airflow_provider_agents.domain.webhook_marks import delivery_ids
from airflow_provider_agents.domain.webhook_signature import (
    github_digest,
    is_of_now,
    is_signed,
    linear_digest,
)
from airflow_provider_agents.plugins import webhook_store
from airflow_provider_agents.plugins.webhook_limits import (
    BusyError,
    RateExceededError,
    Threads,
    Turnstile,
)
from airflow_provider_agents.plugins.webhook_secrets import WebhookSecrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

MOST_BYTES = 1_048_576
"""Of a body. GitHub's own bound is 25 MB, which only pushes of very many commits come near."""
BODY_SECONDS = 3.0
ANSWER_SECONDS = 4.5
"""Until the answer: GitHub waits for ten seconds, Linear for five."""
COMPLAINT_SECONDS = 60.0
"""Between two lines of the log about refusals of the same kind."""
_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,100}")
_EVENT = re.compile(r"[a-z0-9_]{1,60}")


@dataclass(frozen=True, slots=True)
class Sender:
    """How one service delivers.

    :param name: last part of the endpoint's path.
    :param option: of ``[agents]``: names the connection with the secret.
    :param conn_id: reads that option.
    :param signature: header.
    :param digest: gets the digest out of that header.
    :param delivery: header with the delivery's id.
    :param event: header with the kind of event; empty: the body says it.
    """

    name: str
    option: str
    conn_id: Callable[[], str]
    signature: str
    digest: Callable[[str], str | None]
    delivery: str
    event: str = ""


GITHUB = Sender(
    name="github",
    option="github_webhook_conn_id",
    conn_id=lambda: settings.text("github_webhook_conn_id"),
    signature="X-Hub-Signature-256",
    digest=github_digest,
    delivery="X-GitHub-Delivery",
    event="X-GitHub-Event",
)
LINEAR = Sender(
    name="linear",
    option="linear_webhook_conn_id",
    conn_id=lambda: settings.text("linear_webhook_conn_id"),
    signature="Linear-Signature",
    digest=linear_digest,
    delivery="Linear-Delivery",
)
SENDERS = (GITHUB, LINEAR)


class RefusedError(Exception):
    """The answer to a request that is not taken.

    :param status: of HTTP.
    :param text: tells its sender no more than what its sender has to mend.
    :param close: the body was not read to its end.
    """

    def __init__(self, status: int, text: str, *, close: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.close = close


@dataclass(slots=True)
class Receiver:
    """What the endpoints of one process share."""

    secrets: WebhookSecrets = field(default_factory=WebhookSecrets)
    turnstile: Turnstile = field(default_factory=Turnstile)
    threads: Threads = field(default_factory=Threads)
    complaints: dict[tuple[str, int], float] = field(default_factory=dict)

    async def answer(self, sender: Sender, request: Request) -> Response:
        """Answer one delivery, within :data:`ANSWER_SECONDS`."""
        from starlette.responses import JSONResponse

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, result = await self._take(sender, request)
                return JSONResponse({"result": result}, status)
        except RefusedError as refused:
            refusal = refused
        except RateExceededError:
            refusal = RefusedError(429, "There are too many requests. Deliver it again later.", close=True)
        except (BusyError, TimeoutError):
            refusal = RefusedError(503, "There is too much to do. Deliver it again later.", close=True)
        except Exception:
            log.exception("A webhook of %s failed", sender.name)
            refusal = RefusedError(503, "It cannot be taken now. Deliver it again later.", close=True)
        self._complain(sender, refusal)
        headers = {"Connection": "close"} if refusal.close else {}
        if refusal.status in (429, 503):
            headers["Retry-After"] = "30"
        return JSONResponse({"detail": refusal.text}, refusal.status, headers)

    async def _take(self, sender: Sender, request: Request) -> tuple[int, str]:
        with self.turnstile.entered():
            secrets = await self._secrets(sender)
            delivery, event, digest = read_headers(sender, request)
            body = await read_body(request)
            if not is_signed(body, digest, secrets):
                raise RefusedError(401, "The signature does not fit: is the secret the same on both sides?")
            payload = read_json(body)
            if sender is LINEAR:
                if not is_of_now(payload, time.time()):
                    raise RefusedError(401, "webhookTimestamp is missing, or more than a minute from now.")
                event, names = str(payload.get("type"))[:60], names_of_linear(payload)
            elif event == "ping":
                return 200, "pong"
            else:
                names = names_of_github(event, payload)
            variable = settings.text("wake_variable", "agents_wake")
            if not names or not variable:
                # Linear takes any other status than 200 for a failure.
                return (200 if sender is LINEAR else 202), "ignored"
            ids = delivery_ids(sender.name, delivery, body)
            woken = await self.threads.run(webhook_store.wake, variable, names, ids)
            result = "woken" if woken else "seen"
            log.info("Webhook %s of %s (%s): %s, %s", delivery, sender.name, event, result, ", ".join(names))
            return 200, result

    async def _secrets(self, sender: Sender) -> tuple[str, ...]:
        conn_id = sender.conn_id()
        if not conn_id:
            raise RefusedError(
                503,
                f"Webhooks of this kind are off: [agents] {sender.option} names no connection.",
                close=True,
            )
        secrets = self.secrets.known(conn_id)
        if secrets is None:
            secrets = await self.threads.run(self.secrets.read, conn_id)
        if not secrets:
            raise RefusedError(
                503,
                f"Webhooks of this kind are off: the connection that [agents] {sender.option} names has no "
                "usable secret. The API server's log says why.",
                close=True,
            )
        return secrets

    def _complain(self, sender: Sender, refused: RefusedError) -> None:
        """Log a refusal, but one of each kind a minute: anybody can send requests."""
        now, kind = time.monotonic(), (sender.name, refused.status)
        if now >= self.complaints.get(kind, 0.0):
            self.complaints[kind] = now + COMPLAINT_SECONDS
            log.warning("A webhook of %s is refused, %d: %s", sender.name, refused.status, refused.text)


def read_headers(sender: Sender, request: Request) -> tuple[str, str, str]:
    """Return the delivery's id, the kind of event (empty: the body says it) and the digest of the signature.

    :raises RefusedError: 400, 401, 413 or 415.
    """
    headers = request.headers
    for name in filter(None, (sender.signature, sender.delivery, sender.event, "Content-Type")):
        if len(headers.getlist(name)) > 1:
            raise RefusedError(400, f"The header {name} is there more than once.", close=True)
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "The content type must be application/json.", close=True)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RefusedError(415, "The body must not be compressed.", close=True)
    length = headers.get("Content-Length", "")
    if length.isdecimal() and (len(length) > 12 or int(length) > MOST_BYTES):
        raise _too_large()
    digest = sender.digest(headers.get(sender.signature, ""))
    if digest is None:
        raise RefusedError(
            401,
            f"The header {sender.signature} with the SHA-256 signature is missing or unusable.",
            close=True,
        )
    delivery = headers.get(sender.delivery, "")
    if not _DELIVERY.fullmatch(delivery):
        raise RefusedError(400, f"The header {sender.delivery} is missing or unusable.", close=True)
    event = headers.get(sender.event, "") if sender.event else ""
    if sender.event and not _EVENT.fullmatch(event):
        raise RefusedError(400, f"The header {sender.event} is missing or unusable.", close=True)
    return delivery, event, digest


async def read_body(request: Request) -> bytes:
    """Return the raw body.

    :raises RefusedError: 413, 408, or 400 where the connection broke.
    """
    from starlette.requests import ClientDisconnect

    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise RefusedError(408, f"The body did not come within {BODY_SECONDS:g} s.", close=True) from None
    except ClientDisconnect:
        raise RefusedError(400, "The body is not complete.", close=True) from None
    return bytes(body)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object.

    :raises RefusedError: 400, it is none.
    """
    try:
        payload = json.loads(body.decode())
    except (ValueError, RecursionError):  # a number may have too many digits, an array too many levels
        payload = None
    if not isinstance(payload, dict):
        raise RefusedError(400, "The body must be a JSON object in UTF-8.")
    return payload


def _too_large() -> RefusedError:
    return RefusedError(413, f"The body has more than {MOST_BYTES} bytes.", close=True)


def add_webhooks(app: Any, receiver: Receiver | None = None) -> None:
    """Add ``POST /webhooks/github`` and ``POST /webhooks/linear`` to a FastAPI app.

    :param receiver: what the endpoints share; by default a new one.
    """
    taking = receiver or Receiver()
    for sender in SENDERS:
        app.add_api_route(
            f"/webhooks/{sender.name}",
            _endpoint(sender, taking),
            methods=["POST"],
            name=f"{sender.name}_webhook",
        )


def _endpoint(sender: Sender, receiver: Receiver) -> Callable[..., Any]:
    from starlette.requests import Request
    from starlette.responses import Response

    async def take(request: Request) -> Response:
        return await receiver.answer(sender, request)

    # FastAPI looks for the parameter's class by what the annotation holds, not by its text.
    take.__annotations__ = {"request": Request, "return": Response}
    take.__doc__ = f"Take a webhook of {sender.name}."
    return take

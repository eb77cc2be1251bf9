"""Webhooks: signed deliveries to addresses of this machine, lost, late or out of order as a test wishes.

As on GitHub a delivery is tried once; whoever missed it reads the log and asks for it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from yarl import URL

from demo.github.errors import ApiError, not_found
from demo.github.webhook_payloads import EVENTS, events_of, repository_view

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from demo.github.forge import Forge
    from demo.github.mutations import Entry

TIMEOUT_SECONDS = 10.0
"""GitHub's limit for an answer."""
KEPT_DELIVERIES = 2000
MOST_WAITING = 10_000
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Sender = Callable[[str, Mapping[str, str], bytes], Awaitable[int]]
"""Posts a body with headers to an address and returns the status."""


@dataclass
class Hook:
    """One registered receiver."""

    id: int
    url: str
    secret: str = ""
    events: tuple[str, ...] = ("*",)
    repository: str | None = None
    """``owner/name``; ``None``: all."""
    active: bool = True
    loss: float = 0.0
    """Probability that a delivery is not sent."""
    lose_next: int = 0
    """How many of the next deliveries are not sent."""
    delay_seconds: float = 0.0
    reorder: int = 1
    """How many deliveries are collected and then sent last one first; 1: in order."""
    held: list[Delivery] = field(default_factory=list)

    def wants(self, event: str, repository: str) -> bool:
        chosen = "*" in self.events or event in self.events
        here = self.repository is None or self.repository.lower() == repository.lower()
        return self.active and chosen and here

    def describe(self) -> dict[str, Any]:
        """Return it as JSON, without its secret."""
        view = {key: value for key, value in asdict(self).items() if key not in ("secret", "held")}
        return {**view, "held": len(self.held)}


@dataclass
class Delivery:
    """One event for one hook."""

    id: int
    guid: str
    hook_id: int
    event: str
    action: str | None
    payload: dict[str, Any]
    at: str
    redelivery: bool = False
    status: str = "waiting"
    """``waiting``, ``OK``, ``lost`` or what went wrong."""
    status_code: int | None = None

    def describe(self) -> dict[str, Any]:
        return asdict(self)


CHANGEABLE = {field.name: field for field in fields(Hook) if field.name not in ("id", "held")}


class Webhooks:
    """All hooks of one stand-in and their deliveries.

    :param installation: id of the App's installation that payloads name, where there is one.
    :param sender: how to deliver; by default HTTP.
    """

    def __init__(
        self,
        forge: Forge,
        *,
        installation: Callable[[], int | None] = lambda: None,
        sender: Sender | None = None,
        seed: int = 0,
    ) -> None:
        self._forge = forge
        self._installation = installation
        self._send = sender or self._post
        self._session: ClientSession | None = None
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[int, asyncio.Lock] = {}
        self._count = 0
        self.hooks: dict[int, Hook] = {}
        self.deliveries: deque[Delivery] = deque(maxlen=KEPT_DELIVERIES)
        forge.mutations.listen(self._changed)

    def add(self, values: dict[str, Any]) -> Hook:
        """Register a receiver: ``url`` on loopback, and as wished what :class:`Hook` has; it is pinged.

        :raises ApiError: 422 for an address elsewhere, or a value that is none.
        """
        hook = Hook(id=max([0, *self.hooks]) + 1, url="")
        self._set(hook, {"url": "", **values})
        self.hooks[hook.id] = hook
        payload = {"zen": "Keep it logically awesome.", "hook_id": hook.id, **self._common(hook)}
        self._start(hook, self._note(hook, "ping", payload))
        return hook

    def change(self, hook_id: int, values: dict[str, Any]) -> Hook:
        """Change what :class:`Hook` has, e.g. ``loss`` or ``lose_next``.

        :raises ApiError: 404 for an unknown hook, 422 for a value that is none.
        """
        hook = self._hook(hook_id)
        self._set(hook, values)
        return hook

    def remove(self, hook_id: int) -> None:
        del self.hooks[self._hook(hook_id).id]

    def flush(self, hook_id: int) -> None:
        """Send what a reordering hook has collected."""
        hook = self._hook(hook_id)
        held, hook.held = hook.held, []
        for delivery in reversed(held):
            self._start(hook, delivery)

    def redeliver(self, delivery_id: int) -> Delivery:
        """Send a delivery again, with the GUID that it had.

        :raises ApiError: 404, it is not in the log (any more).
        """
        former = next((item for item in self.deliveries if item.id == delivery_id), None)
        if former is None:
            raise not_found()
        hook = self._hook(former.hook_id)
        again = self._note(hook, former.event, former.payload, guid=former.guid)
        self._start(hook, again)
        return again

    async def settled(self) -> None:
        """Wait until nothing is on its way; what hooks hold back stays."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stop(self) -> None:
        """Give up what is on its way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _set(self, hook: Hook, values: dict[str, Any]) -> None:
        if unknown := set(values) - set(CHANGEABLE):
            raise ApiError(422, f"A hook has no {', '.join(sorted(unknown))}.")
        if "url" in values:
            address = URL(str(values["url"]))
            if address.scheme != "http" or address.host not in LOOPBACK:
                raise ApiError(
                    422, "'url' is an http address of this machine, e.g. http://127.0.0.1:8000/hook."
                )
        if "events" in values:
            values = {**values, "events": tuple(values["events"])}
            if unknown := set(values["events"]) - EVENTS - {"*"}:
                raise ApiError(422, f"No event is called {', '.join(sorted(unknown))}.")
        for name in ("loss", "lose_next", "delay_seconds", "reorder"):
            value = values.get(name, 0)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or value < (name == "reorder" and name in values) or (name == "loss" and value > 1):
                raise ApiError(422, f"{name!r} cannot be {value!r}.")
        for name, value in values.items():
            setattr(hook, name, value)

    def _hook(self, hook_id: int) -> Hook:
        if hook_id not in self.hooks:
            raise not_found()
        return self.hooks[hook_id]

    def _changed(self, entry: Entry) -> None:
        if not self.hooks:
            return
        for event, payload in events_of(self._forge, entry):
            for hook in self.hooks.values():
                if hook.wants(event, str(entry["repository"])):
                    self._queue(hook, event, payload)

    def _queue(self, hook: Hook, event: str, payload: dict[str, Any]) -> None:
        delivery = self._note(hook, event, {**self._common(hook), **payload})
        if hook.lose_next or (hook.loss and self._random.random() < hook.loss):
            hook.lose_next = max(hook.lose_next - 1, 0)
            delivery.status = "lost"
        elif hook.reorder > 1:
            hook.held.append(delivery)
            if len(hook.held) >= hook.reorder:
                self.flush(hook.id)
        else:
            self._start(hook, delivery)

    def _common(self, hook: Hook) -> dict[str, Any]:
        """Return what payloads have besides the event: the App's installation, and the hook's repository."""
        installation = self._installation()
        common: dict[str, Any] = {"installation": {"id": installation}} if installation is not None else {}
        if hook.repository and (found := self._forge.store.repository(hook.repository)):
            common["repository"] = repository_view(self._forge, found)
        return common

    def _note(self, hook: Hook, event: str, payload: dict[str, Any], guid: str | None = None) -> Delivery:
        self._count += 1
        delivery = Delivery(
            id=self._count,
            guid=guid or str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            hook_id=hook.id,
            event=event,
            action=payload.get("action"),
            payload=payload,
            at=self._forge.clock.now().isoformat(timespec="milliseconds"),
            redelivery=guid is not None,
        )
        self.deliveries.append(delivery)
        return delivery

    def _start(self, hook: Hook, delivery: Delivery) -> None:
        if len(self._tasks) >= MOST_WAITING:
            delivery.status = "lost"
            return
        due = self._forge.clock.time() + hook.delay_seconds
        task = asyncio.create_task(self._deliver(hook, delivery, due), name=f"webhook {delivery.guid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, hook: Hook, delivery: Delivery, due: float) -> None:
        await self._forge.clock.sleep(due - self._forge.clock.time())
        body = json.dumps(delivery.payload).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/stand-in",
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Hook-ID": str(hook.id),
        }
        if hook.secret:
            headers["X-Hub-Signature-256"] = signature_of(hook.secret, body)
        async with self._turns.setdefault(hook.id, asyncio.Lock()):
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    delivery.status_code = await self._send(hook.url, headers, body)
            except TimeoutError:
                delivery.status = "timed out"
            except OSError as error:
                delivery.status = f"failed to connect: {error}"
            else:
                delivery.status = "OK" if delivery.status_code < 300 else "refused"

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return response.status
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error


def signature_of(secret: str, body: bytes) -> str:
    """Return the value of ``X-Hub-Signature-256``."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"

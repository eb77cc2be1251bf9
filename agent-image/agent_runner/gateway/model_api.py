"""What the gateway must know of a model API to serve it. One value for each API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from aiohttp import web

    from agent_runner.gateway.metering import Meter
    from agent_runner.gateway.price_table import Price

Fault = Literal[
    "not_served",
    "unusable",
    "request",
    "too_large",
    "credential",
    "budget",
    "unreachable",
    "answer",
]
"""Why the gateway itself answers with an error.

``not_served``: no such path. ``unusable``: the configuration or the ledger. ``request``: it did not come whole,
is compressed, or asks for more than an answer. ``too_large``. ``credential``: missing, unusable or refused. ``budget``: it is spent.
``unreachable``: the API cannot be reached, which an agent may retry. ``answer``: one that cannot be passed on.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a metered request asks for."""

    model: str
    """Empty where it names none."""
    max_output: int | None
    """Most output tokens; ``None`` where the request does not limit them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelApi:
    """One API of models: how requests are authorised, metered and refused."""

    name: str
    """First segment of its paths at the gateway, and what it is called in the log."""
    metered_path: str
    free_paths: frozenset[str] = frozenset()
    """Paths whose calls cost nothing."""
    secret_keys: tuple[str, ...]
    """Credentials of which the first that is there is used."""
    authorize: Callable[[MutableMapping[str, str], str, str], None]
    """Puts a credential, given its key and its value, on the headers of a request."""
    request_headers: tuple[str, ...]
    """Headers of the client that go upstream."""
    answer_headers: frozenset[str]
    """Headers of the answer that go to the client, in lower case."""
    answer_prefixes: tuple[str, ...]
    """Starts of further ones, in lower case."""
    asked: Callable[[Mapping[str, object]], Asked]
    """Reads the body of a metered request."""
    meter: Callable[[bool], Meter]
    """Returns a new meter: of an event stream (true), or of a plain answer."""
    check: Callable[[Mapping[str, Any]], None]
    """Raises :class:`RefusedRequestError` for the body of a request, metered or not, that would make the API do more
    than to answer, or at more than the list price."""
    error: Callable[[Fault, str], web.Response]
    """Returns an error in the API's own form and with a status that agent programs do not retry in vain."""
    fallback: Price
    """Price of unknown models."""

    @property
    def served(self) -> str:
        """The paths, for a message."""
        return " and ".join([self.metered_path, *sorted(self.free_paths)])

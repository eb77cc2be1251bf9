"""Which requests a model API is asked at all: what is the same for every API.

An API does more than answer: it fetches pages, speaks to servers, opens files of the account, works on when the
answer is given, and does some of it at other prices. Whoever may only reach the API would reach all that through
it, past any network policy and beside the budget. So requests pass that hold nothing but what is known to stay
with the two sides: a conversation with its content in it, and tools that the agent program runs itself. What is
not known is refused; a later version of an agent program may need a later version of the gateway.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn

from agent_runner.gateway.push_request import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_MAX_WORD = 60
"""Most characters of the client's own words in a reason."""


class RefusedRequestError(Exception):
    """A request is not passed on. The text names the field and says why."""


def read_request(body: bytes) -> dict[str, Any]:
    """Return the body of a request, which can be read in one way only.

    :raises RefusedRequestError: if it is no JSON object, or names a field twice: then the API could take the other
        one of the two.
    """
    try:
        value = json.loads(body.decode(), object_pairs_hook=_members)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RefusedRequestError("the body is not a JSON object in UTF-8")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        refuse(word(twice), "the body names this field twice")
    return members


def refuse(field: str, why: str) -> NoReturn:
    """Refuse a request for ``field``.

    :raises RefusedRequestError: always.
    """
    raise RefusedRequestError(f"{field}: {why}")


def word(value: object) -> str:
    """Return a word of the client's for a reason: short, on one line."""
    if isinstance(value, str):
        return printable(value, _MAX_WORD)
    return "without a name" if value is None else f"of a {type(value).__name__}"


def kind_of(value: Mapping[str, object], field: str) -> str | None:
    """Return the type that an object of the request names, if it names one.

    :raises RefusedRequestError: if that is no text.
    """
    kind = value.get("type")
    if kind is None or isinstance(kind, str):
        return kind
    refuse(f"{field} {word(kind)}", "the type is not a text")


def check_fields(body: Mapping[str, object], known: Collection[str], why: Mapping[str, str]) -> None:
    """Check that a request has no fields but ``known`` ones, and ones that are empty.

    :param why: what is wrong with some of the others.
    :raises RefusedRequestError: if it has.
    """
    for name, value in body.items():
        if name not in known and value not in (None, False, [], {}, ""):
            refuse(word(name), why.get(name, "the gateway does not know what this makes the API do"))


def check_value(body: Mapping[str, object], field: str, allowed: Collection[str], why: str) -> None:
    """Check that a field, if it is there, has one of the ``allowed`` values.

    :raises RefusedRequestError: if not.
    """
    value = body.get(field)
    if value is not None and value not in allowed:
        refuse(f"{field} {word(value)}", f"{why}; allowed: {', '.join(allowed)}")


def objects(value: object, field: str) -> Iterable[Mapping[str, Any]]:
    """Return the objects of a list; of nothing or of a plain text there are none.

    :raises RefusedRequestError: if something else is in it.
    """
    if value is None or isinstance(value, str):
        return ()
    if not isinstance(value, list):
        refuse(field, "neither a list nor a text")
    if not all(isinstance(each, dict) for each in value):
        refuse(field, "not everything in the list is an object")
    return value

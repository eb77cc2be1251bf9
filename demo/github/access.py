"""Who is calling."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

from demo.github.errors import ApiError

if TYPE_CHECKING:
    from demo.github.state import Store, User


def user_of_token(store: Store, token: str) -> User | None:
    """Return whose token it is; compared in constant time."""
    for known, user in store.tokens.items():
        if hmac.compare_digest(known.encode(), token.encode(errors="replace")):
            return user
    return None


def api_user(store: Store, header: str | None, *, documentation_url: str) -> User:
    """Return who sends an ``Authorization`` header to the API.

    :raises ApiError: 401, nobody known.
    """
    if not header:
        raise ApiError(401, "Requires authentication", documentation_url=documentation_url)
    scheme, _, token = header.partition(" ")
    user = (
        user_of_token(store, token.strip())
        if scheme.lower() in ("bearer", "token")
        else git_user(store, header)
    )
    if user is None:
        raise ApiError(401, "Bad credentials", documentation_url=documentation_url)
    return user


def git_user(store: Store, header: str | None) -> User | None:
    """Return who sends a Basic ``Authorization`` header: the password is the token, any name will do."""
    if (header or "").partition(" ")[0].lower() != "basic":
        return None
    token = token_of(header)
    return None if token is None else user_of_token(store, token)


def token_of(header: str | None) -> str | None:
    """Return the token in an ``Authorization`` header, ``None`` where there is none."""
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() in ("bearer", "token"):
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return pair.partition(":")[2]

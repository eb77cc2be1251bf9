"""The HTTP session that the Jira library is given: bounded in bytes and in time, and it follows nobody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 64 * 1024


class AnswerTooLongError(Exception):
    """An answer had more bytes, or took more seconds, than are allowed."""


def bounded_session(most_bytes: int, most_seconds: float) -> requests.Session:
    """Return a session whose answers are read at once, up to a bound.

    requests bounds the wait for each packet, not for the whole answer, and reads whatever comes. Redirects are
    not followed, so that the credential stays with the host that it was given for.

    :param most_bytes: of one decoded body.
    :param most_seconds: from sending a request to the last byte of its answer.
    """
    import requests

    class BoundedSession(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            ends = time.monotonic() + most_seconds
            response = super().request(*args, **{**kwargs, "stream": True, "allow_redirects": False})
            try:
                body = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    body += chunk
                    if len(body) > most_bytes:
                        raise AnswerTooLongError(f"it is longer than {most_bytes:,} bytes")
                    if time.monotonic() > ends:
                        raise AnswerTooLongError(f"it took longer than {most_seconds:g} s")
            finally:
                response.close()
            response._content = bytes(body)
            return response

    return BoundedSession()

"""Errors, in the form of either API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ApiError(Exception):
    """A request that is answered with an error instead of a message.

    :param status: HTTP status code.
    :param kind: the API's name of the error, such as ``invalid_request_error``.
    :param message: what is wrong, for a person.
    :param headers: further headers of the answer, such as ``retry-after``.
    """

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {kind}: {message}")
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = dict(headers or {})

    def openai_body(self) -> dict[str, Any]:
        """Return the answer's JSON body as OpenAI's API has it; its codes are the script's names of errors."""
        return {
            "error": {"message": self.message, "type": self.kind, "param": None, "code": self.kind},
        }

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the answer's JSON body as Anthropic's API has it."""
        return {
            "type": "error",
            "error": {"type": self.kind, "message": self.message},
            "request_id": request_id,
        }


def invalid_request(message: str) -> ApiError:
    """Return the error for a request that does not fit the API."""
    return ApiError(400, "invalid_request_error", message)

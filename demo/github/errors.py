"""Answers that are refusals, in GitHub's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENTATION = "https://docs.github.com/rest"


class ApiError(Exception):
    """A request that GitHub would refuse.

    :param status: HTTP status of the REST answer.
    :param message: GitHub's own words.
    :param errors: the ``errors`` list of a 422, items being objects or strings.
    :param kind: ``type`` of the GraphQL error for the same fault.
    :param headers: of the answer, e.g. ``retry-after``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: list[Any] | None = None,
        kind: str = "UNPROCESSABLE",
        documentation_url: str = DOCUMENTATION,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.kind = kind
        self.documentation_url = documentation_url
        self.headers = dict(headers or {})

    @property
    def sentence(self) -> str:
        """What GraphQL says in the place of a REST answer's message and its ``errors``."""
        said = [error for error in self.errors or () if isinstance(error, str)]
        return ". ".join(said) or self.message

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the REST answer."""
        body: dict[str, Any] = {"message": self.message}
        if self.errors is not None:
            body["errors"] = self.errors
        body["documentation_url"] = self.documentation_url
        body["status"] = str(self.status)
        return body


def not_found() -> ApiError:
    """Return the answer for what is not there, or not for this user's eyes."""
    return ApiError(404, "Not Found", kind="NOT_FOUND")


def forbidden(message: str = "Resource not accessible by personal access token") -> ApiError:
    """Return the answer for what this user may see but not do."""
    return ApiError(403, message, kind="FORBIDDEN")


def validation_failed(*errors: dict[str, Any] | str) -> ApiError:
    """Return a 422 with ``errors``; each names its resource, field and code, or is a sentence."""
    said = [str(error.get("message", "")) for error in errors if isinstance(error, dict)]
    return ApiError(
        422, "Validation Failed", errors=list(errors), kind="UNPROCESSABLE" if said else "INVALID"
    )


def invalid(resource: str, field: str, code: str = "invalid") -> ApiError:
    """Return a 422 that names one bad field."""
    return validation_failed({"resource": resource, "field": field, "code": code})


def custom(resource: str, message: str, field: str | None = None) -> ApiError:
    """Return a 422 that carries a sentence, about one field where that is named."""
    named = {"field": field} if field else {}
    return validation_failed({"resource": resource, "code": "custom", **named, "message": message})

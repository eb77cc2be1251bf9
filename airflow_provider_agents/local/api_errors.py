"""Errors of the API, each answered as a Kubernetes ``Status`` object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
"""An object as it goes over the wire."""

KINDS = {
    "pods": "Pod",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "events": "Event",
}
"""The resources that are served, and their kinds."""


class ApiError(Exception):
    """A request that is refused.

    :param code: HTTP status.
    :param reason: machine-readable reason, such as ``NotFound``.
    :param message: text for people.
    :param details: the ``details`` of the ``Status`` object.
    """

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> Json:
        """Return the ``Status`` object of this error."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


_TITLES = {
    "Required": "Required value",
    "Invalid": "Invalid value",
    "Duplicate": "Duplicate value",
    "NotFound": "Not found",
    "TooLong": "Too long",
    "Forbidden": "Forbidden",
    "NotSupported": "Unsupported value",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an object.

    :param field: path of the field, such as ``spec.containers[0].name``.
    :param reason: ``Required``, ``Invalid``, ``Duplicate``, ``NotFound``, ``TooLong``, ``Forbidden`` or
        ``NotSupported``.
    :param detail: what is expected.
    :param value: what was found, where showing it helps.
    """

    field: str
    reason: str
    detail: str
    value: object = None

    def message(self) -> str:
        """Return title, value and detail, without the field."""
        text = _TITLES[self.reason]
        if self.value is not None:
            shown = f'"{self.value}"' if isinstance(self.value, str) else f"{self.value}"
            text += f": {shown}"
        return f"{text}: {self.detail}" if self.detail else text

    def cause(self) -> Json:
        """Return the entry of ``details.causes``."""
        return {"reason": f"FieldValue{self.reason}", "message": self.message(), "field": self.field}


def not_found(resource: str, name: str) -> ApiError:
    """Return the error for an object that does not exist."""
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})


def already_exists(resource: str, name: str) -> ApiError:
    """Return the error for a name that is taken."""
    return ApiError(
        409, "AlreadyExists", f'{resource} "{name}" already exists', {"name": name, "kind": resource}
    )


def conflict(resource: str, name: str, why: str) -> ApiError:
    """Return the error for a precondition that does not hold."""
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, {"name": name, "kind": resource})


def forbidden(resource: str, name: str, why: str) -> ApiError:
    """Return the error for an object that admission refuses."""
    message = f'{resource} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, {"name": name, "kind": resource})


def bad_request(message: str) -> ApiError:
    """Return the error for a request that cannot be understood."""
    return ApiError(400, "BadRequest", message)


def invalid(resource: str, name: str, faults: list[Fault]) -> ApiError:
    """Return the error for an object with the given faults (at least one)."""
    kind = KINDS[resource]
    texts = [f"{fault.field}: {fault.message()}" for fault in faults]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = {"name": name, "kind": kind, "causes": [fault.cause() for fault in faults]}
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {joined}', details)

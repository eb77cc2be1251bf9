"""What an error of the Kubernetes API means for a step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent_runner.contract import failure

if TYPE_CHECKING:
    from agent_runner.contract import Failure

_REFUSED = frozenset({401, 403})
_INVALID = frozenset({400, 404, 422})
_POLICIES = ("podsecurity", "admission webhook", "validatingadmissionpolicy", "is invalid", "pod rejected")


def api_failure(doing: str, status: int | None, body: Any = None) -> Failure:
    """Return what a failed call means.

    :param doing: what was tried: ``creating pod agents/agent-plan-x``.
    :param status: HTTP status; ``None`` where the API did not answer.
    :param body: the answer, usually the JSON of a ``Status`` object.
    """
    words = _words(body)
    what = f"Kubernetes answered {status} to {doing}" if status else f"Kubernetes did not answer to {doing}"
    what = f"{what}: {words}" if words else f"{what}."
    lower = words.lower()
    if status in _REFUSED:
        if "exceeded quota" in lower:
            return failure(
                "unschedulable",
                what,
                remedy="Wait for other pods to end, raise the ResourceQuota, or ask for less `cpu` and `memory`.",
            )
        return failure(
            "pod_refused" if any(each in lower for each in _POLICIES) else "kubernetes_refused", what
        )
    return failure("pod_refused" if status in _INVALID else "kubernetes_unavailable", what)


def _words(body: Any) -> str:
    """Return the message of a ``Status`` object, or the text as it is."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        status = json.loads(text)
    except ValueError:
        return text[:500]
    message = status.get("message") if isinstance(status, dict) else None
    return str(message or text)[:500]

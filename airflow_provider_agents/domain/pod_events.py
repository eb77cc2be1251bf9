"""What the Kubernetes events of one pod say about why it does not start.

Events tell what the pod's status leaves out (mounts, the scheduler's tries, the cause behind a pull that is
backing off), but they may be missing: they are kept for about an hour, reading them is a right of its own,
and nothing promises that they arrive. So they explain and sharpen, and nothing depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_WARNINGS = 3
"""How many different warnings a message quotes, the last ones."""
MAX_TEXT = 300
"""How many characters of one warning are quoted."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEvent:
    """One kind of thing that happened to a pod, as often as it happened."""

    reason: str
    message: str
    count: int = 1
    warning: bool = True
    last: datetime | None = None

    def text(self) -> str:
        """Return the event as one line: ``FailedMount (4 times): …``."""
        times = f" ({self.count} times)" if self.count > 1 else ""
        message = " ".join(self.message.split())
        if len(message) > MAX_TEXT:
            message = f"{message[: MAX_TEXT - 1]}…"
        return f"{self.reason}{times}: {message}"


def read_events(items: Iterable[Mapping[str, Any]], uid: str | None) -> tuple[PodEvent, ...]:
    """Return the events of one pod, oldest first, the same reason and message as one.

    :param items: events as the client's ``to_dict()`` gives them.
    :param uid: the pod's; events of an earlier pod of the same name are left out. ``None``: all.
    """
    found: dict[tuple[str, str], PodEvent] = {}
    for item in items:
        about = (item.get("involved_object") or {}).get("uid")
        if uid is not None and about not in (None, uid):
            continue
        event = _read(item)
        key = (event.reason, event.message)
        known = found.get(key)
        found[key] = event if known is None else _together(known, event)
    return tuple(sorted(found.values(), key=lambda event: event.last or _LONG_AGO))


def last_warnings(events: Iterable[PodEvent]) -> str:
    """Return the last different warnings as one line; empty where there is none."""
    warnings = [event for event in events if event.warning]
    return "; ".join(event.text() for event in warnings[-MAX_WARNINGS:])


def pull_faults(events: Iterable[PodEvent]) -> list[PodEvent]:
    """Return the events of image pulls that failed, with their causes."""
    return [
        event for event in events if event.reason == "Failed" and event.message.startswith("Failed to pull")
    ]


def mount_fault(events: Iterable[PodEvent]) -> PodEvent | None:
    """Return the last failure to mount or attach a volume, unless the volumes are mounted by now."""
    last = None
    for event in events:
        if event.reason in ("FailedMount", "FailedAttachVolume"):
            last = event
        elif event.reason in ("Pulling", "Pulled", "Created", "Started", "Failed"):
            # What concerns images and containers comes only after all volumes are mounted.
            return None
    return last


def _read(item: Mapping[str, Any]) -> PodEvent:
    # Newer components count in a series and stamp in event_time, older ones in count and last_timestamp.
    series = item.get("series") or {}
    last = series.get("last_observed_time") or item.get("last_timestamp") or item.get("event_time")
    if isinstance(last, datetime) and last.tzinfo is None:
        last = last.replace(tzinfo=UTC)
    return PodEvent(
        reason=str(item.get("reason") or "Unknown"),
        message=str(item.get("message") or ""),
        count=max(1, int(series.get("count") or item.get("count") or 1)),
        warning=item.get("type") != "Normal",
        last=last if isinstance(last, datetime) else None,
    )


def _together(one: PodEvent, other: PodEvent) -> PodEvent:
    latest = max(one, other, key=lambda event: event.last or _LONG_AGO)
    return PodEvent(
        reason=one.reason,
        message=one.message,
        count=one.count + other.count,
        warning=latest.warning,
        last=latest.last,
    )

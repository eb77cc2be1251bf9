"""Finding and ending every process of a container, also those that left its process group."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

MARKER = "LOCAL_CONTAINER_ID"
"""Environment variable that every process of a container carries: ``<pod uid>/<container>``."""

_ROUNDS = 50
_PAUSE = 0.02
_TOLERANCE = 2.0
"""Seconds by which two readings of one process's creation time may differ, as the clock is adjusted."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells the processes of a container from all others.

    :param marker: value of :data:`MARKER`.
    :param leader: pid of the first process, which leads a session of its own; ``None`` if it is not known.
    :param created: when that process was made, in seconds since 1970; tells it from a later one of that pid.
    """

    marker: str
    leader: int | None
    created: float


def creation_time(pid: int) -> float:
    """Return when a process was made, in seconds since 1970; 0 if it is gone already."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def members(identity: Identity) -> list[psutil.Process]:
    """Return the processes of a container that are alive.

    A process belongs to it if it is in its session, descends from its leader, or carries its marker. One
    that starts a session of its own, clears its environment and loses its parent is not found.
    """
    found: dict[int, psutil.Process] = {}
    session = _session(identity)
    if session is not None and (leader := _alive(session)):
        with contextlib.suppress(psutil.Error):
            found.update({child.pid: child for child in leader.children(recursive=True)})
            found[leader.pid] = leader
    for process in _others():
        with contextlib.suppress(psutil.Error, OSError):
            in_session = session is not None and os.getsid(process.pid) == session
            if in_session or process.environ().get(MARKER) == identity.marker:
                found[process.pid] = process
    return [process for process in found.values() if _running(process)]


def kill_all(identity: Identity) -> bool:
    """Kill every process of a container; blocks for a second at most.

    :return: whether all are gone.
    """
    for _ in range(_ROUNDS):
        alive = members(identity)
        if not alive:
            return True
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(_PAUSE)
    log.warning(
        "Processes of %s outlive SIGKILL: %s", identity.marker, [each.pid for each in members(identity)]
    )
    return False


def _session(identity: Identity) -> int | None:
    """Return the number of the container's session; ``None`` if another one may have that number by now."""
    if identity.leader is None or identity.created < psutil.boot_time() - _TOLERANCE:
        return None
    # A session keeps the number of its leader, so that it is taken again only by a new leader of that pid.
    if (leader := _alive(identity.leader)) is not None:
        try:
            if abs(leader.create_time() - identity.created) > _TOLERANCE:
                return None
        except psutil.Error:
            pass
    return identity.leader


def _others() -> Iterator[psutil.Process]:
    own = os.getpid()
    for pid in psutil.pids():
        if pid not in (own, 1):
            with contextlib.suppress(psutil.Error):
                yield psutil.Process(pid)


def _alive(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _running(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False

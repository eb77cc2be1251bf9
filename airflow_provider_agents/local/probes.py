"""Startup, liveness and readiness probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_agents.local.api_errors import Json

RunCommand = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""Runs a command in the container within so many seconds; returns exit code and output."""


async def check(probe: Json, container: Json, run_command: RunCommand) -> str | None:
    """Do one probe and return what is wrong, or ``None`` if the container answered as it should.

    :param probe: ``exec``, ``httpGet`` or ``tcpSocket`` with ``timeoutSeconds``.
    :param container: the container's specification, for the numbers of its named ports.
    """
    timeout = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout):
            if action := probe.get("exec"):
                code, output = await run_command(list(action.get("command") or []), timeout)
                return None if code == 0 else output or f"command exited with code {code}"
            if action := probe.get("httpGet"):
                return await _http(action, container, timeout)
            action = probe["tcpSocket"]
            _, writer = await asyncio.open_connection(*_address(action, container))
            writer.close()
            return None
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except Exception as error:  # whatever a probe meets is a failed probe
        return str(error) or type(error).__name__


async def observe(
    probe: Json, check_once: Callable[[], Awaitable[str | None]], on_failure: Callable[[str], None]
) -> AsyncIterator[bool]:
    """Probe for ever; yield ``True`` and ``False`` each time the threshold of one of them is reached.

    :param on_failure: told about every single failed probe.
    """
    await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
    thresholds = {True: probe.get("successThreshold") or 1, False: probe.get("failureThreshold") or 3}
    period = probe.get("periodSeconds") or 10
    last, count = None, 0
    while True:
        problem = await check_once()
        healthy = problem is None
        count = count + 1 if healthy is last else 1
        last = healthy
        if problem is not None:
            on_failure(problem)
        if count >= thresholds[healthy]:
            yield healthy
        await asyncio.sleep(period)


async def _http(action: Json, container: Json, seconds: float) -> str | None:
    import aiohttp

    host, port = _address(action, container)
    url = f"{(action.get('scheme') or 'HTTP').lower()}://{host}:{port}{action.get('path') or '/'}"
    headers = {entry["name"]: entry["value"] for entry in action.get("httpHeaders") or []}
    limit = aiohttp.ClientTimeout(total=seconds)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.get(url, headers=headers, ssl=False, allow_redirects=False) as response,
    ):
        return (
            None if 200 <= response.status < 400 else f"HTTP probe failed with statuscode: {response.status}"
        )


def _address(action: Json, container: Json) -> tuple[str, int]:
    port = action["port"]
    if isinstance(port, str) and not port.isdigit():
        numbers = {entry.get("name"): entry["containerPort"] for entry in container.get("ports") or []}
        if port not in numbers:
            raise ValueError(f"the container has no port named {port!r}")
        port = numbers[port]
    return action.get("host") or "127.0.0.1", int(port)

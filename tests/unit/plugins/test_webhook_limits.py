"""How much the endpoints let in."""

from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_provider_agents.plugins.webhook_limits import (
    BusyError,
    RateExceededError,
    Threads,
    Turnstile,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once() -> None:
    turnstile = Turnstile(at_once=2, clock=Clock())
    with turnstile.entered():
        with turnstile.entered(), pytest.raises(BusyError), turnstile.entered():
            pass
        with turnstile.entered():
            pass


def test_who_fails_inside_gives_the_place_back() -> None:
    turnstile = Turnstile(at_once=1, clock=Clock())
    with pytest.raises(ZeroDivisionError), turnstile.entered():
        raise ZeroDivisionError
    with turnstile.entered():
        pass


def test_so_many_in_a_burst_and_then_so_many_in_a_second() -> None:
    clock = Clock()
    turnstile = Turnstile(per_second=2, burst=3, clock=clock)

    def entered() -> int:
        count = 0
        try:
            while True:
                with turnstile.entered():
                    count += 1
        except RateExceededError:
            return count

    assert entered() == 3
    clock.now += 0.4
    assert entered() == 0
    clock.now += 0.6
    assert entered() == 2
    clock.now += 3600
    assert entered() == 3


async def test_a_call_gives_what_it_returns_or_raises() -> None:
    threads = Threads()
    assert await threads.run(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)


async def test_a_call_that_is_given_up_counts_until_it_ends() -> None:
    threads, free, ended = Threads(threads=1, waiting=2), threading.Event(), threading.Event()

    def hang() -> None:
        free.wait(10)
        ended.set()

    running = asyncio.create_task(threads.run(hang))
    waiting = asyncio.create_task(threads.run(lambda: None))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await threads.run(lambda: None)
    waiting.cancel()
    running.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    last = asyncio.create_task(threads.run(lambda: 7))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await threads.run(lambda: None)
    assert not ended.is_set()
    free.set()
    assert await last == 7

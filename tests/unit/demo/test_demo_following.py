"""Following a run to its end: what is borne, and what is not."""

from __future__ import annotations

import io
import time

import pytest

from demo import compose, following
from demo.following import MOST_FAILED_POLLS, follow
from demo.http_json import HttpError
from demo.terminal import Terminal


class Watcher:
    """A run that ends after some readings.

    :param polls: how many; an exception is raised by its reading.
    """

    usd = 0.0

    def __init__(self, *polls: Exception | bool) -> None:
        self._polls = list(polls)
        self.ended = False

    def poll(self) -> list[object]:
        told = self._polls.pop(0)
        if isinstance(told, Exception):
            raise told
        self.ended = told
        return []


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following.time, "sleep", lambda seconds: None)


def run(watcher: Watcher, *, seconds: float = 60, **hooks: object) -> str | None:
    return follow(watcher, Terminal(io.StringIO()), time.monotonic() + seconds, **hooks)  # type: ignore[arg-type]


def test_until_the_end():
    looks: list[str] = []
    said = run(
        Watcher(False, False, True), check=lambda: looks.append("check"), look=lambda: looks.append("look")
    )
    assert said is None
    assert looks == ["check", "look"] * 3


def test_an_airflow_that_is_away_for_a_while_is_borne():
    away = [OSError("refused")] * (MOST_FAILED_POLLS - 1)
    assert run(Watcher(*away, False, *away, True)) is None


def test_an_airflow_that_stays_away_is_not():
    with pytest.raises(OSError, match="refused"):
        run(Watcher(*[OSError("refused")] * MOST_FAILED_POLLS))


def test_a_deed_that_is_refused_again_and_again_ends_it():
    def look() -> None:
        raise HttpError("POST", "http://forge", 422, "no")

    with pytest.raises(HttpError):
        run(Watcher(*[False] * MOST_FAILED_POLLS), look=look)


def test_a_part_that_failed_ends_it_at_once_even_if_airflow_is_away():
    def check() -> None:
        raise RuntimeError("api-server: ended")

    with pytest.raises(RuntimeError, match="api-server"):
        run(Watcher(OSError("refused")), check=check)


def test_a_run_that_takes_too_long_is_a_fault():
    said = run(Watcher(False), seconds=-1)
    assert said is not None
    assert "15 minutes" in said


def test_without_an_airflow_the_demo_says_so(tmp_path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "passwords.json").write_text('{"admin": "x"}')
    (tmp_path / "github.json").write_text('{"url": "", "token": "t"}')
    arguments = ["--airflow=http://127.0.0.1:1", "--show-airflow=http://a", "--github=http://127.0.0.1:1"]
    files = [f"--passwords={tmp_path}/passwords.json", f"--github-ready-file={tmp_path}/github.json"]
    assert compose.main([*arguments, *files]) == 1
    assert "refused" in capsys.readouterr().out

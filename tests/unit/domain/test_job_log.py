"""What is kept of a log."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_agents.domain import job_log
from airflow_provider_agents.domain.job_log import JobLogReader, LogExtract, looks_wrong

STAMP = "2026-01-05T10:11:12.1234567Z "


def read(text: str | bytes, size: int = 65_536) -> LogExtract:
    data = text.encode() if isinstance(text, str) else text
    reader = JobLogReader()
    for start in range(0, len(data), size):
        reader.add(data[start : start + size])
    return reader.extract()


def stamped(*lines: str) -> str:
    return "\ufeff" + "".join(f"{STAMP}{line}\n" for line in lines)


def test_a_log_of_github_actions() -> None:
    found = read(
        stamped(
            "##[group]Run make test || echo error",
            "make test || echo error",
            "##[endgroup]",
            "##[group]Preparation",
            "[command]/usr/bin/make test --fail-fast",
            "\x1b[31mFAILED\x1b[0m tests/test_a.py::test_add - assert 3 == 4",
            "##[endgroup]",
            "##[error]tests/test_a.py:3: it adds wrongly",
            "##[error]Process completed with exit code 1.",
            "Post job cleanup.",
            "[command]/usr/bin/git config --local --unset-all",
            "Cleaning up orphan processes",
        )
    )
    assert found.matches == (
        "FAILED tests/test_a.py::test_add - assert 3 == 4",
        "##[error]tests/test_a.py:3: it adds wrongly",
    )
    assert found.tail.splitlines() == [
        "make test || echo error",
        "[command]/usr/bin/make test --fail-fast",
        "FAILED tests/test_a.py::test_add - assert 3 == 4",
        "##[error]tests/test_a.py:3: it adds wrongly",
        "##[error]Process completed with exit code 1.",
    ]
    assert found.excerpt == ""
    assert found.cut is False


def test_an_error_ends_the_echo_of_a_script() -> None:
    found = read(stamped("##[group]Run a", "echo error", "##[error]it broke", "error: more"))
    assert found.matches == ("##[error]it broke", "error: more")


def test_an_error_far_from_the_end_is_kept_with_its_surroundings() -> None:
    noise = [f"step {number} went well" for number in range(2_000)]
    middle = [
        "before 2",
        "before 1",
        "src/a.c:7:3: error: expected ';'",
        *(f"after {n}" for n in range(1, 9)),
    ]
    found = read(stamped(*noise, *middle, *noise, "E   KeyError: 'x'", *noise))
    assert found.matches == ("src/a.c:7:3: error: expected ';'", "E   KeyError: 'x'")
    lines = found.excerpt.splitlines()
    assert lines[:9] == [*middle[:3], *(f"after {n}" for n in range(1, 7))]
    assert lines[9] == "[…]"
    assert lines[10:13] == ["step 1998 went well", "step 1999 went well", "E   KeyError: 'x'"]
    assert found.tail.endswith("step 1999 went well")
    assert len(found.tail.encode()) <= job_log.TAIL_BYTES


def test_what_stands_in_the_tail_is_not_repeated() -> None:
    lines = [*("x" * 80 for _ in range(200)), "error: one", "ok", "error: two", "end"]
    found = read("\n".join(lines))
    assert found.excerpt == ""
    assert found.tail.endswith("error: one\nok\nerror: two\nend")


def test_of_many_errors_the_first_and_the_last_are_kept_and_each_once() -> None:
    lines = [f"error: number {number // 2}" for number in range(20_000)]
    found = read("\n".join(lines))
    half = job_log.MOST_MATCHES // 2
    assert found.matches[:half] == tuple(f"error: number {n}" for n in range(half))
    assert found.matches[half:] == tuple(f"error: number {n}" for n in range(10_000 - half, 10_000))
    assert len(found.excerpt.encode()) <= job_log.EXCERPT_BYTES + 10
    assert found.excerpt.startswith("error: number 0\n")


def test_a_progress_bar_is_its_last_state() -> None:
    assert read(f"{STAMP}10 %\r50 %\r100 %\r\nerror: x\r\n").tail == "100 %\nerror: x"


def test_an_endless_log_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "MOST_READ_BYTES", 1_000)
    reader = JobLogReader()
    assert reader.add(b"a\n" * 400)
    assert not reader.add(b"a\n" * 400)
    assert reader.extract().cut


def test_an_endless_line_does_not_grow() -> None:
    reader = JobLogReader()
    for _ in range(100):
        reader.add(b"error " * 10_000)
    assert len(reader._partial) <= 16 * 1024
    found = reader.extract()
    assert len(found.tail) <= job_log.LINE_CHARACTERS
    assert len(found.matches) == 1


@pytest.mark.parametrize(
    "line",
    [
        "error: expected ';'",
        "src/a.ts(3,5): error TS2322: Type 'x'",
        "FAILED tests/test_a.py::test_b",
        "--- FAIL: TestAdd (0.00s)",
        "E   AssertionError: assert 1 == 2",
        "E       assert 1 == 2",
        "Traceback (most recent call last):",
        "requests.exceptions.ConnectionError: refused",
        "java.lang.NullPointerException: null",
        "fatal: could not read from remote repository",
        "  ✕ adds two numbers (3 ms)",
        "panic: runtime error: index out of range",
        "not ok 3 - adds",
        "make: *** [Makefile:3: test] Error 1",
        "npm ERR! code ELIFECYCLE",
        "curl: (6) Could not resolve host: registry.example",
        "tar: a.txt: Cannot write: No space left on device",
        "received unexpected HTTP status: 502 Bad Gateway",
        "toomanyrequests: You have reached your pull rate limit.",
        "read ECONNRESET 1.2.3.4:443",
        "1 failed, 0 errors",
        "sh: 1: foo: command not found",
        "Tests: 0 failed, but coverage check failed",
    ],
)
def test_lines_that_look_wrong(line: str) -> None:
    assert looks_wrong(line)


@pytest.mark.parametrize(
    "line",
    [
        "12 passed, 0 failed",
        "0 errors, 3 warnings",
        "Found no errors in 12 files",
        "errors: 0",
        "Failures: 0, Skipped: 2",
        "[command]/usr/bin/git log --error-on-failure error",
        "pytest --maxfail=3 -q",
        "continue-on-error: true",
        "strategy: fail-fast: false",
        "Downloading terror-island.tgz",
        "ok 3 - adds",
        "",
    ],
)
def test_lines_that_do_not(line: str) -> None:
    assert not looks_wrong(line)


@given(st.binary(max_size=4_000), st.integers(1, 500))
@example(b"\xef\xbb\xbf2026-01-05T10:11:12Z error: \xff\n\n\r\n", 1)
def test_pieces_do_not_matter(data: bytes, size: int) -> None:
    assert read(data, size) == read(data)


LINES = st.lists(
    st.one_of(st.text(max_size=60), st.just("error: x"), st.just("Post job cleanup.")), max_size=300
)


@given(LINES)
def test_everything_is_bounded_and_from_the_log(lines: list[str]) -> None:
    found = read("\n".join(lines))
    assert len(found.matches) <= job_log.MOST_MATCHES
    assert all(looks_wrong(match) for match in found.matches)
    assert len(set(found.matches)) == len(found.matches)
    assert len(found.tail.encode()) <= job_log.TAIL_BYTES + job_log.LINE_CHARACTERS * 4
    assert "##[group]" not in found.tail

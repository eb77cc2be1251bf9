"""The fingerprint of a failure: equal over runs, different over failures."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.feedback import FailingCheck, Feedback
from airflow_provider_agents.domain.fingerprint import fingerprint, normalised
from airflow_provider_agents.domain.pull_request import Annotation, Check


def failing(
    *lines: str, name: str = "tests", tail: str = "", summary: str = "", title: str = ""
) -> FailingCheck:
    check = Check(
        name=name, state="failed", kind="check_run", conclusion="FAILURE", summary=summary, title=title
    )
    return FailingCheck(check=check, log_matches=lines, log_tail=tail)


def of(*checks: FailingCheck, head: str = "a") -> str:
    return fingerprint(
        Feedback(
            repository="acme/shop", number=7, head_sha=head, reason="checks_failed", failing_checks=checks
        )
    )


WORKSPACE = "/home/runner/work"
"""Where GitHub's runners check out."""

SAME = [
    ("2026-01-02T11:00:00.1234567Z E  assert x", "2026-03-04T01:02:03.7654321Z E  assert x"),
    ("[11:00:01] error: no", "[23:59:59] error: no"),
    ("ERROR at 0x7f3a2b, <Cart object at 0xdeadbeef>", "ERROR at 0x1, <Cart object at 0xcafe>"),
    ("error in /tmp/pytest-of-runner/pytest-12/test_a0/x.py", "error in /tmp/tmpab3de_/y"),
    ("error in /var/folders/zz/abc/T/x", "error in /private/var/folders/q1/T/y"),
    ("shop/cart.py:12:5: error: no", "shop/cart.py:340:17: error: no"),
    ("1 failed, 12 passed in 0.12s", "1 failed, 13 passed in 4.80s"),
    ("error took 12ms", "error took 3 s"),
    ("\x1b[31mError\x1b[0m: no", "Error: no"),
    ("error: job 8c4e1d2a-1111-2222-3333-444455556666", "error: job 00000000-aaaa-bbbb-cccc-ddddeeeeffff"),
    ("error at commit 3f2a9bc", "error at commit 9bc3f2a1d4"),
    ("== error ==========", "== error ========"),
    (f"{WORKSPACE}/shop/shop/cart.py: error", "cart.py: error"),
    ("error:   spaced\tout", "error: spaced out"),
]
DIFFERENT = [
    ("E  assert total(cart)", "E  assert count(cart)"),
    ("error: no module named shop", "error: no module named basket"),
    ("shop/cart.py:1: error: no", "shop/basket.py:1: error: no"),
    ("ImportError: x", "TypeError: x"),
    ("error: deadline", "error: headline"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_differs_from_run_to_run_is_out(one: str, other: str) -> None:
    assert of(failing(one)) == of(failing(other)) != ""


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_from_failure_to_failure_stays(one: str, other: str) -> None:
    assert of(failing(one)) != of(failing(other))


def test_order_and_repetition_of_lines_and_checks_do_not_matter() -> None:
    lines = failing("error: a", "error: b")
    assert of(lines) == of(failing("error: b", "error: a", "error: a"))
    other = failing("error: c", name="lint")
    assert of(lines, other) == of(other, lines)


def test_lines_that_are_no_errors_do_not_matter() -> None:
    assert of(failing("collecting", "error: a")) == of(failing("error: a", "downloading wheel"))


def test_names_of_checks_and_whose_line_it_is_matter() -> None:
    assert of(failing("error: a")) != of(failing("error: a", name="lint"))
    assert of(failing("error: a"), failing("error: b", name="lint")) != of(
        failing("error: b"), failing("error: a", name="lint")
    )
    assert of(failing("error: a")) != of(failing("error: a"), failing(name="lint"))


def test_the_head_does_not_matter() -> None:
    assert of(failing("error: a")) == of(failing("error: a"), head="b")


def test_the_best_source_that_says_anything_counts() -> None:
    assert of(failing("error: a", tail="error: z")) == of(failing("error: a"))
    assert of(failing(tail="error: a")) == of(failing("error: a"))
    assert of(failing(summary="error: a")) == of(failing(title="error: a")) == of(failing("error: a"))
    remark = Annotation(path="a.py", line=3, level="failure", message="no")
    remarked = dataclasses.replace(failing(), annotations=(remark,))
    moved = dataclasses.replace(failing(), annotations=(dataclasses.replace(remark, line=9),))
    assert of(remarked) == of(moved) != ""


def test_silence_has_no_fingerprint() -> None:
    assert of() == ""
    assert of(failing()) == ""
    assert of(failing("", "   ")) == ""


@given(st.text(max_size=300))
def test_any_text_is_taken_and_normalising_again_changes_little(text: str) -> None:
    assert of(failing(text)) == of(failing(text))
    assert len(normalised(text)) <= 400


@pytest.mark.timeout(10)
def test_a_huge_log_is_cut() -> None:
    many = "\n".join(f"error: thing {'abc'[n % 3]}{'x' * (n % 50)}" for n in range(20_000))
    assert len(of(failing(tail=many))) == 32
    assert of(failing(tail="error " + "9" * 1_000_000))

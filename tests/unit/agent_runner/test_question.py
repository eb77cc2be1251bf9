"""Closing words that are a question to a person, and those that only look like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.question import MAX_QUESTION, question_in


@pytest.mark.parametrize(
    ("summary", "question"),
    [
        ("Which of the two price fields is meant?", "Which of the two price fields is meant?"),
        (
            "I looked at it.\n\nThere are two.\nWhich one\nis meant?",
            "There are two. Which one is meant?",
        ),
        ("Found nothing.\n\n**Should I remove `app.py`?**\n", "**Should I remove `app.py`?**"),
        ('He says "which one?"', 'He says "which one?"'),
        ("Is it a\x1b[1m or b?\x1b[0m", "Is it a or b?"),
    ],
)
def test_questions(summary: str, question: str) -> None:
    assert question_in(summary) == question


@pytest.mark.parametrize(
    "summary",
    [
        "",
        "  \n\n ",
        "Done.",
        "Is it right? Yes, it is.",
        "Should I remove it?\n\nNo: it is used, so I left all as it was.",
        "The check is:\n\n```\nis it there?\n```",
        "The log says:\n\n```\nreally?",
        "The ticket asks:\n\n> Why is it slow?",
        "| what | ok? |",
        "All is there already.\n\nIs there anything else you want?",
        "Nothing to do. How can I help?",
        "See https://example.org/?q=1",
    ],
)
def test_no_questions(summary: str) -> None:
    assert question_in(summary) is None


@given(st.text())
def test_a_long_question_keeps_its_end(start: str) -> None:
    question = question_in(f"x {start.replace('`', '')} {'word ' * 500}really so?")
    assert question is not None
    assert len(question) <= MAX_QUESTION
    assert question.endswith("really so?")

"""What a round has to answer, and what its agent answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.commands import Command
from airflow_provider_agents.domain.feedback import MOST_REPLY_CHARACTERS, Feedback, thread_answers
from airflow_provider_agents.domain.pull_request import Comment, Review, ReviewThread

LABELS = {"T1": "PRRT_1", "T2": "PRRT_2"}
MONA = Comment(author="mona", body="Why?", can_write=True)


def thread(name: str) -> ReviewThread:
    return ReviewThread(node_id=name, path="a.py", line=3, comments=(MONA,))


def feedback(**values: object) -> Feedback:
    return Feedback(repository="acme/shop", number=7, head_sha="a" * 40, reason="r", **values)  # type: ignore[arg-type]


def test_threads_that_await_an_answer_have_labels() -> None:
    threads = (thread("A"), thread("B"), thread("C"))
    found = feedback(threads=threads, answered_before=frozenset({threads[1].key}))
    assert found.thread_labels == {"T1": "A", "T2": "C"}


def test_answered_keys() -> None:
    review = Review(author="mona", state="CHANGES_REQUESTED", can_write=True)
    command = Command(name="tell", text="x", author="mona", key="IC_1")
    found = feedback(threads=(thread("A"),), reviews=(review,), instructions=(command,))
    assert found.answered_keys == (review.key, thread("A").key, "IC_1")


def test_answers_go_to_their_threads() -> None:
    replies = [{"thread": "T2", "reply": " Done in abc. "}, {"thread": "[t1]", "reply": "No, because."}]
    assert thread_answers(LABELS, {"thread_replies": replies}) == {
        "PRRT_2": "Done in abc.",
        "PRRT_1": "No, because.",
    }


@pytest.mark.parametrize(
    "listed",
    [
        None,
        "T1",
        {"thread": "T1", "reply": "x"},
        ["T1"],
        [{"thread": "T1"}],
        [{"thread": "T3", "reply": "x"}],
        [{"thread": "PRRT_1", "reply": "x"}],
        [{"thread": 1, "reply": "x"}],
        [{"thread": "T1", "reply": ["x"]}],
        [{"thread": "T1", "reply": "  \u200b<!-- hidden -->"}],
    ],
)
def test_what_is_no_answer(listed: object) -> None:
    assert thread_answers(LABELS, {"thread_replies": listed}) == {}


def test_no_thread_is_answered_twice() -> None:
    replies = [{"thread": "T1", "reply": "first"}, {"thread": "T1", "reply": "second"}]
    assert thread_answers(LABELS, {"thread_replies": replies}) == {"PRRT_1": "first"}


def test_an_answer_is_fit_to_be_posted() -> None:
    reply = "@mona fixes #3 <!-- agents reply=0 -->\u202e" + "x" * 5_000
    (answer,) = thread_answers(LABELS, {"thread_replies": [{"thread": "T1", "reply": reply}]}).values()
    assert answer.startswith("@\u2060mona fixes \u2060#3")
    assert "<!--" not in answer
    assert len(answer) <= MOST_REPLY_CHARACTERS


ANYTHING = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=20), st.sampled_from(["T1", "thread", "reply"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["thread", "reply", "thread_replies"]), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["thread_replies", "summary"]), ANYTHING, max_size=2))
def test_whatever_the_model_says(output: dict[str, object]) -> None:
    answers = thread_answers(LABELS, output)
    assert set(answers) <= set(LABELS.values())
    assert all(0 < len(answer) <= MOST_REPLY_CHARACTERS for answer in answers.values())

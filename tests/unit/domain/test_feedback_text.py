"""What the agent is told, and that nothing from outside stands outside its fence."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_agents.domain.commands import Command
from airflow_provider_agents.domain.commits import CommitRef
from airflow_provider_agents.domain.feedback import FailingCheck, Feedback
from airflow_provider_agents.domain.feedback_text import MOST_BYTES, feedback_text
from airflow_provider_agents.domain.pull_request import Annotation, Check, Comment, Review, ReviewThread

HEAD = "a" * 40


def check(text: str, **values: str) -> FailingCheck:
    failed = Check(
        name=text, state="failed", kind="check_run", conclusion="FAILURE", title=text, summary=text, url=text
    )
    note = Annotation(path=text, line=3, level="failure", message=text)
    return FailingCheck(check=failed, annotations=(note,) * 5, **values)


def thread(text: str, number: int = 1) -> ReviewThread:
    comment = Comment(author="mona", body=text, can_write=True)
    return ReviewThread(node_id=f"PRRT_{number}", path=text, line=3, comments=(comment,))


def everything(text: str, times: int = 1, **values: object) -> Feedback:
    parts = {
        "failing_checks": (check(text, log_excerpt=text, log_tail=text),) * times,
        "reviews": (Review(author=text, state="CHANGES_REQUESTED", body=text, can_write=True),) * times,
        "threads": tuple(thread(text, number) for number in range(times)),
        "instructions": (Command(name="tell", text=text, author=text, key="k"),) * times,
        "conflicts_with": "main",
        "conflict_files": (text,) * times,
        "pushed_by_others": (CommitRef(sha=HEAD, author=text, title=text),) * times,
        "missing": (text,) * times,
    }
    return Feedback(repository="acme/shop", number=7, head_sha=HEAD, reason="r", **parts | values)  # type: ignore[arg-type]


def outside(text: str) -> str:
    """Return what stands outside every fence."""
    return re.sub(r'<untrusted id="(\w+)".*?</untrusted id="\1">', "", text, flags=re.DOTALL)


def test_all_parts_in_their_order() -> None:
    text = feedback_text(everything("WORDS"))
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Instructions", "Conflict", "Pushed by others", "Review", "Failing checks"]
    assert "Thread T1:" in text
    assert "conflicts with `main`" in text
    assert "aaaaaaaaaaaa WORDS (WORDS)" in text
    assert 'source="/tell, written by WORDS"' in text
    assert "Details: WORDS" in text
    assert text.count("failure WORDS:3: WORDS") == 5


def test_nothing_of_others_stands_outside_a_fence() -> None:
    assert "WORDS" not in outside(feedback_text(everything("WORDS", 12)))


def test_what_was_answered_before_has_no_label() -> None:
    found = everything("WORDS", 2)
    keys = frozenset({found.threads[0].key, found.reviews[0].key})
    text = feedback_text(everything("WORDS", 2, answered_before=keys))
    assert text.count("Thread T") == 1
    assert "A thread that was answered in an earlier round" in text
    assert "This review was given to an earlier round too:" in text


def test_a_retry_without_words_and_a_review_without_words_are_no_parts() -> None:
    silent = Review(author="mona", state="CHANGES_REQUESTED", body=" ", can_write=True)
    command = Command(name="retry", text="", author="mona", key="k")
    found = Feedback(
        repository="a/b", number=7, head_sha=HEAD, reason="r", reviews=(silent,), instructions=(command,)
    )
    assert feedback_text(found) == ""


def test_further_checks_and_threads_are_counted() -> None:
    text = feedback_text(everything("WORDS", 12, threads_left=3))
    assert "And 4 more failing checks" in text
    assert "And 3 more unresolved threads" in text


def test_a_lone_check_has_room_and_the_end_of_a_log_matters() -> None:
    log = "first\n" + "x" * 50_000 + "\nlast"
    text = feedback_text(everything("", failing_checks=(check("n", log_tail=log),)))
    assert "last\n</untrusted" in text
    assert "first" not in text
    assert len(text) > 6_000


def test_everybody_is_heard_however_many_they_are() -> None:
    text = feedback_text(everything("W" * 20_000, 30))
    assert text.count("Thread T") == 30
    assert text.count('source="review by') == 30
    assert text.count('source="/tell') == 30
    assert text.count('source="a failing check"') == 8
    assert "left out: there is too much" not in text
    assert len(text.encode()) <= MOST_BYTES


@settings(max_examples=30)
@given(st.text(max_size=200), st.integers(1, 3_000), st.integers(1, 30))
def test_it_stays_within_its_bound(text: str, longer: int, times: int) -> None:
    written = feedback_text(everything("<untrusted" + text * longer, times))
    assert len(written.encode()) <= MOST_BYTES
    assert "<untrusted" not in outside(written)

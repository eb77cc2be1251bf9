"""A review is read tolerantly in form and strictly in meaning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.review import (
    MOST_FINDINGS,
    Finding,
    ReviewOutput,
    findings_of,
    new_findings,
    read_review,
)


def finding(**values: Any) -> Finding:
    facts: dict[str, Any] = {
        "path": "src/app.py",
        "line": 3,
        "severity": "high",
        "confidence": 0.8,
        "title": "Divides by zero",
    }
    return Finding(**facts | values)


def said(**values: Any) -> dict[str, Any]:
    facts = {"path": "src/app.py", "line": 3, "severity": "low", "confidence": 0.8, "title": "T", "body": "B"}
    return facts | values


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("approve", "approve"),
        ("APPROVED", "approve"),
        ("request_changes", "request_changes"),
        ("Request changes", "request_changes"),
        ("CHANGES-REQUESTED", "request_changes"),
        ("comment", "comment"),
        ("lgtm?", "comment"),
        ("approve with changes", "comment"),
        ("do not approve", "comment"),
        ("", "comment"),
        (None, "comment"),
        (["approve"], "approve"),
        (True, "comment"),
    ],
)
def test_a_verdict_that_is_not_known_is_never_an_approval(word: Any, verdict: str) -> None:
    assert read_review({"verdict": word, "summary": "S", "findings": []}).verdict == verdict


def test_what_is_no_structured_output_is_a_comment_in_its_words() -> None:
    review = read_review(None, "All good, ship it!")
    assert review.verdict == "comment"
    assert review.summary == "All good, ship it!"
    assert review.findings == ()
    assert "no structured verdict" in review.remarks[0]


@pytest.mark.parametrize("severity", ["critical", "high", "blocker"])
def test_an_approval_beside_a_grave_finding_is_an_objection(severity: str) -> None:
    review = read_review({"verdict": "approve", "summary": "S", "findings": [said(severity=severity)]})
    assert review.verdict == "request_changes"
    assert "approved beside" in review.remarks[0]


def test_an_approval_beside_a_small_finding_stays_one() -> None:
    assert read_review({"verdict": "approve", "findings": [said(severity="nit")]}).verdict == "approve"


def test_an_objection_to_nothing_is_a_comment() -> None:
    assert read_review({"verdict": "request_changes", "summary": " ", "findings": []}).verdict == "comment"
    assert read_review({"verdict": "request_changes", "summary": "All of it"}).verdict == "request_changes"


@pytest.mark.parametrize(
    ("given_line", "line"),
    [(3, 3), ("3", 3), ("L12", 12), ("12-15", 15), ("L12-L15", 15), ("12:5", 12), (3.0, 3)]
    + [(bad, None) for bad in (0, -3, None, True, "all", "1e3", float("nan"), float("inf"), "3; rm", [3])],
)
def test_lines(given_line: Any, line: int | None) -> None:
    assert read_review({"findings": [said(line=given_line)]}).findings[0].line == line


@pytest.mark.parametrize(
    ("given_path", "path"),
    [("./src/app.py", "src/app.py"), ("`src/app.py`", "src/app.py"), ("src\\app.py", "src/app.py")]
    + [(bad, "") for bad in ("/etc/passwd", "../x", "a/../../b", None, "x" * 600)],
)
def test_paths(given_path: Any, path: str) -> None:
    found = read_review({"findings": [said(path=given_path)]}).findings[0]
    assert found.path == path
    assert (found.line is None) == (path == "")


@pytest.mark.parametrize(
    ("given_confidence", "confidence"),
    [(0.7, 0.7), (1, 1.0), (80, 0.8), ("80%", 0.8), ("0.9", 0.9), ("high", 0.9), ("low", 0.3)]
    + [(bad, 0.5) for bad in (None, -1, True, "very", float("nan"))]
    + [(400, 1.0)],
)
def test_confidences(given_confidence: Any, confidence: float) -> None:
    found = read_review({"findings": [said(confidence=given_confidence)]}).findings[0]
    assert found.confidence == pytest.approx(confidence)


def test_the_weightiest_six_are_kept() -> None:
    every = [said(title=f"{word} breaks", severity="low", confidence=0.1) for word in "abcdefgh"]
    every.append(said(title="grave", severity="critical", confidence=0.5))
    every.append(said(title="sure", severity="medium", confidence=1.0))
    review = read_review({"verdict": "comment", "findings": every})
    assert [each.title for each in review.findings[:2]] == ["grave", "sure"]
    assert len(review.findings) == MOST_FINDINGS
    assert review.left_out == 4


def test_a_grave_finding_that_does_not_fit_still_is_among_the_six() -> None:
    every = [said(title=f"{word} is slow", severity="medium", confidence=0.9) for word in "abcdefg"]
    every.append(said(title="loses data", severity="critical", confidence=0.6))
    assert read_review({"verdict": "approve", "findings": every}).verdict == "request_changes"


def test_one_thing_said_twice_is_one_finding() -> None:
    review = read_review({"findings": [said(), said(title="t"), said(line=9)]})
    assert [each.line for each in review.findings] == [3, 9]


def test_unreadable_findings_are_counted() -> None:
    review = read_review({"findings": ["no", said(title="", body=""), said()]})
    assert len(review.findings) == 1
    assert "2 of its findings could not be read." in review.remarks
    assert "Its findings are no list: left out." in read_review({"findings": "many"}).remarks


def test_invisible_text_is_taken_away() -> None:
    review = read_review({"summary": "S<!-- hidden -->\u202e", "findings": [said(title="a\u200bb\nc")]})
    assert review.summary == "S"
    assert review.findings[0].title == "ab c"


def test_a_fingerprint_stays_while_the_code_moves() -> None:
    first = finding(title="Index 3 is out of range in `total`")
    moved = finding(title="index 7 is out of range in total", line=80, severity="low", body="Other words")
    assert first.fingerprint == moved.fingerprint
    assert finding(path="other.py").fingerprint != finding().fingerprint


def test_a_finding_in_other_words_is_the_same() -> None:
    first = finding(title="The basket total divides by zero when empty")
    again = finding(title="Basket total divides by zero when it is empty", line=9)
    other = finding(title="The basket total ignores the discount")
    assert new_findings([again, other], [first]) == (other,)


def test_findings_of_earlier_reviews_are_read_again() -> None:
    review = ReviewOutput(verdict="comment", summary="S", findings=(finding(), finding(path="b.py")))
    stored = json.loads(json.dumps(review.to_dict()))
    assert findings_of([stored, None, "odd", {}]) == review.findings
    assert ReviewOutput.from_dict(stored) == review
    assert stored["fingerprints"] == [each.fingerprint for each in review.findings]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["verdict", "summary", "findings", "path", "line", "severity", "confidence", "title"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_no_output_is_too_odd_to_be_read(output: Any) -> None:
    review = read_review(output, "words")
    assert review.verdict in ("approve", "request_changes", "comment")
    assert len(review.findings) <= MOST_FINDINGS
    assert ReviewOutput.from_dict(json.loads(json.dumps(review.to_dict()))) == review
    for each in review.findings:
        assert 0 <= each.confidence <= 1
        assert each.title

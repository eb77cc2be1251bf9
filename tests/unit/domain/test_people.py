"""Questions and answers as values."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from airflow_provider_agents.domain.people import Answer, Option, Question

AT = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("names", [[], ["Yes", "Yes"]])
def test_a_question_has_options_of_different_names(names: list[str]) -> None:
    with pytest.raises(ValueError, match="options of different names"):
        Question(key="k", subject="s", options=tuple(Option(name=name) for name in names))


def test_an_answer_survives_json() -> None:
    answer = Answer(
        key="k", option="Yes", fields={"text": " be quick ", "flag": True}, by="mona", at=AT, where="github"
    )
    assert Answer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer


def test_the_text_of_a_field_is_stripped_and_never_absent() -> None:
    answer = Answer(key="k", option="Yes", fields={"text": " be quick ", "none": None}, by="mona", at=AT)
    assert [answer.text(name) for name in ("text", "none", "missing")] == ["be quick", "", ""]

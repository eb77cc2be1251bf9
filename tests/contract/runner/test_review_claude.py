"""A review with the real Claude Code program: the schema of a review, read-only tools, and what is read of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from test_runner_claude import PROGRAM, Model, model, pod, text, tool  # noqa: F401 - two are fixtures

from agent_runner.contract import AgentSettings
from airflow_provider_agents.domain.review import read_review
from airflow_provider_agents.prompts import REVIEW_SCHEMA

if TYPE_CHECKING:
    from pod import Pod

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Claude Code is not installed")

FINDING = {
    "path": "src/app.py",
    "line": 1,
    "severity": "high",
    "confidence": 0.9,
    "title": "The price doubles",
    "body": "Nobody asked for it.",
}


def test_a_review(pod: Pod, model: Model) -> None:  # noqa: F811
    head = pod.commit("agent/t-1", {"README.md": "Shop\n", "src/app.py": "price = 2\n"}, pod.head("main"))
    verdict = {"verdict": "request_changes", "summary": "Not yet.", "findings": [FINDING]}
    look = "git diff origin/main...HEAD; echo scratch > scratch.txt"
    model.turns.extend(
        [tool("Bash", command=look, description="Look"), tool("StructuredOutput", **verdict), text("Done.")]
    )
    spec = pod.spec(
        "review", expected_head=head, output_schema=REVIEW_SCHEMA, agent=AgentSettings(max_turns=9)
    )
    ran = pod.run(spec, timeout=60)
    assert ran.result.outcome == "succeeded", ran.log
    review = read_review(ran.result.output, ran.result.summary)
    assert review.verdict == "request_changes"
    assert [(each.path, each.line, each.confidence) for each in review.findings] == [("src/app.py", 1, 0.9)]
    assert review.remarks == ()
    assert "+price = 2" in json.dumps(model.asked[-1]["messages"])
    assert not {entry["name"] for entry in model.asked[0]["tools"]} & {"Write", "Edit", "NotebookEdit"}
    assert pod.head("agent/t-1") == head
    assert not (pod.checkout / "scratch.txt").exists()

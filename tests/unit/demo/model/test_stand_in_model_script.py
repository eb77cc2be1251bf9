"""Scripts: what is read, what is refused, which scene is found, which turns can be played."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from demo.model import Script, ScriptError
from demo.model.conversation import Conversation
from demo.model.script import Fault, ToolCall

if TYPE_CHECKING:
    from pathlib import Path


def talk(step: str | None, prompt: str = "", words: str = "") -> Conversation:
    return Conversation(
        step=step, prompt=prompt, words=words or prompt, turn=0, tools=(), working_directory=None
    )


def scene(name: str = "plan", step: str = "plan", **more: Any) -> dict[str, Any]:
    return {"name": name, "when": {"step": step}, "turns": [{"text": "Hello"}], **more}


def call(tool: str) -> dict[str, Any]:
    return {"tool": tool, "input": {}}


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_yaml_and_json_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"script.{suffix}"
    data = {
        "scenes": [
            scene(turns=[{"text": "Look", "calls": [{"tool": "Read", "input": {"file_path": "{cwd}/a"}}]}])
        ]
    }
    path.write_text(json.dumps(data))
    [turn] = Script.load(path).scenes[0].turns
    assert turn.text == "Look"
    assert turn.calls == (ToolCall("Read", {"file_path": "{cwd}/a"}),)


def test_a_fault_is_read_with_its_headers_as_text() -> None:
    error = {
        "status": 429,
        "type": "rate_limit_error",
        "message": "Slow",
        "headers": {"retry-after": 2},
        "times": 1,
    }
    [turn] = Script.of({"scenes": [scene(turns=[{"error": error, "delay_seconds": 0.5}])]}).scenes[0].turns
    assert turn.error == Fault(429, "rate_limit_error", "Slow", {"retry-after": "2"}, 1)
    assert turn.delay_seconds == 0.5


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "script"),
        ("[]", "script: a mapping is needed, not list"),
        ("{}", "scenes: a list with at least one entry is needed"),
        ("scenes: []", "scenes: a list with at least one entry is needed"),
    ],
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(content)
    with pytest.raises(ScriptError, match=r"script\.yaml: ") as caught:
        Script.load(path)
    assert fault in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="No such file"):
        Script.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"turns": []}, "scenes[0].turns: a list"),
        ({"turns": [{}]}, "scenes[0].turns[0]: one of text, calls, error and stop_reason is needed"),
        ({"turns": [{"txt": "a"}]}, "scenes[0].turns[0]: unknown key 'txt'"),
        ({"turns": [{"text": 3}]}, "scenes[0].turns[0].text: a text is needed, not 3"),
        ({"turns": [{"calls": [{"input": {}}]}]}, "calls[0].tool: a text is needed"),
        ({"turns": [{"calls": [{"tool": "Read", "input": []}]}]}, "calls[0].input: a mapping is needed"),
        ({"turns": [{"text": "a", "delay_seconds": -1}]}, "delay_seconds: -1 is not between 0 and 600"),
        ({"turns": [{"text": "a", "delay_seconds": float("nan")}]}, "delay_seconds: nan is not between"),
        ({"turns": [{"text": "a", "delay_seconds": True}]}, "delay_seconds: a number is needed, not True"),
        (
            {"turns": [{"error": {"status": 200, "type": "a", "message": "b"}}]},
            "200 is not between 400 and 599",
        ),
        ({"turns": [{"error": {"status": 500}}]}, "error.type: a text is needed"),
        (
            {"turns": [{"error": {"status": 500, "type": "a", "message": "b", "times": 0.5}}]},
            "error.times: a whole number is needed, not 0.5",
        ),
        ({"turns": [{"stop_reason": "bored"}]}, "turns[0].stop_reason: 'bored' is none of max_tokens, "),
        ({"turns": [{"text": "a", "drip_seconds": 601}]}, "drip_seconds: 601 is not between 0 and 600"),
        ({"when": {"matches": "("}}, "when.matches: '(' is no regular expression"),
        ({"when": {"fields": [1]}}, "when.fields[0]: a text is needed, not 1"),
        ({"when": {"step": "("}}, "when.step: '(' is no regular expression"),
        ({"when": {}}, "when: step, contains, conversation, matches or fields is needed"),
        ({"when": {"step": "plan", "contains": [1]}}, "when.contains[0]: a text is needed, not 1"),
        ({"name": ""}, "scenes[0].name: a text is needed"),
    ],
)
def test_each_fault_is_named_with_its_place(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ScriptError) as caught:
        Script.of({"scenes": [scene(**change)]})
    assert fault in str(caught.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ScriptError) as caught:
        Script.of({"scenes": [scene(turns=[{}]), scene(turns=[{"text": 1}])], "extra": 1})
    for fault in (
        "unknown key 'extra'",
        "scenes[0].turns[0]",
        "scenes[1].turns[0].text",
        "two are named 'plan'",
    ):
        assert fault in str(caught.value)


def test_the_first_scene_that_matches_the_whole_header_is_found() -> None:
    script = Script.of(
        {
            "scenes": [
                scene("letters", "plan.*", when={"step": "plan", "contains": ["letters", "bug"]}),
                scene("one", "plan"),
                scene("other", "plan"),
                scene("attempt", r"implement, attempt 1 of \d+"),
            ]
        }
    )

    def found(step: str, prompt: str = "") -> str | None:
        scene = script.find(talk(step, prompt))
        return scene.name if scene else None

    assert found("plan", "a bug in letters") == "letters"
    assert found("plan", "letters") == "one"
    assert found("implement, attempt 1 of 3") == "attempt"
    assert found("implement, attempt 1 of 3, again") is None
    assert found("planning") is None


def test_calls_of_tools_that_are_not_offered_are_left_out() -> None:
    turns = [
        {"text": "both", "calls": [call("Read"), call("Bash")]},
        {"text": "bash", "calls": [call("Bash")]},
        {"text": "words"},
        {"text": "end", "calls": [call("StructuredOutput")]},
    ]
    [played] = Script.of({"scenes": [scene(turns=turns)]}).scenes

    def calls(*tools: str) -> list[tuple[str, list[str]]]:
        return [(turn.text, [c.tool for c in turn.calls]) for turn in played.playable(tools)]

    assert calls("Read", "StructuredOutput") == [
        ("both", ["Read"]),
        ("words", []),
        ("end", ["StructuredOutput"]),
    ]
    assert calls("Bash", "Read") == [
        ("both", ["Read", "Bash"]),
        ("bash", ["Bash"]),
        ("words", []),
        ("end", []),
    ]


def test_a_scene_without_a_step_is_for_any_prompt_that_holds_its_texts() -> None:
    script = Script.of(
        {"scenes": [scene("part", when={"contains": ["PART 1"]}), scene("whole", when={"step": "plan"})]}
    )
    found = [
        script.find(talk(*asked))
        for asked in ((None, "Do PART 1"), ("plan", "PART 1"), ("plan", ""), (None, "PART 2"))
    ]
    assert [part and part.name for part in found] == ["part", "part", "whole", None]


def test_a_session_that_goes_on_is_known_by_what_was_said_before() -> None:
    script = Script.of(
        {
            "scenes": [
                {
                    "name": "review",
                    "when": {"step": "fix", "contains": ["a docstring"], "conversation": "guests"},
                    "turns": [{"text": "Done."}],
                }
            ]
        }
    )
    assert script.find(talk("fix", "say it in a docstring", "letters for guests ... a docstring")) is not None
    assert script.find(talk("fix", "say it in a docstring", "letters ... a docstring")) is None
    assert script.find(talk("fix", "no words", "letters for guests ... a docstring")) is None

"""Codex's events and its record of a session: what is shown, and what a run comes to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.agents.codex_events import CodexTranscript
from agent_runner.agents.codex_rollout import MAX_BYTES, Rollout, rollout_file
from agent_runner.contract import Tokens
from agent_runner.process import Ended

if TYPE_CHECKING:
    from pathlib import Path

SESSION = "01a1fd03-49f1-72a1-9c9c-678af80fd085"
EXIT = Ended(0, "exit")
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}


class Record:
    """The file that the program writes beside its events."""

    def __init__(self, sessions: Path) -> None:
        folder = sessions / "2026/11/21"
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"rollout-2026-11-21T07-00-00-{SESSION}.jsonl"

    def write(self, kind: str, **payload: Any) -> None:
        line = json.dumps(
            {"timestamp": "t", "ordinal": 1, "type": kind, "payload": payload}, separators=(",", ":")
        )
        with self.file.open("a") as file:
            file.write(line + "\n")

    def answer(self, total: int) -> None:
        """One answer of the model, after which the session has had so many tokens of each kind."""
        self.write("token_usage_record", response_id="r")
        usage = {"input_tokens": 3 * total, "cached_input_tokens": total, "output_tokens": total}
        self.write("event_msg", type="token_count", info={"total_token_usage": usage})


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path)


def transcript(sessions: Path, session_id: str | None = None, **more: Any) -> CodexTranscript:
    rollout = Rollout(sessions)
    rollout.follow(session_id)
    return CodexTranscript(rollout, session_id=session_id, **more)


def feed(run: CodexTranscript, *events: dict[str, Any]) -> list[str]:
    return [text for event in events for text in run.read(json.dumps(event).encode())]


def item(event: str, kind: str, item_id: str = "item_1", **more: Any) -> dict[str, Any]:
    return {"type": f"item.{event}", "item": {"id": item_id, "type": kind, **more}}


def message(text: str) -> dict[str, Any]:
    return item("completed", "agent_message", text=text)


BEGIN = ({"type": "thread.started", "thread_id": SESSION}, {"type": "turn.started"})
END = {"type": "turn.completed", "usage": {"input_tokens": 30, "cached_input_tokens": 10, "output_tokens": 5}}


def test_the_session_is_known_at_once(tmp_path: Path) -> None:
    run = transcript(tmp_path)
    assert run.session_id is None
    feed(run, BEGIN[0])
    assert run.session_id == SESSION


def test_a_run_is_shown_and_summed_up(tmp_path: Path, record: Record) -> None:
    run = transcript(tmp_path)
    record.write("session_meta", cli_version="0.1")
    record.write("turn_context", model="gpt-x")
    seen: list[Any] = []
    run.tool_observer = lambda name, given, output, *, lane: seen.append((name, given, output, lane))
    shown = feed(run, *BEGIN, message("I look."))
    command = {"command": "ls", "aggregated_output": "", "status": "in_progress"}
    assert not run.finished
    shown += feed(run, item("started", "command_execution", "c", **command))
    record.answer(10)
    done = {**command, "aggregated_output": "a b", "exit_code": 1, "status": "failed"}
    shown += feed(run, item("completed", "command_execution", "c", **done))
    shown += feed(
        run, item("completed", "file_change", "f", changes=[{"path": "a", "kind": "add"}], status="completed")
    )
    shown += feed(run, message("Done."), END)
    record.answer(20)
    report = run.report(EXIT, "")
    assert run.finished
    assert report.failure is None
    assert (report.summary, report.session_id) == ("Done.", SESSION)
    assert (report.model, report.version, report.turns) == ("gpt-x", "0.1", 2)
    assert report.tokens == Tokens(input=20, output=5, cache_read=10)
    assert report.cost_usd == 0
    assert seen == [
        ("command_execution", {"command": "ls"}, {"aggregated_output": "a b", "exit_code": 1}, ""),
        ("file_change", {"changes": [{"path": "a", "kind": "add"}]}, {}, ""),
    ]
    text = "\n".join(shown)
    for part in (
        "agent> I look.",
        "tool command_execution: ls",
        "tool failed: a b",
        "tool file_change:",
        "agent> Done.",
    ):
        assert part in text


def test_it_is_busy_from_the_turns_start_to_its_end(tmp_path: Path) -> None:
    """No event comes while the model thinks."""
    run = transcript(tmp_path)
    assert not run.busy
    feed(run, *BEGIN)
    assert run.busy
    feed(run, END)
    assert not run.busy


def test_a_session_that_goes_on_is_charged_for_this_run_alone(tmp_path: Path, record: Record) -> None:
    record.answer(100)
    run = transcript(tmp_path, SESSION)
    record.answer(150)
    usage = {"input_tokens": 450, "cached_input_tokens": 150, "output_tokens": 150}
    feed(run, *BEGIN, message("Done."), {"type": "turn.completed", "usage": usage})
    report = run.report(EXIT, "")
    assert report.tokens == Tokens(input=100, output=50, cache_read=50)
    assert report.turns == 1


def test_a_run_that_was_stopped_has_what_its_record_says(tmp_path: Path, record: Record) -> None:
    run = transcript(tmp_path)
    feed(run, *BEGIN)
    record.answer(7)
    report = run.report(Ended(-15, "stopped"), "")
    assert report.tokens == Tokens(input=14, output=7, cache_read=7)
    assert report.turns == 1
    assert report.failure
    assert report.failure.code == "agent_crashed"


def test_an_error_that_passed_is_none(tmp_path: Path) -> None:
    run = transcript(tmp_path)
    lost = {"type": "error", "message": "Reconnecting... 1/5 (Connection failed: error sending request)"}
    shown = feed(run, *BEGIN, lost, message("Here again."), END)
    assert run.report(EXIT, "").failure is None
    assert "Reconnecting... 1/5" in "\n".join(shown)


def test_an_error_before_the_program_went_is_the_reason(tmp_path: Path) -> None:
    run = transcript(tmp_path)
    feed(run, *BEGIN, {"type": "error", "message": "Connection failed: error sending request"})
    report = run.report(Ended(-9, "exit"), "")
    assert report.failure
    assert report.failure.code == "model_unavailable"


def test_the_last_of_several_turns_counts(tmp_path: Path) -> None:
    failed = {"type": "turn.failed", "error": {"message": "Quota exceeded."}}
    run = transcript(tmp_path)
    feed(run, *BEGIN, message("One."), END, {"type": "turn.started"}, failed)
    report = run.report(Ended(1, "exit"), "")
    assert report.failure
    assert report.failure.code == "model_quota"
    run = transcript(tmp_path)
    feed(run, *BEGIN, failed, {"type": "turn.started"}, message("Two."), END)
    assert run.report(EXIT, "").failure is None


@pytest.mark.parametrize("last", ["{}", "[]", '{"title": 1}', "no JSON", ""])
def test_output_that_does_not_fit_is_said_and_left_out(tmp_path: Path, last: str) -> None:
    run = transcript(tmp_path, output_schema=SCHEMA)
    shown = feed(run, *BEGIN, message("Words."), message(last), END)
    report = run.report(EXIT, "")
    assert report.output is None
    assert report.failure is None
    assert "does not fit the schema" in shown[-1]


def test_output_is_the_last_message_and_the_one_before_it_the_summary(tmp_path: Path) -> None:
    run = transcript(tmp_path, output_schema=SCHEMA)
    feed(run, *BEGIN, message("Words."), message('{"title": "T"}'), END)
    report = run.report(EXIT, "")
    assert (report.output, report.summary) == ({"title": "T"}, "Words.")


def test_turns_beyond_the_limit_are_seen_at_the_next_tool(tmp_path: Path, record: Record) -> None:
    run = transcript(tmp_path, max_turns=2)
    feed(run, *BEGIN)
    for number in range(2):
        feed(run, item("started", "command_execution", f"c{number}"))
        record.answer(number)
        feed(run, item("completed", "command_execution", f"c{number}"))
        assert run.over_limit is None
    record.answer(3)
    feed(run, message("A last answer may come late."))
    assert run.over_limit is None
    feed(run, item("completed", "command_execution", "c3"))
    assert run.over_limit
    assert run.over_limit.code == "max_turns"


def test_lines_that_are_no_events_are_shown_a_few_times(tmp_path: Path) -> None:
    run = transcript(tmp_path)
    shown = [text for _ in range(100) for text in run.read(b"Segmentation \xff fault")]
    assert 0 < len(shown) < 50
    assert run.read(b"  ") == []
    report = run.report(Ended(1, "exit"), "thread 'main' panicked")
    assert report.failure
    assert "panicked" in report.failure.message


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["item", "error", "usage", "message", "thread_id"])
FIELDS = st.sampled_from(
    ["id", "type", "text", "status", "command", "aggregated_output", "exit_code", "changes"]
)
KINDS = ["thread.started", "turn.started", "turn.completed", "turn.failed", "error"]
KINDS += ["item.started", "item.updated", "item.completed"]


@given(
    st.lists(
        st.builds(
            lambda kind, more, item: {"type": kind, **({"item": item} if item else {}), **more},
            st.sampled_from(KINDS),
            st.dictionaries(KEYS, JSON, max_size=3),
            st.none() | st.dictionaries(FIELDS, JSON, max_size=5),
        ),
        max_size=6,
    )
)
def test_nothing_that_is_written_makes_it_raise(events: list[dict[str, Any]]) -> None:
    from pathlib import Path

    run = transcript(Path("/nowhere"), output_schema=SCHEMA, max_turns=1)
    for event in events:
        assert all(isinstance(text, str) for text in run.read(json.dumps(event).encode()))
    report = run.report(EXIT, "")
    assert report.tokens.input >= 0
    json.dumps(report.output)


def test_a_record_is_read_on_and_never_twice(tmp_path: Path, record: Record) -> None:
    rollout = Rollout(tmp_path)
    rollout.follow(None)
    rollout.follow(SESSION)
    assert rollout.responses == 0
    record.answer(1)
    whole = record.file.read_bytes()
    record.file.write_bytes(whole[:-10])
    rollout.follow(SESSION)
    record.file.write_bytes(whole)
    for _ in range(3):
        rollout.follow(SESSION)
    assert (rollout.responses, rollout.total.output) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        '{"type":"event_msg","payload":[]}',
        '{"type":"event_msg","payload":{"type":"token_count","info":3}}',
    ],
)
def test_a_damaged_record_is_no_obstacle(tmp_path: Path, record: Record, line: str) -> None:
    record.file.write_text(line + "\n")
    record.answer(2)
    rollout = Rollout(tmp_path)
    rollout.follow(SESSION)
    assert (rollout.responses, rollout.total.output) == (1, 2)


@pytest.mark.parametrize("session_id", ["", "*", "../../etc/passwd", SESSION + "x", "x" * 300])
def test_what_is_no_id_of_a_session_has_no_record(tmp_path: Path, record: Record, session_id: str) -> None:
    record.answer(1)
    assert rollout_file(tmp_path, session_id) is None


def test_records_that_are_links_empty_or_too_large_do_not_count(tmp_path: Path, record: Record) -> None:
    assert rollout_file(tmp_path, SESSION) is None
    record.file.touch()
    assert rollout_file(tmp_path, SESSION) is None
    record.answer(1)
    assert rollout_file(tmp_path, SESSION) == record.file
    with record.file.open("ab") as file:
        file.truncate(MAX_BYTES + 1)
    assert rollout_file(tmp_path, SESSION) is None
    record.file.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("{}\n")
    record.file.symlink_to(elsewhere)
    assert rollout_file(tmp_path, SESSION) is None

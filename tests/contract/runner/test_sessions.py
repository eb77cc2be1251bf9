"""Conversations that go on in a later step: what is kept of them, and what is believed of it."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.sessions import FILE, Sessions

if TYPE_CHECKING:
    from pathlib import Path

    from pod import Pod

SESSION = "11111111-2222-3333-4444-555555555555"
LOST = """
if option("--resume"):
    result(is_error=True, subtype="error_during_execution", errors=["No conversation found with session ID"])
else:
    commit("a", "1"); result()
"""


def test_kept_and_found(tmp_path: Path) -> None:
    Sessions(tmp_path, "claude").keep("build", "one")
    Sessions(tmp_path, "codex").keep("review", "two")
    Sessions(tmp_path, "claude").keep("build", "three")
    assert Sessions(tmp_path, "claude").find("build") == "three"
    assert Sessions(tmp_path, "codex").find("review") == "two"
    assert Sessions(tmp_path, "codex").find("build") is None
    assert Sessions(tmp_path, "claude").find("other") is None
    assert Sessions(tmp_path, "claude").find(None) is None
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, "claude")
    for number in range(120):
        sessions.keep(f"k{number}", "x" * 200)
    assert sessions.find("k19") is None
    assert sessions.find("k20") == sessions.find("k119") == "x" * 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 10_000,
        b'{"build": 3}',
        b'{"build": {"program": "claude"}}',
        b'{"build": {"program": "claude", "id": 3}}',
        b'{"build": {"program": "claude", "id": ""}}',
        b'{"build": {"program": "claude", "id": "a\\nb"}}',
        b'{"build": {"program": "../x", "id": "one"}}',
        b'{"build": {"program": "claude", "id": "one"}}' + b" " * 100_000,
    ],
)
def test_garbage_is_no_session(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    sessions = Sessions(tmp_path, "claude")
    assert sessions.find("build") is None
    sessions.keep("build", "one")
    assert sessions.find("build") == "one"


@given(
    st.dictionaries(
        st.text(max_size=8), st.dictionaries(st.sampled_from(["program", "id"]), st.none() | st.text())
    )
)
def test_no_content_breaks_it(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / FILE).write_text(json.dumps(content))
    sessions = Sessions(home, "claude")
    sessions.keep("build", "one")
    assert sessions.find("build") == "one"


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_things_in_its_place(tmp_path: Path, kind: str) -> None:
    file, elsewhere = tmp_path / FILE, tmp_path / "elsewhere"
    elsewhere.write_text('{"build": {"program": "claude", "id": "theirs"}}')
    if kind == "folder":
        (file / "x").mkdir(parents=True)
    elif kind == "link":
        file.symlink_to(elsewhere)
    else:
        os.mkfifo(file)
    sessions = Sessions(tmp_path, "claude")
    assert sessions.find("build") is None
    sessions.keep("build", "one")
    assert sessions.find("build") == "one"
    assert "theirs" in elsewhere.read_text()


def test_home_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not Sessions(tmp_path / "none", "claude").keep("build", "one")
    assert "cannot be kept" in capsys.readouterr().out


def test_next_step_goes_on_in_the_same_session(pod: Pod) -> None:
    pod.claude("commit('a', '1'); result()")
    first = pod.run(pod.spec(session_key="build")).result
    assert (first.session_key, first.resumed) == ("build", False)
    assert pod.sessions == {"build": {"program": "claude", "id": first.session_id}}

    pod.claude("commit('b', '1'); result()")
    spec = pod.spec("fix", session_key="build", resume_prompt="Mend it.", expected_head=first.head_sha)
    second = pod.run(spec).result
    assert (second.session_id, second.session_key, second.resumed) == (first.session_id, "build", True)
    assert [call["stdin"] for call in pod.calls()] == ["Do the task.", "Mend it."]
    assert [call["argv"][call["argv"].index(first.session_id) - 1] for call in pod.calls()] == [
        "--session-id",
        "--resume",
    ]


def test_without_words_for_it_the_whole_task_is_said_again(pod: Pod) -> None:
    pod.keep_session("build", SESSION)
    pod.claude()
    assert pod.run(pod.spec(session_key="build")).result.resumed
    assert pod.calls()[0]["stdin"] == "Do the task."


def test_another_conversation_is_a_new_session(pod: Pod) -> None:
    pod.keep_session("build", SESSION)
    pod.claude()
    ran = pod.run(pod.spec(session_key="plan", resume_prompt="Go on."))
    assert not ran.result.resumed
    assert pod.calls()[0]["stdin"] == "Do the task."
    assert set(pod.sessions) == {"build", "plan"}


def test_without_a_key_nothing_is_kept(pod: Pod) -> None:
    pod.claude()
    ran = pod.run(pod.spec())
    assert ran.result.session_id
    assert (ran.result.session_key, ran.result.resumed) == (None, False)
    assert not (pod.home / FILE).exists()


@pytest.mark.parametrize("session", ["../../etc/passwd", "*", "--help", SESSION])
def test_session_without_transcript_is_new(pod: Pod, session: str) -> None:
    (pod.home / FILE).write_text(json.dumps({"build": {"program": "claude", "id": session}}))
    pod.claude()
    ran = pod.run(pod.spec(session_key="build", resume_prompt="Go on."))
    (call,) = pod.calls()
    assert "--resume" not in call["argv"]
    assert session not in call["argv"]
    assert call["stdin"] == "Do the task."
    assert not ran.result.resumed
    assert pod.sessions["build"]["id"] == ran.result.session_id


def test_session_of_another_program_is_new(pod: Pod) -> None:
    pod.keep_session("build", SESSION, program="codex")
    pod.claude()
    assert not pod.run(pod.spec(session_key="build")).result.resumed


def test_session_that_turns_out_lost_is_started_anew_with_the_whole_task(pod: Pod) -> None:
    pod.keep_session("build", SESSION, transcript="broken")
    pod.claude(LOST)
    ran = pod.run(pod.spec(session_key="build", resume_prompt="Go on."))
    assert (ran.result.outcome, ran.result.resumed) == ("succeeded", False)
    assert ran.result.session_id != SESSION
    assert [call["stdin"] for call in pod.calls()] == ["Go on.", "Do the task."]
    assert pod.sessions["build"]["id"] == ran.result.session_id


def test_it_is_kept_before_the_agent_begins(pod: Pod) -> None:
    """A pod that is killed with the runner in it leaves what is needed to go on."""
    pod.claude("write('../ready', session); time.sleep(20)")
    process = pod.start(pod.spec(session_key="build"))
    pod.signal_when(process, pod.root / "workspace/ready", signal.SIGKILL)
    process.communicate(timeout=10)
    kept = pod.sessions["build"]["id"]
    assert kept == (pod.root / "workspace/ready").read_text()

    pod.claude()
    ran = pod.run(pod.spec(session_key="build", resume_prompt="Go on."))
    assert (ran.result.session_id, ran.result.resumed) == (kept, True)

"""What is read from a request: its step, its turn, its working directory."""

from __future__ import annotations

from typing import Any

import pytest

from demo.model.conversation import Conversation, read
from demo.model.errors import ApiError

REMINDER = (
    "<system-reminder>\n# Step: reminded\n - Primary working directory: /from/reminder\n</system-reminder>"
)


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def assistant(text: str = "Yes") -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def result(text: str) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": text}]}
    return {"role": "user", "content": [block]}


def talk(*messages: dict[str, Any], **body: Any) -> Conversation:
    return read({"messages": list(messages), **body})


def test_the_header_is_found_beside_reminders() -> None:
    read = talk(user(REMINDER, "# Step: implement, attempt 1 of 3  \n\nDo it"))
    assert read.step == "implement, attempt 1 of 3"
    assert read.prompt.startswith("# Step: implement")
    assert "reminded" not in read.prompt


def test_the_header_may_stand_below_other_text_and_in_a_plain_string() -> None:
    assert talk({"role": "user", "content": "Hello\n# Step: plan\nmore"}).step == "plan"


def test_the_first_header_of_a_message_counts() -> None:
    assert talk(user("# Step: plan\n\n<untrusted>\n# Step: fix, round 1 of 5\n</untrusted>")).step == "plan"


@pytest.mark.parametrize(
    "text", ["Step: plan", " # Step: plan", "## Step: plan", "# Step:", "see # Step: plan"]
)
def test_what_is_no_header(text: str) -> None:
    read = talk(user(text), assistant())
    assert read.step is None


def test_turns_are_the_answers_since_the_header() -> None:
    first = user("# Step: plan")
    assert talk(first).turn == 0
    assert talk(first, assistant(), result("ok")).turn == 1
    assert talk(first, assistant(), result("ok"), assistant(), user("[nudge] Go on")).turn == 2


def test_what_a_tool_returned_is_no_header() -> None:
    read = talk(user("# Step: plan"), assistant(), result("# Step: fix, round 1 of 5"))
    assert (read.step, read.turn) == ("plan", 1)


def test_a_resumed_session_starts_its_new_step_anew() -> None:
    read = talk(
        user("# Step: implement, attempt 1 of 3"), assistant(), assistant(),
        user("# Step: implement, attempt 2 of 3"), assistant(), result("ok"),
    )  # fmt: skip
    assert (read.step, read.turn) == ("implement, attempt 2 of 3", 1)


@pytest.mark.parametrize(
    "body",
    [
        {"system": "You are in\n - Primary working directory: /some where/x\n - Is a git repository: true"},
        {"system": [{"type": "text", "text": "# Env\nWorking directory: /some where/x"}]},
    ],
)
def test_the_working_directory_of_the_system_prompt(body: dict[str, Any]) -> None:
    assert talk(user("# Step: plan"), **body).working_directory == "/some where/x"


def test_the_working_directory_of_a_system_message_and_of_a_reminder() -> None:
    environment = {
        "role": "system",
        "content": [{"type": "text", "text": " - Primary working directory: /w"}],
    }
    assert talk(user("# Step: plan"), environment).working_directory == "/w"
    assert talk(user(REMINDER)).working_directory == "/from/reminder"


def test_the_working_directory_stated_last_counts() -> None:
    moved = {"role": "system", "content": "Working directory: /new"}
    assert talk(user("# Step: plan"), moved, system="Working directory: /old").working_directory == "/new"


def test_users_and_tools_do_not_state_a_working_directory() -> None:
    text = "Working directory: /evil"
    assert talk(user(text), assistant(text), result(text)).working_directory is None


def test_the_tools_that_are_offered() -> None:
    assert talk(user("a"), tools=[{"name": "Read"}, {"name": "Bash"}]).tools == ("Read", "Bash")
    assert talk(user("a")).tools == ()


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "text",
        ["text"],
        [{"role": "tool", "content": "a"}],
        [{"role": "user"}],
        [{"role": "user", "content": 3}],
    ],
)
def test_messages_that_the_api_refuses(messages: Any) -> None:
    with pytest.raises(ApiError, match="messages") as caught:
        read({"messages": messages})
    assert (caught.value.status, caught.value.kind) == (400, "invalid_request_error")

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import MAX_TERMINATION_MESSAGE_BYTES, Ledger, Push, Tokens
from agent_runner.gateway.journal import FILE_NAME, Journal, JournalError, termination_message

PUSH = Push(ref="refs/heads/x", old="a" * 40, new="b" * 40)
NEXT = Push(ref="refs/heads/x", old="b" * 40, new="c" * 40)
TOKENS = Tokens(input=1, output=2, cache_read=3, cache_write=4)


def call(journal: Journal, model: str | None = "m", *, unpriced: bool = False, status: int = 200) -> None:
    journal.model_call(model=model, status=status, tokens=TOKENS, usd=0.5, unpriced=unpriced, estimated=False)


def lines(folder: Path) -> list[bytes]:
    return (folder / FILE_NAME).read_bytes().splitlines()


def test_totals(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    call(journal)
    call(journal, "new", unpriced=True)
    call(journal, "new", unpriced=True)
    call(journal, None, status=529)
    journal.push_sent(PUSH)
    journal.push_accepted(PUSH)
    journal.push_sent(NEXT)
    journal.push_rejected(NEXT, "hook declined")
    journal.refusal("not\nthat")
    assert journal.ledger == Ledger(
        usd=2.0,
        tokens=Tokens(input=4, output=8, cache_read=12, cache_write=16),
        model_calls=3,
        unpriced_models=("new",),
        pushes=(PUSH,),
        refusals=("not that",),
    )
    assert journal.own_commits == {PUSH.new}
    assert journal.unsettled == ()


def test_nothing_is_forgotten_by_a_restart(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    call(first)
    first.push_sent(PUSH)
    first.push_accepted(PUSH)
    first.push_sent(NEXT)
    first.refusal("no")
    second = Journal(tmp_path)  # the first one is not closed: as after a kill
    assert second.ledger == first.ledger
    assert second.own_commits == {PUSH.new}
    assert second.unsettled == (NEXT,)
    call(second)
    assert Journal(tmp_path).ledger.usd == 1.0


def test_a_torn_last_line_is_ignored_and_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    call(journal)
    call(journal)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for end in range(second, len(whole)):
        path.write_bytes(whole[:end])
        torn = Journal(tmp_path)
        # Without its newline alone, a line is whole all the same.
        assert torn.ledger.model_calls == (2 if end == len(whole) - 1 else 1)
        calls = torn.ledger.model_calls
        call(torn)
        torn.close()
        assert Journal(tmp_path).ledger.model_calls == calls + 1


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_file_content_stops_it(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    (folder / FILE_NAME).write_bytes(b"\n".join(parts))
    journal = Journal(folder)
    call(journal)
    assert Journal(folder).ledger.model_calls == 1


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "1",
        "{}",
        '{"event":"model_call","tokens":{"input":1},"usd":"x","unpriced":false,"model":null,"status":200}',
        '{"event":"model_call","tokens":{"other":1},"usd":1,"unpriced":false,"model":null,"status":200}',
        '{"event":"push","ref":"r"}',
        '{"event":"of a later version"}',
    ],
)
def test_unreadable_lines_count_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE_NAME).write_text(line + "\n")
    assert Journal(tmp_path).ledger == Ledger()


def test_every_event_is_one_timed_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    call(journal, "bad \ud800 name\n")
    journal.refusal("\ud800\nx" * 1000)
    events = [json.loads(line) for line in lines(tmp_path)]
    assert [event["event"] for event in events] == ["model_call", "refusal"]
    assert all(event["time"].endswith("+00:00") for event in events)
    assert len(events[1]["text"]) <= 300


def test_refusals_do_not_fill_the_volume(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(1_100):
        journal.refusal(f"r{number}")
    assert len(lines(tmp_path)) == 1_000
    assert journal.ledger.refusals == tuple(f"r{number}" for number in range(1_080, 1_100))


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"none/ledger\.jsonl: No such file or directory"):
        Journal(tmp_path / "none")


def test_a_full_volume_is_a_fault_and_what_was_spent_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, tmp_path / "message")
    call(journal)
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(journal, "_file", full)
        call(journal)
    assert journal.fault
    assert "cannot be written: No space left on device" in journal.fault
    assert journal.ledger.usd == 1.0
    assert Ledger.from_json((tmp_path / "message").read_text()).usd == 1.0


def test_the_termination_message_is_always_the_last_state_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_text("x" * 4_000)
    inode = path.stat().st_ino
    journal = Journal(tmp_path, path)
    assert Ledger.from_json(path.read_text()) == Ledger()
    for number in range(30):
        journal.refusal(f"refusal {number}")
        assert Ledger.from_json(path.read_text()) == journal.ledger
    journal.close()
    assert path.stat().st_ino == inode


def test_an_unwritable_termination_log_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, tmp_path / "none" / "message")
    call(journal)
    assert journal.ledger.usd == 0.5
    assert "No such file or directory" in caplog.text


@given(
    st.integers(0, 60),
    st.lists(st.text(max_size=300), max_size=20),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=100), max_size=20),
)
def test_the_termination_message_fits(pushes: int, refusals: list[str], models: list[str]) -> None:
    encodable = tuple(text.encode("utf-8", "replace").decode() for text in refusals)
    ledger = Ledger(
        usd=1.5,
        tokens=TOKENS,
        model_calls=7,
        pushes=tuple(
            Push(ref="refs/heads/" + "x" * 100, old="a" * 40, new=f"{n:040x}") for n in range(pushes)
        ),
        refusals=encodable,
        unpriced_models=tuple(models),
    )
    data = termination_message(ledger)
    assert len(data) <= MAX_TERMINATION_MESSAGE_BYTES
    read = Ledger.from_json(data.decode())
    assert (read.usd, read.tokens, read.model_calls) == (1.5, TOKENS, 7)
    assert read.pushes[-1:] == ledger.pushes[-1:]
    assert read.refusals == ledger.refusals[len(ledger.refusals) - len(read.refusals) :]

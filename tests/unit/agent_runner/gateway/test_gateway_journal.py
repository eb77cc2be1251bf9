from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import (
    MAX_TERMINATION_MESSAGE_BYTES,
    Ledger,
    McpUse,
    ModelUse,
    Push,
    Settled,
    Tokens,
)
from agent_runner.gateway import journal as journal_module
from agent_runner.gateway.budget import Amount
from agent_runner.gateway.journal import JournalError, ledger_file, termination_message

FILE_NAME = "pod.jsonl"

PUSH = Push(ref="refs/heads/x", old="a" * 40, new="b" * 40)
NEXT = Push(ref="refs/heads/x", old="b" * 40, new="c" * 40)
TOKENS = Tokens(input=1, output=2, cache_read=3, cache_write=4)


def Journal(folder: Path, termination_log: Path | None = None) -> journal_module.Journal:  # noqa: N802
    return journal_module.Journal(ledger_file(folder, "pod"), termination_log)


def begin(journal: journal_module.Journal, model: str = "m", *, unpriced: bool = False) -> str:
    estimate = Tokens(input=100, output=10)
    return journal.model_call_begun(model=model, tokens=estimate, usd=0.25, unpriced=unpriced)


def end(
    journal: journal_module.Journal,
    begun: str,
    model: str | None = "m",
    *,
    unpriced: bool = False,
    status: int = 200,
) -> None:
    usd = 0.5 if status == 200 else 0.0
    tokens = TOKENS if status == 200 else Tokens()
    journal.model_call(
        begun, model=model, status=status, tokens=tokens, usd=usd, unpriced=unpriced, estimated=False
    )


def call(
    journal: journal_module.Journal, model: str | None = "m", *, unpriced: bool = False, status: int = 200
) -> None:
    end(journal, begin(journal, model or "m"), model, unpriced=unpriced, status=status)


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
        usd=1.5,
        tokens=Tokens(input=3, output=6, cache_read=9, cache_write=12),
        model_calls=3,
        models=(
            ModelUse(model="new", calls=2, usd=1.0, tokens=TOKENS + TOKENS, unpriced=True),
            ModelUse(model="m", calls=1, usd=0.5, tokens=TOKENS),
        ),
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
    first.settle(Settled(pod="lost", usd=1.5, tokens=7, known=True))
    first.budget_refusal("USD", "spent")
    begin(first, "cut off", unpriced=True)
    second = Journal(tmp_path)  # the first one is not closed: as after a kill
    assert second.ledger == first.ledger
    assert second.own_commits == {PUSH.new}
    assert second.unsettled == (NEXT,)
    assert second.settled == {"lost": Settled(pod="lost", usd=1.5, tokens=7, known=True)}
    assert second.ledger.usd == 0.75
    call(second)
    assert Journal(tmp_path).ledger.usd == 1.25


def test_a_call_counts_at_its_estimate_until_it_ends(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tmp_path / "message")
    begun = begin(journal, "new", unpriced=True)
    told = Ledger.from_json((tmp_path / "message").read_text())
    assert told == journal.ledger
    assert (told.usd, told.tokens, told.model_calls) == (0.25, Tokens(input=100, output=10), 0)
    assert told.models == (
        ModelUse(model="new", calls=0, usd=0.25, tokens=Tokens(input=100, output=10), unpriced=True),
    )
    assert journal.spent == Amount(0.25, 110)
    end(journal, begun)
    assert journal.spent == Amount(0.5, 10)
    assert [use.model for use in journal.ledger.models] == ["m"]


def test_a_call_cut_off_by_a_kill_counts_at_its_estimate_for_ever(tmp_path: Path) -> None:
    """Wherever in its end the write was cut; the line that began it was on the disk before it was sent."""
    journal = Journal(tmp_path)
    end(journal, begin(journal))
    whole = (tmp_path / FILE_NAME).read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) - 1):
        (tmp_path / FILE_NAME).write_bytes(whole[:cut])
        again = Journal(tmp_path)
        again.close()
        assert again.spent == Amount(0.25, 110)
        assert Journal(tmp_path).spent == Amount(0.25, 110)


def test_budget_refusals_are_counted_and_told_once_of_each_kind(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for part in ("USD", "USD", "tokens", "USD"):
        journal.budget_refusal(part, f"the {part} are spent")
    assert journal.ledger.budget_refusals == 4
    assert journal.ledger.refusals == ("the USD are spent", "the tokens are spent")
    assert len(lines(tmp_path)) == 2


async def test_a_disk_that_does_not_keep_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    await journal.sync()
    assert journal.fault is None

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(journal_module.os, "fsync", fail)
    await journal.sync()
    assert journal.fault
    assert "cannot be written: Input/output error" in journal.fault


def test_many_models_are_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(60):
        call(journal, f"m{number}")
    models = journal.ledger.models
    assert len(models) <= 51
    assert sum(use.calls for use in models) == 60
    assert models[0].model == "other models"


def test_a_torn_last_line_is_ignored_and_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    call(journal)
    call(journal)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    third = [at for at, byte in enumerate(whole) if byte == 10][2] + 1
    for cut in range(third, len(whole)):
        path.write_bytes(whole[:cut])
        torn = Journal(tmp_path)
        # Without its newline alone, a line is whole all the same.
        assert torn.ledger.model_calls == (2 if cut == len(whole) - 1 else 1)
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
        '{"event":"model_call","id":"1","tokens":{"input":1},"usd":"x","unpriced":false,"model":"m","status":200}',
        '{"event":"model_call","id":"1","tokens":{"x":1},"usd":1,"unpriced":false,"model":"m","status":200}',
        '{"event":"model_call","id":"1","tokens":{"input":-1},"usd":1,"unpriced":false,"model":"m","status":200}',
        '{"event":"model_call","id":"1","tokens":{"input":1},"usd":NaN,"unpriced":false,"model":"m","status":200}',
        '{"event":"model_call","tokens":{"input":1},"usd":1,"unpriced":false,"model":"m","status":200}',
        '{"event":"model_call_begun","id":"1","model":"m","estimate_usd":-1,"estimate_tokens":{},"unpriced":false}',
        '{"event":"settled","pod":"p","usd":1,"known":true}',
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
    assert [event["event"] for event in events] == ["model_call_begun", "model_call", "refusal"]
    assert all(event["time"].endswith("+00:00") for event in events)
    assert events[0]["id"] == events[1]["id"]
    assert len(events[2]["text"]) <= 300


def test_refusals_do_not_fill_the_volume(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(1_100):
        journal.refusal(f"r{number}")
    assert len(lines(tmp_path)) == 1_000
    assert journal.ledger.refusals == tuple(f"r{number}" for number in range(1_080, 1_100))


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"none/pod\.jsonl: No such file or directory"):
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
    st.lists(st.text(st.characters(codec="utf-8"), max_size=100), max_size=51),
    st.integers(0, 60),
)
def test_the_termination_message_fits(
    pushes: int, refusals: list[str], models: list[str], settled: int
) -> None:
    encodable = tuple(text.encode("utf-8", "replace").decode() for text in refusals)
    ledger = Ledger(
        usd=1.5,
        tokens=TOKENS,
        model_calls=7,
        pushes=tuple(
            Push(ref="refs/heads/" + "x" * 100, old="a" * 40, new=f"{n:040x}") for n in range(pushes)
        ),
        refusals=encodable,
        models=tuple(ModelUse(model=name, calls=1, usd=1.0, tokens=TOKENS) for name in models),
        unpriced_models=tuple(models),
        settled=tuple(Settled(pod=f"{'x' * 60}{n}", usd=1.0, tokens=1, known=True) for n in range(settled)),
    )
    data = termination_message(ledger)
    assert len(data) <= MAX_TERMINATION_MESSAGE_BYTES
    read = Ledger.from_json(data.decode())
    assert (read.usd, read.tokens, read.model_calls) == (1.5, TOKENS, 7)
    assert read.pushes[-1:] == ledger.pushes[-1:]
    assert read.refusals == ledger.refusals[len(ledger.refusals) - len(read.refusals) :]
    assert read.models == ledger.models[: len(read.models)]
    assert read.settled == ledger.settled[: len(read.settled)]
    if len(read.pushes) < min(len(ledger.pushes), 1) or len(read.models) < min(len(ledger.models), 5):
        assert not read.refusals
    if len(read.settled) < len(ledger.settled):
        assert not read.models


def test_calls_of_mcp_servers_are_counted_and_lines_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_MAX_MCP_LINES", 3)
    journal = Journal(tmp_path)
    for outcome in ("answered", "answered", "failed", "refused", "refused"):
        journal.mcp_call("docs", tool="look\nup" * 100, outcome=outcome, seconds=0.25)
    assert journal.ledger.mcp == (McpUse(server="docs", calls=2, failed=1, refused=2),)
    journal.close()
    assert len(lines(tmp_path)) == 3
    assert len(json.loads(lines(tmp_path)[0])["tool"]) <= 100
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'{"event":"mcp_call","server":"docs","outcome":"other"}\n{"event":"mcp_call"}\n')
    again = Journal(tmp_path)
    assert again.ledger.mcp == (McpUse(server="docs", calls=2, failed=1),)
    again.close()


def test_a_message_that_is_too_long_loses_mcp_servers_before_what_pods_spent() -> None:
    ledger = Ledger(
        mcp=tuple(McpUse(server=f"server-{n:02}-{'x' * 29}", calls=n) for n in range(100)),
        settled=(Settled(pod="p", usd=1, tokens=1, known=True),),
    )
    data = termination_message(ledger)
    assert len(data) <= MAX_TERMINATION_MESSAGE_BYTES
    kept = Ledger.from_json(data.decode())
    assert 20 < len(kept.mcp) < 100
    assert kept.settled == ledger.settled

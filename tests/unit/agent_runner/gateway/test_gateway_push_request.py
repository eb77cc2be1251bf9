from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.gateway.pkt_line import FLUSH, encode
from agent_runner.gateway.push_request import (
    MAX_SECTION_BYTES,
    ZERO_ID,
    Command,
    PushRequest,
    PushRequestError,
    PushRequestReader,
    printable,
)

A, B = "a" * 40, "b" * 40
CAPS = b"\0 report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5"


def line(old: str = A, new: str = B, ref: str = "refs/heads/x", rest: bytes = b"") -> bytes:
    return encode(f"{old} {new} {ref}".encode() + rest)


def read(*chunks: bytes) -> PushRequest | None:
    reader = PushRequestReader()
    for chunk in chunks:
        if (request := reader.feed(chunk)) is not None:
            return request
    return None


def test_a_push_as_git_writes_it() -> None:
    data = encode(f"shallow {A}".encode()) + line(rest=CAPS) + line(ref="refs/heads/y") + FLUSH + b"PACK...."
    request = read(data)
    assert request is not None
    assert request.commands == (Command(A, B, "refs/heads/x"), Command(A, B, "refs/heads/y"))
    assert request.raw == data
    assert request.reports_status
    assert request.side_band
    assert not request.has_options


def test_a_final_newline_is_no_part_of_the_ref() -> None:
    request = read(line(rest=CAPS + b"\n") + line(ref="refs/heads/y\n") + FLUSH)
    assert request is not None
    assert [command.ref for command in request.commands] == ["refs/heads/x", "refs/heads/y"]


def test_create_and_delete() -> None:
    request = read(line(old=ZERO_ID, rest=CAPS) + line(new=ZERO_ID, ref="refs/heads/y") + FLUSH)
    assert request is not None
    assert [(c.is_create, c.is_delete) for c in request.commands] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("word", "options", "band", "status"),
    [
        (b"push-options", True, False, False),
        (b"push-options=x", True, False, False),
        (b"push-options2", False, False, False),
        (b"side-band-64k", False, True, False),
        (b"side-band", False, False, False),
        (b"report-status", False, False, True),
        (b"report-status-v2", False, False, True),
    ],
)
def test_capabilities(word: bytes, options: bool, band: bool, status: bool) -> None:
    request = read(line(rest=b"\0" + word) + FLUSH)
    assert request is not None
    assert (request.has_options, request.side_band, request.reports_status) == (options, band, status)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(line(rest=CAPS) + line(ref="refs/heads/y", rest=CAPS), id="capabilities twice"),
        pytest.param(line(rest=CAPS + b"\0push-options"), id="second NUL"),
        pytest.param(line(old=A.upper(), rest=CAPS), id="upper-case id"),
        pytest.param(line(old=A[:39], rest=CAPS), id="short id"),
        pytest.param(line(old=A + "a" * 24, new=B + "b" * 24, rest=CAPS), id="SHA-256 ids"),
        pytest.param(line(ref="", rest=CAPS), id="no ref"),
        pytest.param(line(ref="refs/heads/x y", rest=CAPS), id="space in ref"),
        pytest.param(line(ref="refs/heads/x\n", rest=CAPS), id="newline before NUL"),
        pytest.param(line(rest=CAPS) + line(ref="refs/heads/y\n\n"), id="two newlines"),
        pytest.param(line(rest=CAPS) + line(), id="same ref twice"),
        pytest.param(line(old=ZERO_ID, new=ZERO_ID, rest=CAPS), id="nothing to nothing"),
        pytest.param(line(rest=CAPS) + encode(f"shallow {A}".encode()), id="shallow after a command"),
        pytest.param(encode(b"shallow x"), id="shallow what"),
        pytest.param(encode(b"push-cert\0x"), id="certificate"),
        pytest.param(encode(b""), id="empty packet"),
        pytest.param(encode(f"{A}\t{B}\trefs/heads/x".encode()), id="tabs"),
        pytest.param(FLUSH + b"x", id="pack without refs"),
        pytest.param(b"0001", id="delimiter"),
        pytest.param(b"0000" + line(rest=CAPS) + FLUSH, id="flush first"),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(PushRequestError):
        read(data, FLUSH)


def test_the_lone_flush_is_a_probe() -> None:
    reader = PushRequestReader()
    assert reader.feed(b"00") is None
    assert not reader.is_probe
    assert reader.feed(b"00") is None
    assert reader.is_probe


def test_the_section_is_bounded() -> None:
    reader = PushRequestReader()
    shallow = encode(f"shallow {A}".encode()) * 1000
    for _ in range(MAX_SECTION_BYTES // len(shallow)):
        assert reader.feed(shallow) is None
    with pytest.raises(PushRequestError, match="longer than"):
        reader.feed(shallow)
    # Also in one piece, flush included.
    with pytest.raises(PushRequestError, match="longer than"):
        read(shallow * 21 + line(rest=CAPS) + FLUSH)


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from([A, B, ZERO_ID, "0123456789abcdef" * 2 + "01234567"]),
        st.sampled_from([A, B]),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=30),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda command: command[2],
)


@given(COMMANDS, st.binary(max_size=50), st.lists(st.integers(0, 2_000)))
def test_round_trip_however_it_is_cut(
    commands: list[tuple[str, str, str]], pack: bytes, places: list[int]
) -> None:
    section = b"".join(line(*command, rest=b"" if n else CAPS) for n, command in enumerate(commands)) + FLUSH
    data = section + pack
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    reader, fed, request = PushRequestReader(), b"", None
    for start, end in itertools.pairwise(ends):
        fed += data[start:end]
        if (request := reader.feed(data[start:end])) is not None:
            break
    assert request is not None
    assert [(c.old, c.new, c.ref) for c in request.commands] == commands
    assert request.raw == fed
    assert data.startswith(request.raw)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_input_crashes_it(chunks: list[bytes]) -> None:
    try:
        request = read(*chunks)
    except PushRequestError:
        return
    assert request is None or request.commands


@given(st.lists(st.binary(max_size=120), max_size=4))
def test_no_packets_crash_it(payloads: list[bytes]) -> None:
    with contextlib.suppress(PushRequestError):
        read(*map(encode, payloads), FLUSH)


@given(st.text(), st.integers(1, 50))
def test_printable_is_one_short_ascii_line(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isascii()
    assert shown.isprintable()

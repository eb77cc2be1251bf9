from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.gateway.pkt_line import FLUSH, MAX_PACKET_BYTES, PktLineError, PktLineReader, encode


def read_all(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    reader, packets = PktLineReader(), []
    for chunk in chunks:
        reader.feed(chunk)
        while (packet := reader.next()) is not None:
            packets.append(packet)
    return packets, reader.rest


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Divide ``data`` at ``places``, taken modulo its length."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


@given(st.lists(st.one_of(st.none(), st.binary(max_size=300))), st.lists(st.integers(0, 10_000)))
def test_what_is_written_is_read_however_it_is_cut(payloads: list[bytes | None], places: list[int]) -> None:
    packets = [FLUSH if payload is None else encode(payload) for payload in payloads]
    assert read_all(cut(b"".join(packets), places)) == (packets, b"")


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_read_or_refused_and_none_is_lost(chunks: list[bytes]) -> None:
    try:
        packets, rest = read_all(chunks)
    except PktLineError:
        return
    assert b"".join(packets) + rest == b"".join(chunks)


@pytest.mark.parametrize(
    "data", [b"0001", b"0002", b"0003", b"fff1", b"ffff", b"PACK", b"-001", b" 004", b"0x10"]
)
def test_lengths_that_are_refused(data: bytes) -> None:
    with pytest.raises(PktLineError):
        read_all([data + b"x" * 100])


def test_lengths_at_the_bounds() -> None:
    assert read_all([b"0004"]) == ([b"0004"], b"")
    longest = encode(b"x" * (MAX_PACKET_BYTES - 4))
    assert read_all([longest]) == ([longest], b"")
    with pytest.raises(PktLineError):
        encode(b"x" * (MAX_PACKET_BYTES - 3))


def test_upper_case_lengths_are_read_as_git_does() -> None:
    assert read_all([b"000Ahello!00"]) == ([b"000Ahello!"], b"00")

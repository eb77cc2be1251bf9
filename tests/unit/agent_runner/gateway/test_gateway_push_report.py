from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.gateway.advertisement import AdvertisementFilter, RefFinder
from agent_runner.gateway.pkt_line import FLUSH, PktLineError, encode
from agent_runner.gateway.push_report import PushReport, PushReportReader, acceptance, refusal
from agent_runner.gateway.push_request import ZERO_ID, Command, PushRequest

A, B = "a" * 40, "b" * 40
REF = "refs/heads/x"


def request(refs: int = 1, *, side_band: bool = True) -> PushRequest:
    commands = tuple(Command(A, B, f"{REF}{n or ''}") for n in range(refs))
    return PushRequest(commands, frozenset({"side-band-64k"} if side_band else ()), b"")


def read(data: bytes, size: int, *, side_band: bool = True) -> PushReport:
    reader = PushReportReader(side_band=side_band)
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    return reader.report


@pytest.mark.parametrize("side_band", [True, False])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_own_answers_are_read(side_band: bool, size: int) -> None:
    wanted = request(3, side_band=side_band)
    report = read(refusal(wanted, ["no", "not\nthis", "ünfit"], "two\nlines"), size, side_band=side_band)
    assert report.complete
    assert report.rejected == {REF: "no", f"{REF}1": "not?this", f"{REF}2": "?nfit"}
    report = read(acceptance(wanted), size, side_band=side_band)
    assert report.complete
    assert report.unpacked
    assert report.accepted == {REF, f"{REF}1", f"{REF}2"}


def test_a_report_amid_progress_and_with_options() -> None:
    inner = (
        encode(b"unpack ok\n")
        + encode(b"ok refs/heads/x\n")
        + encode(b"option refname refs/heads/y\n")
        + encode(b"ng refs/heads/z hook declined\n")
        + FLUSH
    )
    data = encode(b"\x02remote: working\n") + encode(b"\x01")
    data += b"".join(
        encode(b"\x01" + inner[at : at + 9]) + encode(b"\x02.") for at in range(0, len(inner), 9)
    )
    report = read(data + FLUSH, 13)
    assert report == PushReport(True, {"refs/heads/x"}, {"refs/heads/z": "hook declined"}, True)


def test_a_failed_unpack() -> None:
    data = encode(b"unpack index-pack abnormal exit\n") + encode(b"ng refs/heads/x unpacker error\n") + FLUSH
    report = read(data, 5, side_band=False)
    assert report.complete
    assert not report.unpacked


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        encode(b"\x01" + encode(b"unpack ok\n") + encode(b"ok refs/heads/x\n")) + FLUSH,
        encode(b"\x01" + encode(b"unpack ok\n")) + encode(b"\x03fatal: gone"),
    ],
)
def test_an_unfinished_report_is_not_complete(data: bytes) -> None:
    assert not read(data, 4).complete


@given(st.lists(st.binary(max_size=50)), st.booleans())
def test_no_answer_crashes_the_reader(chunks: list[bytes], side_band: bool) -> None:
    reader = PushReportReader(side_band=side_band)
    for chunk in chunks:
        reader.feed(chunk)


def test_large_refusals_are_divided_into_packets() -> None:
    wanted = request(3_000)
    report = read(refusal(wanted, ["x" * 100] * 3_000, "why"), 65_536)
    assert report.complete
    assert len(report.rejected) == 3_000


HEAD = encode(b"# service=git-receive-pack\n") + FLUSH
CAPS = b"report-status delete-refs push-cert=12-ab side-band-64k push-options quiet agent=git/2.39.5"
REFS = encode(f"{B} refs/tags/v1\n".encode()) + FLUSH


@pytest.mark.parametrize("size", [1, 10, 1_000])
@pytest.mark.parametrize("first", [f"{A} {REF}", f"{ZERO_ID} capabilities^{{}}"])
def test_the_advertisement_loses_two_capabilities(size: int, first: str) -> None:
    data = HEAD + encode(first.encode() + b"\0" + CAPS + b"\n") + REFS
    wanted = b"report-status delete-refs side-band-64k quiet agent=git/2.39.5"
    at, cut, out = 0, AdvertisementFilter(), b""
    while not out:
        out = cut.feed(data[at : at + size])
        at += size
    assert out + data[at:] == HEAD + encode(first.encode() + b"\0" + wanted + b"\n") + REFS


@pytest.mark.parametrize("data", [b"", HEAD, b"<!DOCTYPE html>", HEAD + FLUSH, encode(b"x" * 60_000) * 5])
def test_what_is_no_advertisement_is_refused(data: bytes) -> None:
    with pytest.raises(PktLineError):
        AdvertisementFilter().feed(data, at_end=True)


@given(st.integers(1, 200))
def test_a_ref_is_found_in_the_list(size: int) -> None:
    data = HEAD + encode(f"{A} HEAD\0caps refs/heads/z".encode()) + encode(f"{A} {REF}1\n".encode())
    data += encode(f"{B} {REF}\n".encode()) + FLUSH
    found, missing = RefFinder(REF), RefFinder("refs/heads/z")
    for at in range(0, len(data), size):
        found.feed(data[at : at + size])
        missing.feed(data[at : at + size])
    assert (found.complete, found.oid) == (True, B)
    assert (missing.complete, missing.oid) == (True, None)


def test_a_list_cut_off_is_not_complete() -> None:
    finder = RefFinder(REF)
    finder.feed(HEAD + encode(f"{A} HEAD\0caps".encode()))
    assert not finder.complete

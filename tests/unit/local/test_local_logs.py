"""Container logs: the file, and the log API."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.local import clock
from airflow_provider_agents.local.logs import PART, LinePump, LogFile, LogOptions


async def text(log, **options):
    return b"".join([piece async for piece in log.read(LogOptions(**options))])


def written(path, *lines):
    log = LogFile(path / "a.log")
    log.open()
    pump = LinePump(lambda line, whole: log.write("stdout", line, whole=whole))
    for line in lines:
        pump.feed(line)
    pump.end()
    log.close()
    return log


async def test_what_was_written_is_read(tmp_path):
    log = written(tmp_path, b"one\n", b"two\nth", b"ree\n", b"\n", b"no end")
    assert await text(log) == b"one\ntwo\nthree\n\nno end"
    assert await text(log, tail=2) == b"\nno end"
    assert await text(log, tail=0) == b""
    assert await text(log, tail=99) == b"one\ntwo\nthree\n\nno end"
    assert await text(log, limit=5) == b"one\nt"
    assert log.last_lines(3, 2048) == "three\n\nno end"


async def test_stamps_have_nine_digits_rise_by_a_microsecond_and_stand_once_before_a_long_line(tmp_path):
    log = written(tmp_path, b"".join(b"%d\n" % i for i in range(500)), b"x" * 40_000 + b"\n")
    lines = (await text(log, timestamps=True)).decode().splitlines()
    assert len(lines) == 501
    stamps = [line.split(" ")[0] for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp) for stamp in stamps)
    moments = [clock.nanoseconds(stamp) for stamp in stamps]
    assert all(later - sooner >= 1_000 for sooner, later in itertools.pairwise(moments))
    assert lines[-1].split(" ")[1] == "x" * 40_000


async def test_a_long_line_counts_as_its_parts(tmp_path):
    line = b"::marker::" + b"x" * 150_000
    log = written(tmp_path, b"before\n", line + b"\n", b"after\n")
    assert await text(log, tail=200) == b"before\n" + line + b"\nafter\n"
    headless = await text(log, tail=4)
    assert not headless.startswith(b"::marker::")
    assert len(headless) < 4 * PART + 10


async def test_since(tmp_path):
    log = LogFile(tmp_path / "a.log")
    log.open()
    log.write("stdout", b"old", whole=True)
    time.sleep(0.01)
    moment = time.time_ns()
    log.write("stderr", b"new", whole=True)
    log.close()
    assert await text(log, since=moment) == b"new\n"
    assert await text(log, since=moment, tail=1) == b"new\n"


async def test_following_ends_with_the_log(tmp_path):
    log = LogFile(tmp_path / "a.log")
    log.open()
    log.write("stdout", b"one", whole=True)
    pieces = []

    async def follow():
        async for piece in log.read(LogOptions(follow=True)):
            pieces.append(piece)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    assert pieces == [b"one\n"]
    log.write("stdout", b"two", whole=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not following.done()
    log.write("stdout", b"three", whole=True)
    log.close()
    await asyncio.wait_for(following, 5)
    assert b"".join(pieces) == b"one\ntwo\nthree\n"


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(0, 3))
def test_lines_survive_any_cut_into_blocks(blocks, factor):
    blocks = [block * (1 + factor * 400) for block in blocks]
    got: list[bytes] = []
    pump = LinePump(lambda line, whole: got.append(line + (b"\n" if whole else b"")))
    for block in blocks:
        pump.feed(block)
    pump.end()
    assert b"".join(got) == b"".join(blocks)
    assert all(len(line) <= PART + 1 for line in got)


async def test_the_log_api(api, make):
    await api.ok(
        "POST", "pods", make.pod(make.shell("echo one; sleep 1.1; echo two; echo three >&2; exit 0"))
    )
    await api.phase("Running")
    lines = (await api.log(follow="True", timestamps="True")).splitlines()
    await api.phase("Succeeded")
    assert {line.split(" ", 1)[1] for line in lines} == {"one", "two", "three"}
    assert await api.log(tailLines=1) in ("two\n", "three\n")
    assert sorted((await api.log(sinceSeconds=1)).split()) == ["three", "two"]
    moment = lines[1].split(" ")[0]
    assert sorted((await api.log(sinceTime=moment)).split()) == ["three", "two"]
    assert await api.log(sinceTime=datetime.now(UTC).isoformat()) == ""
    assert await api.log(limitBytes=2) == "on"


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ({"container": "absent"}, 400, "container absent is not valid for pod pod"),
        ({"tailLines": "x"}, 400, "tailLines"),
        ({"tailLines": "-1"}, 400, "tailLines"),
        ({"sinceTime": "yesterday"}, 400, "sinceTime"),
        ({"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"}, 400, "at most one"),
        ({"follow": "maybe"}, 400, "boolean"),
        ({"previous": "True"}, 400, "previous terminated container"),
    ],
)
async def test_what_the_log_api_refuses(api, make, query, code, says):
    await api.ok("POST", "pods", make.pod(make.shell("true")))
    await api.phase("Succeeded")
    status, answer = await api.call("GET", "pods/pod/log", **query)
    assert (status, answer["kind"]) == (code, "Status")
    assert says in answer["message"]


async def test_a_container_has_to_be_named_among_several(api, make):
    await api.ok("POST", "pods", make.pod(make.shell("true"), make.shell("true", "second")))
    await api.phase("Succeeded")
    status, answer = await api.call("GET", "pods/pod/log")
    assert status == 400
    assert "choose one of: [base second]" in answer["message"]

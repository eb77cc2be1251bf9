"""git as the gateway runs it: bounded in time, memory and output, and gone when it is not wanted any more."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from agent_runner.gateway import git_program, room
from agent_runner.gateway.git_program import GitProgram, GitProgramError, memory_limit
from agent_runner.gateway.room import NoRoomError, Room

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands for git; its text is to be written."""
    file = tmp_path / "bin" / "git"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")
    return file


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")


async def test_output_error_and_code(program: Path, tmp_path: Path) -> None:
    write(program, 'cat; echo said >&2; exit "$1"')
    (tmp_path / "in").write_text("xin")
    with (tmp_path / "in").open("rb") as stdin:
        stdin.seek(1)
        ran = await GitProgram(tmp_path / "r", tmp_path).run("3", stdin=stdin)
    assert (ran.code, ran.output, ran.words, ran.ok) == (3, b"in", "said", False)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 5", "git ended with code 5"),
        ("kill -9 $$", "git was ended by signal 9"),
        ("echo one >&2; echo two >&2; echo three >&2; exit 1", "two; three"),
        ("echo 'remote: agent gateway: why' >&2; echo fatal: x >&2; exit 1", "agent gateway: why"),
    ],
)
async def test_words(program: Path, tmp_path: Path, script: str, words: str) -> None:
    write(program, script)
    assert (await GitProgram(tmp_path / "r", tmp_path).run()).words == words


async def test_environment_is_its_own(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("A_TOKEN", "canary")
    write(program, "env")
    git = GitProgram(tmp_path / "r", tmp_path)
    told = dict(line.split("=", 1) for line in (await git.run()).output.decode().splitlines())
    assert told["GIT_DIR"] == str(tmp_path / "r")
    assert told["GIT_CONFIG_GLOBAL"] == os.devnull
    assert told["HOME"] == str(tmp_path)
    assert not {"HTTPS_PROXY", "A_TOKEN", "GIT_OBJECT_DIRECTORY"} & set(told)
    count = int(told["GIT_CONFIG_COUNT"])
    settings = {told[f"GIT_CONFIG_KEY_{n}"]: told[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}
    assert settings["core.hooksPath"] == os.devnull
    assert settings["protocol.allow"] == "never"
    told = dict(
        line.split("=", 1)
        for line in (await git.with_objects(tmp_path / "o", Room(tmp_path, "it")).run())
        .output.decode()
        .splitlines()
    )
    assert told["GIT_OBJECT_DIRECTORY"] == str(tmp_path / "o")
    assert told["GIT_ALTERNATE_OBJECT_DIRECTORIES"] == str(tmp_path / "r" / "objects")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def ended(file: Path) -> None:
    """Wait until the process whose id is in ``file`` has ended."""
    async with asyncio.timeout(10):
        while not file.exists() or not (text := file.read_text().strip()) or alive(int(text)):
            await asyncio.sleep(0.01)


async def test_time_limit_ends_it_and_what_it_started(program: Path, tmp_path: Path) -> None:
    write(program, f"sleep 60 & echo $! > {tmp_path}/child; trap '' TERM; wait; sleep 60")
    began = time.monotonic()
    with pytest.raises(GitProgramError, match="git fetch took longer than 1 s"):
        await GitProgram(tmp_path / "r", tmp_path).run("fetch", seconds=1.0)
    assert time.monotonic() - began < 10
    await ended(tmp_path / "child")


async def test_cancelling_ends_it(program: Path, tmp_path: Path) -> None:
    write(program, f"echo $$ > {tmp_path}/self; exec sleep 60")
    task = asyncio.create_task(GitProgram(tmp_path / "r", tmp_path).run("x"))
    async with asyncio.timeout(10):
        while not (tmp_path / "self").exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended(tmp_path / "self")


async def test_too_much_output(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_program, "_MAX_OUTPUT_BYTES", 100_000)
    write(program, "yes")
    with pytest.raises(GitProgramError, match="more than 100,000 bytes"):
        await GitProgram(tmp_path / "r", tmp_path).run("x", seconds=20)
    taken = 0

    def take(chunk: bytes) -> None:
        nonlocal taken
        taken += len(chunk)
        if taken > 1_000_000:
            raise GitProgramError("enough")

    with pytest.raises(GitProgramError, match="enough"):
        await GitProgram(tmp_path / "r", tmp_path).run("x", on_output=take, seconds=20)


async def test_words_are_kept_from_the_end(program: Path, tmp_path: Path) -> None:
    write(program, "yes | head -c 1000000 >&2; echo last >&2; exit 1")
    ran = await GitProgram(tmp_path / "r", tmp_path).run("x")
    assert len(ran.error) <= 16_384
    assert ran.words.endswith("last")


async def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitProgramError, match="no git in the gateway's image"):
        await GitProgram(tmp_path / "r", tmp_path).run("x")


async def test_folder_that_grows_too_large(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_BYTES", 1_000_000)
    folder = tmp_path / "grows"
    folder.mkdir()
    write(program, f"echo $$ > {tmp_path}/self; head -c 2000000 /dev/zero > {folder}/file; exec sleep 60")
    with pytest.raises(NoRoomError, match="the thing takes more than 0 MiB"):
        await GitProgram(tmp_path / "r", tmp_path, Room(folder, "the thing")).run("x", seconds=20)
    await ended(tmp_path / "self")


def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Room(tmp_path / "not" / "there", "it").check()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 1_000)
    monkeypatch.setattr(room, "MAX_BYTES", 2_000)
    Room(tmp_path, "it").check(1_000)
    with pytest.raises(NoRoomError, match="it takes more than"):
        Room(tmp_path, "it").check(1_001)
    monkeypatch.setattr(room, "MIN_FREE_BYTES", 1 << 62)
    with pytest.raises(NoRoomError, match="no room left for it"):
        Room(tmp_path, "it").check()


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("memory.max", "max\n", 1 << 30),
        ("memory.max", f"{512 << 20}\n", 416 << 20),
        ("memory.max", f"{64 << 20}\n", 96 << 20),
        ("memory/memory.limit_in_bytes", f"{300 << 20}\n", 204 << 20),
        ("memory/memory.limit_in_bytes", f"{1 << 62}\n", 1 << 30),
        ("other", "", 1 << 30),
    ],
)
def test_memory_is_what_the_container_leaves(tmp_path: Path, name: str, text: str, limit: int) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert memory_limit(tmp_path) == limit

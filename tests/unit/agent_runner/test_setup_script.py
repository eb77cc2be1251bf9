"""What a set-up script declares, and what its result depends on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent_runner import setup_script
from agent_runner.failure import StepFailed
from agent_runner.setup_script import MAX_PATHS, clean_arguments, image_identity, key_of, parse

if TYPE_CHECKING:
    from pathlib import Path


def test_declarations() -> None:
    script = parse(
        b"#!/bin/bash\n# agents: key requirements.txt  a/./b.lock\n  #agents:key c\n"
        b"# agents: keep node_modules .venv/\necho '# agents of change'\n"
    )
    assert script.key_files == ("requirements.txt", "a/b.lock", "c")
    assert script.kept == ("node_modules", ".venv")
    assert clean_arguments(script.kept) == ("--exclude=/node_modules", "--exclude=/.venv")


@pytest.mark.parametrize(
    "line",
    [
        "key /etc/passwd", "key ../x", "key a/../../x", "keep .git", "keep .git/hooks", "keep .", "keep a*",
        "keep !a", "keep [a]", "keep a\\b", "key a\x1bb", "cache x", " x",
    ],
)  # fmt: skip
def test_what_may_not_be_declared(line: str) -> None:
    with pytest.raises(StepFailed) as caught:
        parse(f"# agents: {line}\n".encode())
    assert caught.value.failure.code == "setup_failed"
    assert ".agents/setup.sh" in caught.value.failure.message


def test_too_many_paths() -> None:
    names = " ".join(f"f{n}" for n in range(MAX_PATHS))
    parse(f"# agents: key {names}\n".encode())
    with pytest.raises(StepFailed, match="51 paths"):
        parse(f"# agents: key {names} more\n".encode())


def test_a_script_that_is_no_text() -> None:
    assert parse(b"\xff\xfe\n# agents: key a\n").key_files == ("a",)


def key(checkout: Path, text: bytes = b"# agents: key a sub/b\n", place: str = "/cache/setup") -> str:
    return key_of(parse(text), checkout, checkout.__class__(place), os.defpath)


def test_the_key(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_text("1")
    seen = [key(tmp_path)]
    assert key(tmp_path) == seen[0]
    assert len(seen[0]) == 64
    (tmp_path / "other").write_text("x")
    assert key(tmp_path) == seen[0]
    (tmp_path / "a").write_text("2")
    seen.append(key(tmp_path))
    (tmp_path / "sub/b").write_text("")  # absent is not the same as empty
    seen.append(key(tmp_path))
    seen.append(key(tmp_path, b"# agents: key a sub/b\n#\n"))
    seen.append(key(tmp_path, place="/other"))
    assert len(set(seen)) == len(seen)


def test_the_machine_and_the_image_are_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [key(tmp_path)]
    here = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*here[:4], "riscv64")))
    seen.append(key(tmp_path))
    monkeypatch.setattr(setup_script, "image_identity", lambda path: "another")
    seen.append(key(tmp_path))
    assert len(set(seen)) == 3


def test_the_image(tmp_path: Path) -> None:
    packages, programs = tmp_path / "status", tmp_path / "bin"
    programs.mkdir()

    def identity() -> str:
        return image_identity(str(programs), (str(packages),))

    seen = [identity()]
    packages.write_text("curl 1")
    seen.append(identity())
    packages.write_text("curl 2")
    seen.append(identity())
    (programs / "node").write_text("#!/bin/sh\n")
    (programs / "node").chmod(0o755)
    seen.append(identity())
    os.utime(programs / "node", (1, 1))
    seen.append(identity())
    assert identity() == seen[-1]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("trap", ["link", "link to a folder", "folder", "pipe", "through a link"])
def test_a_declared_file_that_is_none(tmp_path: Path, trap: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_text("secret")
    checkout = tmp_path / "repo"
    checkout.mkdir()
    if trap == "through a link":
        (checkout / "sub").symlink_to(outside)
    elif trap == "link":
        (checkout / "a").symlink_to(outside / "b")
    elif trap == "link to a folder":
        (checkout / "a").symlink_to(outside)
    elif trap == "folder":
        (checkout / "a").mkdir()
    else:
        os.mkfifo(checkout / "a")
    with pytest.raises(StepFailed, match="no plain file"):
        key(checkout)

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.operators.verdict_cache import SECONDS, VerdictCache

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-canary-0123456789"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "agents" / "accepted"


def test_what_was_accepted_is_known_to_other_processes(folder: Path) -> None:
    assert not VerdictCache(folder).accepted("model", "https://a", KEY)
    VerdictCache(folder).remember("model", "https://a", KEY)
    assert VerdictCache(folder).accepted("model", "https://a", KEY)
    assert not VerdictCache(folder).accepted("model", "https://b", KEY)
    assert not VerdictCache(folder).accepted("model", "https://a", KEY + "x")


def test_it_counts_for_five_minutes(folder: Path) -> None:
    cache = VerdictCache(folder)
    cache.remember("a")
    (place,) = [path for path in folder.iterdir() if path.name != "key"]
    then = time.time() - SECONDS - 1
    os.utime(place, (then, then))
    assert not cache.accepted("a")
    cache.remember("b")
    assert not place.exists()
    future = time.time() + 3600
    cache.remember("a")
    os.utime(place, (future, future))
    assert not cache.accepted("a")


def test_nothing_of_the_credential_is_kept(folder: Path) -> None:
    VerdictCache(folder).remember("model", KEY)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert KEY.encode() not in path.name.encode() + path.read_bytes()


@pytest.mark.parametrize("fault", ["open", "link", "file", "key"])
def test_a_folder_that_is_not_private_is_not_used(folder: Path, tmp_path: Path, fault: str) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    folder.parent.mkdir(mode=0o700)
    if fault == "open":
        folder.mkdir()
        folder.chmod(0o755)
    elif fault == "link":
        folder.symlink_to(other)
    elif fault == "file":
        folder.touch(0o600)
    else:
        folder.mkdir(mode=0o700)
        (folder / "key").write_text("short")
    cache = VerdictCache(folder)
    cache.remember("a")
    assert not cache.accepted("a")
    assert list(other.iterdir()) == []


def test_by_default_it_is_among_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    VerdictCache().remember("a")
    assert VerdictCache().accepted("a")
    assert (tmp_path / f"airflow-agents-{os.getuid()}" / "accepted" / "key").exists()

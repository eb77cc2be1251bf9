from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent_runner.borrowing import borrow, borrows
from agent_runner.mirror_request import Mirror

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "repo/.git/objects").mkdir(parents=True)
    return tmp_path / "repo/.git"


def make_mirror(tmp_path: Path, shallow: str | None) -> Mirror:
    mirror = Mirror(tmp_path / "g-0123456789abcdef")
    mirror.objects.mkdir(parents=True)
    if shallow is not None:
        (mirror.path / "shallow").write_text(shallow)
    return mirror


def test_the_mirrors_objects_and_where_its_history_is_cut(directory: Path, tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path, f"{ONE}\n{TWO}\n")
    (directory / "shallow").write_text(f"{'3' * 40}\n")
    borrow(directory, mirror)
    assert borrows(directory)
    assert (directory / "objects/info/alternates").read_text() == f"{mirror.objects}\n"
    assert (directory / "shallow").read_text() == f"{ONE}\n{TWO}\n"


def test_a_mirror_with_its_whole_history_cuts_nothing_off(directory: Path, tmp_path: Path) -> None:
    (directory / "shallow").write_text(f"{ONE}\n")
    borrow(directory, make_mirror(tmp_path, None))
    assert not (directory / "shallow").exists()


def test_from_nobody(directory: Path, tmp_path: Path) -> None:
    """Where its own history is cut off it still is; what is no commit is not believed."""
    borrow(directory, make_mirror(tmp_path, None))
    (directory / "shallow").write_text(f"{ONE}\n../escape\n{TWO.upper().replace('2', 'G')}\n")
    borrow(directory, None)
    assert not borrows(directory)
    assert (directory / "shallow").read_text() == f"{ONE}\n"


def test_a_link_for_the_folder_is_replaced(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (directory / "objects/info").symlink_to(elsewhere)
    borrow(directory, make_mirror(tmp_path, None))
    assert list(elsewhere.iterdir()) == []
    assert borrows(directory)

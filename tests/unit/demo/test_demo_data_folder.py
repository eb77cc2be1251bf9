from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from demo.data_folder import KEPT, data_folder

if TYPE_CHECKING:
    from pathlib import Path


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, 12, 0, second).astimezone()


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def make(root: Path, *seconds: int) -> None:
    for second in seconds:
        with data_folder(root, at(second)) as folder:
            (folder / "log").write_text("kept")


def test_only_the_last_ones_stay(tmp_path: Path):
    make(tmp_path / "demo", 1, 2, 3, 4)
    assert names(tmp_path / "demo") == [f"20260101-12000{second}" for second in (2, 3, 4)]
    assert KEPT == 3


def test_two_at_the_same_second_get_folders_of_their_own(tmp_path: Path):
    with data_folder(tmp_path, at(1)) as one, data_folder(tmp_path, at(1)) as other:
        assert one != other
        assert one.is_dir()
        assert other.is_dir()


def test_what_a_running_demo_uses_stays(tmp_path: Path):
    with data_folder(tmp_path, at(1)) as running:
        make(tmp_path, 2, 3, 4, 5)
        assert running.is_dir()
    make(tmp_path, 6)
    assert not running.exists()


def test_what_is_not_ours_stays(tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "20260101-120000.txt").write_text("mine")
    make(tmp_path, 1, 2, 3, 4)
    assert {"notes", "20260101-120000.txt"} < set(names(tmp_path))


def test_read_only_folders_are_removed_and_links_are_not_followed(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    root = tmp_path / "demo"
    with data_folder(root, at(1)) as old:
        locked = old / "locked"
        locked.mkdir()
        (locked / "file").write_text("x")
        (old / "link").symlink_to(outside)
        locked.chmod(0o500)
    make(root, 2, 3, 4)
    assert not old.exists()
    assert (outside / "precious").read_text() == "stays"


def test_nobody_else_can_look_into_it(tmp_path: Path):
    with data_folder(tmp_path, at(1)) as folder:
        assert folder.stat().st_mode & 0o077 == 0

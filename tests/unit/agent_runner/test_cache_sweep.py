"""Sweeping the cache claim: what is given up, in which order, and what never is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent_runner import cache_units
from agent_runner.__main__ import main
from agent_runner.cache_locks import take
from agent_runner.cache_sweep import Caps, fitted, quantity, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 4_000_000_000.0  # what the tests do not age was last used long before
DAY = 86_400.0
MIB = 1024 * 1024
LOOSE = Caps(total=1 << 50, repository=1 << 50, unused_days=30)
SHOP, SITE = "github.com/acme/shop", "github.com/acme/site"
KEYS = ["a" * 64, "b" * 64, "c" * 64]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Claim:
    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, path: str, size: int = MIB, days: float = 0) -> Path:
        """Write a file that was last written so many days ago."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        self.age(file, days)
        return file

    def age(self, file: Path, days: float) -> None:
        os.utime(file, (NOW - days * DAY,) * 2)

    def used(self, repository: str, days: float) -> None:
        for kind in ("packages", "mirrors"):
            if (self.root / kind / repository).is_dir():
                self.file(f"{kind}/{repository}/lock", 0, days)

    def setup(self, repository: str, key: str, days: float, *, complete: bool = True) -> Path:
        folder = self.root / f"packages/{repository}/setup/{key}"
        self.file(f"packages/{repository}/setup/{key}/prefix/bin/tool", MIB)
        if complete:
            self.file(f"packages/{repository}/setup/{key}/complete", 10, days)
        return folder

    def sweep(self, caps: Caps = LOOSE, *, dry_run: bool = False) -> dict[str, Any]:
        return sweep(str(self.root), caps, dry_run=dry_run, now=NOW)

    def actions(self, report: dict[str, Any]) -> dict[str, str]:
        return {entry["path"]: entry["action"] for entry in report["entries"]}


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Claim]:
    yield Claim(tmp_path / "claim")
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o700)


def test_below_its_caps_nothing_is_touched(claim: Claim) -> None:
    tool = claim.file(f"packages/{SHOP}/tools/pip/a")
    mirror = claim.file(f"mirrors/{SHOP}/mirror.git/pack")
    setup = claim.setup(SHOP, KEYS[0], 1)
    claim.used(SHOP, 1)
    report = claim.sweep()
    assert tool.exists()
    assert mirror.exists()
    assert setup.exists()
    assert report["freed"] == 0
    assert report["bytes_before"] == report["bytes_after"] >= 3 * MIB
    assert set(claim.actions(report).values()) == {"kept"}
    assert report["faults"] == []


def test_what_nobody_used_for_long_is_removed(claim: Claim) -> None:
    for repository, days in ((SHOP, 31), (SITE, 29)):
        claim.file(f"packages/{repository}/tools/pip/a", days=days)
        claim.file(f"mirrors/{repository}/mirror.git/pack", days=days)
        claim.setup(repository, KEYS[0], days)
        claim.used(repository, days)
    report = claim.sweep()
    assert claim.actions(report) == {
        f"packages/{SHOP}": "evicted",
        f"mirrors/{SHOP}": "evicted",
        f"packages/{SITE}": "kept",
        f"mirrors/{SITE}": "kept",
    }
    assert names(claim.root / f"mirrors/{SHOP}") == ["lock"]
    assert (claim.root / f"mirrors/{SITE}/mirror.git/pack").exists()
    assert report["freed"] == report["bytes_before"] - report["bytes_after"] >= 3 * MIB


def test_an_unused_setup_result_of_a_repository_in_use(claim: Claim) -> None:
    old, new = claim.setup(SHOP, KEYS[0], 31), claim.setup(SHOP, KEYS[1], 1)
    claim.used(SHOP, 0)
    report = claim.sweep()
    assert (old.exists(), new.exists()) == (False, True)
    assert claim.actions(report) == {f"packages/{SHOP}": "trimmed"}


def test_what_was_interrupted_is_removed_at_once(claim: Claim) -> None:
    half = claim.setup(SHOP, KEYS[0], 0, complete=False)
    trash = claim.file(f"packages/{SHOP}/.trash-1-1/entry-0/deep/a")
    tool = claim.file(f"packages/{SHOP}/tools/pip/a")
    claim.used(SHOP, 0)
    claim.sweep()
    assert not half.exists()
    assert not trash.parents[2].exists()
    assert tool.exists()


def test_a_repository_beyond_its_cap_gives_up_setup_first_and_its_mirror_last(claim: Claim) -> None:
    """The result unused for longest first, and no more than is needed."""
    mirror = claim.file(f"mirrors/{SHOP}/mirror.git/pack")
    tool = claim.file(f"packages/{SHOP}/tools/pip/a")
    results = [claim.setup(SHOP, key, days) for key, days in zip(KEYS, (1, 5, 3), strict=True)]
    other = claim.setup(SITE, KEYS[0], 20)
    claim.used(SHOP, 0)
    claim.used(SITE, 20)

    def left(cap: int) -> list[bool]:
        claim.sweep(Caps(total=1 << 50, repository=cap, unused_days=30))
        return [path.exists() for path in (*results, tool, mirror, other)]

    room = MIB // 2  # for folders and markers
    assert left(4 * MIB + room) == [True, False, True, True, True, True]
    assert left(3 * MIB + room) == [True, False, False, True, True, True]
    assert left(2 * MIB + room) == [False, False, False, True, True, True]
    assert left(1 * MIB + room) == [False, False, False, False, True, True]
    assert left(0) == [False, False, False, False, False, False]


def test_beyond_the_total_the_repository_unused_for_longest_gives_up_first(claim: Claim) -> None:
    for repository, days in ((SHOP, 2), (SITE, 9)):
        claim.file(f"packages/{repository}/tools/pip/a")
        claim.file(f"mirrors/{repository}/mirror.git/pack", days=days)
        claim.used(repository, days)
    report = claim.sweep(Caps(total=3 * MIB + MIB // 2, repository=1 << 50, unused_days=30))
    assert claim.actions(report) == {
        f"packages/{SITE}": "evicted",
        f"packages/{SHOP}": "kept",
        f"mirrors/{SITE}": "kept",
        f"mirrors/{SHOP}": "kept",
    }


def test_a_mirror_is_used_with_the_packages_of_its_repository(claim: Claim) -> None:
    """A step that only borrows from a mirror writes nothing into it."""
    for repository in (SHOP, SITE):
        claim.file(f"mirrors/{repository}/mirror.git/pack", days=60)
    claim.file(f"packages/{SHOP}/lock", 0, days=1)
    claim.file(f"packages/{SITE}/lock", 0, days=20)
    report = claim.sweep(Caps(total=MIB + MIB // 2, repository=1 << 50, unused_days=30))
    actions = claim.actions(report)
    assert (actions[f"mirrors/{SHOP}"], actions[f"mirrors/{SITE}"]) == ("kept", "evicted")


def test_a_dry_run_says_the_same_and_changes_nothing(claim: Claim) -> None:
    tool = claim.file(f"packages/{SHOP}/tools/pip/a")
    claim.used(SHOP, 60)
    before = sorted(str(path) for path in claim.root.rglob("*"))
    dry = claim.sweep(dry_run=True)
    assert tool.exists()
    assert sorted(str(path) for path in claim.root.rglob("*")) == before
    assert claim.sweep() == dry
    assert not tool.exists()


@pytest.mark.parametrize("kind", ["packages", "mirrors"])
def test_what_a_running_step_holds_is_left(claim: Claim, kind: str) -> None:
    file = claim.file(f"{kind}/{SHOP}/tools/pip/a", days=60)
    claim.used(SHOP, 60)
    held = take(claim.root / f"{kind}/{SHOP}/lock", exclusive=False)
    assert held is not None
    claim.used(SHOP, 60)
    with held:
        report = claim.sweep()
        assert file.exists()
        assert report["entries"][0]["action"] == "kept"
        assert report["entries"][0]["why"] == "not used for 30 days, but in use"
    claim.sweep()
    assert not file.exists()


def test_a_setup_result_in_use_is_left_while_another_goes(claim: Claim) -> None:
    used, unused = claim.setup(SHOP, KEYS[0], 60), claim.setup(SHOP, KEYS[1], 60)
    claim.used(SHOP, 0)
    (claim.root / f"packages/{SHOP}/locks").mkdir()
    held = take(claim.root / f"packages/{SHOP}/locks/setup-{KEYS[0]}", exclusive=False)
    assert held is not None
    with held:
        claim.sweep()
    assert (used.exists(), unused.exists()) == (True, False)


def test_a_lock_whose_holder_was_killed_is_no_lock(claim: Claim) -> None:
    file = claim.file(f"packages/{SHOP}/tools/pip/a")
    claim.used(SHOP, 60)
    lock = claim.root / f"packages/{SHOP}/lock"
    program = (
        "import sys; from agent_runner.cache_locks import take\n"
        "held = take(sys.argv[1], exclusive=False); print(held is not None, flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "agent-image")},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    claim.sweep()
    assert file.exists()
    holder.kill()
    holder.communicate()
    claim.sweep()
    assert not file.exists()


def test_links_are_removed_and_not_followed(claim: Claim, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x" * 4 * MIB)
    other = claim.file(f"packages/{SITE}/tools/pip/a")
    claim.used(SITE, 0)
    pip = claim.file(f"packages/{SHOP}/tools/pip/a").parent
    (pip / "link").symlink_to(outside)
    (pip / "file").symlink_to(outside / "precious")
    (claim.root / f"packages/{SHOP}/tools/npm").symlink_to(claim.root / f"packages/{SITE}/tools")
    (claim.root / f"packages/{SHOP}/setup").symlink_to(outside)
    (claim.root / f"packages/{SHOP}/locks").symlink_to(outside)
    claim.used(SHOP, 60)
    report = claim.sweep()
    assert report["bytes_before"] < 3 * MIB
    assert names(outside) == ["precious"]
    assert other.exists()
    assert names(claim.root / f"packages/{SHOP}/tools") == []


def test_a_repository_folder_that_is_a_link_is_left_out(claim: Claim, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    precious = tmp_path / "outside/tools"
    precious.mkdir()
    (claim.root / "packages/github.com/acme").mkdir(parents=True)
    (claim.root / f"packages/{SHOP}").symlink_to(tmp_path / "outside")
    assert claim.sweep(Caps(total=0, repository=0, unused_days=0))["entries"] == []
    assert precious.exists()


@pytest.mark.parametrize("trap", ["link", "folder", "pipe"])
def test_a_lock_that_is_no_plain_file_keeps_nothing(claim: Claim, tmp_path: Path, trap: str) -> None:
    file = claim.file(f"packages/{SHOP}/tools/pip/a", days=60)
    lock = claim.root / f"packages/{SHOP}/lock"
    precious = tmp_path / "precious"
    precious.write_text("x")
    if trap == "link":
        lock.symlink_to(precious)
        os.utime(lock, (NOW - 60 * DAY,) * 2, follow_symlinks=False)
    elif trap == "folder":
        claim.file(f"packages/{SHOP}/lock/inside", days=60)
        claim.age(lock, 60)
    else:
        os.mkfifo(lock)
        claim.age(lock, 60)
    claim.file(f"packages/{SITE}/tools/pip/a")
    claim.used(SITE, 60)
    report = claim.sweep()
    assert claim.actions(report) == {f"packages/{SHOP}": "evicted", f"packages/{SITE}": "evicted"}
    assert not file.exists()
    assert precious.read_text() == "x"
    assert report["faults"] == []
    assert lock.is_file()
    assert not lock.is_symlink()


def test_hostile_names(claim: Claim) -> None:
    folder = claim.root / f"packages/{SHOP}/tools"
    for raw in (b"a\nb", b"\xff\xfe", b"-rf", b"::agents-result::{}", b"x" * 255, b'"\\', b".trash-1-1"):
        name = os.fsdecode(raw)
        (folder / name / name).mkdir(parents=True)
        (folder / name / "f").write_bytes(b"x" * MIB)
    (claim.root / os.fsdecode(b"packages/h/o/n\n\xff/tools/t")).mkdir(parents=True)
    claim.used(SHOP, 60)
    report = claim.sweep()
    assert names(folder) == []
    assert report["faults"] == []
    assert json.loads(fitted(report)) == report
    fitted(report).encode("ascii")


def test_read_only_and_deep_folders_are_removed(claim: Claim) -> None:
    """Go's module cache is read-only; a path that is too long for one call is no shelter."""
    top = claim.root / f"packages/{SHOP}/tools/go"
    top.mkdir(parents=True)
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 50, dir_fd=descriptor)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=descriptor)
        os.fchmod(descriptor, 0o555)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    claim.used(SHOP, 60)
    report = claim.sweep()
    assert claim.actions(report) == {f"packages/{SHOP}": "evicted"}
    assert not top.exists()
    assert "deep" in report["faults"][0]


@pytest.mark.parametrize("step", ["rename", "unlink", "mkdir"])
def test_what_cannot_be_removed_is_a_fault_and_the_rest_goes_on(
    claim: Claim, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    claim.file(f"packages/{SHOP}/tools/pip/a")
    claim.used(SHOP, 60)
    claim.file(f"packages/{SITE}/tools/pip/a")
    claim.used(SITE, 60)
    real = getattr(os, step)
    failures: list[str] = []

    def fail(name: Any, *args: Any, **options: Any) -> Any:
        # The repository that is swept first fails, once.
        if not failures:
            failures.append(name)
            raise OSError(30, "Read-only file system")
        return real(name, *args, **options)

    monkeypatch.setattr(os, step, fail)
    report = claim.sweep()
    assert sorted(claim.actions(report).values()) == ["evicted", "failed"]
    assert "Read-only file system" in report["faults"][0]
    # What the failure left is finished by the next sweep.
    monkeypatch.undo()
    claim.sweep()
    assert not (claim.root / f"packages/{SHOP}/tools/pip").exists()
    assert not (claim.root / f"packages/{SITE}/tools/pip").exists()


def test_what_cannot_be_read_is_a_fault(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    claim.file(f"packages/{SHOP}/tools/pip/closed/a")
    claim.used(SHOP, 0)
    real = os.open

    def refuse(name: Any, *args: Any, **options: Any) -> int:
        if name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(name, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    report = claim.sweep()
    assert report["faults"] == [f"packages/{SHOP}: 'closed': Permission denied"]
    assert claim.actions(report) == {f"packages/{SHOP}": "kept"}


def test_a_file_with_two_names_counts_once(claim: Claim) -> None:
    file = claim.file(f"packages/{SHOP}/tools/uv/a", 8 * MIB)
    os.link(file, file.with_name("b"))
    claim.used(SHOP, 0)
    assert 8 * MIB <= claim.sweep()["bytes_before"] < 9 * MIB


def test_what_was_written_into_locks_counts_and_goes(claim: Claim) -> None:
    """A lock is an empty file: whatever else is there would be beyond every cap."""
    hidden = claim.file(f"packages/{SHOP}/locks/setup-{KEYS[0]}/deep/a")
    large = claim.file(f"packages/{SHOP}/locks/cargo")
    lock = claim.file(f"packages/{SHOP}/lock")
    empty = claim.file(f"packages/{SHOP}/locks/maven", 0)
    with take(lock, exclusive=False) or pytest.fail("the lock is free"):
        claim.sweep()
        assert large.exists()
    report = claim.sweep()
    assert not hidden.exists()
    assert not large.exists()
    assert lock.stat().st_size == 0
    assert empty.exists()
    assert report["freed"] == report["bytes_before"] >= 3 * MIB


def test_what_the_agent_wrote_beside_the_caches_counts_too(claim: Claim) -> None:
    stray = claim.file(f"packages/{SHOP}/stray/a", 4 * MIB)
    claim.used(SHOP, 0)
    report = claim.sweep(Caps(total=1 << 50, repository=MIB, unused_days=30))
    assert report["bytes_before"] >= 4 * MIB
    assert not stray.exists()


def test_the_report_is_the_termination_message(
    claim: Claim, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim.file(f"packages/{SHOP}/tools/pip/a")
    claim.used(SHOP, 0)
    log = tmp_path / "termination"
    monkeypatch.setenv("AGENT_CACHE_ROOT", str(claim.root))
    monkeypatch.setenv("AGENT_TERMINATION_LOG", str(log))
    options = ["--max-total", "0", "--max-repository", "10Gi", "--unused-days", "30"]
    assert main(["sweep-cache", *options, "--dry-run"]) == 0
    dry = json.loads(log.read_text())
    assert main(["sweep-cache", *options]) == 0
    report = json.loads(log.read_text())
    assert report == dry
    assert set(report) == {"version", "bytes_before", "bytes_after", "freed", "entries", "faults"}
    assert report["entries"] == [
        {
            "path": f"packages/{SHOP}",
            "bytes": report["bytes_before"],
            "action": "evicted",
            "why": "beyond the cap of the claim",
        }
    ]
    assert f"removed: packages/{SHOP}/tools/pip" in capsys.readouterr().out


def test_the_largest_entries_and_first_faults_fit_the_message() -> None:
    entries = [
        {"path": f"packages/github.com/acme/{n}", "bytes": 10_000 - n, "action": "kept", "why": "x" * 200}
        for n in range(500)
    ]
    faults = [f"{n} " + "ü" * 198 for n in range(30)]
    text = fitted({"version": 1, "entries": entries, "faults": faults})
    assert len(text.encode()) <= 4096
    found = json.loads(text)
    assert found["entries"] == entries[: len(found["entries"])]
    assert found["faults"] == faults[: len(found["faults"])]
    assert found["faults"]


@pytest.mark.parametrize("root", [None, "", "missing", "file"])
def test_without_a_claim_the_report_says_so(tmp_path: Path, root: str | None) -> None:
    (tmp_path / "file").touch()
    report: dict[str, Any] = sweep(str(tmp_path / root) if root else root, LOOSE)
    assert report["entries"] == []
    assert len(report["faults"]) == 1


def test_a_report_that_cannot_be_written_is_a_failure(
    claim: Claim, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claim.root.mkdir()
    monkeypatch.setenv("AGENT_CACHE_ROOT", str(claim.root))
    monkeypatch.setenv("AGENT_TERMINATION_LOG", str(tmp_path / "missing/termination"))
    assert main(["sweep-cache", "--max-total", "1", "--max-repository", "1", "--unused-days", "1"]) == 70


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--max-total", "50Gi"],
        ["--max-total", "much", "--max-repository", "1", "--unused-days", "1"],
        ["--max-total", "1", "--max-repository", "1", "--unused-days", "nan"],
        ["--max-total", "1", "--max-repository", "1", "--unused-days", "-1"],
        ["--max-total", "1", "--max-repository", "1", "--unused-days", "1", "more"],
    ],
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    assert main(["sweep-cache", *arguments]) == 64


@pytest.mark.parametrize(
    ("text", "size"), [("50Gi", 50 * 1024**3), ("500M", 500_000_000), ("1.5Ki", 1536), ("7", 7), ("2k", 2000)]
)
def test_sizes(text: str, size: int) -> None:
    assert quantity(text) == size


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "-1Gi", "1GB", "1i", "1e3"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        quantity(text)


def test_the_folders_are_those_that_the_provider_mounts() -> None:
    from airflow_provider_agents.domain import cache

    place = cache.cache_place("claim", "https://github.com", "Acme/Shop")
    assert place.packages == f"{cache_units.PACKAGES}/{SHOP}"
    assert place.mirror == f"{cache_units.MIRRORS}/{SHOP}"

"""Which variables lead a tool to the cache claim, and when none does."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent_runner import package_caches
from agent_runner.cache_locks import take
from agent_runner.contract import StepSpec
from agent_runner.environment import Environment
from agent_runner.failure import StepCancelled
from agent_runner.package_caches import PackageCaches, on_network, open_caches
from agent_runner.package_tools import TOOLS
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = [tool.name for tool in TOOLS]


class World:
    def __init__(self, root: Path) -> None:
        self.cache, self.checkout, self.root = root / "cache", root / "repo", root
        self.cache.mkdir()
        self.checkout.mkdir()
        (self.checkout / "pnpm-lock.yaml").touch()
        self.stop = StopRequest()

    def open(self, *, pull_request: int | None = None, **image: str) -> PackageCaches:
        variables = {
            "AGENT_SPEC_FILE": "/spec",
            "AGENT_GATEWAY_URL_FILE": "/url",
            "AGENT_WORKSPACE": str(self.root / "workspace"),
            "AGENT_HOME": "/agent/home",
            "AGENT_CACHE_DIR": str(self.cache),
        }
        spec = StepSpec(
            step="implement" if pull_request is None else "review",
            repository="acme/shop",
            base_branch="main",
            work_branch="agent/t-1",
            prompt="x",
            pull_request=pull_request,
            expected_head=None if pull_request is None else "a" * 40,
        )
        return open_caches(spec, Environment.read(variables | image), self.checkout, self.stop)

    def tool(self, name: str) -> str:
        return f"{self.cache}/tools/{name}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stop.close()


def test_each_tool_is_led_to_its_folder(world: World) -> None:
    with world.open() as caches:
        assert caches.variables == {
            "PIP_CACHE_DIR": world.tool("pip"),
            "UV_CACHE_DIR": world.tool("uv"),
            "UV_LINK_MODE": "copy",
            "npm_config_cache": world.tool("npm"),
            "npm_config_store_dir": world.tool("pnpm"),
            "pnpm_config_store_dir": world.tool("pnpm"),
            "POETRY_CACHE_DIR": world.tool("poetry"),
            "POETRY_VIRTUALENVS_PATH": "/agent/home/.cache/pypoetry/virtualenvs",
            "CARGO_HOME": world.tool("cargo"),
            "GOMODCACHE": world.tool("go") + "/mod",
            "GOCACHE": world.tool("go") + "/build",
            "MAVEN_OPTS": f"-Dmaven.repo.local={world.tool('maven')} "
            "-Daether.enhancedLocalRepository.split=true "
            "-Daether.enhancedLocalRepository.localPrefix=installed",
            "GRADLE_USER_HOME": world.tool("gradle"),
        }
        assert caches.folder == world.cache


@pytest.mark.parametrize("tool", TOOLS, ids=NAMES)
def test_every_tool_says_what_its_sharing_rests_on(tool: Any) -> None:
    assert tool.why.endswith(".")
    assert len(tool.why) > 40


def test_variables_of_every_tool_reach_programs_of_the_step_where_the_image_sets_them() -> None:
    names = {n for tool in TOOLS for n in (*tool.variables, *tool.also, *tool.aliases)}
    variables = {
        "AGENT_SPEC_FILE": "/s",
        "AGENT_GATEWAY_URL_FILE": "/u",
        "AGENT_WORKSPACE": "/w",
        "AGENT_HOME": "/h",
        **dict.fromkeys(names, "of the image"),
    }
    assert names <= set(Environment.read(variables).program())


@pytest.mark.parametrize(
    ("name", "value", "tool"),
    [
        ("PIP_CACHE_DIR", "/mine", "pip"),
        ("PIP_NO_CACHE_DIR", "1", "pip"),
        ("UV_CACHE_DIR", "/mine", "uv"),
        ("NPM_CONFIG_CACHE", "/mine", "npm"),
        ("npm_config_store_dir", "/mine", "pnpm"),
        ("GOMODCACHE", "/mine", "go"),
        ("CARGO_HOME", "/tmp", "cargo"),
        ("MAVEN_OPTS", "-Xmx1g -Dmaven.repo.local=/mine", "maven"),
    ],
)
def test_what_the_image_sets_stays(world: World, name: str, value: str, tool: str) -> None:
    with world.open(**{name: value}) as caches:
        assert name not in caches.variables
        assert not any(world.tool(tool) in value for value in caches.variables.values())
        assert world.tool("uv" if tool == "pip" else "pip") in caches.variables.values()


def test_a_single_setting_of_the_image_stays_beside_the_cache(world: World) -> None:
    with world.open(UV_LINK_MODE="hardlink", MAVEN_OPTS="-Xmx1g") as caches:
        assert caches.variables["UV_CACHE_DIR"] == world.tool("uv")
        assert "UV_LINK_MODE" not in caches.variables
        assert caches.variables["MAVEN_OPTS"].endswith(" -Xmx1g")


def test_a_home_of_cargo_that_cannot_be_written_is_replaced(world: World) -> None:
    with world.open(CARGO_HOME=str(world.root / "missing")) as caches:
        assert caches.variables["CARGO_HOME"] == world.tool("cargo")


@pytest.mark.parametrize(
    ("file", "text", "tool"),
    [
        (".npmrc", "cache=/mine\n", "npm"),
        (".npmrc", "a=b\n store-dir = /mine\n", "pnpm"),
        ("pnpm-workspace.yaml", "packages: []\nstoreDir: /mine\n", "pnpm"),
        ("pyproject.toml", '[tool.uv]\ncache-dir = "mine"\n', "uv"),
        ("poetry.toml", 'cache-dir = "mine"\n', "poetry"),
        (".mvn/maven.config", "-Dmaven.repo.local=mine\n", "maven"),
    ],
)
def test_what_the_repository_sets_stays(world: World, file: str, text: str, tool: str) -> None:
    (world.checkout / file).parent.mkdir(exist_ok=True)
    (world.checkout / file).write_text(text)
    with world.open() as caches:
        assert not any(world.tool(tool) in value for value in caches.variables.values())


def test_npm_is_not_told_of_pnpm_where_nobody_uses_it(world: World) -> None:
    (world.checkout / "pnpm-lock.yaml").unlink()
    with world.open() as caches:
        assert "npm_config_store_dir" not in caches.variables


def test_of_two_steps_at_once_one_has_the_tools_that_cannot_share(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with world.open() as first, world.open() as second:
        only_first = {tool.name for tool in TOOLS if tool.sharing == "one"}
        missing = set(first.variables) - set(second.variables)
        assert missing == {
            "POETRY_CACHE_DIR",
            "POETRY_VIRTUALENVS_PATH",
            "MAVEN_OPTS",
            "GRADLE_USER_HOME",
        }
        assert only_first == {"poetry", "maven", "gradle"}
    assert "another step has those of poetry, maven, gradle" in capsys.readouterr().out
    with world.open() as third:
        assert set(third.variables) == set(first.variables)


def test_on_a_network_file_system_fewer_share(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_caches, "on_network", lambda folder: True)
    with world.open(), world.open() as second:
        assert "CARGO_HOME" not in second.variables
        assert "npm_config_store_dir" not in second.variables
        assert "PIP_CACHE_DIR" in second.variables


MOUNTS = r"""22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:40 / /agent/cache rw - nfs4 server:/export rw
31 22 0:41 / /with\040space rw - nfs server:/x rw
32 30 0:42 / /agent/cache/local rw - xfs /dev/vdb rw
33 22 0:43 / /twice rw - nfs server:/y rw
34 33 0:44 / /twice rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("path", "network"),
    [
        ("/agent/cache", True),
        ("/agent/cache/tools", True),
        ("/agent/cache-not", False),
        ("/agent/cache/local/x", False),
        ("/with space/a", True),
        ("/twice/a", False),
        ("/elsewhere", False),
    ],
)
def test_network_file_systems(tmp_path: Path, path: str, network: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert on_network(Path(path), table) == network


def test_without_a_table_of_mounts() -> None:
    assert not on_network(Path("/"), Path("/missing"))


def test_settings_and_own_builds_do_not_go_from_run_to_run(world: World) -> None:
    for name in (
        "cargo/config.toml",
        "cargo/registry/x",
        "gradle/init.d/x",
        "maven/installed/x",
        "maven/org/x",
    ):
        file = world.cache / "tools" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    with world.open():
        left = {str(p.relative_to(world.cache / "tools")) for p in (world.cache / "tools").rglob("x")}
        assert left == {"cargo/registry/x", "maven/org/x"}
        assert not (world.cache / "tools/cargo/config.toml").exists()


def test_the_head_of_a_pull_request_gets_no_shared_cache(world: World) -> None:
    with world.open(pull_request=7) as caches:
        assert caches.variables == {}
        assert caches.folder is None
    assert list(world.cache.iterdir()) == []


def test_each_step_notes_its_use(world: World) -> None:
    with world.open():
        pass
    lock = world.cache / "lock"
    os.utime(lock, (0, 0))
    with world.open():
        assert lock.stat().st_mtime > 0


@pytest.mark.parametrize("trap", ["lock", "tools", "tools/pip", "locks"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_traps_in_the_folder(world: World, tmp_path: Path, trap: str, kind: str) -> None:
    """What an earlier agent left there: a link leads nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    place = world.cache / trap
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside) if kind == "link" else os.mkfifo(place)
    with world.open() as caches:
        assert list(outside.iterdir()) == []
        assert (caches.folder is None) == (trap == "lock")


def test_a_full_claim(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(package_caches, "free_bytes", lambda folder: 1024)
    with world.open() as caches:
        assert (caches.folder, caches.variables) == (None, {})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "is full" in out
    taken = take(world.cache / "lock", exclusive=True)
    assert taken is not None
    taken.close()


def test_a_write_that_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with world.open() as caches:
        assert caches.folder is None
    assert [path.name for path in world.cache.iterdir()] == ["lock"]


def test_a_claim_that_is_being_cleared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_caches, "_SWEEP_SECONDS", 0.1)
    held = take(world.cache / "lock", exclusive=True)
    assert held is not None
    with held, world.open() as caches:
        assert caches.folder is None


def test_a_stop_while_it_waits(world: World) -> None:
    held = take(world.cache / "lock", exclusive=True)
    assert held is not None
    world.stop.request(signal.SIGTERM)
    with held, pytest.raises(StepCancelled):
        world.open()


def test_many_steps_that_start_at_once(world: World) -> None:
    """On a folder in which nothing is yet: each of them has the caches that can be shared."""
    (world.cache / "tools").mkdir()
    (world.cache / "tools/cargo").mkdir()
    (world.cache / "tools/cargo/bin").mkdir()
    together = threading.Barrier(8)

    def start() -> PackageCaches:
        together.wait(10)
        return world.open()

    with ThreadPoolExecutor(8) as pool:
        opened = [job.result(30) for job in [pool.submit(start) for _ in range(8)]]
    assert [caches.folder for caches in opened] == [world.cache] * 8
    assert sum("POETRY_CACHE_DIR" in caches.variables for caches in opened) == 1
    for caches in opened:
        caches.locks.close()
    assert sorted(path.name for path in world.cache.iterdir()) == ["lock", "locks", "setup", "tools"]

"""The set-up script: what a result in the cache saves. Held by ``make bench``."""

from __future__ import annotations

import statistics
import sys
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from agent_runner.checkout import Checkout
from agent_runner.contract import StepSpec
from agent_runner.deadline import Deadline
from agent_runner.environment import Environment
from agent_runner.gateway_address import GatewayAddress
from agent_runner.git import Git
from agent_runner.package_caches import open_caches
from agent_runner.process import Supervision
from agent_runner.reaper import Reaper
from agent_runner.set_up import set_up
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

WHEELS = 20
RUNS = 5
MOST_OF_A_MISS = 0.1
MOST_WITHOUT_SECONDS = 0.005
SPEC = StepSpec(
    step="implement", repository="acme/shop", base_branch="main", work_branch="agent/t-1", prompt="x"
)


class World:
    """A checkout with a set-up script that makes an environment and installs local wheels into it."""

    def __init__(self, root: Path) -> None:
        for name in ("workspace/repo/.agents", "home", "tmp", "cache", "wheels"):
            (root / name).mkdir(parents=True)
        for number in range(WHEELS):
            make_wheel(root / "wheels", f"thing{number}")
        self.environment = Environment.read(
            {
                "AGENT_SPEC_FILE": "/spec",
                "AGENT_GATEWAY_URL_FILE": str(root / "url"),
                "AGENT_WORKSPACE": str(root / "workspace"),
                "AGENT_HOME": str(root / "home"),
                "AGENT_CACHE_DIR": str(root / "cache"),
                "TMPDIR": str(root / "tmp"),
                "PATH": "/usr/local/bin:/usr/bin:/bin",
            }
        )
        self.checkout = self.environment.checkout
        self.script = self.checkout / ".agents/setup.sh"
        self.stop = StopRequest()

    def write_script(self, root: Path, salt: int) -> None:
        self.script.write_text(
            f"# {salt}\nset -e\n{sys.executable} -m venv $AGENTS_SETUP_PREFIX/venv\n"
            f"python -m pip install --quiet --no-index {root}/wheels/*.whl\n"
        )

    def seconds(self) -> tuple[float, float]:
        """Set up once, as a step does; return how long that took with the opening of the caches, and without."""
        supervision = Supervision(self.stop, Reaper(), Deadline.after(120))
        gateway = GatewayAddress(self.environment.gateway_url_file, self.stop)
        git = Git(self.environment, supervision, gateway, SPEC.repository)
        checkout = Checkout(path=self.checkout, base_sha="a" * 40, start_sha="a" * 40)
        started = time.perf_counter()
        with open_caches(SPEC, self.environment, self.checkout, self.stop) as caches:
            opened = time.perf_counter()
            set_up(SPEC, self.environment, supervision, git, checkout, caches)
            ended = time.perf_counter()
            return ended - started, ended - opened


def make_wheel(folder: Path, name: str) -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "x = 1\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )


def test_a_result_in_the_cache(tmp_path: Path) -> None:
    world = World(tmp_path)
    misses, hits = [], []
    for run in range(2):
        world.write_script(tmp_path, run)
        misses.append(world.seconds()[0])
        hits += [world.seconds()[0] for _ in range(RUNS)]
    miss, hit = statistics.median(misses), statistics.median(hits)
    print(f"\nset-up script: made {miss:.2f} s, from the cache {hit * 1000:.1f} ms, ratio {hit / miss:.4f}")
    assert hit <= MOST_OF_A_MISS * miss
    assert len(list((tmp_path / "cache/setup").iterdir())) == 2


def test_without_a_script(tmp_path: Path) -> None:
    world = World(tmp_path)
    seconds = statistics.median(world.seconds()[1] for _ in range(20))
    print(f"\nwithout a set-up script: {seconds * 1000:.2f} ms")
    assert seconds <= MOST_WITHOUT_SECONDS

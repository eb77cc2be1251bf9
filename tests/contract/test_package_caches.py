"""Package caches with the real tools, against a package index of this test on the loopback."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent_runner.contract import StepSpec
from agent_runner.environment import Environment
from agent_runner.package_caches import open_caches
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 90
SIZE = 300_000
UV = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
NPM = shutil.which("npm")
needs_uv = pytest.mark.skipif(UV is None, reason="uv is not installed")
needs_npm = pytest.mark.skipif(NPM is None, reason="npm is not installed")
PADDING = base64.b64encode(hashlib.shake_256(b"padding").digest(SIZE))


def wheel() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("tinything.py", b"NAME = 'tiny'\n#" + PADDING + b"\n")
        archive.writestr(
            "tinything-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n"
        )
        archive.writestr(
            "tinything-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            "tinything-1.0.dist-info/RECORD",
            "tinything.py,,\ntinything-1.0.dist-info/METADATA,,\ntinything-1.0.dist-info/WHEEL,,\n"
            "tinything-1.0.dist-info/RECORD,,\n",
        )
    return data.getvalue()


def tarball() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        files = {
            "package/package.json": json.dumps({"name": "tinything", "version": "1.0.0", "main": "i.js"}),
            "package/i.js": "module.exports = 'tiny' //" + PADDING.decode(),
        }
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


class Index(http.server.ThreadingHTTPServer):
    """Serves one package, to pip and uv below ``/simple/`` and to npm below ``/npm/``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.downloads: list[str] = []
        self.wheel, self.tarball = wheel(), tarball()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Index
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        index = self.server
        if self.path == "/simple/tinything/":
            digest = hashlib.sha256(index.wheel).hexdigest()
            name = "tinything-1.0-py3-none-any.whl"
            page = f'<!DOCTYPE html><a href="/files/{name}#sha256={digest}">{name}</a>'
            self._answer(page.encode(), "text/html", "max-age=600")
        elif self.path.startswith("/files/"):
            self._count()
            self._answer(index.wheel, "application/octet-stream", "max-age=365000000, immutable")
        elif self.path == "/npm/tinything":
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(index.tarball).digest()).decode()
            version = {
                "name": "tinything",
                "version": "1.0.0",
                "dist": {"tarball": f"{index.url}/npm/files/t.tgz", "integrity": integrity},
            }
            found = {"name": "tinything", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
            self._answer(json.dumps(found).encode(), "application/json", "max-age=600")
        elif self.path == "/npm/files/t.tgz":
            self._count()
            self._answer(index.tarball, "application/octet-stream", "max-age=365000000, immutable")
        else:
            self.send_error(404)

    def _answer(self, body: bytes, kind: str, cache: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", cache)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _count(self) -> None:
        if self.command == "GET":
            self.server.downloads.append(self.path)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


class Step:
    """A step of one repository: its own home and checkout, and the cache that all have."""

    def __init__(self, root: Path, cache: Path, index: Index) -> None:
        self.checkout = root / "repo"
        self.checkout.mkdir(parents=True)
        (root / "home").mkdir()
        (root / "tmp").mkdir()
        package = {"name": "shop", "version": "1.0.0", "dependencies": {"tinything": "1.0.0"}}
        (self.checkout / "package.json").write_text(json.dumps(package))
        host = index.url.removeprefix("http://")
        self._environment = Environment.read(
            {
                "AGENT_SPEC_FILE": "/spec",
                "AGENT_GATEWAY_URL_FILE": "/url",
                "AGENT_WORKSPACE": str(root),
                "AGENT_HOME": str(root / "home"),
                "AGENT_CACHE_DIR": str(cache),
                "TMPDIR": str(root / "tmp"),
                "PATH": os.environ["PATH"],
                "PIP_INDEX_URL": f"{index.url}/simple/",
                "PIP_TRUSTED_HOST": host,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "UV_DEFAULT_INDEX": f"{index.url}/simple/",
                "npm_config_registry": f"{index.url}/npm/",
                "npm_config_audit": "false",
                "npm_config_fund": "false",
                "npm_config_update_notifier": "false",
            }
        )
        self.stop = StopRequest()
        spec = StepSpec(
            step="implement", repository="acme/shop", base_branch="main", work_branch="w", prompt="x"
        )
        self.caches = open_caches(spec, self._environment, self.checkout, self.stop)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.checkout,
            env={**self._environment.program(), **self.caches.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def close(self) -> None:
        self.caches.locks.close()
        self.stop.close()


class Steps:
    def __init__(self, root: Path, index: Index) -> None:
        self.cache = root / "cache"
        self.cache.mkdir()
        self._root, self._index = root, index
        self.made: list[Step] = []

    def new(self) -> Step:
        self.made.append(Step(self._root / f"step-{len(self.made)}", self.cache, self._index))
        return self.made[-1]


@pytest.fixture
def steps(tmp_path: Path, index: Index) -> Iterator[Steps]:
    made = Steps(tmp_path, index)
    yield made
    for step in made.made:
        step.close()


def finished(process: subprocess.Popen[str]) -> str:
    try:
        out, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, out
    return out


def installing(tool: str, *, offline: bool = False) -> list[str]:
    more = ["--offline"] if offline else []
    if tool == "npm":
        return [str(NPM), "install", *more]
    if tool == "uv":
        return [str(UV), "pip", "install", *more, "--python", sys.executable, "--target", "lib", "tinything"]
    return [sys.executable, "-m", "pip", "install", "--target", "lib", "tinything"]


def installed(tool: str, step: Step) -> bool:
    return (
        step.checkout / ("node_modules/tinything/i.js" if tool == "npm" else "lib/tinything.py")
    ).is_file()


TOOLS = ["pip", pytest.param("uv", marks=needs_uv), pytest.param("npm", marks=needs_npm)]


@pytest.mark.parametrize("tool", TOOLS)
def test_what_one_step_downloaded_the_next_has(steps: Steps, index: Index, tool: str) -> None:
    """uv and npm work offline then; pip asks the index for what there is, and downloads nothing."""
    first, second = steps.new(), steps.new()
    finished(first.start(*installing(tool)))
    assert installed(tool, first)
    downloads = len(index.downloads)
    assert downloads
    out = finished(second.start(*installing(tool, offline=tool != "pip")))
    assert installed(tool, second)
    assert len(index.downloads) == downloads
    assert any((steps.cache / "tools" / tool).iterdir())
    assert "hardlink" not in out  # uv warns where a cache is on another file system


@pytest.mark.parametrize("tool", TOOLS)
def test_two_steps_at_once(steps: Steps, index: Index, tool: str) -> None:
    pair = [steps.new(), steps.new()]
    for process in [step.start(*installing(tool)) for step in pair]:
        finished(process)
    assert [installed(tool, step) for step in pair] == [True, True]
    third = steps.new()
    before = len(index.downloads)
    finished(third.start(*installing(tool)))
    assert installed(tool, third)
    assert len(index.downloads) == before


@needs_uv
def test_a_change_in_a_checkout_does_not_change_the_cache(steps: Steps) -> None:
    first, second = steps.new(), steps.new()
    finished(first.start(*installing("uv")))
    file = first.checkout / "lib/tinything.py"
    with file.open("r+") as opened:
        opened.write("HOSTILE")
    finished(second.start(*installing("uv", offline=True)))
    assert (second.checkout / "lib/tinything.py").read_text().startswith("NAME")

"""Checkouts with large, linked and oddly named files: they survive checkout and publishing unchanged."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pod as stand_ins
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pod import Pod

WORK = "agent/t-1"
CONTENT = b"large " * 1_000
OID = hashlib.sha256(CONTENT).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(CONTENT)}\n"


def test_links_out_of_the_tree_are_links(pod: Pod) -> None:
    outside = pod.root / "outside"
    outside.mkdir()
    (outside / "secret").write_text("private")
    pod.claude(
        f"os.symlink({str(outside)!r}, 'folder'); os.symlink('/etc/hostname', 'file'); os.symlink('none', 'dead')\n"
        "write('folder/planted', 'x'); result()"
    )
    ran = pod.run(pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("dead", "file", "folder")
    assert pod.forge("show", f"{WORK}:folder") == str(outside)
    assert "private" not in pod.forge("log", "-p", WORK)

    pod.claude("os.path.islink('folder') or sys.exit(1); commit('a', '1'); result()")
    ran = pod.run(pod.spec("fix", expected_head=ran.result.head_sha))
    assert ran.result.outcome == "succeeded", ran.log
    assert sorted(path.name for path in outside.iterdir()) == ["planted", "secret"]


def test_a_folder_that_became_a_link(pod: Pod) -> None:
    """Nothing is written through it, by this step or by the next checkout."""
    outside = pod.root / "outside"
    outside.mkdir()
    pod.claude(f"import shutil; shutil.rmtree('src'); os.symlink({str(outside)!r}, 'src'); sys.exit(1)")
    ran = pod.run(pod.spec("plan"))
    assert ran.failure == ("agent", "agent_crashed")
    pod.claude("open('src/app.py').read(); commit('a', '1'); result()")
    assert pod.run(pod.spec()).result.outcome == "succeeded"
    assert not list(outside.iterdir())


NAMES = [
    "new\nline",
    'quo"te',
    "tab\tbed",
    "-dash",
    "--exec=x",
    ":(top)x",
    "ünïcödé",
    " space ",
    "*",
    "\\",
    "a:b",
]


def test_odd_names(pod: Pod) -> None:
    pod.claude(f"for name in {NAMES!r}: write('./' + name, 'x')\nopen(b'raw\\xff', 'w').close(); result()")
    ran = pod.run(pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert set(NAMES) < set(ran.result.files_changed)
    assert len(ran.result.files_changed) == len(NAMES) + 1
    pod.claude(f"assert set({NAMES!r}) < set(os.listdir('.')); write('-dash', 'y'); result()")
    fixed = pod.run(pod.spec("fix", expected_head=ran.result.head_sha))
    assert fixed.result.outcome == "succeeded", fixed.log
    assert pod.forge("show", f"{WORK}:-dash") == "y"


def test_conflict_markers_in_an_oddly_named_file(pod: Pod) -> None:
    pod.claude("write('-tab\\t', '<<<<<<< a\\n=======\\n>>>>>>> b\\n'); result()")
    assert pod.run(pod.spec()).failure == ("conflict", "conflict_markers")


def test_a_large_file(pod: Pod) -> None:
    pod.claude("open('large', 'wb').write(os.urandom(5_000_000)); result()")
    ran = pod.run(pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert pod.forge("cat-file", "-s", f"{WORK}:large") == "5000000"


class LfsServer(stand_ins.GitServer):
    """Also has one file in Git LFS."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.RequestHandlerClass = LfsHandler
        self.gone = False


class LfsHandler(stand_ins.Handler):
    server: LfsServer

    def do_GET(self) -> None:  # noqa: N802
        if self.path.endswith(OID):
            self._send(200, "application/octet-stream", CONTENT)
        else:
            super().do_GET()

    def do_POST(self) -> None:  # noqa: N802
        if not self.path.endswith("/info/lfs/objects/batch"):
            super().do_POST()
            return
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["operation"] == "download"
        found = {"actions": {"download": {"href": f"{self.server.url}/lfs/{OID}"}}}
        answer = {
            "transfer": "basic",
            "objects": [
                {**entry, **({"error": {"code": 404, "message": "gone"}} if self.server.gone else found)}
                for entry in asked["objects"]
            ],
        }
        self._send(200, "application/vnd.git-lfs+json", json.dumps(answer).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def lfs_pod(tmp_path: Path, forge: Path) -> Iterator[Pod]:
    made = stand_ins.make_pod(tmp_path / "pod", forge, LfsServer)
    made.commit("main", {".gitattributes": "*.bin filter=lfs -text\n", "a.bin": POINTER}, made.head("main"))
    yield made
    made.git_server.shutdown()
    made.git_server.server_close()


needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")


@needs_lfs
def test_files_in_lfs_have_their_content_and_stay_in_lfs(lfs_pod: Pod) -> None:
    lfs_pod.claude(
        f"assert open('a.bin', 'rb').read() == {CONTENT!r}\n"
        "git('add', '--all'); assert not subprocess.check_output(['git', 'status', '--porcelain'])\n"
        "write('b', '1'); result()"
    )
    for spec in (lfs_pod.spec("plan"), lfs_pod.spec()):
        ran = lfs_pod.run(spec)
        assert ran.failure is None, ran.log
    assert ran.result.files_changed == ("b",)
    assert lfs_pod.forge("show", f"{WORK}:a.bin") == POINTER.strip()
    tested = lfs_pod.run(lfs_pod.spec("test", test_command="grep -q large a.bin && git status --porcelain"))
    assert tested.result.test
    assert (tested.result.outcome, tested.result.test.tail) == ("succeeded", ""), tested.log


@needs_lfs
def test_files_in_lfs_stay_pointers_where_their_content_is_not_wanted(lfs_pod: Pod) -> None:
    lfs_pod.claude(
        f"assert open('a.bin').read() == {POINTER!r}\n"
        "os.remove('a.bin'); git('checkout', '--', 'a.bin')\n"
        f"assert open('a.bin').read() == {POINTER!r}\n"
        "write('b', '1'); result()"
    )
    ran = lfs_pod.run(lfs_pod.spec(lfs=False))
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("b",)
    assert "stay pointers, as the run asks for" in ran.log


@needs_lfs
def test_files_in_lfs_that_are_gone_are_only_said(lfs_pod: Pod) -> None:
    assert isinstance(lfs_pod.git_server, LfsServer)
    lfs_pod.git_server.gone = True
    lfs_pod.claude(f"assert open('a.bin').read() == {POINTER!r}; write('b', '1'); result()")
    ran = lfs_pod.run(lfs_pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("b",)
    assert "stay pointers" in ran.log


def test_without_the_program_pointers_stay(lfs_pod: Pod) -> None:
    folder = lfs_pod.root / "bin"
    folder.mkdir()
    for name in ("git", "sh", "bash", "cat", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    lfs_pod.variables["PATH"] = str(folder)
    lfs_pod.claude(f"assert open('a.bin').read() == {POINTER!r}; write('b', '1'); result()")
    ran = lfs_pod.run(lfs_pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("b",)
    assert "git-lfs is not on the PATH" in ran.log


class SubmoduleServer(stand_ins.GitServer):
    """Also serves a second repository."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.RequestHandlerClass = SubmoduleHandler


class SubmoduleHandler(stand_ins.Handler):
    def do_GET(self) -> None:  # noqa: N802
        if not self.path.endswith("/git/served"):
            super().do_GET()
            return
        served = {"forge": "https://github.com", "repositories": [stand_ins.REPOSITORY, "acme/lib"]}
        body = json.dumps(served).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def nested_pod(tmp_path: Path, forge: Path) -> Iterator[Pod]:
    """A repository that has ``acme/lib`` as its submodule ``lib``."""
    made = stand_ins.make_pod(tmp_path / "pod", forge, SubmoduleServer)
    lib = made.bare.parent / "lib.git"
    shutil.copytree(made.bare, lib)
    commit = made.head("main")
    modules = made.forge(
        "hash-object", "-w", "--stdin", stdin='[submodule "lib"]\npath = lib\nurl = ../lib.git\n'
    )
    tree = made.forge("mktree", stdin=f"100644 blob {modules}\t.gitmodules\n160000 commit {commit}\tlib\n")
    made.forge("update-ref", "refs/heads/main", made.forge("commit-tree", tree, "-p", commit, "-m", "x"))
    yield made
    made.git_server.shutdown()
    made.git_server.server_close()


@pytest.mark.parametrize("wanted", [True, False])
def test_submodules(nested_pod: Pod, wanted: bool) -> None:
    nested_pod.claude(f"assert os.path.exists('lib/src/app.py') == {wanted}; write('a', '1'); result()")
    ran = nested_pod.run(nested_pod.spec(submodules=wanted))
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("a",)


def test_a_submodule_that_the_agent_made_hostile(nested_pod: Pod) -> None:
    """Its own configuration runs nothing when the work around it is committed, and the next step makes it anew."""
    trap, trace = nested_pod.root / "trap", nested_pod.root / "sprung"
    trap.write_text(f"#!/bin/sh\necho $0 $* >> {trace}\ncat\n")
    trap.chmod(0o755)
    nested_pod.claude(
        f"""
        program = {str(trap)!r}
        with open("lib/.git/config", "a") as config:
            config.write(f'[core]\\n fsmonitor = {{program}}\\n[filter "evil"]\\n clean = {{program}}\\n')
        write("lib/.gitattributes", "* filter=evil\\n")
        write("lib/src/app.py", "price = 9\\n"); write("a", "1"); result()
        """
    )
    ran = nested_pod.run(nested_pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("a",)
    nested_pod.claude("assert open('lib/src/app.py').read() == 'price = 1\\n'; write('b', '1'); result()")
    fixed = nested_pod.run(nested_pod.spec("fix", expected_head=ran.result.head_sha))
    assert fixed.result.outcome == "succeeded", fixed.log
    assert not trace.exists(), trace.read_text()


def test_a_submodule_that_moved(nested_pod: Pod) -> None:
    nested_pod.claude(
        "subprocess.run(['git', 'commit', '--quiet', '--allow-empty', '-m', 'x'], cwd='lib', check=True)\n"
        "write('../sha', subprocess.check_output(['git', 'rev-parse', 'HEAD'], cwd='lib', text=True)); result()"
    )
    ran = nested_pod.run(nested_pod.spec())
    assert ran.result.files_changed == ("lib",), ran.log
    moved = (nested_pod.root / "workspace/sha").read_text().strip()
    assert nested_pod.forge("rev-parse", f"{WORK}:lib") == moved


@pytest.mark.parametrize(
    "instead", ["", "os.symlink('/', 'lib')", "write('lib', 'a file')", "os.mkdir('lib')"]
)
def test_a_submodule_that_was_removed(nested_pod: Pod, instead: str) -> None:
    nested_pod.claude(f"import shutil; shutil.rmtree('lib')\n{instead}\nwrite('a', '1'); result()")
    ran = nested_pod.run(nested_pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == (("a",) if "mkdir" in instead else ("a", "lib"))

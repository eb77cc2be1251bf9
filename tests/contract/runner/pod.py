"""A pod of one step on this machine: a bare repository behind a stand-in gateway, and the runner as a process."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from agent_runner.contract import RESULT_MARKER, StepResult, StepSpec, TerminationMessage

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

AGENT_IMAGE = Path(__file__).parents[3] / "agent-image"
REPOSITORY = "acme/shop"
NONCE = "n0nce"

FAKE_CLAUDE = """\
#!{python} -IS
import json, os, signal, subprocess, sys, time
stdin = sys.stdin.read()
with open({record!r}, "a") as record:
    record.write(json.dumps(dict(argv=sys.argv[1:], env=dict(os.environ), stdin=stdin, cwd=os.getcwd())) + "\\n")
def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None
session = option("--session-id") or option("--resume")
def emit(**event):
    print(json.dumps(event), flush=True)
def result(**event):
    emit(**dict(dict(type="result", subtype="success", is_error=False, terminal_reason="completed",
         result="All done.", num_turns=2, total_cost_usd=0.5, session_id=session, permission_denials=[],
         usage=dict(input_tokens=10, output_tokens=5)), **event))
def interrupted(*_):
    result(is_error=True, subtype="error_during_execution", terminal_reason="aborted_tools")
    os._exit(0)
signal.signal(signal.SIGINT, interrupted)
def tool(name, output, **given):
    call = dict(type="tool_use", id="t", name=name, input=given)
    emit(type="assistant", message=dict(content=[call]))
    emit(type="user", message=dict(content=[dict(type="tool_result", tool_use_id="t", content=output)]))
def git(*args):
    subprocess.run(["git", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
def write(name, text):
    os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
    with open(name, "w") as file:
        file.write(text)
def commit(name, text):
    write(name, text); git("add", name); git("commit", "-m", "Change " + name)
write(os.environ["CLAUDE_CONFIG_DIR"] + "/projects/x/" + session + ".jsonl", "{{}}")
emit(type="system", subtype="init", session_id=session, model="claude-test", claude_code_version="9.9")
{body}
"""


class GitServer(http.server.ThreadingHTTPServer):
    """Serves ``/NONCE/git/…`` with git's own program; what it is asked for is counted."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.requests: list[str] = []
        self.fail_next = 0
        """So many requests are answered with 503."""
        self.closed_by: Path | None = None
        """Once this file is there, every request is answered with 503."""
        self.hold: Path | None = None
        """The next request for :attr:`hold_for` makes this file and waits for :attr:`release`."""
        self.hold_for = ""
        self.release = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{NONCE}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: GitServer

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._serve(body)

    def _serve(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        self.server.requests.append(f"{self.command} {self.path}")
        prefix = f"/{NONCE}/git"
        held = self.server.hold
        if held is not None and self.server.hold_for in self.path:
            self.server.hold = None
            held.touch()
            self.server.release.wait(10)
        if self.server.closed_by is not None and self.server.closed_by.exists():
            self.server.fail_next = 1
        if self.server.fail_next or not path.startswith(prefix):
            status = 503 if self.server.fail_next else 404
            self.server.fail_next = max(0, self.server.fail_next - 1)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path.removeprefix(prefix),
            "QUERY_STRING": query,
            "REMOTE_USER": "gateway",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        answer = subprocess.run(
            ["git", "http-backend"], input=body, env=environ, stdout=subprocess.PIPE, check=True, timeout=30
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((int(value[:3]) for name, value in headers if name == "Status"), 200)
        self.send_response(status)
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Ran:
    """What a run of the runner left behind."""

    returncode: int
    log: str
    result: StepResult
    message: TerminationMessage

    @property
    def failure(self) -> tuple[str, str] | None:
        return self.result.failure and (self.result.failure.category, self.result.failure.code)


@dataclass
class Pod:
    root: Path
    git_server: GitServer
    bare: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def checkout(self) -> Path:
        return self.root / "workspace/repo"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def forge(self, *arguments: str, stdin: str = "") -> str:
        """Run git in the forge's bare repository."""
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.bare,
            env=environ,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, branch: str, files: dict[str, str], parent: str | None = None) -> str:
        """Put a commit with exactly ``files`` on a branch of the forge; return its id."""
        tree: dict[str, Any] = {}
        for name, text in files.items():
            *folders, leaf = name.split("/")
            node = tree
            for folder in folders:
                node = node.setdefault(folder, {})
            node[leaf] = self.forge("hash-object", "-w", "--stdin", stdin=text)

        def write(node: dict[str, Any]) -> str:
            entries = [
                f"040000 tree {write(value)}\t{name}"
                if isinstance(value, dict)
                else f"100644 blob {value}\t{name}"
                for name, value in node.items()
            ]
            return self.forge("mktree", stdin="\n".join(entries) + "\n")

        parents = ["-p", parent] if parent else []
        sha = self.forge("commit-tree", write(tree), "-m", "Commit", *parents)
        self.forge("update-ref", f"refs/heads/{branch}", sha)
        return sha

    def head(self, branch: str) -> str:
        return self.forge("rev-parse", f"refs/heads/{branch}")

    def spec(self, step: str = "implement", **changes: Any) -> StepSpec:
        spec = StepSpec(
            step=step,  # type: ignore[arg-type]
            repository=REPOSITORY,
            base_branch="main",
            work_branch="agent/t-1",
            prompt="" if step == "test" else "Do the task.",
        )
        return dataclasses.replace(spec, **changes)

    @property
    def sessions(self) -> dict[str, Any]:
        """What the runner keeps of sessions."""
        kept: dict[str, Any] = json.loads((self.home / "sessions.json").read_text())
        return kept

    def keep_session(
        self, key: str, session_id: str, *, program: str = "claude", transcript: str = "{}"
    ) -> None:
        """Leave a session as an earlier step would have."""
        (self.home / "sessions.json").write_text(json.dumps({key: {"program": program, "id": session_id}}))
        projects = self.home / ".claude/projects/x"
        projects.mkdir(parents=True, exist_ok=True)
        (projects / f"{session_id}.jsonl").write_text(transcript)

    def claude(self, body: str = "result()") -> None:
        """Install the scripted agent program."""
        program = self.root / "claude"
        script = FAKE_CLAUDE.format(
            python=sys.executable, record=str(self.root / "record"), body=textwrap.dedent(body)
        )
        program.write_text(script)
        program.chmod(0o755)
        self.variables["AGENT_CLAUDE_PROGRAM"] = str(program)

    def calls(self) -> list[dict[str, Any]]:
        """How the agent program was started, call by call."""
        file = self.root / "record"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def start(
        self, spec: StepSpec | str, launcher: Sequence[str] = (), stdout: int | IO[str] = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start the runner.

        :param launcher: starts the command that follows it.
        """
        (self.root / "spec").write_text(spec if isinstance(spec, str) else spec.to_json())
        (self.root / "termination").write_text("")
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(AGENT_IMAGE),
            "AGENT_SPEC_FILE": str(self.root / "spec"),
            "AGENT_GATEWAY_URL_FILE": str(self.root / "gateway-url"),
            "AGENT_WORKSPACE": str(self.root / "workspace"),
            "AGENT_HOME": str(self.home),
            "AGENT_TERMINATION_LOG": str(self.root / "termination"),
            "TMPDIR": str(self.root / "tmp"),
            **self.variables,
        }
        return subprocess.Popen(
            [*launcher, sys.executable, "-m", "agent_runner", "run"],
            env=variables,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout: float = 30) -> Ran:
        """Wait for the runner and read both its results, which must agree."""
        try:
            log, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
        message = TerminationMessage.from_json((self.root / "termination").read_text())
        lines = [line for line in log.splitlines() if line.startswith(RESULT_MARKER)]
        assert len(lines) == 1, log
        result = message.whole(lines[0])
        assert result is not None, log
        return Ran(process.returncode, log, result, message)

    def run(self, spec: StepSpec | str, timeout: float = 30) -> Ran:
        ran = self.finish(self.start(spec), timeout)
        assert ran.returncode == 0
        return ran

    def signal_when(self, process: subprocess.Popen[str], path: Path, number: signal.Signals) -> None:
        """Send a signal to the runner as soon as ``path`` exists."""
        wait_for(path.exists)
        process.send_signal(number)


def wait_for(condition: Any, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def make_forge(root: Path) -> Path:
    """Make the repository that every pod starts with a copy of."""
    (root / f"{REPOSITORY}.git").mkdir(parents=True)
    with GitServer(root) as server:
        pod = Pod(root.parent, server, bare=root / f"{REPOSITORY}.git")
        pod.forge("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
        pod.forge("config", "http.receivepack", "true")
        pod.commit("main", {"README.md": "Shop\n", "src/app.py": "price = 1\n"})
    return root


def make_pod(root: Path, forge: Path, server_class: type[GitServer] = GitServer) -> Pod:
    for name in ("workspace", "home", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copytree(forge, root / "forge")
    server = server_class(root / "forge")
    pod = Pod(root, server, bare=root / f"forge/{REPOSITORY}.git")
    (root / "gateway-url").write_text(server.url + "\n")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return pod

"""The agent of the canary test: takes down all that an agent can see, and asks the gateway for more.

Runs inside the pod as ``python canary_spy.py REPORT``; standard library only. Waits for the file ``go`` beside
the report, then changes a file, so that the runner pushes.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

MOST_BYTES = 4 << 20
WAIT_SECONDS = 60.0

REQUESTS = (
    ("POST", "/anthropic/v1/messages"),
    ("POST", "/anthropic/v1/messages/count_tokens"),
    ("GET", "/anthropic/v1/models"),
    ("POST", "/openai/v1/responses"),
    ("GET", "/openai/v1/models"),
    ("GET", "/git/served"),
    ("GET", "/git/{repository}.git/info/refs?service=git-upload-pack"),
    ("GET", "/git/{repository}.git/info/refs?service=git-receive-pack"),
    ("GET", "/git/acme/other.git/info/refs?service=git-upload-pack"),
    ("GET", "/git/{repository}.git/config"),
    ("POST", "/mcp/docs"),
    ("GET", "/mcp/docs"),
    ("POST", "/mcp/docs/.well-known/oauth-protected-resource"),
    ("GET", "/nothing/here"),
    ("DELETE", "/"),
)


def ask(url: str, method: str) -> str:
    """Return status, headers and body of an answer."""
    content = {"input": "x"} if "/openai/" in url else {"messages": [{"role": "user", "content": "x"}]}
    limit = {"max_tokens": 5} if url.endswith("/v1/messages") else {}
    body = json.dumps({"model": "claude-sonnet-4-5"} | content | limit)
    if "/mcp/" in url:
        call = {"name": "look_up", "arguments": {}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    request = urllib.request.Request(
        url,
        data=body.encode() if method == "POST" else None,
        method=method,
        headers={"Content-Type": "application/json", "anthropic-version": "2023-06-01"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return f"{answer.status}\n{answer.headers}\n{answer.read(MOST_BYTES)!r}"
    except urllib.error.HTTPError as error:
        return f"{error.code}\n{error.headers}\n{error.read(MOST_BYTES)!r}"
    except OSError as error:
        return repr(error)


def files_of(folders: set[Path]) -> dict[str, str]:
    """Return the content of all files below the folders."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                found[str(path)] = path.read_bytes()[:MOST_BYTES].decode(errors="replace")
    return found


def environments() -> list[dict[str, str]]:
    """Return the environments of this process and of those above it, up to the container's first, the runner."""
    found: list[dict[str, str]] = []
    pid = os.getpid()
    while pid > 1 and not (found and "AGENT_SPEC_FILE" in found[-1]):
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        found.append(dict(entry.partition("=")[::2] for entry in text.split("\0") if entry))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def processes() -> list[str]:
    """Return the command lines of all processes that can be seen."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return lines


def main() -> None:
    """Report."""
    report = Path(sys.argv[1])
    gateway = os.environ["ANTHROPIC_BASE_URL"].removesuffix("/anthropic")
    repository = "acme/calc"
    answers = {
        f"{method} {path}": ask(gateway + path.format(repository=repository), method)
        for method, path in REQUESTS
    }
    seen_environments = environments()
    named = [
        Path(value)
        for name, value in seen_environments[-1].items()
        if name.startswith(("AGENT_", "HOME", "TMPDIR"))
    ]
    folders = {
        path if path.is_dir() else path.parent for path in named if path.is_absolute() and path.exists()
    }
    seen = {
        "environment": seen_environments,
        "files": files_of({*folders, Path.cwd()} - {Path("/"), Path("/tmp"), Path("/dev"), report.parent}),
        "processes": processes(),
        "answers": answers,
    }
    partial = report.with_suffix(".partial")
    partial.write_text(json.dumps(seen))
    partial.replace(report)
    print("The spy has reported.", flush=True)
    give_up = time.monotonic() + WAIT_SECONDS
    while not (report.parent / "go").exists() and time.monotonic() < give_up:
        time.sleep(0.05)
    Path("spied.txt").write_text("done\n")


if __name__ == "__main__":
    main()

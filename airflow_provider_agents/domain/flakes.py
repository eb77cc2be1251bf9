"""Signs that a check failed for reasons that are not in the change: :func:`suspicion`.

Two kinds of evidence count: a conclusion that no test can give, and a line that a tool of the
infrastructure writes about itself (the runner, git, curl, a package manager, a container engine). The form
of the whole line is matched, never words in it: a test may be called ``test_connection_reset``, and an
assertion may quote any message. Where an assertion failed as well, that is the cause, whatever else is said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.domain.feedback import FailingCheck

CONCLUSIONS = {
    "TIMED_OUT": "timed out",
    "CANCELLED": "was cancelled",
    "STARTUP_FAILURE": "could not be started",
    "STALE": "was given up by GitHub",
}
"""Conclusions that speak for a flake by themselves."""

_FAULTS = (
    # Of the network.
    r"connection (was )?(reset|refused|timed out|aborted)",
    r"could(n't| not) (resolve|connect)",
    r"failed to connect|no such host|temporary failure|name or service not known|network is unreachable",
    r"(TLS|SSL)[^.]{0,40}(timeout|timed out|SSL_ERROR_SYSCALL)",
    r"timed out|i/o timeout|timeout was reached|unexpected EOF|early EOF|remote end hung up",
    # Of the server behind it.
    r"(error|status|code|HTTP( status)?):? ?(429|50[0234])\b",
    r"\b50[0234]\s+(internal|bad|service|gateway)|\b429 too many|toomanyrequests|rate limit",
)
_FAULT = f"({'|'.join(_FAULTS)})"
"""Only ever looked for behind a tool's own mark at the beginning of a line."""
_NO_SPACE = r"(no space left on device|ENOSPC\b.{0,200})(\s*\([^)]*\))?\.?$"
_TOOL = (
    r"(tar|cp|mv|ld|/usr/bin/ld|collect2|cc1(plus)?|git|fatal|npm ERR!|npm error|error|rsync|dd|docker|write)"
)
_NODE_FAULT = r"(ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|ESOCKETTIMEDOUT|ERR_SOCKET_TIMEOUT)"
_PIP = r"(ERROR: Could not install packages due to an OSError|WARNING: Retrying \(Retry\(total=0,)"
_URLLIB = r"(pip\._vendor\.)?(urllib3\.exceptions\.)?ReadTimeoutError: HTTPSConnectionPool\(host='"
_DOCKER = (
    r"((docker: )?Error response from daemon|error pulling image[^:]*|ERROR: failed to (solve|do request)"
    r"|Error: initializing source docker://\S+|failed to copy|failed to resolve reference[^:]*):"
)

_SIGNS: dict[str, tuple[str, ...]] = {
    "the runner was lost": (
        r"the (self-)?hosted runner.{0,200}lost communication with the server",
        r"the runner has received a shutdown signal",
        r"the (self-)?hosted runner encountered an error while running your job",
    ),
    "the machine was full": (
        r"(System\.IO\.IOException: )?no space left on device( : '[^']*')?\.?$",
        rf"{_TOOL}[\s:].{{0,300}}{_NO_SPACE}",
    ),
    "git could not reach its server": (
        rf"fatal: unable to access '[^']+': .*{_FAULT}",
        r"error: RPC failed;|fatal: the remote end hung up|fatal: early EOF",
    ),
    "a download failed": (
        r"curl: \((5|6|7|18|28|35|52|56|92)\) ",
        r"curl: \(22\) The requested URL returned error: (429|50[0234])",
        rf"(Get|Head|wget:|E: Failed to fetch|Err:\d+) \"?https?://.*{_FAULT}",
        r"Error: (read|connect) (ECONNRESET|ETIMEDOUT) (?!127\.|::1|0\.0\.0\.0)[\d.a-f:]+:443$",
    ),
    "the package registry failed": (
        rf"npm (ERR!|error) (code |errno |network )?({_NODE_FAULT}|E429|E50[0234])\b",
        rf"error An unexpected error occurred: \"https?://[^\"]+: {_NODE_FAULT}",
        r"ERROR: HTTP error (429|50[0234]) while getting https?://",
        rf"{_PIP}.*{_FAULT}|{_URLLIB}",
        rf"(error|×): (failed to fetch|request failed)\b.*{_FAULT}",
        rf"go: .*(dial tcp|reading https?://).*{_FAULT}",
        # Cargo, with libcurl's number.
        r"\s*\[(6|7|28|35|52|56)\] (couldn't|could not|timeout was|ssl|failed|recv|server returned nothing)",
        rf"(\[ERROR\] )?.{{0,200}}could not transfer (artifact|metadata) \S+ (from/to|from|to) .*{_FAULT}",
        r"> could not (get|head) 'https?://[^']+'\. received status code (429|50[0234])",
    ),
    "the container registry failed": (rf"{_DOCKER}.*{_FAULT}", r"toomanyrequests: "),
}
_PATTERNS = tuple(
    (what, re.compile("|".join(f"(?:{form})" for form in forms), re.IGNORECASE))
    for what, forms in _SIGNS.items()
)
_PREFIX = re.compile(
    # What stands before a line that a tool wrote: a time, GitHub's marker, BuildKit's step.
    r"^(\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-]\d\d:?\d\d)? )?(##\[(error|warning)\])?(#\d+ (\d+\.\d+ )?)?"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_ASSERTION = re.compile(
    r"(E\s+)?(AssertionError|assert\s|java\.lang\.AssertionError|org\.opentest4j\.AssertionFailedError)"
    r"|FAILED \S+ - (AssertionError|assert )|\s*(Error: )?expect\(|assertion `|Failed asserting that "
    r"|thread '.*' panicked at .*assert|(\w+ )?Expected: "
)
_LONGEST_LINE = 2_000


def suspicion(failing: FailingCheck) -> str | None:
    """Return why a failed check may be a flake, one sentence; ``None`` where nothing speaks for it."""
    name = failing.check.name
    if ended := CONCLUSIONS.get(failing.check.conclusion.upper()):
        return f"{name} {ended}."
    lines = list(_lines(failing))
    if any(_ASSERTION.match(line) for line in lines):
        return None
    for line in lines:
        for what, sign in _PATTERNS:
            if sign.match(line):
                return f"{name}: {what} ({line[:160]})."
    return None


def _lines(failing: FailingCheck) -> Iterator[str]:
    texts = (*(a.message for a in failing.annotations), *failing.log_matches, failing.log_tail)
    for text in texts:
        for raw in _ANSI.sub("", text).splitlines():
            if line := _PREFIX.sub("", raw[:_LONGEST_LINE], count=1).rstrip():
                yield line

"""Signs of a flake, and the many texts that look like one."""

from __future__ import annotations

import pytest

from airflow_provider_agents.domain.feedback import FailingCheck
from airflow_provider_agents.domain.flakes import suspicion
from airflow_provider_agents.domain.pull_request import Annotation, Check


def failing(
    *lines: str, conclusion: str = "FAILURE", matches: tuple[str, ...] = (), remark: str = ""
) -> FailingCheck:
    check = Check(name="tests", state="failed", kind="check_run", conclusion=conclusion)
    remarks = (Annotation(path=".github", line=1, level="failure", message=remark),) if remark else ()
    return FailingCheck(check=check, log_tail="\n".join(lines), log_matches=matches, annotations=remarks)


@pytest.mark.parametrize(
    ("conclusion", "flaky"),
    [
        ("TIMED_OUT", True),
        ("CANCELLED", True),
        ("STARTUP_FAILURE", True),
        ("STALE", True),
        ("timed_out", True),
        ("FAILURE", False),
        ("ERROR", False),
        ("ACTION_REQUIRED", False),
        ("", False),
    ],
)
def test_conclusions(conclusion: str, flaky: bool) -> None:
    assert bool(suspicion(failing(conclusion=conclusion))) is flaky


SIGNS = [
    "The hosted runner: GitHub Actions 3 lost communication with the server. Anything in your workflow",
    "The self-hosted runner lost communication with the server. Verify the machine is running",
    "##[error]The runner has received a shutdown signal. This can happen when the runner service is stopped",
    "2026-01-02T11:00:00.1234567Z ##[error]No space left on device : '/home/runner/runners/_diag/Worker.log'",
    "System.IO.IOException: No space left on device : '/home/runner/x.log'",
    "tar: shop/cart.py: Cannot write: No space left on device",
    "/usr/bin/ld: final link failed: No space left on device",
    "npm ERR! nospc ENOSPC: no space left on device, write",
    "fatal: unable to access 'https://github.com/acme/shop/': Could not resolve host: github.com",
    "fatal: unable to access 'https://github.com/acme/shop/': The requested URL returned error: 503",
    "error: RPC failed; curl 56 GnuTLS recv error (-54): Error in the pull function.",
    "fatal: the remote end hung up unexpectedly",
    "curl: (6) Could not resolve host: dl.example.org",
    "curl: (35) OpenSSL SSL_connect: Connection reset by peer in connection to dl.example.org:443",
    "curl: (22) The requested URL returned error: 502",
    "E: Failed to fetch http://deb.example.org/pool/a.deb  503  Service Unavailable [IP: 192.0.2.1 80]",
    "Error: connect ETIMEDOUT 192.0.2.1:443",
    "npm ERR! code ECONNRESET",
    "npm error code ETIMEDOUT",
    "npm error network request to https://registry.example.org/x failed" + "\nnpm error code EAI_AGAIN",
    "npm ERR! code E503",
    'error An unexpected error occurred: "https://registry.example.org/left-pad: ETIMEDOUT".',
    "ERROR: HTTP error 503 while getting https://files.example.org/x.whl (from https://index.example.org/x/)",
    "ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='files.example.org', port=443): Max retries exceeded with url: /x (Caused by NewConnectionError('Temporary failure in name resolution'))",
    "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='files.example.org', port=443): Read timed out.",
    "error: Failed to fetch: `https://index.example.org/simple/x/`: connection reset",
    'go: example.org/x@v1.2.3: Get "https://proxy.example.org/x": dial tcp: lookup proxy.example.org: i/o timeout',
    "go: reading https://proxy.example.org/x: 503 Service Unavailable",
    "  [28] Timeout was reached (Operation too slow)",
    "[ERROR] Could not transfer artifact org.example:a:jar:1.0 from/to central (https://repo.example.org): Connection reset",
    "> Could not GET 'https://plugins.example.org/m2/a.pom'. Received status code 502 from server: Bad Gateway",
    'Error response from daemon: Get "https://registry.example.org/v2/": net/http: TLS handshake timeout',
    "Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
    "#5 12.31 ERROR: failed to solve: python:3.12: failed to resolve source metadata: unexpected status: 503 Service Unavailable",
    "toomanyrequests: You have reached your pull rate limit.",
    "\x1b[31mnpm ERR!\x1b[0m code ECONNRESET",
]


@pytest.mark.parametrize("line", SIGNS, ids=[line[:50] for line in SIGNS])
def test_what_tools_say_of_the_infrastructure(line: str) -> None:
    for check in (failing("building", line, "exit 1"), failing(matches=(line,)), failing(remark=line)):
        found = suspicion(check)
        assert found is not None
        assert found.startswith("tests: ")


NO_SIGNS = [
    "FAILED tests/test_net.py::test_connection_reset - AssertionError: assert 1 == 2",
    "FAILED tests/test_net.py::test_connection_reset",
    "test_connection_reset (tests.NetTest) ... FAIL",
    "--- FAIL: TestConnectionResetByPeer (0.01s)",
    "✕ retries on ETIMEDOUT (12 ms)",
    "● http client › says 503 Service Unavailable",
    "E   ConnectionResetError: [Errno 104] Connection reset by peer",
    "E   OSError: [Errno 28] No space left on device",
    "OSError: [Errno 28] No space left on device: '/x'",
    "    Expected: 'curl: (6) Could not resolve host'",
    "AssertionError: 'npm ERR! code ECONNRESET' != 'ok'",
    "  assert 'fatal: the remote end hung up' in output",
    "tests/test_git.py:12: fatal: the remote end hung up unexpectedly",
    "Error: connect ETIMEDOUT 127.0.0.1:5432",
    "Error: connect ETIMEDOUT 127.0.0.1:443",
    "Error: read ECONNRESET",
    "error: expected `;`, found `timeout`",
    "error: connection reset is not a member of enum Fault",
    "npm ERR! code ELIFECYCLE",
    "npm ERR! code E404",
    "npm ERR! Test failed.  See above for more details.",
    "ERROR: No matching distribution found for nosuch==9",
    "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'ReadTimeoutError': /simple/x",
    "fatal: unable to access 'https://github.com/acme/shop/': The requested URL returned error: 403",
    "curl: (22) The requested URL returned error: 404",
    "Error response from daemon: manifest for acme/shop:9 not found",
    "go: example.org/x@v9: unknown revision v9",
    "def test_tls_handshake_timeout():",
    "the runner said: The runner has received a shutdown signal.",
    "rate limit exceeded",
    "No space left on device is what we expect here",
    "",
]


@pytest.mark.parametrize("line", NO_SIGNS, ids=[line[:50] for line in NO_SIGNS])
def test_what_only_looks_like_it(line: str) -> None:
    for check in (failing("collected 3 items", line), failing(matches=(line,)), failing(remark=line)):
        assert suspicion(check) is None


@pytest.mark.parametrize(
    "assertion",
    [
        "E   AssertionError: assert 3 == 4",
        "E       assert 3 == 4",
        "FAILED tests/test_a.py::test_a - AssertionError: no",
        "Error: expect(received).toBe(expected)",
        "assertion `left == right` failed",
        "java.lang.AssertionError: expected:<3> but was:<4>",
        "thread 'main' panicked at src/a.rs:1:1: assertion failed: a == b",
    ],
)
def test_a_failed_assertion_outweighs_the_infrastructure(assertion: str) -> None:
    """The upload of the coverage may fail too, after the tests did."""
    assert suspicion(failing(assertion, "curl: (6) Could not resolve host: coverage.example.org")) is None


def test_the_evidence_is_one_short_line() -> None:
    found = suspicion(failing("curl: (6) " + "x" * 5_000))
    assert found is not None
    assert len(found) < 300
    assert "\n" not in found


@pytest.mark.parametrize(
    "line", ["x" * 200_000, "go: " + "dial tcp " * 20_000, "tar: " + "a:" * 100_000, " " * 100_000]
)
@pytest.mark.timeout(5)
def test_a_hostile_log_takes_no_time(line: str) -> None:
    assert suspicion(failing(*[line] * 5)) is None

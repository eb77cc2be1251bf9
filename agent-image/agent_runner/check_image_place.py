"""Where a step runs: user, root folder, writable folders, certificates, environment."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner import contract
from agent_runner.check_image_report import Check, faulted, passed, warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FOLDERS = (
    contract.ENV_WORKSPACE,
    contract.ENV_HOME,
    contract.ENV_CACHE_DIR,
    contract.ENV_SCRATCH_DIR,
    contract.ENV_LEDGER_DIR,
)
_RUN_FROM = frozenset({contract.ENV_WORKSPACE, contract.ENV_HOME, contract.ENV_CACHE_DIR})
"""Folders out of which programs are started: those of a repository's own dependencies."""

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian's and Alpine's git, curl and Claude Code look."""

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|SECRETS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|PAT)"
    r"(?:_|$)",
    re.IGNORECASE,
)
_PLACE_NAME = re.compile(r"_(?:DIR|FILE|PATH|URL_FILE|FD)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}|AKIA[0-9A-Z]{16}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s:@]+@"
)


def place_checks(variables: Mapping[str, str]) -> Iterator[Check]:
    """Check user, root folder, writable folders, certificates and environment."""
    yield _user()
    yield _root_folder()
    yield from _folders(variables)
    yield _certificates(variables)
    yield _environment(variables)


def _user() -> Check:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        return faulted(
            "user",
            "root (UID 0), which pods under the restricted standard must not be, and Claude Code refuses",
            "End the Dockerfile with USER 1000:1000.",
        )
    return passed("user", f"UID {uid}, GID {gid}")


def _root_folder() -> Check:
    if os.statvfs("/").f_flag & os.ST_RDONLY:
        return passed("root folder", "read-only")
    return warned(
        "root folder",
        "writable, so that it remains open whether the image needs that",
        "Run this check as a pod runs: docker run --read-only --tmpfs /tmp …",
    )


def _folders(variables: Mapping[str, str]) -> Iterator[Check]:
    temporary = variables.get("TMPDIR") or "/tmp"
    yield _writable("TMPDIR", Path(temporary), run_from=False)
    for name in _FOLDERS:
        if value := variables.get(name):
            yield _writable(name, Path(value), run_from=name in _RUN_FROM)


def _writable(name: str, folder: Path, *, run_from: bool) -> Check:
    """Write a program into the folder and start it."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".check-image-") as place:
            script = Path(place) / "script"
            script.write_text("#!/bin/sh\nexit 0\n")
            script.chmod(0o700)
            try:
                subprocess.run([script], check=True, timeout=10, stdin=subprocess.DEVNULL)
            except (OSError, subprocess.SubprocessError):
                found = f"{folder} is writable, but programs in it cannot be started (mounted noexec?)"
                remedy = "Mount it with exec, as an emptyDir or a claim is."
                return faulted(name, found, remedy) if run_from else warned(name, found, remedy)
    except OSError as error:
        return faulted(
            name,
            f"{folder} cannot be written: {error.strerror or error}",
            "Mount a volume there that the user can write (pods: fsGroup), or correct the variable.",
        )
    return passed(name, f"{folder} is writable")


def _certificates(variables: Mapping[str, str]) -> Check:
    paths = ssl.get_default_verify_paths()
    given = variables.get("SSL_CERT_FILE")
    candidates = [given] if given else [_CERTIFICATES, paths.cafile, paths.openssl_cafile]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    why = "none found"
    for file in filter(None, candidates):
        try:
            context.load_verify_locations(cafile=file)
        except (OSError, ssl.SSLError) as error:
            why = f"{file}: {error.strerror or error}"
            continue
        if count := len(context.get_ca_certs()):
            return passed("certificates", f"{count} authorities in {file}")
        why = f"{file} has none"
    remedy = "Install ca-certificates in the image"
    return faulted("certificates", why, f"{remedy}, or correct SSL_CERT_FILE." if given else f"{remedy}.")


def _environment(variables: Mapping[str, str]) -> Check:
    """Look for secrets: whatever the image's environment holds, the agent can read."""
    suspicious = sorted(
        name
        for name, value in variables.items()
        if value
        and ((_SECRET_NAME.search(name) and not _PLACE_NAME.search(name)) or _SECRET_VALUE.search(value))
    )
    if suspicious:
        return faulted(
            "environment",
            f"looks like a secret: {', '.join(suspicious)}",
            "Take it out of the image and of the pod: credentials belong into the gateway's secret alone.",
        )
    return passed("environment", "no secret in it")

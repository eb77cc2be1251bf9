"""Names and limits that both sides of a pod know."""

from __future__ import annotations

import re

VERSION = 1

MAX_SPEC_BYTES = 200_000
"""Largest specification, in bytes of UTF-8. All annotations of a pod together may have 262,144 bytes
(Kubernetes' ``TotalAnnotationSizeLimitB``)."""

MAX_TERMINATION_MESSAGE_BYTES = 4_096
"""Kubernetes cuts the termination message of a container here."""

RESULT_MARKER = "::agents-result::"
"""Starts the one line of the pod's log that holds the whole :class:`StepResult`. Readers drop such lines
from the task log and trust one only if size and SHA-256 match the termination message."""

# Names of the container environment. Every path inside a pod comes from one of these.
ENV_SPEC_FILE = "AGENT_SPEC_FILE"
ENV_GATEWAY_URL_FILE = "AGENT_GATEWAY_URL_FILE"
ENV_WORKSPACE = "AGENT_WORKSPACE"
ENV_HOME = "AGENT_HOME"
ENV_TERMINATION_LOG = "AGENT_TERMINATION_LOG"
ENV_GATEWAY_CONFIG = "AGENT_GATEWAY_CONFIG"
ENV_SECRETS_DIR = "AGENT_SECRETS_DIR"
ENV_SCRATCH_DIR = "AGENT_SCRATCH_DIR"
"""The gateway's own volume: its address, and the quarantine of pushes. Ends with the pod."""
ENV_LEDGER_DIR = "AGENT_LEDGER_DIR"
"""Where the gateway keeps one ledger for each pod, ``<pod name>.jsonl``. On the run's claim, where there is
one, so that the next pod finds what a lost one spent; never mounted into the agent's container."""
ENV_POD_NAME = "AGENT_POD_NAME"
ENV_MIRROR_DIR = "AGENT_MIRROR_DIR"
"""The repository's folder for its mirror on the cache claim, where there is one: written by the gateway alone,
read-only for the agent's container."""
ENV_CACHE_DIR = "AGENT_CACHE_DIR"
"""The repository's folder for package caches and set-up results on the cache claim, where there is one: the
agent's container writes it, and no other repository's pods mount it."""
ENV_CACHE_ROOT = "AGENT_CACHE_ROOT"
"""The cache claim as a whole: mounted by the pod that sweeps it, and by no other."""

SECRET_KEY_FORGE = "github-token"
SECRET_KEY_ANTHROPIC = "anthropic-api-key"
SECRET_KEY_ANTHROPIC_OAUTH = "anthropic-oauth-token"
"""Token of a subscription; used where there is no API key."""
SECRET_KEY_OPENAI = "openai-api-key"
SECRET_KEYS = (SECRET_KEY_FORGE, SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH, SECRET_KEY_OPENAI)
"""File names in the secret volume, and keys of the Kubernetes secret that it is made from."""

DEFAULT_PROTECTED_PATHS = (".github/workflows/**",)
"""What no push of an agent may change: CI runs it with rights that the agent does not have."""

SHA_PATTERN = re.compile(r"[0-9a-f]{40}")
REPOSITORY_PATTERN = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
PROGRAM_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,40}")
SESSION_KEY_PATTERN = re.compile(r"[A-Za-z0-9-]{1,64}")


def branch_fault(name: str) -> str | None:
    """Say why ``name`` is no safe branch name, or ``None``.

    Stricter than ``git check-ref-format``: ASCII letters, digits and ``._/-`` only, so that the name is
    also safe in a URL, a log line and a shell word.
    """
    if not isinstance(name, str) or not name:
        return "empty"
    if len(name.encode()) > 200:
        return "longer than 200 bytes"
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", name):
        return f"{name!r} has characters other than letters, digits and ._/-"
    if ".." in name or "//" in name or name.startswith(("/", "-", ".")) or name.endswith(("/", ".")):
        return f"{name!r} is not a valid git branch name"
    if any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        return f"{name!r} is not a valid git branch name"
    if SHA_PATTERN.fullmatch(name) or name == "HEAD":
        return f"{name!r} would be taken for a commit"
    return None

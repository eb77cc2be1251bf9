"""Names: of the application that a repository is deployed as, and of the repository that an application comes from."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

MOST_LENGTH = 253
"""Of a name in Kubernetes."""
_PLACE = re.compile(r"\{\{\s*([A-Za-z_.]*)\s*\}\}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_WORDS = ("repository", "environment")
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>\[[^\]]+\]|[^/:\[\]]+):(?!//)(?P<path>.+)")


def pattern_faults(pattern: str) -> list[str]:
    """Return what is wrong with a pattern of names; empty where names can be made from it."""
    faults = []
    for word in _PLACE.findall(pattern):
        if word not in _WORDS:
            faults.append(
                f"there is no {{{{{word}}}}}; `{{{{repository}}}}` and `{{{{environment}}}}` are what may stand there"
            )
    rest = _PLACE.sub("x", pattern)
    if not faults and not is_application_name(rest):
        faults.append(
            f"{pattern!r} makes no name of an application: small letters, digits, `-` and `.` may stand in it"
        )
    return faults


def needs_environment(pattern: str) -> bool:
    """Return whether the name depends on the environment."""
    return "environment" in _PLACE.findall(pattern)


def is_application_name(text: str) -> bool:
    """Return whether an application in Argo CD can have a name: that of an object in Kubernetes (RFC 1123)."""
    return (
        len(text) <= MOST_LENGTH
        and _NAME.fullmatch(text) is not None
        and all(_LABEL.fullmatch(label) for label in text.split("."))
    )


def application_name(pattern: str, repository: str, environment: str) -> str:
    """Return the name of the application that a repository is deployed as.

    :param pattern: ``{{repository}}-{{environment}}``; spaces inside the braces do not count.
    :param repository: ``owner/name``; the name alone goes in, in small letters.
    :raises ValueError: the pattern is none, or what comes out is no name of a Kubernetes object (RFC 1123, 253 characters).
    """
    if faults := pattern_faults(pattern):
        raise ValueError("; ".join(faults))
    values = {
        "repository": repository.rsplit("/", 1)[-1].lower(),
        "environment": environment.lower(),
    }
    name = _PLACE.sub(lambda found: values[found[1]], pattern)
    if not is_application_name(name):
        raise ValueError(
            f"{pattern!r} makes {name[:300]!r} of {repository}, which is no name of an application; write the name into "
            "the rule, or restrict it to repositories whose names fit"
        )
    return name


def points_to(repo_url: str, repository: str, host: str = "") -> bool:
    """Return whether the address of a remote is that of ``owner/name``.

    https, ssh and the short form ``git@host:owner/name`` count alike, with or without ``.git``; case does not count.

    :param host: of the forge, e.g. ``github.com``; empty: any. A port in the address does not count.
    """
    found = _host_and_path(repo_url.strip())
    if found is None:
        return False
    where, path = found
    if host and where != host.lower():
        return False
    return bool(repository) and path == repository.casefold()


def _host_and_path(address: str) -> tuple[str, str] | None:
    """Return host and path of a remote's address, in small letters, the path without ``.git``."""
    if "://" in address:
        try:
            parts = urlsplit(address)
            host = parts.hostname or ""
        except ValueError:
            return None
        if parts.scheme not in ("https", "http", "ssh", "git"):
            return None
        path = unquote(parts.path)
    elif found := _SCP.fullmatch(address):
        host, path = found["host"].strip("[]"), found["path"]
    else:
        return None
    path = path.strip("/").casefold().removesuffix(".git")
    return (host.lower(), path) if host and path else None

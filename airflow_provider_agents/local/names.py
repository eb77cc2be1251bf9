"""The rules for names, labels and keys. Each check returns what is wrong, or ``None``."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_ENVIRONMENT_NAME = re.compile(r"[ -<>-~]+")


def dns_label(value: str) -> str | None:
    """Check a container, volume or namespace name."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    if not _LABEL.fullmatch(value):
        return (
            "a lowercase RFC 1123 label consists of lower case letters, digits and '-', "
            "and starts and ends with a letter or digit"
        )
    return None


def dns_subdomain(value: str) -> str | None:
    """Check the name of an object."""
    if len(value) > 253:
        return "must be no more than 253 characters"
    if not _SUBDOMAIN.fullmatch(value):
        return (
            "a lowercase RFC 1123 subdomain consists of lower case letters, digits, '-' and '.', "
            "and starts and ends with a letter or digit"
        )
    return None


def qualified_name(value: str) -> str | None:
    """Check the key of a label or annotation: ``[prefix/]name``."""
    prefix, slash, name = value.rpartition("/")
    if slash and (not prefix or dns_subdomain(prefix)):
        return "the prefix of a key must be a DNS subdomain"
    if len(name) > 63:
        return "the name part of a key must be no more than 63 characters"
    if not _QUALIFIED.fullmatch(name):
        return (
            "the name part of a key consists of letters, digits, '-', '_' and '.', "
            "and starts and ends with a letter or digit"
        )
    return None


def label_value(value: str) -> str | None:
    """Check the value of a label. The empty value is valid."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    if value and not _QUALIFIED.fullmatch(value):
        return (
            "a label value is empty or consists of letters, digits, '-', '_' and '.', "
            "and starts and ends with a letter or digit"
        )
    return None


def data_key(value: str) -> str | None:
    """Check a key of a secret or config map, which becomes a file name."""
    if len(value) > 253:
        return "must be no more than 253 characters"
    if not _DATA_KEY.fullmatch(value) or value == "." or value.startswith(".."):
        return "a key consists of letters, digits, '-', '_' and '.', and is neither '.' nor starts with '..'"
    return None


def environment_name(value: str) -> str | None:
    """Check the name of an environment variable."""
    if not _ENVIRONMENT_NAME.fullmatch(value):
        return "an environment variable name consists of printable ASCII characters other than '='"
    return None

"""The credentials of a step: files of a secret volume, read anew at every use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAX_BYTES = 16_384
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


class CredentialError(Exception):
    """A credential is missing or unusable; the text names the secret and the key, never the value."""


class CredentialMissingError(CredentialError):
    """There is none: no file, or an empty one."""


class Credentials:
    """Gives credentials by key.

    A file is opened by its path each time, because a renewed secret is swapped in by a symlink.

    :param directory: the mounted secret volume.
    :param secret_name: name of the Kubernetes secret, for messages.
    """

    def __init__(self, directory: Path, secret_name: str) -> None:
        self._directory = directory
        self._secret_name = secret_name

    def place(self, key: str) -> str:
        """Return how to name the credential to a person."""
        return f"key {key} of secret {self._secret_name}"

    def read(self, key: str) -> str:
        """Return the value of ``key`` without surrounding white space.

        :raises CredentialMissingError: if there is no such file, or nothing in it.
        :raises CredentialError: if its content cannot be a credential.
        """
        place = self.place(key)
        try:
            with (self._directory / key).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            raise CredentialMissingError(f"no credential: {place} does not exist; add it") from None
        except OSError as error:
            raise CredentialError(f"no credential: {place} cannot be read: {error.strerror}") from None
        try:
            value = data.decode("ascii").strip()
        except UnicodeDecodeError:
            value = "\n"
        if not value:
            raise CredentialMissingError(f"no credential: {place} is empty; set it")
        if len(data) > _MAX_BYTES or not _HEADER_SAFE.fullmatch(value):
            raise CredentialError(f"unusable credential: {place} is not one line of ASCII; set it anew")
        return value

    def first(self, keys: Sequence[str]) -> tuple[str, str]:
        """Return key and value of the first of ``keys`` that is there.

        :raises CredentialMissingError: if there is none of them.
        :raises CredentialError: if that one cannot be a credential.
        """
        missing = []
        for key in keys:
            try:
                return key, self.read(key)
            except CredentialMissingError as error:
                missing.append(str(error))
        raise CredentialMissingError(missing[0] + "".join(f", or key {key}" for key in keys[1:]))

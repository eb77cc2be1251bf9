"""Which repositories a rule is for: named ones, and patterns over those of their owners."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScope:
    """The repositories of one rule, with the installation's options filled in.

    Names keep their spelling; they are compared without regard to case, as at GitHub.
    """

    connection: str
    """Airflow connection of GitHub."""
    organization: str = ""
    """Organisation, or user account, that names without an owner belong to."""
    names: tuple[str, ...] = ()
    """``owner/name`` of each repository that is named."""
    patterns: tuple[str, ...] = ()
    """``owner/pattern``: those of the owner's repositories whose name fits."""

    @property
    def owners(self) -> tuple[str, ...]:
        """Return the owners whose repositories have to be listed, in small letters."""
        return tuple(dict.fromkeys(pattern.partition("/")[0].casefold() for pattern in self.patterns))

    def chosen(self, listed: Iterable[str]) -> tuple[str, ...]:
        """Return the named repositories, and those of the listed ones that a pattern fits; each once.

        :param listed: ``owner/name`` of all repositories of :attr:`owners`.
        """
        wanted = [pattern.casefold() for pattern in self.patterns]
        found = {name.casefold(): name for name in self.names}
        for name in listed:
            if any(fnmatchcase(name.casefold(), pattern) for pattern in wanted):
                found.setdefault(name.casefold(), name)
        return tuple(found.values())

"""Where init takes its answers from: flags, environment, and, with a person at hand, prompts."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = 3
"""How often a person is asked for one thing."""


class MissingAnswerError(Exception):
    """Nobody can be asked, or nobody answered: the message names the flag or variable."""


class RefusedAnswerError(Exception):
    """An answer is wrong; the message says why. It never quotes a secret."""


class Answers:
    """Asks for what flags and environment do not say.

    :param interactive: there is a person to ask.
    :param say: shows a line.
    """

    def __init__(self, *, interactive: bool, say: Callable[[str], None]) -> None:
        self.interactive = interactive
        self._say = say

    def text(
        self,
        question: str,
        *,
        flag: str,
        given: str | None,
        default: str | None = None,
        check: Callable[[str], None] = lambda value: None,
    ) -> str:
        """Return an answer that passed its check.

        :param flag: that gives it without a prompt.
        :param default: taken where nothing is given; ``None``: there has to be an answer.
        :param check: raises :class:`RefusedAnswerError`.
        :raises MissingAnswerError: there is none.
        :raises RefusedAnswerError: it is wrong, and nobody is there to correct it, or tried too often.
        """
        if given is None and not self.interactive:
            if default is None:
                raise MissingAnswerError(f"{question}: give {flag}")
            given = default
        shown = f"{question} [{default}]: " if default else f"{question}: "
        return self._checked(given, lambda: input(shown).strip() or (default or ""), check, question, flag)

    def secret(self, question: str, *, variable: str, check: Callable[[str], None]) -> str:
        """Return a secret, from the environment or typed without being shown.

        :param variable: of the environment.
        :raises MissingAnswerError: there is none.
        :raises RefusedAnswerError: as :meth:`text`.
        """
        given = os.environ.get(variable, "").strip() or None
        if given is None and not self.interactive:
            raise MissingAnswerError(f"{question}: put it into the environment variable {variable}")
        return self._checked(
            given, lambda: getpass.getpass(f"{question} (hidden): ").strip(), check, question, variable
        )

    def _checked(
        self,
        given: str | None,
        ask: Callable[[], str],
        check: Callable[[str], None],
        question: str,
        source: str,
    ) -> str:
        if given is not None:
            check(given)
            return given
        for tried in range(1, TRIES + 1):
            try:
                answer = ask()
            except EOFError:
                raise MissingAnswerError(f"{question}: nobody answers; give {source}") from None
            try:
                check(answer)
            except RefusedAnswerError as error:
                if tried == TRIES:
                    raise
                self._say(f"  {error}")
            else:
                return answer
        raise AssertionError("unreachable")

"""What a person is asked about a pull request that a rule put before people, and what the answer means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.outbound import code_span, outbound, outbound_title
from airflow_provider_agents.domain.people import Option, Question
from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer
from airflow_provider_agents.domain.untrusted import one_line

if TYPE_CHECKING:
    from airflow_provider_agents.domain.people import Answer
    from airflow_provider_agents.domain.pr_rule_ledger import Choice

MERGE = "Merge this head"
CLOSE = "Close"
LEAVE = "Leave it to people"
CHOICES: Mapping[str, Choice] = {MERGE: "merge", CLOSE: "close", LEAVE: "leave"}
WORDS: Mapping[Choice, str] = {"merge": "to merge", "close": "to close", "leave": "to leave it to people"}
NEVER_MERGED: frozenset[str] = frozenset({"fork"})
"""Guards that no choice takes the place of, so that a merge is not offered."""
_MOST_FIELD = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledAbout:
    """What people are called about: the conf of the run that asks them."""

    rule: str
    repository: str
    number: int
    url: str
    head_sha: str
    base: str
    """Branch that it goes into."""
    title: str
    author: str
    reason: str
    """As it stands in the ledger: the name of a guard, or ``model``."""
    guard: str
    message: str
    wanted: str
    """Action that the model wanted; empty: it gave no answer."""
    found: str
    """Its reason."""

    @property
    def key(self) -> str:
        """Return ``owner/name#7`` in small letters."""
        return f"{self.repository.casefold()}#{self.number}"

    @classmethod
    def from_conf(cls, conf: Any) -> CalledAbout:
        """Read the conf of a run.

        :raises ValueError: a field is missing or has another type; the message names each.
        """
        values = conf if isinstance(conf, Mapping) else {}
        faults = [
            f"{name}: must be {'a whole number' if kind == 'int' else 'a text'}"
            for name, kind in cls.__annotations__.items()
            if not isinstance(values.get(name), int if kind == "int" else str)
            or isinstance(values.get(name), bool)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return cls(**{name: values[name] for name in cls.__annotations__})


def question_about(about: CalledAbout) -> Question:
    """Return the question on Airflow's page. Its merge is of the head that it names only."""
    options = [
        Option(
            name=MERGE,
            explanation=f"merge {about.head_sha[:12]} into {outbound(one_line(about.base, 100))} once its checks, reviews, labels and freezes allow it.",
            binding=True,
        ),
        Option(name=CLOSE, explanation="close the pull request without a merge.", binding=True),
        Option(name=LEAVE, explanation="decide at GitHub; the label stays, and no rule touches it."),
    ]
    name = f"{about.repository}#{about.number}"
    lines = [
        f"- Pull request: [{outbound(name)}]({about.url})",
        f"- Head: `{about.head_sha[:12]}`",
        f"- Goes into: {outbound(one_line(about.base, 100))}",
        f"- Rule: `{about.rule}`",
        *([f"- Guard: `{about.guard}`"] if about.guard else []),
        f"- The model wanted: {about.wanted or 'nothing, it gave no answer'}",
        "",
        "Written by people outside, or by a model that read it:",
        "",
        # As code: no link, no heading and no mention of an outsider's works in it.
        *(
            f"- {name}: {code_span(text, _MOST_FIELD)}"
            for name, text in (
                ("Title", about.title),
                ("Author", about.author),
                ("Guard", about.message if about.guard else ""),
                ("Reason", about.found),
            )
            if text.strip()
        ),
        "",
        "You can choose:",
        "",
        "\n".join(f"- **{option.name}**: {option.explanation}" for option in _offered(options, about)),
    ]
    return Question(
        key=f"pr_rule:{about.key}:{about.head_sha[:12]}:{about.base}:{about.reason}",
        subject=outbound_title(f"{name}: {one_line(about.title, 80)}", name),
        body="\n".join(lines),
        options=tuple(_offered(options, about)),
        facts=f"{about.key}@{about.head_sha} into {about.base}",
    )


def choice_of(answer: Answer) -> Choice:
    """Return what a person chose."""
    return CHOICES[answer.option]


def answer_of_person(choice: Choice, person: str) -> RuleAnswer:
    """Return a person's choice as an answer that the guards judge.

    :raises ValueError: the choice is to leave it; that is no act.
    """
    if choice == "leave":
        raise ValueError("to leave a pull request to people is no act")
    reason = f"{one_line(person, 80)} chose {WORDS[choice]}."
    return RuleAnswer(action=choice, reason=reason, confidence=1.0)


def _offered(options: list[Option], about: CalledAbout) -> list[Option]:
    return [each for each in options if each.name != MERGE or about.guard not in NEVER_MERGED]

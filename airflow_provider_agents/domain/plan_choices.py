"""What a plan leaves to people: decision groups, and whether to run tests.

The model offers them in the structured output of the plan; they become fields of Airflow's form and
checkboxes of the comment on the ticket. What was chosen goes into the plan that is implemented. All text of
the model is cleaned and bounded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_agents.domain.outbound import outbound_title
from airflow_provider_agents.domain.people import InputField

MOST_GROUPS = 6
MOST_OPTIONS = 6
RUN_TESTS = "run_tests"
"""Name of the field and key of the group that says whether tests are run."""

_FIELD = "choice_"
_KEY = re.compile(r"[^a-z0-9]+")
_BOX = re.compile(r"^\s*[-*+] \[([ xX])\] .*<!-- choose ([a-z0-9-]+)=([a-z0-9-]+) -->\s*$")
_YES, _NO = "yes", "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceOption:
    """One way to go."""

    key: str
    label: str
    recommended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceGroup:
    """One question of the plan, of which exactly one option is taken."""

    key: str
    question: str
    options: tuple[ChoiceOption, ...]

    @property
    def recommended(self) -> str:
        """Key of the option that is taken where nobody chooses."""
        return next((option.key for option in self.options if option.recommended), self.options[0].key)

    def label(self, key: str) -> str:
        """Return the text of an option of this group."""
        return next(option.label for option in self.options if option.key == key)

    def knows(self, key: str) -> bool:
        return any(option.key == key for option in self.options)


Choices = dict[str, str]
"""Group key → option key."""


def plan_groups(output: Any, *, run_tests: bool) -> tuple[ChoiceGroup, ...]:
    """Return what the plan leaves to people; what is malformed is left out.

    :param output: structured output of the plan.
    :param run_tests: what the run's request says about tests: only where it wants them can a plan propose
        to do without.
    """
    if not isinstance(output, Mapping):
        return ()
    groups: dict[str, ChoiceGroup] = {}
    for value in _sequence(output.get("choices"))[: 2 * MOST_GROUPS]:
        group = _group(value)
        if group is not None and group.key not in (*groups, _key(RUN_TESTS)) and len(groups) < MOST_GROUPS:
            groups[group.key] = group
    if run_tests and output.get(RUN_TESTS) is False:
        tests = ChoiceGroup(
            key=_key(RUN_TESTS),
            question="Run the repository's tests after each attempt?",
            options=(
                ChoiceOption(key=_YES, label="Yes"),
                ChoiceOption(key=_NO, label="No, as the plan proposes", recommended=True),
            ),
        )
        return (*groups.values(), tests)
    return tuple(groups.values())


def defaults(groups: Sequence[ChoiceGroup]) -> Choices:
    """Return the recommended option of every group."""
    return {group.key: group.recommended for group in groups}


def fields(groups: Sequence[ChoiceGroup]) -> tuple[InputField, ...]:
    """Return the form's fields: one a group, chosen by its options' labels."""
    return tuple(
        InputField(
            name=_FIELD + group.key.replace("-", "_"),
            title=group.question,
            kind="choice",
            choices=tuple(option.label for option in group.options),
            default=group.label(group.recommended),
        )
        for group in groups
    )


def from_form(groups: Sequence[ChoiceGroup], values: Mapping[str, Any]) -> Choices:
    """Return what was chosen in the form: those groups alone that it holds an option of."""
    chosen: Choices = {}
    for group in groups:
        value = values.get(_FIELD + group.key.replace("-", "_"))
        if (found := next((o.key for o in group.options if o.label == value), None)) is not None:
            chosen[group.key] = found
    return chosen


def boxes(groups: Sequence[ChoiceGroup], chosen: Mapping[str, str] | None = None) -> list[str]:
    """Return Markdown lines with a checkbox an option; a hidden mark in each line says which it is."""
    lines: list[str] = []
    for group in groups:
        taken = (chosen or {}).get(group.key, group.recommended)
        lines += ["", f"**{group.question}**", ""]
        for option in group.options:
            tick = "x" if option.key == taken else " "
            hint = " *(recommended)*" if option.key == group.recommended else ""
            lines.append(f"- [{tick}] {option.label}{hint} <!-- choose {group.key}={option.key} -->")
    return lines


def from_boxes(groups: Sequence[ChoiceGroup], body: str) -> tuple[Choices, tuple[str, ...]]:
    """Read the ticked boxes of a comment.

    A box ticked beside the recommended one, which was ticked from the start, counts alone.

    :return: what was chosen, and the keys of the groups in which more than that is ticked: those are not
        chosen.
    """
    ticked: dict[str, set[str]] = {}
    for line in body.splitlines():
        if (found := _BOX.match(line)) and found[1] != " ":
            ticked.setdefault(found[2], set()).add(found[3])
    chosen: Choices = {}
    unclear: list[str] = []
    for group in groups:
        keys = {key for key in ticked.get(group.key, set()) if group.knows(key)}
        keys = keys - {group.recommended} if len(keys) > 1 else keys
        if len(keys) == 1:
            chosen[group.key] = keys.pop()
        elif keys:
            unclear.append(group.key)
    return chosen, tuple(unclear)


def decisions(groups: Sequence[ChoiceGroup], chosen: Mapping[str, str]) -> list[str]:
    """Return one line a group: the question and what was taken, for the plan that is implemented."""
    return [f"{group.question} {group.label(chosen.get(group.key, group.recommended))}" for group in groups]


def wants_tests(chosen: Mapping[str, str]) -> bool | None:
    """Return what was chosen about tests; ``None`` where it was no choice."""
    value = chosen.get(_key(RUN_TESTS))
    return None if value is None else value == _YES


def _group(value: Any) -> ChoiceGroup | None:
    if not isinstance(value, Mapping):
        return None
    question = outbound_title(str(value.get("question") or ""), "")
    key = _key(str(value.get("key") or question))
    options: dict[str, ChoiceOption] = {}
    labels: set[str] = set()
    for item in _sequence(value.get("options"))[:MOST_OPTIONS]:
        if not isinstance(item, Mapping):
            continue
        label = outbound_title(str(item.get("label") or ""), "")
        name = _key(str(item.get("key") or label))
        if label and name and name not in options and label not in labels:
            labels.add(label)
            options[name] = ChoiceOption(key=name, label=label, recommended=item.get("recommended") is True)
    if not question or not key or len(options) < 2:
        return None
    return ChoiceGroup(key=key, question=question, options=tuple(options.values()))


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _key(text: str) -> str:
    return _KEY.sub("-", text.lower()).strip("-")[:40].strip("-")

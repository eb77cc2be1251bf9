"""The language of a rule's text: a small part of Jinja, in which no value is ever written out.

Where a text says ``{{ pr.title }}``, the model reads the mark ``⟦pr.title⟧``, and finds the title under the same mark
among the facts, fenced. So no word of an outsider stands among the words of the rule, and the rule's words are the same
for all pull requests. Conditions and loops see the values themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pr_rule_variables import (
    MOST_CHECKS,
    MOST_LABELS,
    MOST_REVIEWS,
    VOCABULARY,
    sample_facts,
)
from airflow_provider_agents.domain.prompt_language import check_language
from airflow_provider_agents.domain.prompt_vocabulary import sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jinja2 import Template
    from jinja2.runtime import Context

OPEN, CLOSE = "⟦", "⟧"
"""Of a mark."""
MOST_BYTES = 60_000
"""Of a rendered text."""
MOST_MADE = 200
"""Texts that a rule makes of values, e.g. by a filter."""
MOST_MADE_LENGTH = 1_000

_NAME = "instruction"
_WRITTEN = "written"
_TO = "written to"
"""No name of the language can be this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeText:
    """A text that the rule made of values, e.g. ``{{ pr.title|upper }}``."""

    mark: str
    """Without its brackets: ``text 1``."""
    value: str
    of: str
    """What it was made of: ``pr.title``; several with commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedText:
    """What the model reads of a rule's text, and what it made of values."""

    text: str
    made: tuple[MadeText, ...] = ()


def mark(name: str) -> str:
    """Return the mark of a value."""
    return f"{OPEN}{name}{CLOSE}"


def instruction_faults(text: str) -> list[tuple[int, str]]:
    """Return what is wrong with a rule's text, each with its line, from 1: by its words, then by trials with samples."""
    found = [
        (number, f"{OPEN} and {CLOSE} are kept for the marks of values; take other brackets")
        for number, line in enumerate(text.split("\n"), 1)
        if OPEN in line or CLOSE in line
    ]
    found += check_language(sandbox(), text, _NAME, vocabulary=VOCABULARY).noted
    if found:
        return found
    trials: dict[tuple[int, str], None] = {}
    for facts in _trials():
        try:
            render(text, facts)
        except RuleTextError as error:
            trials[error.line, error.told] = None
    return list(trials)


@lru_cache(maxsize=256)
def used_fields(text: str) -> frozenset[str]:
    """Return the fields that a rule's text names, with their dot: ``pr.title``, ``argocd.health``."""
    return frozenset(check_language(sandbox(), text, _NAME, vocabulary=VOCABULARY).fields)


def render(text: str, facts: Mapping[str, Any]) -> RenderedText:
    """Return a rule's text as the model reads it.

    :param facts: see :mod:`.pr_rule_facts`.
    :raises RuleTextError: the text is faulty, does not fit these facts, or writes too much.
    """
    made = _Made()
    parts: list[str] = []
    size = 0
    try:
        for part in _template(text).generate({**_values(facts), _TO: made}):
            size += len(part.encode(errors="replace"))
            if size > MOST_BYTES:
                raise RuleTextError(1, f"becomes longer than {MOST_BYTES:,} bytes; repeat less")
            parts.append(part)
    except RuleTextError:
        raise
    except Exception as error:
        raise RuleTextError(_line_of(error), str(error)) from None
    rendered = "".join(parts).strip()
    if not rendered:
        raise RuleTextError(1, "is empty for some pull requests; say what is to be done with those")
    return RenderedText(text=rendered, made=tuple(made.texts))


class RuleTextError(ValueError):
    """A rule's text does not do.

    :param line: of the text, from 1.
    :param told: what is wrong.
    """

    def __init__(self, line: int, told: str) -> None:
        self.line = line
        self.told = told
        super().__init__(f"line {line} of the instruction: {told}")


# Values that know their marks


class _Text(str):
    """An entry of a list. What is made of it is a plain text."""

    __slots__ = ("mark",)
    mark: str


class _Record(dict[str, Any]):
    """A record; its fields are read by :meth:`jinja2.Environment.getattr`."""

    mark: str


def _marked(value: str, name: str) -> _Text:
    text = _Text(value)
    text.mark = name
    return text


def _record(value: Mapping[str, Any], name: str) -> _Record:
    record = _Record(value)
    record.mark = name
    return record


def _entries(several: Any, name: str) -> list[Any]:
    return [
        _record(each, f"{name}[{number}]") if isinstance(each, dict) else _marked(each, f"{name}[{number}]")
        for number, each in enumerate(several, 1)
    ]


def _values(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every variable; what the facts do not have is empty."""
    values: dict[str, Any] = {}
    for name, variable in VOCABULARY.variables.items():
        if not variable.fields:
            values[name] = facts.get(name, variable.empty)
            continue
        given = facts.get(name) or {}
        fields = {}
        for each, kind in variable.fields:
            value = given.get(each)
            if kind in ("list", "records"):
                value = _entries(value or (), f"{name}.{each}")
            fields[each] = "" if value is None and kind == "text" else value
        values[name] = _record(fields, name)
    return values


# From values to marks


@dataclass(slots=True)
class _Made:
    texts: list[MadeText] = field(default_factory=list)

    def add(self, value: str, of: str) -> str:
        if len(self.texts) >= MOST_MADE:
            raise RuleTextError(1, f"makes more than {MOST_MADE} texts of values; name the values themselves")
        name = f"text {len(self.texts) + 1}"
        cut = value if len(value) <= MOST_MADE_LENGTH else value[: MOST_MADE_LENGTH - 1] + "…"
        self.texts.append(MadeText(mark=name, value=cut, of=of))
        return mark(name)


def _written(context: Context, value: Any, path: str, of: str) -> Any:
    """Write a value's mark in its place.

    :param path: mark of the value; ``.x``: of that field of the record ``value``; empty: what the value itself says.
    :param of: what a text was made of, where it has no mark.
    """
    if path.startswith("."):
        return mark(value.mark + path)
    if path:
        return mark(path)
    if isinstance(value, _Text | _Record):
        return mark(value.mark)
    made = context.resolve(_TO)
    return made.add(_plain(value), of)


def _plain(value: Any) -> str:
    if value is None or value is True or value is False:
        return "" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(_plain(each) for each in value)
    return str(value)


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    from jinja2 import Template, pass_context

    environment = sandbox()
    checked = check_language(environment, text, _NAME, vocabulary=VOCABULARY)
    if checked.noted:
        raise RuleTextError(*checked.noted[0])
    environment.filters[_WRITTEN] = pass_context(_written)
    tree = environment.parse(text, _NAME)
    _mark_outputs(tree.body, {})
    code = environment.compile(tree, _NAME, _NAME)
    return Template.from_code(environment, code, {})


def _mark_outputs(several: Any, loops: Mapping[str, str]) -> None:
    """Put the filter that writes marks around every value that is written out.

    :param loops: names of loops, and the values that they go over; empty: it is a list in the text itself.
    """
    for node in several:
        kind = type(node).__name__
        if kind == "Output":
            node.nodes = [_around(each, loops) for each in node.nodes]
        elif kind == "For":
            _mark_outputs(node.body, {**loops, node.target.name: _named(node.iter, loops)})
            _mark_outputs(node.else_, loops)
        elif kind == "If":
            _mark_outputs([*node.body, *node.elif_, *node.else_], loops)


def _around(node: Any, loops: Mapping[str, str]) -> Any:
    from jinja2 import nodes

    if not _of_values(node, loops):
        return node
    path, value = "", node
    if isinstance(node, nodes.Name) and node.name not in loops:
        path = node.name
    elif isinstance(node, nodes.Getattr):  # of a name: the check lets nothing else through
        record: Any = node.node
        # A field of a loop's entry has the mark that the entry has at that turn.
        inside = record.name in loops
        path, value = (f".{node.attr}", record) if inside else (f"{record.name}.{node.attr}", node)
    arguments: list[nodes.Expr] = [nodes.Const(path), nodes.Const(_named(node, loops))]
    return nodes.Filter(
        value, _WRITTEN, arguments, [], None, None, lineno=node.lineno, environment=node.environment
    )


def _of_values(node: Any, loops: Mapping[str, str]) -> bool:
    """Return whether a value of the facts may be in what an expression gives; else it is the rule's own words."""
    kind = type(node).__name__
    if node is None or kind in ("Const", "TemplateData"):
        return False
    if kind == "Name":
        return node.name != "loop" and bool(loops.get(node.name, "value"))
    if kind == "CondExpr":
        return _of_values(node.expr1, loops) or _of_values(node.expr2, loops)
    return any(_of_values(each, loops) for each in node.iter_child_nodes())


def _named(node: Any, loops: Mapping[str, str]) -> str:
    """Return the values that an expression names, each once, with commas."""
    kind = type(node).__name__
    if kind == "Name":
        return loops.get(node.name, "" if node.name == "loop" else node.name)
    if kind == "Getattr" and node.node.name not in loops and node.node.name != "loop":
        return f"{node.node.name}.{node.attr}"
    parts = (node.expr1, node.expr2) if kind == "CondExpr" else node.iter_child_nodes()
    inner = (_named(each, loops) for each in parts if each is not None)
    return ", ".join(dict.fromkeys(each for each in inner if each))


def _line_of(error: BaseException) -> int:
    """Return the line of the text at which a template failed."""
    import traceback

    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == _NAME]
    return (lines[-1] if lines else None) or 1


def _trials() -> Iterator[dict[str, Any]]:
    """Yield facts of many kinds of pull request: each word, nothing in any list, as much as there may be."""
    base = sample_facts()
    yield base

    def but(record: str, **fields: Any) -> dict[str, Any]:
        return {**base, record: {**base[record], **fields}}

    yield but("pr", labels=[], reviews=[], checks=[], body="", reviewDecision=None)
    for name, words in _WORDS.items():
        record, _, each = name.rpartition(".")
        for word in words:
            yield but(record, **{each: word}) if record else {**base, each: word}
    review, check = base["pr"]["reviews"][0], base["pr"]["checks"][0]
    yield but("pr", reviews=[{**review, "state": "CHANGES_REQUESTED", "canWrite": False, "current": False}])
    yield but("pr", checks=[{**check, "state": "failed", "required": None}])
    yield but(
        "pr",
        labels=[f"label-{number}" for number in range(MOST_LABELS)],
        reviews=[review] * MOST_REVIEWS,
        checks=[check] * MOST_CHECKS,
    )


_WORDS: Mapping[str, tuple[Any, ...]] = {
    "pr.ciStatus": ("FAILURE", "PENDING", "ERROR", "UNKNOWN"),
    "pr.mergeable": ("CONFLICTING", "UNKNOWN"),
    "pr.reviewDecision": ("CHANGES_REQUESTED", "REVIEW_REQUIRED"),
    "pr.draft": (True,),
    "pr.fork": (True, None),
    "pr.author": ("ghost", "mona"),
    "pr.additions": (0, 100_000),
    "pr.idleDays": (0, 1_000),
    "pr.ageDays": (0, 1_000),
    "environment": ("production", "development", "unknown"),
    "argocd.health": ("Healthy", "Progressing", "Degraded", "Suspended", "Missing"),
    "argocd.enabled": (True,),
}

"""What a template of a prompt may do: a small part of Jinja, checked before anything of it runs.

No calls, no attributes but those of a record, no arithmetic but ``+``, ``-`` and ``~``, no definitions; loops go over
lists that are known to be short; text between the markers of a fence is placed as it is. So a template cannot leave its
sandbox, cannot take long, and cannot open a fence. :class:`jinja2.sandbox.ImmutableSandboxedEnvironment` is the second
wall.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.prompt_handlebars import handlebars_faults
from airflow_provider_agents.domain.prompt_variables import BY_NAME, MOST_ENTRIES, Kind
from airflow_provider_agents.domain.prompt_vocabulary import FILTERS, TESTS, Fields, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment, nodes

MOST_COST = 20_000
"""Of a template: each part of it counts 1, a long text :data:`LONG_COST`, as often as its loops repeat it."""
LONG_COST = 200
MOST_DEPTH = 40
MOST_LOOPS = 2
"""Loops inside each other."""
MOST_LISTED = 50
"""Entries of a list that a template writes out."""
MOST_FAULTS = 20

FENCED_FILTERS = frozenset({"d", "default"})
_OF_LISTS = frozenset({"join", "sort"})
_OF_RECORDS = frozenset({"count", "length", "d", "default"})
LOOP_FIELDS = frozenset("index index0 revindex revindex0 first last length".split())  # noqa: SIM905
TASK_TEMPLATE = "_task.md.j2"
"""What every template may include."""

_PLAIN = frozenset(
    "Template TemplateData Compare Operand And Or Not Const Concat Add Sub Keyword".split()  # noqa: SIM905
)
_CALLED = {
    "Assign": "`{% set %}`",
    "AssignBlock": "`{% set %}`",
    "Macro": "`{% macro %}`",
    "CallBlock": "`{% call %}`",
    "FilterBlock": "`{% filter %}`",
    "With": "`{% with %}`",
    "Import": "`{% import %}`",
    "FromImport": "`{% from … import %}`",
    "Getitem": "`[…]`",
    "Slice": "`[…]`",
    "Call": "a call",
    "Mul": "`*`",
    "Pow": "`**`",
    "Div": "`/`",
    "FloorDiv": "`//`",
    "Mod": "`%`",
    "Neg": "`-` before a value",
    "Pos": "`+` before a value",
    "Dict": "`{…}`",
    "ScopedEvalContextModifier": "`{% autoescape %}`",
    "EvalContextModifier": "`{% autoescape %}`",
}
PROMPTS = Vocabulary(
    variables=BY_NAME,
    include=TASK_TEMPLATE,
    long_texts=frozenset({"prompt", "review_prompt", "test_command"}),
)
"""Of the prompts of the steps."""


@dataclass(slots=True)
class Checked:
    """What is known of a template."""

    name: str
    noted: list[tuple[int, str]] = field(default_factory=list)
    """Faults, each with its line."""
    used: set[str] = field(default_factory=set)
    """Variables, without those of templates that it includes or extends."""
    fields: set[str] = field(default_factory=set)
    """Fields of records, written with their dot."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Blocks, with their lines."""
    extends: str | None = None
    includes: set[str] = field(default_factory=set)
    cost: int = 0

    @property
    def faults(self) -> list[str]:
        """The faults, each with template and line."""
        return [f"{self.name}, line {line}: {text}" for line, text in self.noted]

    def fault(self, line: int | None, text: str) -> None:
        """Note a fault."""
        if len(self.noted) < MOST_FAULTS:
            self.noted.append((line or 1, text))


def check_language(
    environment: Environment,
    source: str,
    name: str,
    *,
    base: str = "",
    base_blocks: frozenset[str] = frozenset(),
    vocabulary: Vocabulary = PROMPTS,
) -> Checked:
    """Check a template; nothing of it runs.

    :param environment: whose parser is used.
    :param name: of the template, for its faults.
    :param base: name of the shipped template that it may extend; empty: none.
    :param base_blocks: the blocks of that.
    :param vocabulary: what it may name.
    """
    from jinja2 import TemplateSyntaxError

    found = Checked(name)
    try:
        tree = environment.parse(source, name)
        _Check(found, base, base_blocks, vocabulary).template(tree)
    except TemplateSyntaxError as error:
        found.fault(error.lineno, error.message or "is no Jinja template")
    except RecursionError:
        found.fault(1, "is nested too deeply")
    except (ValueError, OverflowError) as error:  # e.g. a number of ten thousand digits
        found.fault(1, f"cannot be read: {error}")
    if found.noted and (foreign := handlebars_faults(source)):
        found.noted.clear()
        for line, text in foreign:
            found.fault(line, text)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a node stands."""

    depth: int = 0
    times: int = 1
    """How often it runs at the most."""
    loops: int = 0
    locals: Mapping[str, Fields] = field(default_factory=dict)
    """Names of loops, with the fields of what they stand for."""
    in_block: bool = False


class _Check:
    def __init__(
        self, found: Checked, base: str, base_blocks: frozenset[str], vocabulary: Vocabulary
    ) -> None:
        self.found = found
        self.base = base
        self.base_blocks = base_blocks
        self.vocabulary = vocabulary
        self.known = vocabulary.variables

    def template(self, tree: nodes.Template) -> None:
        first = next((node for node in tree.body if not _is_blank(node)), None)
        if type(first).__name__ == "Extends":
            self._extending(tree, first)
        else:
            self._each(tree.body, _Place())
        if self.found.cost > MOST_COST:
            self.found.fault(
                1,
                f"does too much: {self.found.cost:,} units, at most {MOST_COST:,}; repeat less, in shorter loops",
            )

    def _extending(self, tree: nodes.Template, first: Any) -> None:
        name = getattr(first.template, "value", None)
        if not self.base or name != self.base:
            allowed = (
                f"a template may extend {self.base}" if self.base else "no template may be extended here"
            )
            self.found.fault(first.lineno, f"`{{% extends %}}`: {allowed}, and nothing else")
        self.found.extends = self.base
        self.found.cost += 10 * LONG_COST
        for node in tree.body:
            if node is first or _is_blank(node):
                continue
            if type(node).__name__ == "Block":
                self._node(node, _Place(depth=1))
            else:
                self.found.fault(
                    node.lineno,
                    "stands outside of the blocks, where a template that extends another has no effect",
                )
        for block, line in self.found.blocks.items():
            if block not in self.base_blocks:
                known = ", ".join(sorted(self.base_blocks))
                self.found.fault(line, f"{self.base} has no block `{block}`; it has {known}")

    def _each(self, several: Any, place: _Place) -> None:
        for node in several:
            if node is not None:
                self._node(node, place)

    def _node(self, node: Any, place: _Place) -> None:
        kind = type(node).__name__
        if place.depth > MOST_DEPTH:
            raise RecursionError
        self.found.cost += place.times
        inside = _with(place, depth=place.depth + 1)
        special = getattr(self, f"_on_{kind.lower()}", None)
        if special is not None:
            special(node, inside)
        elif kind in _PLAIN:
            self._each(node.iter_child_nodes(), inside)
        else:
            self.found.fault(
                node.lineno, f"{_CALLED.get(kind, kind)} is not part of what a prompt's template may do"
            )

    # What needs a look of its own

    def _on_name(self, node: Any, place: _Place) -> None:
        if node.name in place.locals:
            if fields := place.locals[node.name]:
                self.found.fault(node.lineno, f"`{node.name}` is no text; write {_listed(node.name, fields)}")
            return
        variable = self.known.get(node.name)
        if variable is None:
            self.found.fault(node.lineno, self._unknown(node.name))
            return
        self.found.used.add(node.name)
        if variable.kind == "record":
            fields_told = _listed(node.name, variable.fields)
            self.found.fault(
                node.lineno, f"`{node.name}` is no text; write {fields_told}, or `{{% if {node.name} %}}`"
            )
        elif variable.kind == "fenced" or node.name in self.vocabulary.long_texts:
            self.found.cost += LONG_COST * place.times

    def _on_output(self, node: Any, place: _Place) -> None:
        for each in node.nodes:
            variable = self.known.get(getattr(each, "name", "")) if type(each).__name__ == "Name" else None
            if variable is not None and variable.kind == "list" and not self.vocabulary.writes_lists:
                self.found.fault(
                    node.lineno, f"`{variable.name}` is a list; write `{variable.name}|join(', ')`"
                )
        self._each(node.nodes, place)

    def _on_list(self, node: Any, place: _Place) -> None:
        # As text it would be written in Python's form, which no fence survives.
        if not all(type(item).__name__ == "Const" for item in node.items):
            self.found.fault(node.lineno, "only plain values may stand in a list: `['a', 'b']`")
        self.found.cost += len(node.items) * place.times

    _on_tuple = _on_list

    def _on_if(self, node: Any, place: _Place) -> None:
        self._condition(node.test, place)
        self._each([*node.body, *node.elif_, *node.else_], place)

    def _on_condexpr(self, node: Any, place: _Place) -> None:
        self._condition(node.test, place)
        self._each([node.expr1, node.expr2], place)

    def _condition(self, node: Any, place: _Place) -> None:
        """Look at a condition, where a record may stand for whether it is there."""
        kind = type(node).__name__
        if kind == "Not":
            self._condition(node.node, _with(place, depth=place.depth + 1))
        elif kind in ("And", "Or"):
            self._condition(node.left, _with(place, depth=place.depth + 1))
            self._condition(node.right, _with(place, depth=place.depth + 1))
        elif kind == "Name" and node.name in self.known and node.name not in place.locals:
            self.found.used.add(node.name)  # looked at, not copied
        elif kind == "Name" and node.name in place.locals:
            pass
        else:
            self._node(node, place)
        if place.depth > MOST_DEPTH:
            raise RecursionError

    def _on_getattr(self, node: Any, place: _Place) -> None:
        of = getattr(node.node, "name", "") if type(node.node).__name__ == "Name" else ""
        if of == "loop" and place.loops and node.attr in LOOP_FIELDS:
            return
        variable = self.known.get(of)
        fields = place.locals.get(of, variable.fields if variable else ())
        kinds = dict(fields)
        if node.attr in kinds:
            if of not in place.locals:
                self.found.used.add(of)
                self.found.fields.add(f"{of}.{node.attr}")
            self.found.cost += LONG_COST * place.times if kinds[node.attr] == "fenced" else 0
        elif fields:
            near = difflib.get_close_matches(node.attr, kinds, n=1, cutoff=0.6)
            meant = f"; did you mean `{of}.{near[0]}`?" if near else "."
            self.found.fault(
                node.lineno, f"`{of}.{node.attr}` is not there{meant} There are: {_listed(of, fields)}"
            )
        else:
            having = ", ".join(f"`{name}`" for name in self.vocabulary.records)
            self.found.fault(
                node.lineno, f"`.{node.attr}`: nothing here has attributes but {having} and `loop`"
            )

    def _on_filter(self, node: Any, place: _Place) -> None:
        if node.name not in FILTERS:
            known = ", ".join(sorted(FILTERS))
            self.found.fault(node.lineno, f"filter `{node.name}` is not part of it; there are {known}")
        elif node.name not in FENCED_FILTERS and (fenced := self._fenced_in(node.node)):
            self.found.fault(
                node.lineno, f"`{fenced}` stands between markers, which filter `{node.name}` could take apart"
            )
        elif node.name not in _OF_RECORDS and self._kind(node.node) == "records":
            self.found.fault(
                node.lineno, f"filter `{node.name}` is not for records; go over them: `{{% for … %}}`"
            )
        elif node.name in _OF_LISTS and self._entries(node.node) is None:
            self.found.fault(node.lineno, f"filter `{node.name}` is for lists: a variable, or `['a', 'b']`")
        elif node.name not in FENCED_FILTERS:
            # What is put between entries counts as often as they do; `attribute` would look into them.
            plain = node.name == "join" and [type(each).__name__ for each in node.args] == ["Const"]
            if node.kwargs or (node.args and not plain):
                self.found.fault(node.lineno, f"filter `{node.name}` may have no such argument")
            self.found.cost += MOST_ENTRIES * place.times
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            self.found.fault(node.lineno, "`*` is not part of what a prompt's template may do")
        self._each([node.node, *node.args, *node.kwargs], place)

    def _on_test(self, node: Any, place: _Place) -> None:
        if node.name not in TESTS:
            known = ", ".join(sorted(TESTS))
            self.found.fault(node.lineno, f"test `{node.name}` is not part of it; there are {known}")
        self._each([*node.args, *node.kwargs], place)
        self._condition(node.node, place)

    def _on_for(self, node: Any, place: _Place) -> None:
        target = getattr(node.target, "name", None)
        if target is None or target in self.known or target == "loop":
            self.found.fault(node.lineno, "a loop needs one new name, which is that of no variable")
            return
        if node.recursive:
            self.found.fault(node.lineno, "`recursive` is not part of what a prompt's template may do")
        if place.loops >= MOST_LOOPS:
            self.found.fault(node.lineno, f"no more than {MOST_LOOPS} loops may stand inside each other")
            return
        times = self._entries(node.iter)
        if times is None:
            self.found.fault(
                node.lineno,
                f"loops go over {', '.join(self.vocabulary.lists)}, or over up to {MOST_LISTED} values in brackets: `['a', 'b']`",
            )
            return
        self._each([node.iter], place)
        inside = _with(
            place,
            times=place.times * max(1, times),
            loops=place.loops + 1,
            locals={**place.locals, target: self._fields_of_entries(node.iter)},
        )
        self._each([node.test, *node.body], inside)
        self._each(node.else_, place)

    def _entries(self, node: Any) -> int | None:
        """Return how many entries a list may have, ``None``: it is none that a loop may go over."""
        kind = type(node).__name__
        if kind == "Filter" and node.name == "sort":
            return self._entries(node.node) if node.node is not None else None
        if self._kind(node) in ("list", "records"):
            return MOST_ENTRIES
        if kind in ("List", "Tuple") and len(node.items) <= MOST_LISTED:
            return len(node.items) if all(type(item).__name__ == "Const" for item in node.items) else None
        return None

    def _kind(self, node: Any) -> Kind | None:
        """Return the kind of a variable, or of a field of one; ``None``: it is none."""
        if type(node).__name__ == "Name" and node.name in self.known:
            return self.known[node.name].kind
        if (
            type(node).__name__ == "Getattr"
            and type(node.node).__name__ == "Name"
            and node.node.name in self.known
        ):
            return dict(self.known[node.node.name].fields).get(node.attr)
        return None

    def _fields_of_entries(self, node: Any) -> Fields:
        if self._kind(node) == "records" and type(node).__name__ == "Getattr":
            return self.known[node.node.name].entries[node.attr]
        return ()

    def _on_block(self, node: Any, place: _Place) -> None:
        if not self.vocabulary.blocks:
            self.found.fault(node.lineno, "`{% block %}` is not part of what this template may do")
        if place.in_block and self.found.extends:
            self.found.fault(node.lineno, "a block may not stand inside another one here")
        self.found.blocks.setdefault(node.name, node.lineno)
        # A block does not see the loop that it stands in, unless it is `scoped`.
        self._each(node.body, _with(place, in_block=True, locals=place.locals if node.scoped else {}))

    def _on_include(self, node: Any, place: _Place) -> None:
        name = getattr(node.template, "value", None)
        only = self.vocabulary.include
        if not only or name != only:
            allowed = f"only {only} may be included" if only else "nothing may be included here"
            self.found.fault(node.lineno, f"`{{% include %}}`: {allowed}")
            return
        if not node.with_context:
            self.found.fault(node.lineno, f"{only} needs the context; leave `without context` out")
        self.found.includes.add(name)
        self.found.cost += 5 * LONG_COST * place.times

    def _on_extends(self, node: Any, place: _Place) -> None:
        self.found.fault(node.lineno, "`{% extends %}` stands at the beginning, and once")

    def _on_call(self, node: Any, place: _Place) -> None:
        named = getattr(node.node, "name", "")
        bare = not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
        if named == "super" and bare and place.in_block and self.found.extends:
            self.found.cost += 10 * LONG_COST * place.times
            return
        self.found.fault(node.lineno, f"{_CALLED['Call']} is not part of what a prompt's template may do")

    def _fenced_in(self, node: Any) -> str | None:
        """Return the name of a fenced text that a value is made of."""
        from jinja2 import nodes

        if node is None:
            return None
        for each in [node, *node.find_all((nodes.Name, nodes.Getattr))]:
            variable = self.known.get(each.name) if isinstance(each, nodes.Name) else None
            if variable is not None and "fenced" in (variable.kind, *dict(variable.fields).values()):
                return variable.name
        return None

    def _unknown(self, name: str) -> str:
        if told := self.vocabulary.hint(name):
            return f"`{name}` {told}"
        near = difflib.get_close_matches(name.lower(), self.known, n=1, cutoff=0.6)
        meant = f"; did you mean `{near[0]}`?" if near else "."
        return f"`{name}` is unknown{meant} There are: {', '.join(sorted(self.known))}"


def _with(place: _Place, **changes: Any) -> _Place:
    import dataclasses

    return dataclasses.replace(place, **changes)


def _is_blank(node: Any) -> bool:
    if type(node).__name__ != "Output":
        return False
    return all(type(part).__name__ == "TemplateData" and not part.data.strip() for part in node.nodes)


def _listed(record: str, fields: Fields) -> str:
    return ", ".join(f"`{record}.{name}`" for name, _ in fields)

"""Breaks the landing decision in every small way and shows that the tests notice: ``python -m tests.mutation_sweep``.

Two kinds of mutants: of the order (each rule removed, negated, swapped with its neighbour) and of the code
(each comparison, ``and``/``or``, ``not``, constant and ``return None`` of the rules changed). Against each runs
what ``tests/unit/domain/test_landing.py`` runs: the table, the priorities, the bounds, the properties. Prints a table;
exits with 1 where a mutant survives.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import dataclasses
import importlib
import itertools
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/unit"), str(ROOT / "tests/unit/domain")]

import landing_cases as cases  # noqa: E402
import landing_properties as properties  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402

from airflow_provider_agents.domain import landing  # noqa: E402
from airflow_provider_agents.domain.landing_decision import Decision  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = "airflow_provider_agents.domain"
MODULES = ("landing_decision", "landing_rules_green", "landing_rules_queue", "landing")
"""In the order of their imports."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One broken decision."""

    kind: str
    name: str
    apply: Callable[[pytest.MonkeyPatch], None]


def main() -> int:
    """Sweep; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of mutants that contain this")
    only = parser.parse_args().only
    started = time.monotonic()
    assert not (why := noticed()), f"the tests fail without a mutant: {why}"
    survivors: list[Mutant] = []
    counts: Counter[str] = Counter()
    for mutant in itertools.chain(order_mutants(), code_mutants()):
        if only not in mutant.name:
            continue
        with pytest.MonkeyPatch.context() as patch:
            mutant.apply(patch)
            why = noticed()
        counts[mutant.kind] += 1
        if not why:
            survivors.append(mutant)
    print(f"{'kind':12} {'mutants':>8} {'survived':>9}")
    for kind, count in counts.items():
        print(f"{kind:12} {count:8} {sum(mutant.kind == kind for mutant in survivors):9}")
    for mutant in survivors:
        print(f"SURVIVED {mutant.kind}: {mutant.name}")
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


# What the tests do


def noticed() -> str:
    """Return which test notices the decision as it is now; empty where none does."""
    try:
        return _noticed()
    except Exception as error:
        return f"raised {type(error).__name__}"


def _noticed() -> str:
    decide = cases.decide
    for name, *facts, verdict, reason in cases.TABLE:
        decision = decide(*cases.case(*facts))
        if (decision.verdict, decision.reason) != (verdict, reason):
            return name
    rules = {rule.__name__: rule for rule in landing.RULES}
    for first, second, *facts in cases.PRIORITIES:
        built = cases.case(*facts)
        if decide(*built).rule != first or not rules[second](*built):
            return f"{first} before {second}"
    for name, facts, wanted in cases.BOUNDS:
        if cases.outcome_of_bound(facts, wanted) != wanted:
            return name
    for facts, text in cases.MESSAGES:
        if text not in decide(*facts).message:
            return text
    for holds in properties.PROPERTIES:
        if not _holds(holds):
            return holds.__name__
    return ""


def _holds(holds: Callable[..., None]) -> bool:
    quick = settings(
        max_examples=150,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        quick(given(properties.CASES)(lambda facts: holds(*facts)))()
    except AssertionError:
        return False
    return True


# Mutants of the order


def order_mutants() -> Iterator[Mutant]:
    for rule in landing.RULES:
        others = tuple(each for each in landing.RULES if each is not rule)
        yield Mutant("removed", rule.__name__, _rules(others))
        negated = tuple(_negated(each) if each is rule else each for each in landing.RULES)
        yield Mutant("negated", rule.__name__, _rules(negated))
    for first, second in itertools.pairwise(landing.RULES):
        names = (first.__name__, second.__name__)
        if names not in cases.EXCLUSIVE:
            rules = list(landing.RULES)
            at = rules.index(first)
            rules[at : at + 2] = [second, first]
            yield Mutant("swapped", " and ".join(names), _rules(tuple(rules)))


def _rules(rules: tuple[landing.Rule, ...]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(landing, "RULES", rules)


def _negated(rule: landing.Rule) -> landing.Rule:
    def negated(*facts: Any) -> Decision | None:
        return None if rule(*facts) else Decision(verdict="wait", reason="negated", message="Negated.")

    negated.__name__ = rule.__name__
    return negated


# Mutants of the code


def code_mutants() -> Iterator[Mutant]:
    for module in MODULES:
        tree = ast.parse((ROOT / "airflow_provider_agents/domain" / f"{module}.py").read_text())
        for number, (function, node, what, _) in enumerate(_sites(tree)):
            mutated = copy.deepcopy(tree)
            change = list(_sites(mutated))[number][3]
            change()
            ast.fix_missing_locations(mutated)
            name = f"{module}.{function}:{node.lineno - function_line(tree, function)} {what}"
            yield Mutant("code", name, _module(module, mutated))


def function_line(tree: ast.Module, name: str) -> int:
    """Return where a function begins: places within it are named relative to that."""
    return next(n.lineno for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)


def _sites(tree: ast.Module) -> Iterator[tuple[str, ast.expr | ast.stmt, str, Callable[[], None]]]:
    """Yield each place that can be changed: its function, its node, what is changed, and the change."""
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            for what, change in _changes(node):
                yield function.name, node, what, change  # type: ignore[misc]


_FLIPPED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[], None]]]:
    if isinstance(node, ast.Compare):
        old = node.ops[0]
        for new in _FLIPPED[type(old)]:
            what = f"{type(old).__name__} -> {new.__name__} in {ast.unparse(node)}"
            yield what, lambda node=node, new=new: node.ops.__setitem__(0, new())
    elif isinstance(node, ast.BoolOp):
        new_op = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{new_op.__name__} in {ast.unparse(node)}", lambda: setattr(node, "op", new_op())
        for at in range(len(node.values)):
            what = f"without {ast.unparse(node.values[at])} in {ast.unparse(node)}"
            # What does not matter to the others: True in an `and`, False in an `or`.
            neutral = ast.Constant(isinstance(node.op, ast.And))
            yield what, lambda at=at, neutral=neutral: node.values.__setitem__(at, neutral)
    elif isinstance(node, ast.If):
        yield f"never if {ast.unparse(node.test)}", lambda: setattr(node, "test", ast.Constant(False))


def _module(name: str, tree: ast.Module) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a patch that puts a mutated module into place, and those that import it."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        for each in MODULES[MODULES.index(name) :]:
            module = importlib.import_module(f"{PACKAGE}.{each}")
            source = tree if each == name else ast.parse(Path(str(module.__file__)).read_text())
            fresh: dict[str, Any] = dict(vars(module))
            exec(compile(source, str(module.__file__), "exec"), fresh)  # our own source
            for attribute, value in fresh.items():
                with contextlib.suppress(AttributeError):
                    patch.setitem(vars(module), attribute, value)
        patch.setattr(cases, "decide", landing.decide)
        patch.setattr(properties, "decide", landing.decide)

    return apply


if __name__ == "__main__":
    sys.exit(main())

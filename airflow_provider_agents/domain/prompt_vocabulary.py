"""What a template of a prompt can name, and the environment in which it runs after its check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.prompt_handlebars import hint
from airflow_provider_agents.domain.prompt_variables import Kind, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import BaseLoader
    from jinja2.sandbox import SandboxedEnvironment

FILTERS = frozenset(
    "capitalize count d default first join last length lower sort title trim upper".split()  # noqa: SIM905
)
TESTS = frozenset("defined undefined none odd even true false".split())  # noqa: SIM905

Fields = tuple[tuple[str, Kind], ...]
"""Names and kinds of what a record has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What templates of one kind may name."""

    variables: Mapping[str, Variable]
    hint: Callable[[str], str] = hint
    """What is known of a name that is none of the variables', said after it; empty: nothing."""
    include: str = ""
    """Template that may be included; empty: none."""
    blocks: bool = True
    """Whether ``{% block %}`` has a meaning."""
    writes_lists: bool = False
    """Whether a list can be written out as it is."""
    long_texts: frozenset[str] = frozenset()
    """Variables of the kind ``text`` that may be long."""

    @property
    def records(self) -> tuple[str, ...]:
        """Return the variables that have fields."""
        return tuple(name for name, variable in self.variables.items() if variable.fields)

    @property
    def lists(self) -> tuple[str, ...]:
        """Return what loops may go over."""
        of_records = (
            f"{name}.{each}"
            for name in self.records
            for each, kind in self.variables[name].fields
            if kind in ("list", "records")
        )
        return (*(name for name, each in self.variables.items() if each.kind == "list"), *of_records)


def sandbox(loader: BaseLoader | None = None) -> SandboxedEnvironment:
    """Return an environment in which templates run that were checked: without globals, filters and tests but ours."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.tests = {name: environment.tests[name] for name in TESTS}
    return environment

"""The templates: those of this package, and those that take their place."""

from __future__ import annotations

import traceback
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.prompt_language import (
    TASK_TEMPLATE,
    Checked,
    check_language,
)
from airflow_provider_agents.domain.prompt_variables import BY_NAME, STEPS, PromptStep, filled, samples
from airflow_provider_agents.domain.prompt_vocabulary import sandbox
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

    from airflow_provider_agents.domain.repository_settings import Prompts

MOST_BYTES = 2_000_000
"""Of what a template gives before it is cut to its limit; reached by one that repeats long texts."""


class StepTemplate:
    """The template of a step.

    :param override: text in the place of the shipped template; ``None``: the shipped one.
    :param name: what faults call the override; empty: as ``repositories.yaml`` does.
    """

    def __init__(self, step: PromptStep, override: str | None = None, *, name: str = "") -> None:
        self.step = step
        self.override = override
        self.name = name or (f"prompts.{step}" if override is not None else _file(step))

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the prompt, not cut.

        :param values: of :data:`~airflow_provider_agents.domain.prompt_variables.VARIABLES`; those that are not given
            are empty.
        :raises InvalidInputError: the override is faulty, or repeats too much.
        """
        if self.override is not None and (faults := self.checked.faults):
            raise InvalidInputError(faults)
        try:
            parts: list[str] = []
            size = 0
            for part in self._template.generate(filled(values)):
                size += len(part.encode(errors="replace"))
                if size > MOST_BYTES:
                    raise InvalidInputError(
                        [f"{self.name}: gives more than {MOST_BYTES:,} bytes; use each long text once"]
                    )
                parts.append(part)
        except InvalidInputError:
            raise
        except Exception as error:
            raise InvalidInputError([self._told(error)]) from None
        text = "".join(parts).strip() + "\n"
        if not text.strip():
            where = " where `resumed` is true" if values.get("resumed") else ""
            raise InvalidInputError([f"{self.name}: gives an empty prompt{where}"])
        return text

    @cached_property
    def checked(self) -> Checked:
        """What is known of the override, or of the shipped template."""
        source = _shipped_source(_file(self.step)) if self.override is None else self.override
        if self.override is None:
            return check_language(shipped(), source, self.name)
        return check_language(
            shipped(), source, self.name, base=_file(self.step), base_blocks=_blocks_of(self.step)
        )

    def used(self) -> set[str]:
        """Return the variables that it uses, with those of the templates that it extends or includes."""
        names = set(self.checked.used)
        if self.checked.extends:
            names |= StepTemplate(self.step).used()
        if self.checked.includes:
            names |= check_language(shipped(), _shipped_source(TASK_TEMPLATE), TASK_TEMPLATE).used
        return names

    def faults(self) -> list[str]:
        """Return what is wrong with the override: by its text, then by trials with samples."""
        if self.checked.faults:
            return self.checked.faults
        found: dict[str, None] = {}
        for values in self._trials():
            try:
                self.render(values)
            except InvalidInputError as error:
                found.update(dict.fromkeys(error.faults))
        return list(found)

    def _trials(self) -> Iterator[dict[str, Any]]:
        """Yield values of many cases: all there, none but the task, each one missing, each one alone."""
        full = samples(self.step)
        least = {
            **filled({}),
            **{name: full[name] for name in ("step", "task_id", "title", "prompt", *_ALWAYS)},
        }
        yield full
        yield {**full, "resumed": True}
        yield least
        for name in sorted(self.used()):
            yield {**full, name: BY_NAME[name].empty}
            yield {**least, name: full[name]}

    @cached_property
    def _template(self) -> Template:
        if self.override is None:
            return shipped().get_template(_file(self.step))
        from jinja2 import FunctionLoader

        # No file system: the shipped templates that it may name, and itself.
        sources = {name: _shipped_source(name) for name in (TASK_TEMPLATE, _file(self.step))}
        sources[self.name] = self.override
        environment = sandbox(
            FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None)
        )
        return environment.get_template(self.name)

    def _told(self, error: Exception) -> str:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.name
        ]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        where = f"{self.name}, line {line}" if line else self.name
        return f"{where}: {error}; a variable may be empty: ask `{{% if … %}}` first"


_ALWAYS = ("repository", "repository_name", "branch", "base_branch", "agent")
"""Variables that no step is without, beside those of its task."""


def template_faults(step: PromptStep, override: str, *, name: str = "") -> list[str]:
    """Return what is wrong with a template in the place of the shipped one.

    :param name: what the faults call it; empty: as ``repositories.yaml`` does.
    :return: each with template and line; empty: it is sound.
    """
    return StepTemplate(step, override, name=name).faults()


def prompt_faults(prompts: Prompts, files: Mapping[str, str] | None = None) -> list[str]:
    """Return what is wrong with the templates of a repository's settings.

    :param prompts: texts; files are read before.
    :param files: of the steps whose template came from one, for the faults.
    """
    names = {step: f"prompts.{step} ({file})" for step, file in (files or {}).items()}
    return [
        fault
        for step in STEPS
        if isinstance(override := getattr(prompts, step), str)
        for fault in template_faults(step, override, name=names.get(step, ""))
    ]


def _file(step: PromptStep) -> str:
    return f"{step}.md.j2"


@cache
def _blocks_of(step: PromptStep) -> frozenset[str]:
    return frozenset(StepTemplate(step).checked.blocks)


@cache
def _shipped_source(name: str) -> str:
    environment = shipped()
    if environment.loader is None:
        raise RuntimeError("the shipped templates have no loader")
    return environment.loader.get_source(environment, name)[0]


@cache
def shipped() -> SandboxedEnvironment:
    """Return the environment of the templates of this package."""
    from jinja2 import PackageLoader

    return sandbox(PackageLoader("airflow_provider_agents", "prompts"))

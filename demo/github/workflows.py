"""The part of a GitHub Actions workflow file that the stand-in runs.

Read are ``name``, ``on`` (``push`` with ``branches`` and ``branches-ignore``, ``pull_request`` with
``branches``, and ``merge_group``), ``env``, ``defaults.run.working-directory``, and of each job ``name``,
``needs``, ``if``, ``env``, and of its ``steps`` ``name``, ``run``, ``env``, ``working-directory``, ``continue-on-error`` and an ``if`` of
``always()``, ``failure()`` or ``success()``, as of a job. Steps that use an action are passed over: the checkout is there,
and Python is on the path. Not read are matrices, services, expressions and path filters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

Condition = Literal["success", "failure", "always"]
LIMIT_BYTES = 256 * 1024


class WorkflowError(Exception):
    """The file is no workflow that can be run; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Step:
    name: str
    run: str
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "."
    condition: Condition = "success"
    continue_on_error: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    key: str
    """Its name in the file, by which other jobs need it."""
    name: str
    needs: tuple[str, ...] = ()
    condition: Condition = "success"
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class WorkflowFile:
    name: str
    path: str
    triggers: Mapping[str, Mapping[str, Any]]
    """Filters of each event that starts it."""
    jobs: tuple[Job, ...]

    def runs_on(self, event: str, branch: str) -> bool:
        """Say whether ``event`` starts it: a push to ``branch``, or a merge into ``branch``."""
        if event not in self.triggers:
            return False
        filters = self.triggers[event]
        wanted, ignored = _words(filters.get("branches")), _words(filters.get("branches-ignore"))
        if wanted and not any(fnmatchcase(branch, pattern) for pattern in wanted):
            return False
        if filters.get("tags") and not wanted and event == "push":
            return False
        return not any(fnmatchcase(branch, pattern) for pattern in ignored)


def parse_workflow(text: str, path: str) -> WorkflowFile:
    """Read a workflow file.

    :param path: its path in the repository, which names it where it has no ``name``.
    :raises WorkflowError: it is no YAML mapping with triggers and jobs.
    """
    if len(text) > LIMIT_BYTES:
        raise WorkflowError(f"The file is larger than {LIMIT_BYTES} bytes.")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WorkflowError(f"You have an error in your yaml syntax: {error}") from error
    if not isinstance(data, dict):
        raise WorkflowError("The file is no mapping.")
    jobs = data.get("jobs")
    if not isinstance(jobs, dict) or not jobs:
        raise WorkflowError("The file has no jobs.")
    _check_needs(jobs)
    # YAML 1.1 reads the bare word ``on`` as true.
    triggers = _triggers(data.get("on", data.get(True)))
    return WorkflowFile(
        name=str(data.get("name") or path),
        path=path,
        triggers=triggers,
        jobs=tuple(_job(str(key), job, data) for key, job in jobs.items()),
    )


def _triggers(value: Any) -> dict[str, dict[str, Any]]:
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, list):
        return {str(event): {} for event in value}
    if isinstance(value, dict):
        return {str(event): filters if isinstance(filters, dict) else {} for event, filters in value.items()}
    raise WorkflowError("The file says nothing below `on`.")


def _check_needs(jobs: Mapping[Any, Any]) -> None:
    """Hold that every job can start at some time.

    :raises WorkflowError: one needs a job that is not there, or in the end itself.
    """
    needs = {str(key): _needs(job) for key, job in jobs.items()}
    for key, names in needs.items():
        if unknown := set(names) - set(needs):
            raise WorkflowError(f"The job {key!r} depends on the unknown job {min(unknown)!r}.")
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise WorkflowError(f"The jobs depend on each other: {' -> '.join(error.args[1])}.") from error


def _needs(job: Any) -> tuple[str, ...]:
    return tuple(_words(job.get("needs"))) if isinstance(job, dict) else ()


def _job(key: str, job: Any, workflow: Mapping[str, Any]) -> Job:
    if not isinstance(job, dict) or not isinstance(job.get("steps"), list):
        raise WorkflowError(f"The job {key!r} has no steps.")
    outer = {**_strings(workflow.get("env")), **_strings(job.get("env"))}
    directory = _default_directory(job) or _default_directory(workflow) or "."
    steps = []
    for step in job["steps"]:
        if not isinstance(step, dict):
            raise WorkflowError(f"A step of the job {key!r} is no mapping.")
        if not isinstance(step.get("run"), str):
            continue
        run = step["run"]
        steps.append(
            Step(
                name=str(step.get("name") or f"Run {run.strip().splitlines()[0] if run.strip() else ''}"),
                run=run,
                environment={**outer, **_strings(step.get("env"))},
                directory=str(step.get("working-directory") or directory),
                condition=_condition(step.get("if")),
                continue_on_error=step.get("continue-on-error") is True,
            )
        )
    return Job(
        key=key,
        name=str(job.get("name") or key),
        needs=_needs(job),
        condition=_condition(job.get("if")),
        steps=tuple(steps),
    )


def _condition(value: Any) -> Condition:
    word = str(value or "").removeprefix("${{").removesuffix("}}").strip()
    if word in ("always()", "!cancelled()"):
        return "always"
    return "failure" if word == "failure()" else "success"


def _default_directory(part: Mapping[str, Any]) -> str | None:
    defaults = part.get("defaults")
    run = defaults.get("run") if isinstance(defaults, dict) else None
    return run.get("working-directory") if isinstance(run, dict) else None


def _strings(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {
        str(key): str(item).lower() if isinstance(item, bool) else str(item) for key, item in value.items()
    }


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or []]

"""What counts for a run, and why: settings of several places, put together.

From the weakest to the strongest: the defaults; ``repositories.yaml``, its ``defaults:``, then the patterns that fit
the repository, in their order, then its name; what the run asks for. Between the last two, ``.agents.yaml`` makes
values tighter; at the end, ``limits:`` hold all of them. See :mod:`.merge_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.authority_rules import AuthorityRules
from airflow_provider_agents.domain.merge_rules import EFFORT_OF_STEPS, RULES, tighter
from airflow_provider_agents.domain.repository_settings import (
    AgentsFile,
    PlatformSettings,
    Prompts,
    Repositories,
    RepositorySettings,
)
from airflow_provider_agents.domain.run_settings import RunSettings, list_items
from airflow_provider_agents.domain.yaml_source import Document, validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from airflow_provider_agents.domain.model_faults import Path

REPOSITORIES_FILE = "repositories.yaml"
AGENTS_FILE = ".agents.yaml"
DEFAULT = "default"
RUN = "run"

_IN_PARTS: dict[str, type[BaseModel]] = {"authority": AuthorityRules, "prompts": Prompts}
"""Settings whose parts are set one by one."""

_OF_THE_REVIEW = frozenset({"effort", "context_window", "thinking"})
"""Settings that the review agent is given, too: less of them lets more through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """``repositories.yaml`` as read; empty where there is none."""

    repositories: Repositories = field(default_factory=Repositories)
    document: Document = field(default_factory=lambda: Document(file=REPOSITORIES_FILE))


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFile:
    """``.agents.yaml`` of a repository, as read at one commit; empty where there is none."""

    settings: AgentsFile = field(default_factory=AgentsFile)
    document: Document = field(default_factory=lambda: Document(file=AGENTS_FILE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The settings that count."""

    values: dict[str, Any]
    """Of each setting of a repository but ``limits``."""
    origins: dict[str, str]
    """Of each, where it comes from: ``default``, ``repositories.yaml:12``, ``.agents.yaml:3``, ``run``."""
    notes: tuple[str, ...] = ()
    """What somebody set that does not count, one sentence each."""

    @property
    def run(self) -> dict[str, Any]:
        """Return the fields of a :class:`~.coding_task_request.CodingTaskRequest`, but those of its ticket."""
        return {key: self.values[key] for key in RunSettings.model_fields}

    @property
    def platform(self) -> PlatformSettings:
        """Return what no run can ask for."""
        return PlatformSettings(**{key: self.values[key] for key in PlatformSettings.model_fields})

    @property
    def authority(self) -> AuthorityRules:
        """Return who may do what."""
        rules: AuthorityRules = self.values["authority"]
        return rules


def read_repositories(document: Document) -> tuple[Installed | None, list[str]]:
    """Read ``repositories.yaml``.

    :return: what it says, or ``None`` and every fault, each with file and line.
    """
    value, faults = validate(Repositories, document)
    if value is None:
        return None, faults
    faults = [
        f"{document.place(where)}: {name} is not declared: the top of the file has no {kind}.{name}; it has "
        f"{', '.join(declared) or 'none'}"
        for where, settings in _all_settings(value)
        for kind, declared in (("mcp_servers", value.mcp_servers), ("skills", value.skills))
        for index, name in enumerate(getattr(settings, kind))
        if name not in declared
        for where in [(*where, kind, index)]
    ]
    return (None, faults) if faults else (Installed(repositories=value, document=document), [])


def read_own(document: Document) -> tuple[OwnFile | None, list[str]]:
    """Read ``.agents.yaml``.

    :return: what it says, or ``None`` and every fault, each with file and line.
    """
    value, faults = validate(AgentsFile, document)
    return (None, faults) if value is None else (OwnFile(settings=value, document=document), [])


def effective(
    installed: Installed,
    repository: str,
    *,
    own: OwnFile | None = None,
    asked: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Effective:
    """Put all layers together.

    :param repository: ``owner/name``.
    :param own: the repository's ``.agents.yaml``.
    :param asked: what the run sets explicitly, as validated values; see :func:`explicit`.
    :param options: values of the installation (``[agents]``) for settings that mean them where they are empty.
    """
    made = _Layers(options or {})
    limits: dict[str, tuple[Any, str]] = {}
    for where, settings in _layers(installed.repositories, repository):
        made.take(settings, installed.document, where)
        for key in settings.limits.model_fields_set if "limits" in settings.model_fields_set else ():
            place = installed.document.place((*where, "limits", key))
            limits[key] = (getattr(settings.limits, key), place)
    if own is not None:
        made.tighten_by(own, reviewed=(asked or {}).get("review", made.values["review"]) != "off")
    for key, value in (asked or {}).items():
        if key in RunSettings.model_fields:
            made.put(key, value, RUN)
    made.hold(limits)
    return Effective(values=made.values, origins=made.origins, notes=tuple(made.notes))


def explicit(given: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run sets itself: all that differs from what the trigger form starts with.

    :param given: params of the run; JSON values.
    :param form: the form's own values; JSON values. An empty text or list is no value.
    """
    return {key: value for key, value in given.items() if _plain(value) != _plain(form.get(key))}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() or None
    return list(list_items(value)) or None if isinstance(value, list | tuple) else value


class _Layers:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        unset = RepositorySettings()
        self.values: dict[str, Any] = {key: getattr(unset, key) for key in RULES if key != "limits"}
        self.origins = dict.fromkeys(self.values, DEFAULT)
        self.notes: list[str] = []

    def put(self, key: str, value: Any, origin: str) -> None:
        self.values[key] = value
        self.origins[key] = origin

    def take(self, settings: RepositorySettings, document: Document, where: Path) -> None:
        """Put what a part of ``repositories.yaml`` sets in the place of what was there."""
        for key in self.values:
            if key not in settings.model_fields_set:
                continue
            value = getattr(settings, key)
            if key in _IN_PARTS:
                parts = {name: getattr(value, name) for name in value.model_fields_set}
                value = self.values[key].model_copy(update=parts)
            self.put(key, value, document.place((*where, key)))

    def tighten_by(self, own: OwnFile, *, reviewed: bool) -> None:
        """Make values tighter, as ``.agents.yaml`` says.

        :param reviewed: whether a review agent reads the work, which the repository may not weaken.
        """
        for key in self.values:
            if key not in own.settings.model_fields_set:
                continue
            wanted = getattr(own.settings, key)
            if wanted is None:
                continue
            place = own.document.place((key,))
            if reviewed and key in _OF_THE_REVIEW and not (key == "effort" and self.values["review_effort"]):
                self.notes.append(f"{place}: {key} does not count: the review agent would be given it, too")
                continue
            if RULES[key] == "set":
                if self.origins[key] == DEFAULT:
                    self.put(key, wanted, place)
                elif self.values[key] != wanted:
                    self.notes.append(f"{place}: {key} does not count: {self.origins[key]} sets it")
                continue
            if not self._tighten(key, wanted, place):
                self.notes.append(
                    f"{place}: {key} does not count in full: {_shown(self.values[key])} is tighter "
                    f"({self.origins[key]})"
                )

    def hold(self, limits: Mapping[str, tuple[Any, str]]) -> None:
        """Hold values by ``limits:``."""
        for key in (key for key in self.values if key in limits):
            limit, place = limits[key]
            before, origin = self.values[key], self.origins[key]
            if limit is not None and self._tighten(key, limit, place, most=True) and origin != DEFAULT:
                self.notes.append(
                    f"{key}: {_shown(before)} ({origin}) is over the limit {_shown(limit)} ({place})"
                )

    def _tighten(self, key: str, wanted: Any, place: str, *, most: bool = False) -> bool:
        """Tighten one setting; return whether ``wanted`` changed it, or is what it is already (not for limits)."""
        now = self.values[key]
        if key in EFFORT_OF_STEPS and now is None:
            now = self.values["effort"]
        after = tighter(key, now, wanted, installed=self._options, default_is_most=most)
        changed = bool(after != now)
        if changed:
            self.put(key, after, place)
        if key == "effort":
            for step in EFFORT_OF_STEPS:
                held = self.values[step] is not None and (most or RULES[step] != "never")
                if held and (lower := tighter(step, self.values[step], wanted)) != self.values[step]:
                    self.put(step, lower, place)
        return changed if most else changed or bool(after == wanted)


def _layers(repositories: Repositories, repository: str) -> Iterator[tuple[Path, RepositorySettings]]:
    yield ("defaults",), repositories.defaults
    name = repository.lower()
    for pattern, settings in repositories.repositories.items():
        if "*" in pattern and _fits(name, pattern.lower()):
            yield ("repositories", pattern), settings
    for exact, settings in repositories.repositories.items():
        if exact.lower() == name:
            yield ("repositories", exact), settings


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _all_settings(repositories: Repositories) -> Iterator[tuple[Path, RepositorySettings]]:
    yield ("defaults",), repositories.defaults
    for name, settings in repositories.repositories.items():
        yield ("repositories", name), settings


def _shown(value: Any) -> str:
    if value is None:
        return "the default of the program"
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)

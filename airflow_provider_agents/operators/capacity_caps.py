"""The limits of this installation: options of ``[agents]``, ``repositories.yaml`` and ``tickets/*.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.domain.capacity import Caps, Limits
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.ticket_sources import definition_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def installed_caps(repositories: Iterable[str], own: Mapping[str, Limits | None] | None = None) -> Caps:
    """Return the limits as they are set now.

    :param repositories: those whose limits are wanted.
    :param own: by repository what it sets for itself in ``.agents.yaml``, which can only be tighter.
    :raises InvalidInputError: an option is no number, or a file has faults.
    """
    faults: list[str] = []
    each = Limits(
        runs=_count("max_runs_per_repository", settings.text("max_runs_per_repository", "2") or "2", faults)
    )
    everything = Limits(
        runs=_count("max_runs", settings.text("max_runs", "5") or "5", faults),
        runs_per_day=_count("runs_per_day", settings.text("runs_per_day"), faults),
        usd_per_day=_money("usd_per_day", settings.text("usd_per_day"), faults),
    )
    sources = _sources()
    named = _repositories({name: (own or {}).get(name) for name in repositories}, each, faults)
    if faults:
        raise InvalidInputError(faults)
    return Caps(all=everything, each_repository=each, repositories=named, sources=sources)


def limits_money(caps: Caps) -> bool:
    """Say whether any scope has a limit in USD."""
    scopes = (caps.all, caps.each_repository, *caps.repositories.values(), *caps.sources.values())
    return any(limits.usd_per_day is not None for limits in scopes)


def _repositories(own: Mapping[str, Limits | None], each: Limits, faults: list[str]) -> dict[str, Limits]:
    from airflow_provider_agents.domain.config_files import repositories_file
    from airflow_provider_agents.domain.settings_layers import effective

    installed, found = repositories_file(settings.config_folder())
    if installed is None:
        faults += found
        return {}
    limits: dict[str, Limits] = {}
    for name, its_own in own.items():
        platform = effective(installed, name).platform
        set_here = Limits(
            runs=each.runs if platform.max_runs is None else platform.max_runs,
            runs_per_day=platform.runs_per_day,
            usd_per_day=platform.usd_per_day,
            paused=platform.paused,
            off_peak=platform.off_peak,
        )
        limits[name.lower()] = set_here.tightened(its_own) if its_own else set_here
    return limits


def _sources() -> dict[str, Limits]:
    """Return the limits of the sources whose definition is sound; the sync itself tells of the others."""
    return {
        file.name: Limits(
            runs=file.definition.limits.active,
            runs_per_day=file.definition.limits.runs_per_day,
            usd_per_day=file.definition.limits.usd_per_day,
            off_peak=file.definition.off_peak,
        )
        for file in definition_files()
        if file.definition is not None
    }


def _count(option: str, text: str, faults: list[str]) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        faults.append(f"[agents] {option}: {text!r} is no whole number from 0")
        return None
    return int(text)


def _money(option: str, text: str, faults: list[str]) -> float | None:
    if not text:
        return None
    try:
        amount = float(text)
        if not 0 <= amount < float("inf"):
            raise ValueError(text)
    except ValueError:
        faults.append(f"[agents] {option}: {text!r} is no amount in USD from 0")
        return None
    return amount

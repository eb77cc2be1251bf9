"""The section ``[agents]`` of Airflow's configuration. Each option is documented in the provider info."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk.configuration import conf

SECTION = "agents"


def text(option: str, fallback: str = "") -> str:
    """Return an option as text, without surrounding white space."""
    return str(conf.get(SECTION, option, fallback=fallback) or "").strip()


def amount(option: str, fallback: float) -> float:
    """Return an option as a number with a fraction."""
    return float(conf.getfloat(SECTION, option, fallback=fallback))


def number(option: str, fallback: int) -> int:
    """Return an option as a whole number."""
    return int(conf.getint(SECTION, option, fallback=fallback))


def config_folder() -> Path | None:
    """Return ``[agents] config_path``, the folder with the installation's own files; ``None`` where it is not set."""
    folder = text("config_path")
    return Path(folder) if folder else None

"""An Airflow for these tests: its files in a folder of their own, no database, no network."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_OWN_HOME = "AIRFLOW_HOME" not in os.environ
if _OWN_HOME:
    # Before Airflow is imported, which writes its configuration file there.
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-landing-")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many histories were played, and how long that took."""
    from landing_run import TALLY

    if TALLY.histories:
        terminalreporter.write_line(f"landing: {TALLY}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _OWN_HOME:
        shutil.rmtree(os.environ["AIRFLOW_HOME"], ignore_errors=True)

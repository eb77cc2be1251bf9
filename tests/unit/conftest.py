"""An Airflow for unit tests: its files in a folder of their own, no database, no network."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

# Before Airflow is imported, which writes its configuration file there.
_HOME = tempfile.mkdtemp(prefix="airflow-unit-")
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for _name in [name for name in os.environ if name.startswith("AIRFLOW__AGENTS__")]:
    del os.environ[_name]

# Two cores and other tests beside: no example fails because it was slow, and the same ones run each time.
settings.register_profile(
    "unit", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)

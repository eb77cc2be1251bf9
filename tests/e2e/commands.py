"""``airflow agents …`` as a person runs it elsewhere: with the address of the API, and no database."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from demo.airflow_client import TRIES
from demo.environment import base_environment

if TYPE_CHECKING:
    from pathlib import Path

    from demo.stack import DemoStack

UNREACHABLE = 3


class Commands:
    """Runs commands, and returns what they print as JSON.

    :param folder: for the home of Airflow and of the person.
    """

    def __init__(self, stack: DemoStack, folder: Path) -> None:
        self._env = {
            **base_environment(folder),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW_AGENTS_API_URL": stack.airflow_url,
        }

    def __call__(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "airflow", "agents", *arguments, "-o", "json"]
        for _ in range(TRIES):
            done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=150)
            if done.returncode != UNREACHABLE:
                break
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

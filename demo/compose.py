"""``python -m demo.compose``: the demo's run in an Airflow that is up already, with a stand-in for GitHub."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from demo import scenario
from demo.airflow_client import AirflowClient, Login
from demo.following import LIMIT_SECONDS, conclude, follow
from demo.forge_client import ForgeClient
from demo.http_json import HttpError
from demo.options import TITLES
from demo.signals import InterruptedBySignal, interrupted_by_signals
from demo.terminal import Terminal
from demo.watch import RunWatcher

DAG_ID = "coding_task"
REPOSITORY = "acme/letters"
DAG_SECONDS = 180.0


def main(arguments: list[str] | None = None) -> int:
    """Seed the sample, start a run and follow it; return 0 exactly if the issue was closed by a merged pull
    request.
    """
    given = _parse(arguments)
    terminal = Terminal(sys.stdout)
    with interrupted_by_signals():
        try:
            return _run(given, terminal)
        except InterruptedBySignal as interrupt:
            terminal.keep()
            return 128 + interrupt.number
        except (HttpError, TimeoutError, OSError, ValueError, LookupError) as error:
            terminal.keep()
            terminal.line(f"{terminal.style.mark('failed')} {error}")
            return 1


def _run(given: argparse.Namespace, terminal: Terminal) -> int:
    began = time.monotonic()
    user, password = next(iter(json.loads(given.passwords.read_text()).items()))
    airflow = AirflowClient(given.airflow, Login(user=user, password=password))
    forge = ForgeClient(given.github, json.loads(given.github_ready_file.read_text())["token"])
    airflow.wait_for_dag(DAG_ID, DAG_SECONDS)
    forge.seed_repository(REPOSITORY, scenario.REPOSITORY, permissions={"agent": "write"})
    title, body = scenario.issue()
    issue = forge.create_issue(REPOSITORY, title, body)
    number = int(issue["number"])
    # The stand-in registers all checks at the push: nothing is gained by waiting for more.
    conf = {"repository": REPOSITORY, "issue_number": number, "settle_seconds": 2}
    run_id = airflow.trigger(DAG_ID, conf)
    terminal.line(f"  Issue   {issue['html_url']}  {title}")
    terminal.line(f"  Airflow {given.show_airflow}/dags/{DAG_ID}/runs/{run_id}")
    terminal.line()
    watcher = RunWatcher(airflow, DAG_ID, run_id)
    fault = follow(watcher, terminal, began + LIMIT_SECONDS)
    return conclude(forge, REPOSITORY, number, watcher, fault, terminal, program=TITLES["claude"])


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.compose", description=__doc__)
    parser.add_argument("--airflow", required=True, help="root address of the api-server")
    parser.add_argument("--show-airflow", required=True, help="the same, as a browser reaches it")
    parser.add_argument("--passwords", type=Path, required=True, help="file with user and password, as JSON")
    parser.add_argument("--github", required=True, help="root address of the stand-in, on loopback")
    parser.add_argument(
        "--github-ready-file", type=Path, required=True, help="file with the stand-in's token, as JSON"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m demo.up`` with stand-ins in the place of the real GitHub and the real model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from demo import scenario
from demo.airflow_client import AirflowClient, Login
from demo.environment import REPOSITORY_ROOT, base_environment
from demo.forge_client import ForgeClient
from demo.http_json import HttpError, call
from demo.keeper import session_members
from demo.processes import Parts
from demo.verdict import ask_forge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPOSITORY = "acme/letters"
GITHUB_TOKEN = "ghp_canary0123456789abcdef"
OPENAI_KEY = "sk-canary-0123456789abcdef"
RUN_SECONDS = 400
START_SECONDS = 200


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Addresses of what stands for the user's GitHub and OpenAI."""
    parts = Parts(tmp_path / "hosts")
    arguments = {
        "github": ["demo.github", "--data", str(tmp_path / "hosts/data"), "--token", GITHUB_TOKEN],
        "model": ["demo.model", "--openai-api-key", OPENAI_KEY],
    }
    for name, (module, *more) in arguments.items():
        ready = tmp_path / "hosts" / f"{name}.json"
        ready.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", module, "--ready-file", str(ready), *more]
        parts.add(name, command, base_environment(tmp_path / "hosts"), ready_file=ready).start()
    try:
        yield {name: parts[name].wait_ready(60)["url"].rstrip("/") for name in arguments}
    finally:
        parts.stop()


class Up:
    """The program, from its start to the end of its directions."""

    def __init__(self, folder: Path, hosts: dict[str, str]) -> None:
        environment = {
            **base_environment(folder.parent / "caller"),
            "AGENTS_HOME": str(folder),
            "GITHUB_TOKEN": GITHUB_TOKEN,
            "GITHUB_API_URL": f"{hosts['github']}/api/v3",
            "OPENAI_API_KEY": OPENAI_KEY,
            "OPENAI_BASE_URL": f"{hosts['model']}/v1",
            "PORT": "0",
            "UNSANDBOXED": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo.up"],
            cwd=REPOSITORY_ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        self.said = ""
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C ends it" not in self.said:
            line = self.process.stdout.readline()
            self.said += line
            assert line, f"it ended: {self.said}"
            assert time.monotonic() < deadline, self.said
        url = re.search(r"Airflow  (http://\S+)/dags/", self.said)
        login = re.search(r"Login    (\S+) / (\S+)", self.said)
        assert url, self.said
        assert login, self.said
        self.airflow = AirflowClient(url[1], Login(user=login[1], password=login[2]))

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        assert self.process.stdout
        self.said += self.process.stdout.read()
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)


@pytest.mark.timeout(900)
def test_a_ticket_of_the_users_github_is_merged_and_the_data_stays(
    tmp_path: Path, hosts: dict[str, str]
) -> None:
    forge = ForgeClient(hosts["github"], GITHUB_TOKEN)
    forge.seed_repository(REPOSITORY, scenario.REPOSITORY)
    issue = forge.create_issue(REPOSITORY, *scenario.issue())["number"]
    folder = tmp_path / "data"
    up = Up(folder, hosts)
    try:
        assert "codex" in up.said, "the program whose credential is there"
        assert "WITHOUT a sandbox" in up.said
        assert GITHUB_TOKEN not in up.said
        assert OPENAI_KEY not in up.said
        with pytest.raises(HttpError) as refused:
            call("GET", f"{up.airflow.url}/auth/token")
        assert refused.value.status in (401, 403, 405, 422)
        run_id = up.airflow.trigger("coding_task", {"repository": REPOSITORY, "issue_number": issue})
        run = up.airflow.wait_for_run("coding_task", run_id, RUN_SECONDS)
        assert run["state"] == "success"
        assert ask_forge(forge, REPOSITORY, issue).faults == ()
        calls = call("GET", f"{hosts['model']}/_demo/requests")["requests"]
        assert {request["path"] for request in calls} == {"/v1/responses"}
        assert up.end(signal.SIGINT) == 0
        assert "the data stays" in up.said
        assert not session_members([up.process.pid])

        again = Up(folder, hosts)
        try:
            assert again.airflow.run("coding_task", run_id)["state"] == "success"
            assert again.airflow.xcom("coding_task", run_id, "open_pull_request")
            third = subprocess.run(
                [sys.executable, "-m", "demo.up"],
                cwd=REPOSITORY_ROOT,
                env={**os.environ, **_credentials(), "AGENTS_HOME": str(folder)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert third.returncode == 1
            assert "end it first" in third.stdout
        finally:
            again.kill()
    finally:
        up.kill()


def _credentials() -> dict[str, str]:
    return {"GITHUB_TOKEN": GITHUB_TOKEN, "OPENAI_API_KEY": OPENAI_KEY, "UNSANDBOXED": "1"}

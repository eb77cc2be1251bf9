"""``airflow agents run``: starts runs, from a manifest file or from flags."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_agents import settings
from airflow_provider_agents.cli.agent_runs import AgentRuns, Run
from airflow_provider_agents.cli.api_client import ApiError, part
from airflow_provider_agents.cli.command import EXIT_FAILED, FailedError, UsageError, command
from airflow_provider_agents.cli.output import as_table, say, show

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_agents.cli.api_client import AirflowApi
    from airflow_provider_agents.domain.manifest import Installation, TaskManifest

WAIT_SECONDS = 5.0
_DEFAULT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What became of one task of a file."""

    run: str
    name: str
    result: str
    """``started``, or ``unchanged``: the run was there already."""
    state: str
    """Of the run."""


@command
def run(args: Namespace, api: AirflowApi) -> int:
    """Start a run for each task that is asked for; with ``--wait`` end as they do."""
    runs = AgentRuns(api, args.dag)
    if args.file:
        given = ("repository", "prompt", "issue", "param")
        if flags := [f"--{name}" for name in given if getattr(args, name) not in (None, [])]:
            raise UsageError(f"{flags[0]} does not go with --file: put it into the file")
        started = _from_file(runs, args.file)
    else:
        started = [_from_flags(runs, args)]
    rows = [(each.run, each.name, each.result, each.state) for each in started]
    document = [
        {"run": each.run, "name": each.name, "result": each.result, "state": each.state} for each in started
    ]
    show(document, as_table(("RUN", "NAME", "RESULT", "STATE"), rows), args.output)
    return _wait(runs, started) if args.wait else 0


def _from_file(runs: AgentRuns, file: str) -> list[Started]:
    from airflow_provider_agents.domain.manifest import read_manifest

    name = "stdin" if file == "-" else file
    manifests, faults = read_manifest(_text(file), name, installation_of(runs))
    if faults:
        raise UsageError("nothing was started:\n" + "\n".join(f"  {fault}" for fault in faults))
    for note in (note for manifest in manifests for note in manifest.notes):
        say(note)
    return [_apply(runs, manifest) for manifest in manifests]


def _text(file: str) -> str:
    from airflow_provider_agents.domain.yaml_source import MAX_BYTES

    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        return content.decode()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not UTF-8 (byte {error.start})") from None


def installation_of(runs: AgentRuns) -> Installation:
    """Return what manifests are held to: the options of this Airflow's configuration, and what its API tells.

    :raises ApiError: the DAG is not there.
    """
    from airflow_provider_agents.domain.manifest import Installation

    details = runs.api.optional(f"/dags/{part(runs.dag_id)}/details")
    if details is None:
        raise FailedError(f"Airflow at {runs.api.url} has no DAG {runs.dag_id}, or this user may not see it")
    if details.get("is_paused"):
        say(f"DAG {runs.dag_id} is paused: its runs start when somebody unpauses it")
    return Installation(
        namespace=settings.text("namespace", "agent-system"),
        secret=settings.text("secret", "agent-secrets"),
        credentials=settings.text("credentials", "secret"),
        service_account=settings.text("service_account", "agent-runner"),
        max_attempts=_most_attempts(details),
        forge_host=_forge_host(runs.api),
    )


def _most_attempts(details: dict[str, Any]) -> int:
    """Return the bound of the DAG's form, which is that of its graph."""
    param = (details.get("params") or {}).get("max_attempts")
    schema = param.get("schema") if isinstance(param, dict) else None
    most = schema.get("maximum") if isinstance(schema, dict) else None
    return most if isinstance(most, int) else _DEFAULT_ATTEMPTS


def _forge_host(api: AirflowApi) -> str | None:
    """Return the host of the installation's GitHub, ``None`` where this user cannot see the connection."""
    from airflow_provider_agents.exceptions import InvalidInputError
    from airflow_provider_agents.hooks.github_urls import github_urls

    conn_id = settings.text("github_conn_id", "github_default")
    try:
        connection = api.optional(f"/connections/{part(conn_id)}")
    except ApiError as error:
        if error.status == 403:
            return None
        raise
    if connection is None:  # it may be in the environment or in a secrets backend
        return None
    try:
        urls = github_urls(connection.get("host"), connection.get("port"))
    except InvalidInputError:
        return None  # accept says what is wrong with it
    return urlsplit(urls.git_url).netloc.lower()


def _apply(runs: AgentRuns, manifest: TaskManifest) -> Started:
    """Start a manifest's run, unless the same was started before."""
    if found := runs.run(manifest.run_id):
        say(f"{manifest.place}: unchanged; its run is {found.run_id}, {found.state}")
        return Started(run=found.run_id, name=manifest.name, result="unchanged", state=found.state)
    if manifest.family:
        earlier = list(runs.listed(run_id_prefix_pattern=manifest.family))
        earlier = [each for each in earlier if each.run_id.startswith(manifest.family)]
        if active := next((each for each in earlier if each.active), None):
            raise FailedError(
                f"{manifest.place}: an earlier version of this manifest is at work, run {active.run_id}; two would push "
                f"to one branch. Wait for it, or end it: airflow agents cancel {active.run_id}"
            )
        if earlier:
            say(f"{manifest.place}: changed since run {earlier[0].run_id}; a new run is started")
    found = trigger(runs, manifest.run_id, manifest.conf, note=manifest.origin)
    return Started(run=found.run_id, name=manifest.name, result="started", state=found.state)


def _from_flags(runs: AgentRuns, args: Namespace) -> Started:
    if not args.repository:
        raise UsageError("give --file, or --repository with --prompt or --issue")
    if not args.prompt and args.issue is None:
        raise UsageError("give --prompt, --issue or both")
    conf: dict[str, Any] = {"repository": args.repository}
    if args.prompt:
        conf["prompt"] = args.prompt
    if args.issue is not None:
        conf["issue_number"] = args.issue
    conf |= params_of(args.param or [])
    # An id of our own: whether it arrived can be found out if the answer is lost.
    run_id = f"cli__{datetime.now(UTC):%Y%m%dT%H%M%S}__{secrets.token_hex(3)}"
    found = trigger(runs, run_id, conf)
    return Started(run=found.run_id, name="", result="started", state=found.state)


def params_of(given: list[str]) -> dict[str, Any]:
    """Return ``name=value`` pairs as params: text as it is, other types as YAML 1.2 writes them.

    :raises UsageError: a pair is none, is there twice, or is no param of a coding task; every fault is named.
    """
    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
    from airflow_provider_agents.domain.model_faults import unknown_key
    from airflow_provider_agents.domain.yaml_source import load_yaml

    values: dict[str, Any] = {}
    faults: list[str] = []
    for pair in given:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            faults.append(f"--param {pair}: write it as name=value")
            continue
        info = CodingTaskRequest.model_fields.get(name)
        if info is None:
            faults.append(f"--param {name}: {unknown_key(name, list(CodingTaskRequest.model_fields))}")
        elif name in ("repository", "prompt", "issue_number"):
            faults.append(f"--param {name}: give it as {_FLAG_OF[name]}")
        elif name in values:
            faults.append(f"--param {name}: is there twice")
        elif info.annotation in (str, str | None):
            values[name] = text
        else:
            document = load_yaml(f"value: {text}\n", f"--param {name}")
            faults += [fault.replace(":1:", ":") for fault in document.faults]
            values[name] = document.value.get("value")
    if faults:
        raise UsageError("\n".join(faults))
    return values


_FLAG_OF = {"repository": "--repository", "prompt": "--prompt", "issue_number": "--issue"}


def trigger(runs: AgentRuns, run_id: str, conf: dict[str, Any], note: str = "") -> Run:
    """Start a run; where the answer is lost, look whether it was started.

    :raises FailedError: Airflow refuses the conf, with what it says.
    """
    body = {"dag_run_id": run_id, "conf": conf, "logical_date": None, "note": note or None}
    try:
        answer = runs.api.change("POST", f"/dags/{part(runs.dag_id)}/dagRuns", body)
    except ApiError as error:
        if error.status in (400, 422):
            raise UsageError(f"Airflow refuses it: {error}") from None
        if error.status == 404:
            raise FailedError(f"Airflow has no DAG {runs.dag_id} that can be started: {error}") from None
        # 409: somebody was quicker. No answer, or one from in between: it may have arrived.
        if error.status in (None, 409, 502, 504) and (found := runs.run(run_id)):
            return found
        raise
    return Run.of(answer)


def _wait(runs: AgentRuns, started: list[Started]) -> int:
    """Wait until all have ended; 0 if every one is merged."""
    waiting = {each.run for each in started}
    code = 0
    while waiting:
        for run_id in sorted(waiting):
            found = runs.run(run_id)
            if found is not None and found.active:
                continue
            waiting.discard(run_id)
            state = found.state if found else "deleted"
            say(f"{run_id}: {state}")
            code = code if state == "success" else EXIT_FAILED
        if waiting:
            time.sleep(WAIT_SECONDS)
    return code

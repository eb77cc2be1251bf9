"""``airflow agents status``: what runs there are, and where one of them is."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.agent_runs import ACTIVE, AgentRuns, Run, Task, by_work, since
from airflow_provider_agents.cli.command import EXIT_FAILED, FailedError, UsageError, command
from airflow_provider_agents.cli.output import as_document, as_table, clean, show
from airflow_provider_agents.cli.phases import current, in_order, is_step, run_phase, task_phase

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from airflow_provider_agents.cli.api_client import AirflowApi

WATCH_SECONDS = 3.0
_OUTPUT_BYTES = 4_000
_LINE = 160
_FAILURE, _PULL_REQUEST, _POD, _RESULT = "failure", "pull_request_url", "pod_name", "return_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a run, as a pod did it."""

    step: str
    """Task id."""
    phase: str
    tries: int
    pod: str
    exit_code: int | None
    """Of the test command; of other steps 0 where the runner left a result; ``None``: there is none."""
    seconds: float | None
    cost_usd: float | None
    output: str
    """End of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Where a run is."""

    run: str
    name: str
    ticket: str
    repository: str
    phase: str
    state: str
    """Airflow's word."""
    message: str
    pull_request: str
    task: str
    """The task that it is at."""
    started_at: str | None
    ended_at: str | None
    steps: tuple[Step, ...] = ()


@command
def status(args: Namespace, api: AirflowApi) -> int:
    """Show one run, or the list of runs; with ``--watch`` again and again until it ended."""
    runs = AgentRuns(api, args.dag)
    if args.limit < 1:
        raise UsageError("--limit: should be 1 or more")
    if not args.run:
        if args.watch and args.output != "table":
            raise UsageError("--watch without a run is for a terminal: leave --output out, or name a run")
        return _watched(lambda: _show_list(runs, args), args.watch)
    found = runs.find(args.run)

    def once() -> bool:
        latest = runs.run(found.run_id)
        if latest is None:
            raise FailedError(f"run {found.run_id} was deleted")
        read = read_status(runs, latest)
        if args.watch and args.output == "json":
            import json

            sys.stdout.write(json.dumps(asdict(read), ensure_ascii=False) + "\n")
        elif args.watch and args.output == "yaml":
            sys.stdout.write("---\n" + as_document(asdict(read), "yaml"))
        else:
            show(asdict(read), status_table(read), args.output)
        sys.stdout.flush()
        return latest.active

    return _watched(once, args.watch) or _exit_code(runs.run(found.run_id))


def _exit_code(run: Run | None) -> int:
    return EXIT_FAILED if run is None or run.state == "failed" else 0


def _watched(once: Callable[[], bool], watch: bool) -> int:
    """Show it, and with ``watch`` again until nothing is at work."""
    while True:
        if watch and sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J\x1b[3J")
        if not once() or not watch:
            return 0
        time.sleep(WATCH_SECONDS)


def _show_list(runs: AgentRuns, args: Namespace) -> bool:
    """Show the list, the runs at work first; return whether there are such."""
    active = list(runs.listed(state=sorted(ACTIVE)))
    ended = islice(runs.listed(state=["success", "failed"], limit=min(100, args.limit)), args.limit)
    listed = by_work([*active, *ended])[: max(args.limit, len(active))]
    statuses = read_lines(runs, listed)
    rows = [
        (each.run, each.ticket, each.phase, each.task, since_text(run), each.pull_request, each.message)
        for each, run in zip(statuses, listed, strict=True)
    ]
    table = as_table(("RUN", "TICKET", "PHASE", "TASK", "TIME", "PULL REQUEST", "MESSAGE"), rows)
    document = [{name: value for name, value in asdict(each).items() if name != "steps"} for each in statuses]
    show(document, table if rows else f"{runs.dag_id} has no runs.\n", args.output)
    return bool(active)


def since_text(run: Run) -> str:
    """Return how long a run takes or took."""
    return since(run.started_at or run.created_at, run.ended_at)


def read_lines(runs: AgentRuns, listed: Sequence[Run]) -> list[RunStatus]:
    """Return where runs are, without their steps; in few requests, whatever their number."""
    at_work = runs.tasks_at_work() if any(run.active for run in listed) else {}
    opened = runs.places(_PULL_REQUEST, _earliest(listed)) if listed else {}
    found = []
    for run in listed:
        tasks = at_work.get(run.run_id, [])
        if run.state == "running" and not tasks:  # between two tasks
            tasks = runs.tasks(run)
        xcoms = {(task_id, _PULL_REQUEST) for task_id in opened.get(run.run_id, ())}
        url = _pull_request(runs, run, xcoms)
        found.append(_status(runs, run, tasks, steps=(), messages={}, pull_request=url))
    return found


def _earliest(listed: Sequence[Run]) -> datetime | None:
    times = [run.run_after for run in listed]
    known = [time for time in times if time]
    return min(known) if len(known) == len(times) else None


def read_status(runs: AgentRuns, run: Run) -> RunStatus:
    """Return where a run is, with its steps."""
    tasks = in_order(runs.tasks(run))
    xcoms = runs.xcoms(run)
    failures = {
        task.task_id: str(runs.xcom(run, task.task_id, _FAILURE))
        for task in tasks
        if task.state in ("failed", "up_for_retry") and (task.task_id, _FAILURE) in xcoms
    }
    steps = tuple(
        _step(runs, run, task, xcoms, failures.get(task.task_id, ""))
        for task in tasks
        if is_step(task.task_id) and task_phase(task) not in ("Skipped", "Pending")
    )
    return _status(
        runs, run, tasks, steps=steps, messages=failures, pull_request=_pull_request(runs, run, xcoms)
    )


def _status(
    runs: AgentRuns,
    run: Run,
    tasks: Sequence[Task],
    *,
    steps: tuple[Step, ...],
    messages: Mapping[str, str],
    pull_request: str,
) -> RunStatus:
    task = current(tasks)
    return RunStatus(
        run=run.run_id,
        name=run.name,
        ticket=run.ticket,
        repository=run.repository,
        phase=run_phase(run, tasks),
        state=run.state,
        message=_message(runs, run, tasks, messages),
        pull_request=pull_request,
        task=task.task_id if task and run.active else "",
        started_at=run.started_at.isoformat() if run.started_at else None,
        ended_at=run.ended_at.isoformat() if run.ended_at else None,
        steps=steps,
    )


def _message(runs: AgentRuns, run: Run, tasks: Sequence[Task], failures: Mapping[str, str]) -> str:
    """Return one sentence: what it does or waits for, or how it ended."""
    if not run.active:
        if run.cancelled:
            return run.note
        if failures:
            return "; ".join(f"{task_id}: {text}" for task_id, text in failures.items())
        report = runs.xcom(run, _report_task(tasks)) if tasks else None
        return str(report.get("reason") or "") if isinstance(report, dict) else ""
    task = current(tasks)
    if task is None:
        return "waits for the scheduler"
    if task.state == "awaiting_input":
        asked = runs.questions(run).get(task.task_id, "")
        return f"waits for a person's answer: {asked}" if asked else "waits for a person's answer"
    if task.task_id.rpartition(".")[2] == "admit":
        return "waits for its turn; `airflow agents queue` shows the line"
    words = {"deferred": "at work", "running": "at work", "up_for_retry": "failed, is tried again"}
    word = words.get(
        task.state, "is about to start" if not task.ended_at else "done, the next is about to start"
    )
    tried = f", try {task.try_number}" if task.try_number > 1 else ""
    return f"{task.task_id}: {word}{tried}"


def _report_task(tasks: Sequence[Task]) -> str:
    return next((task.task_id for task in tasks if task.task_id.rpartition(".")[2] == "report"), "report")


def _pull_request(runs: AgentRuns, run: Run, xcoms: set[tuple[str, str]]) -> str:
    """Return the pull request's address; empty where there is none yet."""
    opening = [task for task, key in xcoms if key == _PULL_REQUEST and task.endswith("open_pull_request")]
    return str(runs.xcom(run, opening[0], _PULL_REQUEST) or "") if opening else ""


def _step(runs: AgentRuns, run: Run, task: Task, xcoms: set[tuple[str, str]], failure: str) -> Step:
    def value(key: str) -> Any:
        return runs.xcom(run, task.task_id, key) if (task.task_id, key) in xcoms else None

    result = value(_RESULT)
    result = result if isinstance(result, dict) else {}
    test = result.get("test") if isinstance(result.get("test"), dict) else {}
    output = (test or {}).get("tail") or (test or {}).get("output") or result.get("summary") or failure or ""
    code = (test or {}).get("exit_code")
    if code is None and result:
        code = 0
    took = result.get("seconds")
    if took is None and task.started_at and task.ended_at:
        took = (task.ended_at - task.started_at).total_seconds()
    return Step(
        step=task.task_id,
        phase=_step_phase(task, result),
        tries=task.try_number,
        pod=str(result.get("pod_name") or value(_POD) or ""),
        exit_code=code,
        seconds=took,
        cost_usd=result.get("cost_usd"),
        output=str(output)[-_OUTPUT_BYTES:],
    )


def _step_phase(task: Task, result: Mapping[str, Any]) -> str:
    """Return the phase of a step; failing tests are a green task, and a failed step."""
    phase = task_phase(task)
    return "Failed" if phase == "Succeeded" and result.get("outcome") == "failed" else phase


def status_table(status: RunStatus) -> str:
    """Return a run for a person."""
    fields = (
        ("Run", status.run),
        ("Ticket", status.ticket),
        ("Repository", status.repository),
        ("Phase", status.phase),
        ("Message", " ".join(status.message.split())),
        ("Pull request", status.pull_request),
        ("Started", status.started_at),
        ("Ended", status.ended_at),
    )
    lines = [f"{label + ':':<14}{clean(str(value))}" for label, value in fields if value]
    rows = [
        (
            each.step,
            each.phase,
            each.tries,
            each.pod,
            each.exit_code if each.exit_code is not None else "-",
            f"{each.seconds:.0f}s" if each.seconds is not None else "",
            f"${each.cost_usd:.4f}" if each.cost_usd is not None else "",
            _last_line(each.output),
        )
        for each in status.steps
    ]
    if rows:
        headings = ("STEP", "PHASE", "TRY", "POD", "EXIT", "TIME", "COST", "OUTPUT")
        lines += ["", as_table(headings, rows).rstrip()]
    return "\n".join(lines) + "\n"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:_LINE] if lines else ""

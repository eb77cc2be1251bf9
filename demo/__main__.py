"""``python -m demo``: an issue becomes a merged pull request on this machine, before your eyes."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from demo import scenario, summary
from demo.data_folder import data_folder
from demo.director import Director
from demo.environment import REPOSITORY_ROOT
from demo.http_json import HttpError
from demo.options import TITLES, Options, OptionsError, bubblewrap_fault, read_options
from demo.processes import PartFailedError
from demo.scenarios import PERSON, SCENARIOS
from demo.signals import InterruptedBySignal, interrupted_by_signals, stopped_at_the_end
from demo.stack import NAMESPACE, DemoStack
from demo.summary import timeline
from demo.terminal import Terminal
from demo.verdict import ask_forge
from demo.watch import RunWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.scenarios import Scenario

DAG_ID = "coding_task"
REPOSITORY = "acme/letters"
LIMIT_SECONDS = 15 * 60.0
POLL_SECONDS = 0.5
MOST_FAILED_POLLS = 20


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return 0 exactly if the issue was closed by a merged pull request."""
    terminal = Terminal(sys.stdout)
    try:
        options = read_options(sys.argv[1:] if arguments is None else arguments, os.environ, bubblewrap_fault)
    except OptionsError as error:
        print(error, file=sys.stderr)
        return 2
    with interrupted_by_signals(), data_folder(REPOSITORY_ROOT / ".demo") as folder:
        try:
            return _run(folder, options, terminal)
        except InterruptedBySignal as interrupt:
            terminal.keep()
            terminal.line("Interrupted; everything is stopped.")
            return 128 + interrupt.number
        except (PartFailedError, HttpError, TimeoutError, OSError) as error:
            terminal.keep()
            terminal.line(f"{terminal.style.mark('failed')} {error}")
            return 1
        finally:
            terminal.line(f"Logs and data: {folder}")


def _run(folder: Path, options: Options, terminal: Terminal) -> int:
    began = time.monotonic()
    terminal.line(terminal.style.bold("From an issue to a merged pull request, on this machine"))
    for text in _introduction(options):
        terminal.line(f"  {text}")
    play = SCENARIOS[options.scenario] if options.scenario else None
    stack = DemoStack(
        folder,
        model_arguments=_scripts(play),
        model=options.model,
        sandbox=options.sandbox,
        anthropic_api_key=options.anthropic_api_key,
        openai_api_key=options.openai_api_key,
        # With a real key in it, whoever reaches the port must not be its admin: the agent might.
        login=options.model == "real",
        progress=lambda part: terminal.line(f"  {part} (after {time.monotonic() - began:.0f} s)"),
    )
    with stopped_at_the_end(stack.stop):
        stack.start()
        title, body = scenario.issue()
        people = {"agent": "write", PERSON: "write"}
        rules = dict(play.rules) if play else {}
        stack.forge.seed_repository(REPOSITORY, scenario.REPOSITORY, permissions=people, rules=rules)
        issue = stack.forge.create_issue(REPOSITORY, title, body)
        conf = {"repository": REPOSITORY, "issue_number": issue["number"], "agent": options.agent}
        conf |= play.conf if play else {}
        run_id = stack.trigger(DAG_ID, conf)
        terminal.line(f"  Issue   {issue['html_url']}  {title}")
        terminal.line(f"  Airflow {stack.airflow_url}/dags/{DAG_ID}/runs/{run_id}")
        if stack.login is not None:
            terminal.line(f"  Login   {stack.login.user} / {stack.login.password}")
        terminal.line()
        watcher = RunWatcher(stack.airflow, DAG_ID, run_id)
        director = Director(stack, DAG_ID, run_id, REPOSITORY, play.deeds if play else (), terminal.line)
        fault = _follow(stack, watcher, terminal, began + LIMIT_SECONDS, director)
        code = _conclude(stack, watcher, int(issue["number"]), TITLES[options.agent], fault, terminal, play)
        if options.keep:
            _linger(stack, terminal)
        return code


def _introduction(options: Options) -> Iterator[str]:
    title = TITLES[options.agent]
    if options.scenario:
        yield f"Scenario {options.scenario}: {SCENARIOS[options.scenario].title}."
    yield f"A real Airflow, the real {title}, real git; stand-ins for GitHub and the cluster."
    if options.model == "real":
        shield = "under bubblewrap" if options.sandbox == "bubblewrap" else "WITHOUT a sandbox, as asked"
        account = "Anthropic" if options.agent == "claude" else "OpenAI"
        yield f"The real model: this run SPENDS MONEY on your {account} account. The agent runs {shield}."
    else:
        yield "The model is a stand-in that plays a script: no account, no cost."


def _scripts(play: Scenario | None) -> tuple[str, ...]:
    """Return the model's arguments: a scenario's own scenes come first."""
    if play is None or play.scenes is None:
        return ()
    return ("--script", str(play.scenes), "--script", str(scenario.SCRIPT))


def _follow(
    stack: DemoStack, watcher: RunWatcher, terminal: Terminal, deadline: float, director: Director
) -> str | None:
    """Show the run until it has ended; return what went wrong with following it, if anything did."""
    began, failed_polls = time.monotonic(), 0
    while True:
        stack.check()
        try:
            stages = watcher.poll()
            director.look(watcher.tasks)
            failed_polls = 0
            terminal.show(stages, seconds=time.monotonic() - began, usd=watcher.usd)
        except (HttpError, OSError):
            failed_polls += 1
            if failed_polls >= MOST_FAILED_POLLS:
                raise
        if watcher.ended:
            return None
        if time.monotonic() > deadline:
            return f"The run did not end within {LIMIT_SECONDS / 60:.0f} minutes."
        time.sleep(POLL_SECONDS)


def _conclude(
    stack: DemoStack,
    watcher: RunWatcher,
    issue_number: int,
    program: str,
    fault: str | None,
    terminal: Terminal,
    play: Scenario | None,
) -> int:
    terminal.keep()
    terminal.line()
    verdict = ask_forge(stack.forge, REPOSITORY, issue_number)
    faults = [*([fault] if fault else []), *verdict.faults]
    faults += play.faults(verdict.mutations) if play else []
    if watcher.state == "failed" and not faults:
        faults.append("The issue was closed by a merged pull request, but Airflow's run failed.")
    stages = watcher.stages
    if not faults:
        lines = summary.success(
            verdict,
            stages,
            watcher.results,
            program=program,
            seconds=watcher.seconds,
            style=terminal.style,
        )
    else:
        task = watcher.failed_task()
        log = watcher.log(task) if task else ""
        lines = summary.failure(faults, task, log, style=terminal.style)
    for line in lines:
        terminal.line(line)
    if play:
        terminal.line()
        for line in timeline(verdict.mutations, watcher.decisions()):
            terminal.line(line)
    terminal.line()
    return 1 if faults else 0


def _linger(stack: DemoStack, terminal: Terminal) -> None:
    """Leave everything up until a signal comes; that is not an interruption then."""
    terminal.line("Everything is still running (KEEP=1):")
    terminal.line(f"  Airflow      {stack.airflow_url}")
    terminal.line(f"  GitHub       {stack.forge.url}/{REPOSITORY}")
    kubernetes = stack.kubernetes
    terminal.line(f"  Kubernetes   {kubernetes.kubeconfig} (kubeconfig; kubectl sends no token over HTTP)")
    terminal.line(
        f"               sed 's/^/Authorization: Bearer /' {kubernetes.kubeconfig.with_name('token')} | "
        f"curl -H @- {kubernetes.url}/api/v1/namespaces/{NAMESPACE}/pods"
    )
    terminal.line("Ctrl-C ends it.")
    with contextlib.suppress(InterruptedBySignal):
        while True:
            stack.check()
            time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())

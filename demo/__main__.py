"""``python -m demo``: an issue becomes a merged pull request on this machine, before your eyes."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from demo import scenario
from demo.data_folder import data_folder
from demo.director import Director
from demo.environment import REPOSITORY_ROOT
from demo.following import LIMIT_SECONDS, conclude, follow
from demo.http_json import HttpError
from demo.options import TITLES, Options, OptionsError, bubblewrap_fault, read_options
from demo.processes import PartFailedError
from demo.scenarios import PERSON, SCENARIOS
from demo.signals import InterruptedBySignal, interrupted_by_signals, stopped_at_the_end
from demo.stack import NAMESPACE, DemoStack
from demo.terminal import Terminal
from demo.watch import RunWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.scenarios import Scenario

DAG_ID = "coding_task"
SYNC_DAG_ID = "ticket_sync__demo"
REPOSITORY = "acme/letters"
LABEL = "agent"
START_SECONDS = 180.0
"""How long a labelled issue may take until its run is there: the DAGs are parsed for the first time."""


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
        tickets={"demo": _definition(options, play)},
        progress=lambda part: terminal.line(f"  {part} (after {time.monotonic() - began:.0f} s)"),
    )
    with stopped_at_the_end(stack.stop):
        stack.start()
        title, body = scenario.issue()
        people = {"agent": "write", PERSON: "write"}
        rules = dict(play.rules) if play else {}
        stack.forge.seed_repository(REPOSITORY, scenario.REPOSITORY, permissions=people, rules=rules)
        issue = stack.forge.create_issue(REPOSITORY, title, body)
        terminal.line(f"  Issue   {issue['html_url']}  {title}")
        stack.forge.act(PERSON, "label", REPOSITORY, number=issue["number"], labels=[LABEL])
        terminal.line(f"  {PERSON} puts the label `{LABEL}` on it; {SYNC_DAG_ID} will see it")
        run_id = _started_run(stack)
        terminal.line(f"  Airflow {stack.airflow_url}/dags/{DAG_ID}/runs/{run_id}")
        if stack.login is not None:
            terminal.line(f"  Login   {stack.login.user} / {stack.login.password}")
        terminal.line()
        watcher = RunWatcher(stack.airflow, DAG_ID, run_id)
        director = Director(stack, DAG_ID, run_id, REPOSITORY, play.deeds if play else (), terminal.line)
        fault = follow(
            watcher,
            terminal,
            began + LIMIT_SECONDS,
            check=stack.check,
            look=lambda: director.look(watcher.tasks),
        )
        number = int(issue["number"])
        program = TITLES[options.agent]
        code = conclude(stack.forge, REPOSITORY, number, watcher, fault, terminal, program=program, play=play)
        if options.keep:
            _linger(stack, terminal)
        return code


def _definition(options: Options, play: Scenario | None) -> dict[str, Any]:
    """Return the source of the demo's tickets."""
    return {
        "source": "github",
        "repositories": [REPOSITORY],
        "every": 10,
        "ask": {"labels": [LABEL]},
        "task": {"agent": options.agent, **(play.conf if play else {})},
    }


def _started_run(stack: DemoStack) -> str:
    """Wait until the sync has started the issue's run, and return its id.

    :raise TimeoutError: it did not in time.
    """
    stack.wait_for_dag(DAG_ID)
    stack.wait_for_dag(SYNC_DAG_ID)
    deadline = time.monotonic() + START_SECONDS
    while not (runs := stack.airflow.runs(DAG_ID)):
        stack.check()
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{SYNC_DAG_ID} started no run within {START_SECONDS:.0f} s; see its task `look`."
            )
        time.sleep(0.5)
    return str(runs[0]["dag_run_id"])


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

"""The commands for runs, as Airflow's parser learns of them; see :mod:`~airflow_provider_agents.cli.definition`."""

from __future__ import annotations

from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, lazy_load_command

_MODULES = "airflow_provider_agents.cli"


def _arg(*flags: str, **options: Any) -> Arg:
    return Arg(flags, **options)  # type: ignore[no-untyped-call]


_OUTPUT = _arg(
    "-o",
    "--output",
    help="Form of the answer: table (default), json or yaml.",
    choices=("table", "json", "yaml"),
    default="table",
)
_DAG = _arg("--dag", help="DAG of the runs; default coding_task.", default="coding_task", metavar="DAG")
_RUN_HELP = "Run id, name of its manifest, or ticket (acme/shop#7)."
_RUN = _arg("run", help=_RUN_HELP, metavar="RUN")
_YES = _arg("-y", "--yes", help="Do not ask.", action="store_true")
_DRY_RUN = _arg("--dry-run", help="Tell what would be done, and do nothing.", action="store_true")
_ONE_REPOSITORY = _arg(
    "--repository", help="Only runs of this repository.", default=None, metavar="OWNER/NAME"
)
_REASON = _arg("--reason", help="Why; shown with the run.", default="", metavar="TEXT")

_EXIT = (
    "Exit code: 0 done, 1 it did not work (for status and run --wait: a run failed), 2 wrong usage or a faulty file, "
    "3 Airflow does not answer. Address and credential of Airflow's API: AIRFLOW_AGENTS_API_URL, else `[api] "
    "base_url`; AIRFLOW_AGENTS_API_TOKEN, or AIRFLOW_AGENTS_API_USERNAME and AIRFLOW_AGENTS_API_PASSWORD. No "
    "database is needed."
)

_RULES_ARGS = (
    _arg(
        "words",
        help="Nothing: all rules. RULE, or show RULE: what stands about each of its pull requests. decisions [RULE]: "
        "what was decided, the newest first. check [FILE ...]: faults of files, without Airflow; by default of those "
        "in rules/ below the installation's `config_path`.",
        nargs="*",
        metavar="RULE | decisions [RULE] | check [FILE ...]",
    ),
    _arg("--since", help="decisions: how far back: 30m, 24h, 90d (default).", default=None, metavar="SPAN"),
    _arg("--repository", help="decisions: only in this repository.", default=None, metavar="OWNER/NAME"),
    _arg(
        "--pull-request", help="decisions: only about this one: 7, or acme/shop#7.", default=None, metavar="N"
    ),
    _arg(
        "--action",
        help="decisions: only where this was done in the end.",
        choices=("merge", "wait", "escalate", "close", "comment", "label", "request_review", "update_branch"),
        default=None,
    ),
    _arg("--limit", help="decisions: most of them; default 50.", type=int, default=None, metavar="N"),
    _OUTPUT,
)
_RULES_EPILOG = (
    "Exit code: 0 done, 1 it did not work, 2 wrong usage, or (check) a faulty file, each fault with its line; 3 Airflow "
    "does not answer. Address and credential of Airflow's API as for `airflow agents status`; check needs none, and "
    "calls no model."
)


def _command(name: str, help_text: str, *args: Arg) -> ActionCommand:
    function = name.replace("-", "_")
    module = {"retry_failed": "retry", "cancel_active": "cancel"}.get(function, function)
    return ActionCommand(
        name=name,
        help=help_text,
        func=lazy_load_command(f"{_MODULES}.{module}.{function}"),
        args=(*args, _DAG, _OUTPUT),
        epilog=_EXIT,
    )


def get_run_commands() -> tuple[ActionCommand, ...]:
    """Return the commands that start, show and change runs."""
    return (
        _command(
            "run",
            "Start a run: from a manifest, or for a repository with a prompt or an issue",
            _arg(
                "-f",
                "--file",
                help="Manifest: a CodingTask or the fields of the trigger form, as YAML; - is the standard input.",
                default=None,
                metavar="FILE",
            ),
            _arg("--repository", help="Repository to work in.", default=None, metavar="OWNER/NAME"),
            _arg("--prompt", help="What to do.", default=None, metavar="TEXT"),
            _arg("--issue", help="Issue to resolve.", type=int, default=None, metavar="N"),
            _arg(
                "--param",
                help="Further field of the trigger form; may be given several times.",
                action="append",
                default=None,
                metavar="NAME=VALUE",
            ),
            _arg(
                "--wait",
                help="Wait for the end; exit code 1 unless every run is merged.",
                action="store_true",
            ),
        ),
        _command(
            "status",
            "Show one run with its steps, or the list of runs",
            _arg("run", help=f"{_RUN_HELP} Empty: the list.", nargs="?", default=None, metavar="RUN"),
            _arg("-w", "--watch", help="Show it again and again until it ended.", action="store_true"),
            _arg(
                "--limit",
                help="Most runs of the list; those at work are all shown. Default 20.",
                type=int,
                default=20,
                metavar="N",
            ),
        ),
        ActionCommand(
            name="logs",
            help="Show what the tasks of a run wrote",
            func=lazy_load_command(f"{_MODULES}.logs.logs"),
            args=(
                _RUN,
                _arg(
                    "step",
                    help="Task, or end of its id (attempt_2.implement), or task group (build). Empty: all.",
                    nargs="?",
                    default=None,
                    metavar="STEP",
                ),
                _arg("-f", "--follow", help="Go on until the run ended.", action="store_true"),
                _DAG,
            ),
            epilog=_EXIT,
        ),
        _command(
            "retry",
            "Run again what failed in a run; steps that did their work stay",
            _RUN,
            _arg(
                "step",
                help="Task from which on everything runs again, and is paid again. Empty: what failed.",
                nargs="?",
                default=None,
                metavar="STEP",
            ),
            _DRY_RUN,
        ),
        _command("cancel", "End a run and its pods", _RUN, _REASON, _DRY_RUN),
        _command(
            "retry-failed",
            "Retry all runs that failed of late",
            _arg("--since", help="How far back: 30m, 24h (default), 7d.", default="24h", metavar="SPAN"),
            _ONE_REPOSITORY,
            _DRY_RUN,
            _YES,
        ),
        _command("cancel-active", "End all runs and their pods", _ONE_REPOSITORY, _REASON, _DRY_RUN, _YES),
        _command(
            "priority",
            "Give a waiting run or ticket another place in the line",
            _arg("run", help="Run id, name of its manifest, or ticket.", metavar="RUN"),
            _arg("number", help="The higher, the earlier; `default`: as it came.", metavar="N|default"),
        ),
        _command("queue", "Show what works, what waits and why", _ONE_REPOSITORY),
        ActionCommand(
            name="rules",
            help="Show the rules for pull requests, what they decided and why, and check their files",
            func=lazy_load_command(f"{_MODULES}.rules.rules"),
            args=_RULES_ARGS,
            epilog=_RULES_EPILOG,
        ),
    )

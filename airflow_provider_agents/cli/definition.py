"""The commands ``airflow agents …``, as Airflow's parser learns of them.

Imported at every call of ``airflow``: nothing but the parser's own parts is imported here.
"""

from __future__ import annotations

from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

from airflow_provider_agents.cli.definition_runs import get_run_commands

OUTPUTS = ("table", "json", "yaml")


def _arg(*flags: str, **options: Any) -> Arg:
    return Arg(flags, **options)  # type: ignore[no-untyped-call]


_REPOSITORY = _arg(
    "--repository",
    help="Repository to check, as owner/name; may be given several times. That of the trigger form's defaults is "
    "checked in any case.",
    action="append",
    default=None,
    metavar="OWNER/NAME",
)
_OUTPUT = _arg(
    "-o",
    "--output",
    help="Form of the answer: table (default), json or yaml.",
    choices=OUTPUTS,
    default="table",
)
_SKIP = _arg(
    "--skip",
    help="Check to leave out, by its id; * stands for any part of it: 'github.*'. May be given several times.",
    action="append",
    default=None,
    metavar="CHECK",
)

_DOCTOR_ARGS = (_OUTPUT, _REPOSITORY, _SKIP)


def _init_arg(flag: str, help_text: str, *, metavar: str = "NAME") -> Arg:
    return _arg(flag, help=help_text, default=None, metavar=metavar)


_INIT_ARGS = (
    _arg(
        "--non-interactive",
        help="Ask nothing: take flags and environment, fail where something is missing.",
        action="store_true",
    ),
    _arg(
        "--force",
        help="Replace what is there already; without it, it is kept.",
        action="store_true",
    ),
    _init_arg("--github-host", "REST URL of a GitHub Enterprise Server; empty: github.com.", metavar="URL"),
    _init_arg(
        "--github-app-id",
        "Number or client id of a GitHub App, in place of a token; needs --github-key-path.",
        metavar="ID",
    ),
    _init_arg("--github-key-path", "Path of the App's .pem file in workers and triggerer.", metavar="FILE"),
    _init_arg("--github-installation-id", "Number of the App's installation; empty: found.", metavar="N"),
    _init_arg(
        "--kubernetes",
        "Where the cluster is: `in-cluster`, or the path of a kubeconfig in workers and triggerer.",
        metavar="in-cluster|FILE",
    ),
    _arg(
        "--agent-credential",
        help="What the agent's model is paid with; the value comes from the environment or a prompt.",
        choices=("anthropic-api-key", "anthropic-oauth-token", "openai-api-key"),
        default=None,
    ),
    _arg(
        "--credentials",
        help="Where the pods' credentials are kept: a Kubernetes secret, or Airflow connections. By default as "
        "`[agents] credentials` says.",
        choices=("secret", "connections"),
        default=None,
    ),
    _init_arg("--repository", "First repository.", metavar="OWNER/NAME"),
    _init_arg("--base-branch", "Branch that pull requests are merged into; empty: the repository's default."),
    _init_arg("--test-command", "Shell command that tests the repository; empty: found from its files."),
    _arg(
        "--merge-method",
        help="How pull requests are merged; by default the first that the repository allows.",
        choices=("squash", "merge", "rebase"),
        default=None,
    ),
    _init_arg(
        "--config-path", "Folder for repositories.yaml; default `[agents] config_path`.", metavar="DIR"
    ),
    _arg("--no-doctor", help="Do not run doctor at the end.", action="store_true"),
)

_SCHEMA_ARGS = (
    _arg(
        "name",
        help="File: repositories (repositories.yaml), agents (.agents.yaml), ticket-source (tickets/<name>.yaml), "
        "pull-request-rule (rules/<name>.yaml).",
        choices=("repositories", "agents", "ticket-source", "pull-request-rule"),
    ),
)

_PROMPT_ARGS = (
    _arg("step", help="Step of the agent.", choices=("plan", "implement", "fix", "review")),
    _arg("--repository", help="Repository whose settings count.", default=None, metavar="OWNER/NAME"),
    _arg("--issue", help="Issue to show it for; empty: a sample.", type=int, default=None, metavar="N"),
    _arg("--prompt", help="What to do, in place of an issue or beside it.", default=None, metavar="TEXT"),
    _arg("--template", help="File in place of the step's template.", default=None, metavar="FILE"),
    _arg(
        "--run",
        help="Run to show it for, with what its steps left: id, name of its manifest, or ticket.",
        default=None,
        metavar="RUN",
    ),
    _arg("--dag", help="DAG of the run; default coding_task.", default="coding_task", metavar="DAG"),
    _arg("--resumed", help="What is said to an agent whose session goes on.", action="store_true"),
    _OUTPUT,
)

_PROMPT_EPILOG = (
    "Exit code: 0 shown, 1 it could not be, 2 wrong usage or a faulty template, each fault with its line; 3 Airflow does "
    "not answer (--run). Neither a database nor a run is needed; --issue needs the connection of GitHub, --run the "
    "address and credential of Airflow's API, as `airflow agents status` does. No model is called."
)
_DOCTOR_EPILOG = (
    "Exit code: 0 no check failed, 1 one did, 2 wrong usage. Nothing is changed, and no secret is printed."
)
_INIT_EPILOG = (
    "Secrets are never taken from the command line, where others may see them, but from prompts or the environment: "
    "AGENTS_INIT_GITHUB_TOKEN, AGENTS_INIT_MODEL_CREDENTIAL. A second run changes nothing."
)


def get_agents_cli_commands() -> list[GroupCommand]:
    """Return the group ``agents``, for the key ``cli`` of the provider info."""
    return [
        GroupCommand(
            name="agents",
            help="Set up and check coding agents; start, watch and steer their runs",
            subcommands=(
                ActionCommand(
                    name="doctor",
                    help="Check this deployment, step by step, and name the remedy of each fault",
                    func=lazy_load_command("airflow_provider_agents.cli.doctor.doctor"),
                    args=_DOCTOR_ARGS,
                    epilog=_DOCTOR_EPILOG,
                ),
                ActionCommand(
                    name="init",
                    help="Set up connections, credentials and the first repository, then run doctor",
                    func=lazy_load_command("airflow_provider_agents.cli.init.init"),
                    args=_INIT_ARGS,
                    epilog=_INIT_EPILOG,
                ),
                ActionCommand(
                    name="schema",
                    help="Print the JSON schema of a file of settings, for an editor",
                    func=lazy_load_command("airflow_provider_agents.cli.schema.schema"),
                    args=_SCHEMA_ARGS,
                ),
                ActionCommand(
                    name="prompt",
                    help="Show what an agent would be told, and check a template",
                    func=lazy_load_command("airflow_provider_agents.cli.prompt.prompt"),
                    args=_PROMPT_ARGS,
                    epilog=_PROMPT_EPILOG,
                ),
                *get_run_commands(),
            ),
        )
    ]

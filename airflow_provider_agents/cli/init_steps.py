"""The steps of init: GitHub, the cluster, the agent's credential, the first repository. Each keeps what is there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_runner.contract import (
    REPOSITORY_PATTERN,
    SECRET_KEY_ANTHROPIC,
    SECRET_KEY_FORGE,
    SECRET_KEY_OPENAI,
)
from airflow_provider_agents import settings
from airflow_provider_agents.cli.answers import RefusedAnswerError
from airflow_provider_agents.cli.checks.github_access import Answer, account, ask, session
from airflow_provider_agents.cli.checks.github_repository import MERGE_METHODS
from airflow_provider_agents.cli.checks.model_key import check_key
from airflow_provider_agents.cli.checks.secret import create_command
from airflow_provider_agents.cli.deployment import REQUEST_SECONDS, Deployment, one_line
from airflow_provider_agents.cli.stored import put_connection, put_repository, put_secret
from airflow_provider_agents.domain.config_files import repositories_file
from airflow_provider_agents.domain.settings_layers import REPOSITORIES_FILE
from airflow_provider_agents.exceptions import AgentsError
from airflow_provider_agents.operators.kubernetes_objects import request_errors, status_of, told
from airflow_provider_agents.operators.step_credentials import MODEL_KEYS

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from airflow.sdk import Connection

    from airflow_provider_agents.cli.answers import Answers

GITHUB_TOKEN_VARIABLE = "AGENTS_INIT_GITHUB_TOKEN"
MODEL_VARIABLE = "AGENTS_INIT_MODEL_CREDENTIAL"
IN_CLUSTER = "in-cluster"


class InitSteps:
    """Does all steps, in order.

    :param args: flags of the command.
    :param answers: asks for what they do not say.
    :param say: shows a line.
    """

    def __init__(self, args: Namespace, answers: Answers, say: Callable[[str], None]) -> None:
        self._args = args
        self._answers = answers
        self._say = say
        self.changed = False
        """Whether anything was stored."""
        self.settings: dict[str, str] = {}
        """Options of ``[agents]`` that have to be set for what was stored."""

    def run(self) -> None:
        """Do all steps.

        :raises MissingAnswerError: something is not given, and nobody can be asked.
        :raises RefusedAnswerError: something that was given does not work.
        """
        self._github()
        self._kubernetes()
        self._agent_credential()
        self._repository()

    def _kept(self, what: str) -> None:
        self._say(f"kept     {what}")

    def _stored(self, what: str) -> None:
        self.changed = True
        self._say(f"stored   {what}")

    def _put_connection(self, conn_id: str, conn_type: str, **fields: str) -> None:
        """Store a connection.

        :param fields: ``host``, ``password``, ``extra``.
        :raises RefusedAnswerError: another one of that name comes before it.
        """
        put_connection(conn_id, conn_type, **fields)
        used = _connection(conn_id)
        if used is not None and any((getattr(used, name) or "") != value for name, value in fields.items()):
            raise RefusedAnswerError(
                f"connection {conn_id} is stored, but another one of that name comes before it, from the environment "
                f"(AIRFLOW_CONN_{conn_id.upper()}) or a secrets backend: change it there, or remove it"
            )

    # GitHub

    def _github(self) -> None:
        conn_id = settings.text("github_conn_id", "github_default")
        if _connection(conn_id) is not None and not self._args.force:
            self._kept(f"connection {conn_id}")
            return
        host = self._answers.text(
            "REST URL of your GitHub Enterprise Server; empty for github.com",
            flag="--github-host",
            given=self._args.github_host,
            default="",
            check=_check_host,
        )
        app_id = self._args.github_app_id
        if app_id is None and self._answers.interactive:
            app_id = self._answers.text(
                "Number of a GitHub App; empty to use a token", flag="--github-app-id", given=None, default=""
            )
        if app_id:
            self._github_app(conn_id, host, app_id)
            return
        whose: list[str] = []

        def check(token: str) -> None:
            whose[:] = [_login(host, password=token)]

        token = self._answers.secret("GitHub token", variable=GITHUB_TOKEN_VARIABLE, check=check)
        self._put_connection(conn_id, "github", host=host, password=token)
        self._stored(f"connection {conn_id}: the token of {whose[0]}")

    def _github_app(self, conn_id: str, host: str, app_id: str) -> None:
        extra: dict[str, Any] = {"app_id": app_id}
        if self._args.github_installation_id:
            extra["installation_id"] = self._args.github_installation_id
        whose: list[str] = []

        def check(path: str) -> None:
            extra["key_path"] = path
            whose[:] = [_login(host, extra=extra, repository=self._args.repository)]

        self._answers.text(
            "Path of the App's .pem file, in the workers and in the triggerer",
            flag="--github-key-path",
            given=self._args.github_key_path,
            check=check,
        )
        self._put_connection(conn_id, "github", host=host, extra=json.dumps(extra))
        self._stored(f"connection {conn_id}: the App {whose[0]}")

    # The cluster

    def _kubernetes(self) -> None:
        conn_id = settings.text("kubernetes_conn_id", "kubernetes_default")
        if _connection(conn_id) is not None and not self._args.force:
            self._kept(f"connection {conn_id}")
            return
        extra: dict[str, Any] = {}

        def check(where: str) -> None:
            extra.clear()
            if where == IN_CLUSTER:
                extra["in_cluster"] = True
            else:
                extra.update(in_cluster=False, kube_config_path=str(Path(where).expanduser().absolute()))
            _check_cluster(where)

        self._answers.text(
            "Where the cluster is: in-cluster, or the path of a kubeconfig in workers and triggerer",
            flag="--kubernetes",
            given=self._args.kubernetes,
            default=IN_CLUSTER if self._answers.interactive else None,
            check=check,
        )
        extra["namespace"] = settings.text("namespace", "agent-system")
        self._put_connection(conn_id, "kubernetes", extra=json.dumps(extra))
        self._stored(f"connection {conn_id}")

    # What the agent's model is paid with

    def _agent_credential(self) -> None:
        source = self._args.credentials or settings.text("credentials", "secret")
        if source != settings.text("credentials", "secret"):
            self.settings["credentials"] = source
        if source == "connections":
            self._model_connection()
        else:
            self._secret()

    def _wanted_key(self) -> str:
        """Return the key of the model's credential."""
        if self._args.agent_credential:
            key = str(self._args.agent_credential)
        else:
            key = MODEL_KEYS.get(settings.text("agent", "claude"), (SECRET_KEY_ANTHROPIC,))[0]
            if self._answers.interactive:
                every = [name for names in MODEL_KEYS.values() for name in names]

                def check(answer: str) -> None:
                    if answer not in every:
                        raise RefusedAnswerError(f"one of {', '.join(every)} is needed")

                key = self._answers.text(
                    "Kind of the model's credential",
                    flag="--agent-credential",
                    given=None,
                    default=key,
                    check=check,
                )
        if key == SECRET_KEY_OPENAI and settings.text("agent", "claude") == "claude":
            self.settings["agent"] = "codex"
        return key

    def _model_value(self, key: str) -> str:
        def check(value: str) -> None:
            for finding in check_key(key, value):
                if finding.status == "failed":
                    raise RefusedAnswerError(f"{finding.message}. {finding.remedy}".replace(value, "***"))
                if finding.status == "warning":
                    self._say(f"  {finding.message}".replace(value, "***"))

        return self._answers.secret(f"Value of {key}", variable=MODEL_VARIABLE, check=check)

    def _model_connection(self) -> None:
        names = {
            "anthropic": settings.text("anthropic_conn_id", "anthropic_default"),
            "openai": settings.text("openai_conn_id", "openai_default"),
        }
        there = [name for name in names.values() if (found := _connection(name)) and found.password]
        if there and not self._args.force:
            self._kept(f"connection {there[0]}")
            return
        key = self._wanted_key()
        conn_id = names["openai" if key == SECRET_KEY_OPENAI else "anthropic"]
        self._put_connection(conn_id, "generic", password=self._model_value(key))
        self._stored(f"connection {conn_id}: {key}")

    def _secret(self) -> None:
        deployment = Deployment()
        name, namespace = deployment.secret_name, deployment.namespace
        reading = deployment.installation_secret
        if reading.state == "hidden":
            self._by_hand(deployment, deployment.hide(reading.said))
            return
        values: dict[str, str] = {}
        every = [key for keys in MODEL_KEYS.values() for key in keys]
        forge = "" if deployment.github.app is not None else deployment.github.token
        if forge and (self._args.force or not reading.values.get(SECRET_KEY_FORGE)):
            values[SECRET_KEY_FORGE] = forge
        if self._args.force or not any(reading.values.get(key) for key in every):
            key = self._wanted_key()
            values[key] = self._model_value(key)
        values = {key: value for key, value in values.items() if reading.values.get(key) != value}
        if not values:
            self._kept(f"secret {name} in namespace {namespace}")
            return
        try:
            put_secret(deployment.core, namespace, name, values)
        except request_errors() as error:
            if status_of(error) == 403:
                self._by_hand(deployment, told(error))
                return
            raise RefusedAnswerError(
                f"secret {name} in namespace {namespace} cannot be stored: {told(error)}. Apply deploy/ first "
                "(docs/deploy.md), then run init again"
            ) from None
        self._stored(f"secret {name} in namespace {namespace}: {', '.join(values)}")

    def _by_hand(self, deployment: Deployment, said: str) -> None:
        """Say how a person makes the secret, where Airflow's identity may not: deploy/ does not let it."""
        key = self._args.agent_credential or MODEL_KEYS.get(deployment.program, (SECRET_KEY_ANTHROPIC,))[0]
        keys = [*([SECRET_KEY_FORGE] if deployment.github.app is None else []), key]
        self._say(f"skipped  secret {deployment.secret_name}: Airflow may not read or write it ({said}).")
        self._say("         Unless it is there, make it with an identity of your own:")
        self._say(f"         {create_command(deployment.secret_name, deployment.namespace, keys)}")

    # The first repository

    def _repository(self) -> None:
        folder = self._args.config_path or settings.text("config_path")
        if not folder:
            folder = self._answers.text(
                "Folder for this installation's own files", flag="--config-path", given=None
            )
        file = Path(folder).absolute() / REPOSITORIES_FILE
        if str(file.parent) != settings.text("config_path"):
            self.settings["config_path"] = str(file.parent)
        known, present = _present(file)
        if known and not self._args.force:
            self._kept(f"{file}: repository {known}")
            return
        facts: dict[str, Any] = {}

        def check(repository: str) -> None:
            facts.clear()
            facts.update(_facts(repository))

        repository = self._answers.text(
            "First repository, as owner/name", flag="--repository", given=self._args.repository, check=check
        )
        values: dict[str, Any] = {}
        values["base_branch"] = self._answers.text(
            "Branch that pull requests are merged into",
            flag="--base-branch",
            given=self._args.base_branch or None,
            default=str(facts.get("default_branch") or "main"),
        )
        allowed = [method for method, field in MERGE_METHODS.items() if facts.get(field)] or ["squash"]

        def allow(method: str) -> None:
            if method not in allowed:
                raise RefusedAnswerError(f"{repository} allows {', '.join(allowed)}, not {method!r}")

        values["merge_method"] = self._answers.text(
            "How pull requests are merged",
            flag="--merge-method",
            given=self._args.merge_method,
            default=allowed[0],
            check=allow,
        )
        command = self._answers.text(
            "Shell command that tests it; empty: found from its files",
            flag="--test-command",
            given=self._args.test_command,
            default="",
        )
        if command:
            values["test_command"] = command
        there = present.get(repository.lower(), {})
        changes = {
            key: value
            for key, value in values.items()
            if there.get(key) != value and (self._args.force or key not in there)
        }
        if known == repository and not changes:
            self._kept(f"{file}: repository {repository}")
            return
        try:
            put_repository(file, repository, changes)
        except OSError as error:
            raise RefusedAnswerError(
                f"{file} cannot be written: {error.strerror}. Give --config-path a folder that you may write, and mount it "
                "into every Airflow component; of a config map, which nobody can write, change the source"
            ) from None
        except ValueError as error:
            raise RefusedAnswerError(f"{file}: {error}: put it in by hand") from None
        self._stored(f"{file}: {', '.join(['repository', *changes])}")


def _connection(conn_id: str) -> Connection | None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None


def _check_host(host: str) -> None:
    from airflow_provider_agents.hooks.github_urls import github_urls

    try:
        github_urls(host, None)
    except AgentsError as error:
        raise RefusedAnswerError(one_line(error)) from None


def _login(
    host: str, *, password: str = "", extra: dict[str, Any] | None = None, repository: str | None = None
) -> str:
    """Return whose a credential is.

    :raises RefusedAnswerError: GitHub does not accept it, or could not be asked.
    """
    from airflow.sdk import Connection

    from airflow_provider_agents.hooks.github import credential

    made = Connection(
        conn_id="the new one",
        conn_type="github",
        host=host or None,
        password=password or None,
        extra=json.dumps(extra) if extra else None,
    )
    try:
        return asyncio.run(account(credential(made), repository)).login
    except AgentsError as error:
        said = one_line(error)
        raise RefusedAnswerError(
            f"GitHub does not accept it: {said.replace(password, '***') if password else said}"
        ) from None


def _check_cluster(where: str) -> None:
    from kubernetes import client, config
    from yaml import YAMLError

    configuration = client.Configuration()
    try:
        if where == IN_CLUSTER:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(config_file=where, client_configuration=configuration)
        with client.ApiClient(configuration) as api:
            client.VersionApi(api).get_code(_request_timeout=REQUEST_SECONDS)
    except (config.ConfigException, YAMLError, AttributeError, TypeError) as error:
        # The client takes a file of another kind apart without looking.
        raise RefusedAnswerError(f"{where} leads to no cluster: {' '.join(str(error).split())}") from None
    except request_errors() as error:
        raise RefusedAnswerError(f"the cluster of {where} does not answer: {told(error)}") from None


def _facts(repository: str) -> dict[str, Any]:
    """Return what GitHub says of a repository.

    :raises RefusedAnswerError: it is none, or the connection does not see it.
    """
    if not REPOSITORY_PATTERN.fullmatch(repository):
        raise RefusedAnswerError(f"{repository!r} is not of the form owner/name")

    async def read() -> Answer:
        permissions = {"contents": "write", "metadata": "read"}
        async with session(Deployment().github, [repository], permissions) as transport:
            return await ask(transport, f"/repos/{repository}", f"read repository {repository}")

    try:
        answer = asyncio.run(read())
    except AgentsError as error:
        raise RefusedAnswerError(f"{repository}: {one_line(error)}") from None
    if answer.status != 200 or not isinstance(answer.body, dict):
        raise RefusedAnswerError(
            f"the connection of GitHub does not see {repository}: HTTP {answer.status}. Correct the name, or give its "
            "account access"
        )
    return answer.body


def _present(file: Path) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """Return the repository of the trigger form, and what the file sets for each repository, by names in lower case.

    :raises RefusedAnswerError: the file has faults.
    """
    # The folder is made with the file.
    installed, faults = repositories_file(file.parent if file.parent.is_dir() else None)
    if installed is None:
        raise RefusedAnswerError(f"{file} cannot be used: {'; '.join(faults)}")
    named = installed.repositories.repositories
    return installed.repositories.defaults.repository, {
        name.lower(): settings.model_dump(mode="json", exclude_unset=True) for name, settings in named.items()
    }

"""What a ``CodingTask`` manifest means here: each field as a param of a run, or why it cannot be one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent_runner.contract import SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH, SECRET_KEY_FORGE
from airflow_provider_agents.domain.go_duration import seconds_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_agents.domain.manifest import Installation
    from airflow_provider_agents.domain.manifest_fields import CodingTaskManifest, SecretReference
    from airflow_provider_agents.domain.model_faults import Path
    from airflow_provider_agents.domain.yaml_source import Document

MODEL_KEYS = (SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH)
"""Keys of the installation's secret that pay Claude."""

_PUBLIC_HOSTS = frozenset({"github.com", "www.github.com"})
_SCP_FORM = re.compile(r"(?:[A-Za-z0-9_.-]+@)?([A-Za-z0-9.-]+):(?!//)(.+)")
_OTHER_RUNNER = re.compile(r"(^|/)jcwearn/agent-runner(-[a-z]+)?(:|@|$)")
_STEPS = ("plan", "implement", "fix")
_URL = ("spec", "repository", "url")


@dataclass(slots=True)
class Mapped:
    """Params, where each was written, and what there is to say."""

    values: dict[str, Any] = field(default_factory=dict)
    """Params of the run."""
    paths: dict[str, Path] = field(default_factory=dict)
    """Param → path in the document, for faults that show later."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Line and fault."""
    notes: list[tuple[int, str]] = field(default_factory=list)
    """Line and note."""
    origin: str = ""
    """Where the task came from, where that is no issue."""


def map_manifest(manifest: CodingTaskManifest, document: Document, installation: Installation) -> Mapped:
    """Return what a manifest asks for."""
    mapping = _Mapping(manifest, document, installation)
    mapping.run()
    return mapping.mapped


class _Mapping:
    def __init__(self, manifest: CodingTaskManifest, document: Document, installation: Installation) -> None:
        self.mapped = Mapped()
        self._manifest = manifest
        self._spec = manifest.spec
        self._document = document
        self._installation = installation

    def run(self) -> None:
        self._place()
        self._repository()
        self._source()
        self._set("prompt", self._spec.prompt, "spec", "prompt")
        self._pod()
        self._credentials()
        self._models()
        self._limits()

    def _place(self) -> None:
        """Hold what a run cannot choose to what the installation has."""
        given, own = self._manifest.metadata.namespace, self._installation.namespace
        if given is not None and given != own:
            self._fault(
                f"this installation's pods run in {own}; leave the field out, or set `[agents] namespace`",
                "metadata",
                "namespace",
            )
        account = self._spec.service_account_name
        if account and account != self._installation.service_account:
            self._fault(
                f"this installation's pods run as {self._installation.service_account}; leave the field out, or "
                "set `[agents] service_account`",
                "spec",
                "serviceAccountName",
            )
        for name, value in (
            ("nodeSelector", self._spec.node_selector),
            ("tolerations", self._spec.tolerations),
        ):
            if value:
                self._fault(
                    "a run does not choose its nodes; put it into pod_template.yaml below `[agents] config_path`",
                    "spec",
                    name,
                )

    def _repository(self) -> None:
        try:
            host, name = repository_of(self._spec.repository.url)
        except ValueError as error:
            self._fault(str(error), *_URL)
        else:
            self._host(host)
            self._set("repository", name, *_URL)
        repository = self._spec.repository
        if repository.branch:
            self._set("base_branch", repository.branch, "spec", "repository", "branch")
        if repository.work_branch:
            self._set("work_branch", repository.work_branch, "spec", "repository", "workBranch")
        else:
            self._set("work_branch", f"ai/{self._manifest.metadata.name}", "metadata", "name")

    def _host(self, host: str) -> None:
        forge = self._installation.forge_host
        host = "github.com" if host in _PUBLIC_HOSTS else host
        if forge is not None and host != forge:
            self._fault(f"is on {host}; this installation works with {forge}", *_URL)
        elif forge is None and host != "github.com":
            self._note(f"whether this installation works with {host} could not be checked", *_URL)

    def _source(self) -> None:
        source = self._spec.source
        if source.github is not None:
            name = f"{source.github.owner}/{source.github.repo}"
            where = ("spec", "source", "github")
            if name.lower() != str(self.mapped.values.get("repository", name)).lower():
                self._fault(f"the issue is in {name}, but the work is in another repository", *where)
            self._set("issue_number", source.github.issue_number, *where, "issueNumber")
        if source.chat is not None:
            self.mapped.origin = f"chat {source.chat.session_id} of {source.chat.user_id}"

    def _pod(self) -> None:
        resources = self._spec.resources
        for param, name, value in (
            ("cpu", "cpu", resources.cpu),
            ("memory", "memory", resources.memory),
            ("workspace_size", "storage", resources.storage),
        ):
            if value is not None:
                self._set(param, str(value), "spec", "resources", name)
        if image := self._spec.agent_image:
            if _OTHER_RUNNER.search(image):
                self._fault(
                    "is the image of agent-operator's own runner, which does not work here; leave the field out, or "
                    "name an image made from agent-image/Dockerfile",
                    "spec",
                    "agentImage",
                )
            else:
                self._set("image", image, "spec", "agentImage")

    def _credentials(self) -> None:
        self._secret("anthropicApiKeyRef", self._spec.anthropic_api_key_ref, MODEL_KEYS)
        self._secret("gitCredentialsRef", self._spec.git_credentials_ref, (SECRET_KEY_FORGE,))

    def _secret(self, name: str, reference: SecretReference | None, keys: Collection[str]) -> None:
        if reference is None:
            return
        secret = self._installation.secret
        if reference.name != secret or reference.key not in keys:
            self._fault(
                f"a run takes its credentials from secret {secret}, key {' or '.join(keys)}; leave the field out, or "
                "put the value there (`[agents] secret` names the secret)",
                "spec",
                name,
            )
        elif self._installation.credentials == "connections":
            self._note(
                "not read: `[agents] credentials` is `connections`, so that Airflow's connections are used",
                "spec",
                name,
            )

    def _models(self) -> None:
        model = self._spec.model
        for step in _STEPS:
            own = getattr(model, step, None)
            if chosen := own or model.default:
                self._set(f"{step}_model", chosen, "spec", "model", step if own else "default")
            if model.max_turns is not None:
                self._set(f"{step}_turns", model.max_turns, "spec", "model", "maxTurns")
        for name, value in (("test", model.test), ("pullRequest", model.pull_request)):
            if value:
                self._note("without effect: this step needs no model here", "spec", "model", name)

    def _limits(self) -> None:
        if (retries := self._spec.max_retries) is not None:
            most = self._installation.max_attempts
            attempts = min(retries + 1, most)
            if attempts <= retries:
                self._note(
                    f"{retries} retries are {retries + 1} attempts; this installation has {most} "
                    "(`[agents] max_attempts`)",
                    "spec",
                    "maxRetries",
                )
            self._set("max_attempts", attempts, "spec", "maxRetries")
        if self._spec.step_timeout is not None:
            try:
                minutes = seconds_of(self._spec.step_timeout) / 60
            except ValueError as error:
                self._fault(f"{error} (given: {self._spec.step_timeout!r})", "spec", "stepTimeout")
            else:
                self._set("step_timeout", minutes, "spec", "stepTimeout")

    def _set(self, param: str, value: Any, *path: str) -> None:
        self.mapped.values[param] = value
        self.mapped.paths[param] = path

    def _fault(self, text: str, *path: str) -> None:
        self.mapped.faults.append((self._document.line(path), f"{'.'.join(path)}: {text}"))

    def _note(self, text: str, *path: str) -> None:
        self.mapped.notes.append((self._document.line(path), f"{'.'.join(path)}: {text}"))


def repository_of(url: str) -> tuple[str, str]:
    """Return host and ``owner/name`` of a Git clone URL.

    :raises ValueError: it is none of a repository; the message never repeats a credential.
    """
    wrong = "should be a clone URL such as https://github.com/owner/name.git"
    short = _SCP_FORM.fullmatch(url)
    if short and "://" not in url:
        host, path = short.group(1), short.group(2)
    else:
        try:
            parts = urlsplit(url)
            host, path, port = (parts.hostname or ""), parts.path, parts.port
        except ValueError:
            raise ValueError(wrong) from None
        if parts.scheme not in ("https", "http", "ssh", "git"):
            raise ValueError(wrong)
        if parts.password or (parts.username and parts.scheme in ("https", "http")):
            raise ValueError("holds a credential; take it out (and revoke it, if the file was shared)")
        if parts.query or parts.fragment:
            raise ValueError(wrong)
        if port and parts.scheme in ("https", "http"):
            host = f"{host}:{port}"
    names = path.strip("/").removesuffix(".git").split("/")
    if not host or len(names) != 2 or not all(names):
        raise ValueError(wrong)
    return host.lower(), "/".join(names)

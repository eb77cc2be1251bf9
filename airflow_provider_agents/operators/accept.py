"""The first task of a run: validates what was asked, and looks up once what the rest relies on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_provider_agents import settings
from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds, CodingTaskRequest
from airflow_provider_agents.domain.image_preset import PLACEHOLDER
from airflow_provider_agents.exceptions import ForgeAccessError, InvalidInputError
from airflow_provider_agents.operators.effective_settings import read_asked, read_own_file
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.find_preset import find_preset, has_presets
from airflow_provider_agents.operators.forge import FORGE_RETRY_POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.image_preset import ImagePreset
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_models import RepositoryInfo
    from airflow_provider_agents.operators.effective_settings import Asked, Settled
    from airflow_provider_agents.operators.ticket_reading import ReadTicket

SETTINGS_KEY = "settings"
"""XCom with each setting of the run, its value and where it comes from."""

_WRITERS = frozenset({"WRITE", "MAINTAIN", "ADMIN"})


class AcceptTaskOperator(BaseOperator):
    """Turn the conf of a run into an accepted :class:`~airflow_provider_agents.domain.coding_task.CodingTask`.

    Reads the repository, the base branch, its ``.agents.yaml`` and the issue, puts the settings of all places
    together (:mod:`~airflow_provider_agents.domain.settings_layers`), and tries the credentials that the pods will have
    (:class:`~airflow_provider_agents.operators.credential_check.CredentialCheck`). Bad input fails here, with
    every fault named, and before any pod starts or any model is paid.

    :param conf: the request; ``None``: the run's params. (templated)
    :param bounds: how many attempts and rounds the graph has.
    :param github_conn_id: Airflow connection of type ``github``. (templated)
    :return: the accepted task as a dictionary; its request has the settings that count. The XCom ``settings`` says
        where each comes from.
    :raises InvalidInputError: if something in the request is wrong, or a credential of the pods; the message
        names each fault.
    """

    template_fields: Sequence[str] = ("conf", "github_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"conf": "json"}
    ui_color = "#e6e0f8"

    def __init__(
        self,
        *,
        conf: Mapping[str, Any] | None = None,
        bounds: Bounds | None = None,
        github_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", 2)
        kwargs.setdefault("retry_delay", timedelta(seconds=15))
        kwargs.setdefault("retry_policy", FORGE_RETRY_POLICY)
        super().__init__(**kwargs)
        self.conf = conf
        self.bounds = bounds or Bounds()
        self.github_conn_id = github_conn_id or settings.text("github_conn_id", "github_default")

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook
        from airflow_provider_agents.operators.credential_check import CredentialCheck
        from airflow_provider_agents.operators.ticket_reading import read_ticket

        ti = context["ti"]
        with leaving_reason(context):
            asked = read_asked(dict(self.conf if self.conf is not None else context["params"]), self.bounds)
            hook = AgentsGitHubHook(self.github_conn_id, repository=asked.request.repository)
            faults: list[str] = []
            found: _Found | None = None
            try:
                found = hook.run(lambda client: _look_up(client, asked))
            except InvalidInputError as error:
                faults += error.faults
            authority = found.settled.effective.authority if found else None
            read: ReadTicket | None = None
            try:
                read = read_ticket(
                    asked.request,
                    run_id=ti.run_id,
                    github_conn_id=self.github_conn_id,
                    authority=authority,
                )
            except InvalidInputError as error:
                faults += error.faults
            if faults or found is None:
                raise InvalidInputError(faults)
            settled = found.settled
            task = settled.put_into(
                CodingTask.accept(
                    settled.request,
                    run_key=f"{ti.dag_id}/{ti.run_id}",
                    base_sha=found.base_sha,
                    ticket=read.ticket if read else None,
                    image_preset=found.preset,
                )
            )
            hook.run(lambda client: _check_branch(client, task))
            if read is not None and read.authority is not None:
                task = task.model_copy(update={"authority": read.authority})
            settled.log()
            ti.xcom_push(SETTINGS_KEY, settled.to_show())
            request = task.request
            program = request.agent or settings.text("agent", "claude")
            reviewer = request.review_agent if request.review != "off" else None
            for each in dict.fromkeys((program, reviewer or program)):
                CredentialCheck(
                    repository=request.repository,
                    read_repositories=request.read_repositories or (),
                    program=each,
                    github_conn_id=self.github_conn_id,
                    mcp_servers=task.mcp_servers,
                ).run()
        self.log.info("Accepted %s: %s", task.name, task.title)
        self.log.info(
            "Work branch %s, from %s at %s.", task.work_branch, request.base_branch, task.base_sha[:12]
        )
        if task.image_preset is not None:
            how = "as asked for" if request.image_preset else "from the repository's files"
            self.log.info("Image preset %s, %s.", task.image_preset, how)
        return task.model_dump(mode="json")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was looked up in the repository."""

    base_sha: str
    settled: Settled
    preset: ImagePreset | None


async def _look_up(client: GitHubClient, asked: Asked) -> _Found:
    request, base_branch = asked.request, asked.base_branch()
    try:
        repository = await client.repository(request.repository)
    except ForgeAccessError as error:
        raise InvalidInputError([f"repository: {error}"]) from None
    faults = []
    # GitHub answers to former names, too; settings and limits are those of the present one.
    if repository.name_with_owner.lower() != request.repository.lower():
        faults.append(f"repository: {request.repository} is {repository.name_with_owner} by now; name it so")
    if repository.archived:
        faults.append(f"repository: {request.repository} is archived")
    # Absent for the token of an app, whose rights show only when it acts.
    if repository.viewer_permission is not None and repository.viewer_permission not in _WRITERS:
        faults.append(
            f"repository: the connection's token has {repository.viewer_permission} on {request.repository}; "
            "it needs WRITE"
        )
    base_sha = await client.branch_head(request.repository, base_branch)
    if base_sha is None:
        faults.append(
            f"base_branch: {request.repository} has no branch {base_branch}; "
            f"its default branch is {repository.default_branch}"
        )
    if request.work_branch == repository.default_branch:
        faults.append("work_branch: is the default branch of the repository; choose another name")
    try:
        own = None if base_sha is None else await read_own_file(client, request.repository, base_sha)
        settled = asked.settle(own)
    except InvalidInputError as error:
        raise InvalidInputError([*faults, *error.faults]) from None
    request = settled.request
    faults += _setting_faults(request, repository)
    if faults or base_sha is None:
        raise InvalidInputError(faults)
    preset = None
    if has_presets() and not (request.image or request.image_preset):
        preset = await find_preset(client, request.repository, base_sha)
    return _Found(base_sha=base_sha, settled=settled, preset=preset)


async def _check_branch(client: GitHubClient, task: CodingTask) -> None:
    """Refuse a work branch whose pull request has ended: no other could be opened when the work is done."""
    request, branch = task.request, task.work_branch
    found = await client.find_pull_request(request.repository, branch, request.base_branch)
    if found is None or found.state == "OPEN":
        return
    remedy = "choose another work_branch" if request.work_branch else "start a new run"
    raise InvalidInputError(
        [f"work_branch: {found.url} of branch {branch} is {found.state.lower()} already; {remedy}"]
    )


def _setting_faults(request: CodingTaskRequest, repository: RepositoryInfo) -> Iterator[str]:
    """Yield what the repository or the installation cannot do."""
    allowed = {
        "squash": repository.squash_allowed,
        "merge": repository.merge_allowed,
        "rebase": repository.rebase_allowed,
    }
    if not allowed[request.merge_method]:
        usable = ", ".join(method for method, allows in allowed.items() if allows)
        yield (f"merge_method: {request.repository} does not allow {request.merge_method}; allowed: {usable}")
    if request.image_preset and not (request.image or has_presets()):
        yield (
            f"image_preset: `[agents] image` of this installation contains no {PLACEHOLDER}, so that no preset "
            "can be chosen; leave it empty, or name an image in `image`"
        )

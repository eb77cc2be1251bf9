"""GraphQL fields of commits and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github.check_state import CheckAnnotation, CheckRun, CheckSuite, Status
from demo.github.graphql_nodes import (
    CommitNode,
    Connection,
    RefNode,
    RollupNode,
    WorkflowRunNode,
    find_commit,
    find_ref,
)
from demo.github.graphql_registry import answers, missing
from demo.github.graphql_subjects import own_repository
from demo.github.rollups import is_required, rollup_state

if TYPE_CHECKING:
    from demo.github.state import PullRequest, Repository


@answers("CheckRun", "url")
@answers("CheckRun", "permalink")
def check_run_url(run: CheckRun, info: Any) -> str:
    link = info.context.forge.link(run.suite.repository.full_name, "runs", run.database_id)
    return run.details_url or str(link)


@answers("CheckSuite", "url")
def suite_url(suite: CheckSuite, info: Any) -> str:
    return str(info.context.forge.link(suite.repository.full_name, "actions", "runs", suite.database_id))


@answers("Commit", "author")
def commit_author(item: CommitNode, info: Any) -> dict[str, Any]:
    return _person(item.commit.author, info)


@answers("Commit", "committer")
def commit_committer(item: CommitNode, info: Any) -> dict[str, Any]:
    return _person(item.commit.committer, info)


def _person(signature: Any, info: Any) -> dict[str, Any]:
    users = info.context.forge.store.users.values()
    user = next((user for user in users if user.email == signature.email and not user.is_bot), None)
    return {"name": signature.name, "email": signature.email, "user": user}


def rollup(repo: Repository, sha: str) -> RollupNode | None:
    state = rollup_state(repo, sha)
    return RollupNode(repo, sha, state) if state else None


@answers("Commit", "statusCheckRollup")
def commit_rollup(item: CommitNode, info: Any) -> RollupNode | None:
    return rollup(item.repository, item.oid)


@answers("PullRequest", "statusCheckRollup")
def pull_rollup(pull: PullRequest, info: Any) -> RollupNode | None:
    return rollup(pull.repository, pull.head_ref_oid)


@answers("StatusCheckRollup", "commit")
async def rollup_commit(item: RollupNode, info: Any) -> CommitNode | None:
    return await find_commit(item.repository, item.sha)


@answers("StatusCheckRollup", "contexts")
def rollup_contexts(item: RollupNode, info: Any, **arguments: Any) -> Connection:
    return Connection("contexts", item.items, arguments)


@answers("CheckRun StatusContext", "isRequired")
def required(item: CheckRun | Status, info: Any, **arguments: Any) -> bool:
    repo = own_repository(item)
    number, node_id = arguments.get("pullRequestNumber"), arguments.get("pullRequestId")
    pulls = (pull for pull in repo.pulls.values() if number == pull.number or node_id == pull.id)
    pull = next(pulls, None)
    if pull is None:
        raise missing(f"a PullRequest with the number of {number}" if number else "a PullRequest: name one")
    return is_required(pull, item.name if isinstance(item, CheckRun) else item.context)


@answers("CheckRun", "checkSuite")
def check_suite(run: CheckRun, info: Any) -> CheckSuite:
    return run.suite


@answers("CheckRun", "annotations")
def check_annotations(run: CheckRun, info: Any, **arguments: Any) -> Connection:
    return Connection("annotations", run.annotations, arguments)


@answers("CheckAnnotation", "annotationLevel")
def annotation_level(annotation: CheckAnnotation, info: Any) -> str:
    return annotation.level


@answers("CheckAnnotation", "location")
def annotation_location(annotation: CheckAnnotation, info: Any) -> dict[str, Any]:
    start = {"line": annotation.line, "column": None}
    return {"start": start, "end": {"line": annotation.end_line or annotation.line, "column": None}}


@answers("CheckSuite", "commit")
async def suite_commit(suite: CheckSuite, info: Any) -> CommitNode | None:
    return await find_commit(suite.repository, suite.head_sha)


@answers("CheckSuite", "branch")
async def suite_branch(suite: CheckSuite, info: Any) -> RefNode | None:
    return await find_ref(suite.repository, suite.branch)


@answers("CheckSuite", "workflowRun")
def suite_workflow_run(suite: CheckSuite, info: Any) -> WorkflowRunNode | None:
    return WorkflowRunNode(suite) if suite.workflow else None


@answers("CheckSuite", "checkRuns")
def suite_runs(suite: CheckSuite, info: Any, **arguments: Any) -> Connection:
    return Connection("checkRuns", suite.latest_runs(), arguments)


@answers("WorkflowRun", "checkSuite")
def workflow_run_suite(item: WorkflowRunNode, info: Any) -> CheckSuite:
    return item.suite


@answers("WorkflowRun", "databaseId")
@answers("WorkflowRun", "event")
@answers("WorkflowRun", "runNumber")
@answers("WorkflowRun", "workflow")
@answers("WorkflowRun", "createdAt")
@answers("WorkflowRun", "updatedAt")
def workflow_run_fact(item: WorkflowRunNode, info: Any) -> Any:
    names = {"runNumber": "run_number", "databaseId": "database_id"}
    names |= {"createdAt": "created_at", "updatedAt": "updated_at"}
    return getattr(item.suite, names.get(info.field_name, info.field_name))


@answers("WorkflowRun", "url")
def workflow_run_url(item: WorkflowRunNode, info: Any) -> str:
    return suite_url(item.suite, info)


@answers("Workflow", "url")
def workflow_url(item: Any, info: Any) -> str:
    return str(info.context.forge.link("workflows", item.database_id))


@answers("Workflow", "updatedAt")
def workflow_updated(item: Any, info: Any) -> Any:
    return item.created_at


@answers("StatusContext", "commit")
async def status_commit(status: Status, info: Any) -> CommitNode | None:
    return await find_commit(status.repository, status.sha)

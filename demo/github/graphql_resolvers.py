"""How each GraphQL field is answered that is more than an attribute of the same name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from demo.github import merging, reviews
from demo.github.errors import ApiError
from demo.github.forge import repository_of
from demo.github.graphql_nodes import (
    BlobNode,
    CommitNode,
    Connection,
    Context,
    PullRequestCommitNode,
    RefNode,
    RollupNode,
    WorkflowRunNode,
)
from demo.github.issues import association
from demo.github.pull_requests import closing_issues
from demo.github.repositories import GitError
from demo.github.rollups import is_required, rollup_state
from demo.github.state import (
    CheckAnnotation,
    CheckRun,
    CheckSuite,
    Comment,
    Entity,
    Issue,
    PullRequest,
    Repository,
    Review,
    ReviewComment,
    ReviewThread,
    Status,
    Subject,
    User,
)

Resolver = Callable[..., Any]
RESOLVERS: dict[tuple[str, str], Resolver] = {}
"""By type and field name."""

TYPE_NAMES: dict[type, str] = {
    Repository: "Repository",
    Issue: "Issue",
    PullRequest: "PullRequest",
    Comment: "IssueComment",
    Review: "PullRequestReview",
    ReviewThread: "PullRequestReviewThread",
    ReviewComment: "PullRequestReviewComment",
    CheckRun: "CheckRun",
    CheckSuite: "CheckSuite",
    Status: "StatusContext",
    CommitNode: "Commit",
    BlobNode: "Blob",
    RefNode: "Ref",
}
"""GraphQL's name of each Python type that may stand where an interface or a union is asked for."""


def answers(types: str, field: str) -> Callable[[Resolver], Resolver]:
    """Register a resolver for ``field`` of each of the types (names with spaces between)."""

    def register(resolver: Resolver) -> Resolver:
        for name in types.split():
            RESOLVERS[name, field] = resolver
        return resolver

    return register


def missing(what: str) -> ApiError:
    return ApiError(404, f"Could not resolve to {what}.", kind="NOT_FOUND")


def type_name(value: Any, *_: Any) -> str:
    """Return GraphQL's name of the type of ``value``."""
    if isinstance(value, User):
        return "Bot" if value.is_bot else "User"
    return TYPE_NAMES.get(type(value), type(value).__name__)


# Query


@answers("Query", "viewer")
def viewer(_: Any, info: Any) -> User:
    context: Context = info.context
    return context.viewer


@answers("Query", "rateLimit")
def rate_limit(_: Any, info: Any) -> dict[str, Any]:
    context: Context = info.context
    limits = context.limits
    return {
        "cost": context.cost,
        "node_count": context.node_count,
        "limit": limits["limit"],
        "remaining": limits["remaining"],
        "used": limits["used"],
        "reset_at": datetime.fromtimestamp(limits["reset"], UTC),
    }


@answers("Query", "repository")
def repository(_: Any, info: Any, owner: str, name: str) -> Repository:
    found = info.context.forge.store.repository(f"{owner}/{name}")
    if not isinstance(found, Repository) or found.permission_of(info.context.viewer) is None:
        raise missing(f"a Repository with the name '{owner}/{name}'")
    return found


@answers("Query", "node")
def node(_: Any, info: Any, id: str) -> Any:  # noqa: A002
    return info.context.forge.node(id, Entity, info.context.viewer)


@answers("Query", "nodes")
def nodes(_: Any, info: Any, ids: list[str]) -> list[Any]:
    found: list[Any] = []
    for node_id in ids:
        try:
            found.append(info.context.forge.node(node_id, Entity, info.context.viewer))
        except ApiError as error:
            # An exception in a list fails this item alone.
            found.append(error)
    return found


# Addresses


@answers("User Bot", "url")
def user_url(user: User, info: Any) -> str:
    return str(info.context.forge.link(user.login))


@answers("Repository", "url")
def repository_url(repo: Repository, info: Any) -> str:
    return str(info.context.forge.link(repo.full_name))


@answers("Issue PullRequest", "url")
@answers("PullRequest", "permalink")
def subject_url(subject: Subject, info: Any) -> str:
    page = "pull" if isinstance(subject, PullRequest) else "issues"
    return str(info.context.forge.link(subject.repository.full_name, page, subject.number))


@answers("IssueComment", "url")
def comment_url(comment: Comment, info: Any) -> str:
    return f"{subject_url(comment.subject, info)}#issuecomment-{comment.database_id}"


@answers("PullRequestReview", "url")
def review_url(review: Review, info: Any) -> str:
    return f"{subject_url(review.pull_request, info)}#pullrequestreview-{review.database_id}"


@answers("PullRequestReviewComment", "url")
def review_comment_url(comment: ReviewComment, info: Any) -> str:
    return f"{subject_url(comment.thread.pull_request, info)}#discussion_r{comment.database_id}"


@answers("Commit Blob", "commitUrl")
@answers("Commit", "url")
def commit_url(item: CommitNode | BlobNode, info: Any) -> str:
    return str(info.context.forge.link(item.repository.full_name, "commit", item.oid))


@answers("PullRequestCommit", "url")
def pull_request_commit_url(item: PullRequestCommitNode, info: Any) -> str:
    return f"{subject_url(item.pull_request, info)}/commits/{item.commit.oid}"


@answers("CheckRun", "url")
@answers("CheckRun", "permalink")
def check_run_url(run: CheckRun, info: Any) -> str:
    link = info.context.forge.link(run.suite.repository.full_name, "runs", run.database_id)
    return run.details_url or str(link)


@answers("CheckSuite", "url")
def suite_url(suite: CheckSuite, info: Any) -> str:
    return str(info.context.forge.link(suite.repository.full_name, "actions", "runs", suite.database_id))


@answers("App Label MergeQueue", "url")
def app_url(item: Any, info: Any) -> str:
    return str(info.context.forge.link("apps", getattr(item, "slug", item.database_id)))


# Repository


@answers("Repository", "nameWithOwner")
def name_with_owner(repo: Repository, info: Any) -> str:
    return repo.full_name


@answers("Repository", "isFork")
@answers("Repository", "isEmpty")
@answers("Repository", "autoMergeAllowed")
@answers("PullRequest", "isInMergeQueue")
@answers("PullRequest", "isMergeQueueEnabled")
@answers("PullRequest", "isCrossRepository")
@answers("IssueComment PullRequestReviewComment", "isMinimized")
def never(_: Any, info: Any) -> bool:
    return False


@answers("Repository", "mergeQueue")
@answers("PullRequest", "mergeQueue")
@answers("PullRequest", "mergeQueueEntry")
@answers("PullRequest", "autoMergeRequest")
@answers("CheckRun", "text")
@answers("CheckRun", "externalId")
@answers("CheckAnnotation", "rawDetails")
@answers("CheckAnnotation", "databaseId")
def absent(_: Any, info: Any, **__: Any) -> None:
    return None


@answers("Repository", "visibility")
def visibility(repo: Repository, info: Any) -> str:
    return "PRIVATE" if repo.is_private else "PUBLIC"


@answers("Repository", "viewerPermission")
def viewer_permission(repo: Repository, info: Any) -> str | None:
    held = repo.permission_of(info.context.viewer)
    return held.upper() if held else None


@answers("Repository", "defaultBranchRef")
async def default_branch_ref(repo: Repository, info: Any) -> RefNode | None:
    return await find_ref(repo, repo.default_branch)


@answers("Repository", "ref")
async def ref(repo: Repository, info: Any, qualifiedName: str) -> RefNode | None:  # noqa: N803
    return await find_ref(repo, qualifiedName.removeprefix("refs/heads/"))


async def find_ref(repo: Repository, branch: str) -> RefNode | None:
    oid = await repo.git.branch(branch)
    return RefNode(repo, f"refs/heads/{branch}", oid) if oid else None


async def find_commit(repo: Repository, oid: str | None) -> CommitNode | None:
    if oid is None:
        return None
    try:
        return CommitNode(repo, await repo.git.commit(oid))
    except GitError:
        return None


@answers("Ref", "target")
async def ref_target(item: RefNode, info: Any) -> CommitNode | None:
    return await find_commit(item.repository, item.oid)


@answers("Repository", "object")
async def git_object(
    repo: Repository, info: Any, expression: str | None = None, oid: str | None = None
) -> CommitNode | BlobNode | None:
    revision, colon, path = (oid or expression or "").partition(":")
    if not colon:
        found = await repo.git.branch(revision) or await repo.git.resolve(revision)
        return await find_commit(repo, found)
    commit = await repo.git.branch(revision) or await repo.git.resolve(revision)
    blob = await repo.git.resolve(f"{commit}:{path}", "blob") if commit and path else None
    data = await repo.git.blob(commit, path) if commit and blob else None
    return BlobNode(repo, blob, data) if blob and data is not None else None


@answers("Repository", "issue")
def issue(repo: Repository, info: Any, number: int) -> Issue:
    if number not in repo.issues:
        raise missing(f"an Issue with the number of {number}")
    return repo.issues[number]


@answers("Repository", "pullRequest")
def pull_request(repo: Repository, info: Any, number: int) -> PullRequest:
    if number not in repo.pulls:
        raise missing(f"a PullRequest with the number of {number}")
    return repo.pulls[number]


@answers("Repository", "issueOrPullRequest")
def issue_or_pull_request(repo: Repository, info: Any, number: int) -> Issue | PullRequest:
    subject = repo.subject(number)
    if subject is None:
        raise missing(f"an issue or pull request with the number of {number}")
    return subject


@answers("Repository", "issues")
def issues_of(repo: Repository, info: Any, **arguments: Any) -> Connection:
    filters = arguments.get("filterBy") or {}
    states = arguments.get("states") or filters.get("states")
    labels = arguments.get("labels") or filters.get("labels")
    found: list[Any] = [item for item in repo.issues.values() if not states or item.state in states]
    found = _labelled(found, labels)
    if since := filters.get("since"):
        found = [item for item in found if item.updated_at >= datetime.fromisoformat(since)]
    if creator := filters.get("createdBy"):
        found = [item for item in found if item.author.login == creator]
    return Connection("issues", _ordered(found, arguments.get("orderBy")), arguments)


@answers("Repository", "pullRequests")
def pull_requests_of(repo: Repository, info: Any, **arguments: Any) -> Connection:
    found: list[Any] = list(repo.pulls.values())
    for argument, attribute in (("headRefName", "head_ref_name"), ("baseRefName", "base_ref_name")):
        if (wanted := arguments.get(argument)) is not None:
            found = [pull for pull in found if getattr(pull, attribute) == wanted]
    if states := arguments.get("states"):
        found = [pull for pull in found if pull.state in states]
    found = _labelled(found, arguments.get("labels"))
    return Connection("pullRequests", _ordered(found, arguments.get("orderBy")), arguments)


def _labelled(found: list[Any], labels: list[str] | None) -> list[Any]:
    # Any of the labels, as on GitHub; the REST list asks for all of them.
    wanted = {label.lower() for label in labels or []}
    return [item for item in found if not wanted or wanted & {label.name.lower() for label in item.labels}]


def _ordered(found: list[Any], order: dict[str, str] | None) -> list[Any]:
    keys: dict[str, Callable[[Any], Any]] = {
        "CREATED_AT": lambda item: (item.created_at, item.number),
        "UPDATED_AT": lambda item: (item.updated_at, item.number),
        "COMMENTS": lambda item: (len(item.comments), item.number),
    }
    chosen = order or {"field": "CREATED_AT", "direction": "ASC"}
    return sorted(found, key=keys[chosen["field"]], reverse=chosen["direction"] == "DESC")


# Conversations


@answers("Issue PullRequest IssueComment PullRequestReview PullRequestReviewComment", "authorAssociation")
def author_association(item: Any, info: Any) -> str:
    return association(_repository(item), item.author)


@answers("IssueComment PullRequestReview PullRequestReviewComment PullRequestReviewThread CheckRun", "repository")
def _repository(item: Any, info: Any = None) -> Repository:
    found = repository_of(item)
    assert found is not None
    return found


@answers("IssueComment PullRequest PullRequestReview PullRequestReviewComment", "viewerDidAuthor")
def viewer_did_author(item: Any, info: Any) -> bool:
    return bool(item.author is info.context.viewer)


@answers("Issue PullRequest", "labels")
def labels_of(subject: Subject, info: Any, **arguments: Any) -> Connection:
    return Connection("labels", subject.labels, arguments)


@answers("Repository", "labels")
def repository_labels(repo: Repository, info: Any, **arguments: Any) -> Connection:
    return Connection("labels", list(repo.labels.values()), arguments)


@answers("Issue PullRequest PullRequestReviewThread", "comments")
def comments_of(item: Any, info: Any, **arguments: Any) -> Connection:
    return Connection("comments", item.comments, arguments)


@answers("IssueComment", "issue")
def comment_issue(comment: Comment, info: Any) -> Issue | None:
    return comment.subject if isinstance(comment.subject, Issue) else None


@answers("IssueComment", "pullRequest")
def comment_pull_request(comment: Comment, info: Any) -> PullRequest | None:
    return comment.subject if isinstance(comment.subject, PullRequest) else None


# Pull requests


@answers("PullRequest", "headRepository")
@answers("PullRequest", "baseRepository")
def pull_repository(pull: PullRequest, info: Any) -> Repository:
    return pull.repository


@answers("PullRequest", "headRepositoryOwner")
def pull_owner(pull: PullRequest, info: Any) -> User:
    return pull.repository.owner


@answers("PullRequest", "headRef")
async def head_ref(pull: PullRequest, info: Any) -> RefNode | None:
    return await find_ref(pull.repository, pull.head_ref_name)


@answers("PullRequest", "baseRef")
async def base_ref(pull: PullRequest, info: Any) -> RefNode | None:
    return await find_ref(pull.repository, pull.base_ref_name)


@answers("PullRequest", "mergeCommit")
async def merge_commit(pull: PullRequest, info: Any) -> CommitNode | None:
    return await find_commit(pull.repository, pull.merge_commit_oid)


@answers("PullRequest", "mergeable")
async def mergeable(pull: PullRequest, info: Any) -> str:
    return await merging.mergeability(pull)


@answers("PullRequest", "mergeStateStatus")
async def merge_state_status(pull: PullRequest, info: Any) -> str:
    return await merging.merge_state(pull)


@answers("PullRequest", "reviewDecision")
def review_decision(pull: PullRequest, info: Any) -> str | None:
    return merging.review_decision(pull)


@answers("PullRequest", "closingIssuesReferences")
def closing_issues_references(pull: PullRequest, info: Any, **arguments: Any) -> Connection:
    return Connection("closingIssuesReferences", closing_issues(pull), arguments)


@answers("PullRequest", "commits")
async def commits_of(pull: PullRequest, info: Any, **arguments: Any) -> Connection:
    repo = pull.repository
    commits = await repo.git.log("--reverse", "--topo-order", pull.head_ref_oid, f"^{pull.base_ref_oid}")
    items = [PullRequestCommitNode(pull, CommitNode(repo, commit)) for commit in commits]
    return Connection("commits", items, arguments)


@answers("PullRequest", "files")
async def files_of(pull: PullRequest, info: Any, **arguments: Any) -> Connection:
    words = {"added": "ADDED", "removed": "DELETED", "renamed": "RENAMED", "copied": "COPIED"}
    files = [
        {
            "path": file.path,
            "additions": file.additions,
            "deletions": file.deletions,
            "change_type": words.get(file.status, "MODIFIED"),
        }
        for file in await reviews.changed_files(pull)
    ]
    return Connection("files", files, arguments)


@answers("PullRequest", "additions")
async def additions(pull: PullRequest, info: Any) -> int:
    return sum(file.additions for file in await reviews.changed_files(pull))


@answers("PullRequest", "deletions")
async def deletions(pull: PullRequest, info: Any) -> int:
    return sum(file.deletions for file in await reviews.changed_files(pull))


@answers("PullRequest", "changedFiles")
async def changed_files(pull: PullRequest, info: Any) -> int:
    return len(await reviews.changed_files(pull))


@answers("PullRequest", "totalCommentsCount")
def total_comments_count(pull: PullRequest, info: Any) -> int:
    return len(pull.comments) + sum(len(thread.comments) for thread in pull.threads)


@answers("PullRequest", "reviews")
def reviews_of(pull: PullRequest, info: Any, **arguments: Any) -> Connection:
    author, states = arguments.get("author"), arguments.get("states")
    found = [r for r in pull.reviews if not states or r.state in states]
    return Connection("reviews", [r for r in found if not author or r.author.login == author], arguments)


@answers("PullRequest", "latestReviews")
def latest_reviews(pull: PullRequest, info: Any, **arguments: Any) -> Connection:
    return Connection("latestReviews", pull.latest_reviews(), arguments)


@answers("PullRequest", "latestOpinionatedReviews")
def latest_opinionated_reviews(pull: PullRequest, info: Any, **arguments: Any) -> Connection:
    found = pull.latest_opinionated_reviews()
    if arguments.get("writersOnly"):
        found = [review for review in found if pull.repository.allows(review.author, "write")]
    return Connection("latestOpinionatedReviews", found, arguments)


@answers("PullRequest", "reviewThreads")
def review_threads(pull: PullRequest, info: Any, **arguments: Any) -> Connection:
    return Connection("reviewThreads", pull.threads, arguments)


# Reviews


@answers("PullRequestReview", "authorCanPushToRepository")
def author_can_push(review: Review, info: Any) -> bool:
    return review.pull_request.repository.allows(review.author, "write")


@answers("PullRequestReview", "commit")
async def review_commit(review: Review, info: Any) -> CommitNode | None:
    return await find_commit(review.pull_request.repository, review.commit_oid)


@answers("PullRequestReview", "createdAt")
@answers("PullRequestReview", "updatedAt")
def review_time(review: Review, info: Any) -> datetime:
    return review.submitted_at


@answers("PullRequestReview", "comments")
def review_comments(review: Review, info: Any, **arguments: Any) -> Connection:
    threads = review.pull_request.threads
    found = [comment for thread in threads for comment in thread.comments if comment.review is review]
    return Connection("comments", found, arguments)


@answers("PullRequestReviewThread", "isOutdated")
async def thread_outdated(thread: ReviewThread, info: Any) -> bool:
    return await reviews.is_outdated(thread)


@answers("PullRequestReviewThread", "isCollapsed")
async def thread_collapsed(thread: ReviewThread, info: Any) -> bool:
    return thread.is_resolved or await reviews.is_outdated(thread)


@answers("PullRequestReviewThread", "line")
async def thread_line(thread: ReviewThread, info: Any) -> int | None:
    return await reviews.current_line(thread)


@answers("PullRequestReviewThread", "subjectType")
def thread_subject(thread: ReviewThread, info: Any) -> str:
    return "FILE" if thread.original_line is None else "LINE"


@answers("PullRequestReviewComment", "path")
def remark_path(comment: ReviewComment, info: Any) -> str:
    return comment.thread.path


@answers("PullRequestReviewComment", "line")
async def remark_line(comment: ReviewComment, info: Any) -> int | None:
    return await reviews.current_line(comment.thread)


@answers("PullRequestReviewComment", "originalLine")
def remark_original_line(comment: ReviewComment, info: Any) -> int | None:
    return comment.thread.original_line


@answers("PullRequestReviewComment", "outdated")
async def remark_outdated(comment: ReviewComment, info: Any) -> bool:
    return await reviews.is_outdated(comment.thread)


@answers("PullRequestReviewComment", "originalCommit")
async def remark_original_commit(comment: ReviewComment, info: Any) -> CommitNode | None:
    return await find_commit(comment.thread.pull_request.repository, comment.thread.commit_oid)


@answers("PullRequestReviewComment", "commit")
async def remark_commit(comment: ReviewComment, info: Any) -> CommitNode | None:
    pull = comment.thread.pull_request
    return await find_commit(pull.repository, pull.head_ref_oid)


@answers("PullRequestReviewComment", "pullRequest")
def remark_pull(comment: ReviewComment, info: Any) -> PullRequest:
    return comment.thread.pull_request


@answers("PullRequestReviewComment", "pullRequestReview")
def remark_review(comment: ReviewComment, info: Any) -> Review:
    return comment.review


@answers("PullRequestReviewComment", "replyTo")
def remark_reply_to(comment: ReviewComment, info: Any) -> ReviewComment | None:
    first = comment.thread.comments[0]
    return None if comment is first else first


# Commits and checks


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
    repo = _repository(item)
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
def annotations(run: CheckRun, info: Any, **arguments: Any) -> Connection:
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

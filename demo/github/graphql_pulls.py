"""GraphQL fields of pull requests and their reviews."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github import merging, reviews
from demo.github.graphql_nodes import (
    CommitNode,
    Connection,
    PullRequestCommitNode,
    RefNode,
    find_commit,
    find_ref,
)
from demo.github.graphql_registry import answers
from demo.github.graphql_subjects import subject_url
from demo.github.pull_requests import closing_issues

if TYPE_CHECKING:
    from datetime import datetime

    from demo.github.state import (
        PullRequest,
        Repository,
        Review,
        ReviewComment,
        ReviewThread,
        User,
    )


@answers("PullRequestCommit", "url")
def pull_request_commit_url(item: PullRequestCommitNode, info: Any) -> str:
    return f"{subject_url(item.pull_request, info)}/commits/{item.commit.oid}"


@answers("PullRequest", "baseRepository")
def base_repository(pull: PullRequest, info: Any) -> Repository:
    return pull.repository


@answers("PullRequest", "headRepository")
def head_repository(pull: PullRequest, info: Any = None) -> Repository | None:
    return None if pull.fork_deleted else pull.fork or pull.repository


@answers("PullRequest", "headRepositoryOwner")
def head_owner(pull: PullRequest, info: Any) -> User | None:
    found = head_repository(pull)
    return found and found.owner


@answers("PullRequest", "isCrossRepository")
def is_cross_repository(pull: PullRequest, info: Any) -> bool:
    return pull.fork is not None


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

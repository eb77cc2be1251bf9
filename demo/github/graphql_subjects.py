"""GraphQL fields that issues, pull requests and what is said below them share."""

from __future__ import annotations

from typing import Any

from demo.github.forge import repository_of
from demo.github.graphql_nodes import (
    BlobNode,
    CommitNode,
    Connection,
)
from demo.github.graphql_registry import answers
from demo.github.issues import association
from demo.github.state import (
    Comment,
    PullRequest,
    Repository,
    Review,
    ReviewComment,
    Subject,
    User,
)


@answers(
    "IssueComment PullRequestReview PullRequestReviewComment PullRequestReviewThread CheckRun", "repository"
)
def own_repository(item: Any, info: Any = None) -> Repository:
    found = repository_of(item)
    assert found is not None
    return found


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


@answers("App Label", "url")
def app_url(item: Any, info: Any) -> str:
    return str(info.context.forge.link("apps", getattr(item, "slug", item.database_id)))


@answers("Repository", "isEmpty")
@answers("IssueComment PullRequestReviewComment", "isMinimized")
def never(_: Any, info: Any) -> bool:
    return False


@answers("CheckRun", "text")
@answers("CheckRun", "externalId")
@answers("CheckAnnotation", "rawDetails")
@answers("CheckAnnotation", "databaseId")
def absent(_: Any, info: Any, **__: Any) -> None:
    return None


@answers("Issue PullRequest IssueComment PullRequestReview PullRequestReviewComment", "authorAssociation")
def author_association(item: Any, info: Any) -> str:
    return association(own_repository(item), item.author)


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


@answers("IssueComment", "reactions")
def reactions_of(comment: Comment, info: Any, content: str | None = None, **arguments: Any) -> Connection:
    chosen = [reaction for reaction in comment.reactions if content in (None, reaction.content)]
    return Connection("reactions", chosen, arguments)


@answers("Bot", "login")
def bot_login(bot: User, info: Any) -> str:
    """Answer as GitHub does: REST alone puts ``[bot]`` behind it."""
    return bot.login.removesuffix("[bot]")


@answers("IssueComment", "pullRequest")
def comment_pull_request(comment: Comment, info: Any) -> PullRequest | None:
    return comment.subject if isinstance(comment.subject, PullRequest) else None

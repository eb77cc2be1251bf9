"""REST: pull requests, their merge and their reviews."""

from __future__ import annotations

from aiohttp import web

from demo.github import branch_update, pull_requests, reviews
from demo.github.errors import ApiError, custom, invalid, not_found
from demo.github.issues import edit_text
from demo.github.merging import MergeRequest, merge
from demo.github.rest import Call, Endpoint, answer, pages
from demo.github.rest_views import (
    api,
    commit_json,
    file_json,
    full_pull_json,
    pull_json,
    review_comment_json,
    review_json,
)
from demo.github.state import Review, ReviewComment


async def list_pulls(call: Call) -> web.StreamResponse:
    repository = call.repository
    state, base, head = call.query("state", "open"), call.query("base"), call.query("head")
    found = list(repository.pulls.values())
    if state != "all":
        found = [pull for pull in found if pull.closed == (state == "closed")]
    if base:
        found = [pull for pull in found if pull.base_ref_name == base]
    if ":" in head:
        # GitHub ignores a head without its owner.
        branch = pull_requests.own_branch(repository, head)
        found = [pull for pull in found if pull.head_ref_name == branch]
    key = "updated_at" if call.query("sort") == "updated" else "number"
    ascending = call.query("direction", "asc" if call.query("sort") else "desc") == "asc"
    found.sort(key=lambda pull: (getattr(pull, key), pull.number), reverse=not ascending)
    return pages(call, found, lambda pull: pull_json(call.forge, pull))


async def create_pull(call: Call) -> web.StreamResponse:
    body = await call.body()
    pull = await pull_requests.open_pull_request(
        call.forge,
        call.repository,
        call.user,
        title=body.get("title"),
        body=body.get("body"),
        head=body.get("head"),
        base=body.get("base"),
        draft=body.get("draft") is True,
    )
    return answer(await full_pull_json(call.forge, pull), 201)


async def get_pull(call: Call) -> web.StreamResponse:
    pull = call.pull
    if "diff" in call.request.headers.get("Accept", ""):
        text = await pull.repository.git.diff(pull.base_ref_oid, pull.head_ref_oid)
        return web.Response(text=text, content_type="application/vnd.github.diff", charset="utf-8")
    return answer(await full_pull_json(call.forge, pull))


async def edit_pull(call: Call) -> web.StreamResponse:
    body, pull = await call.body(), call.pull
    if body.get("state") not in (None, "open", "closed"):
        raise invalid("PullRequest", "state")
    edit_text(call.forge, pull, call.user, body)
    if body.get("base") is not None and body["base"] != pull.base_ref_name:
        await pull_requests.retarget(call.forge, pull, call.user, body["base"])
    if body.get("state") == "closed":
        pull_requests.close_pull_request(call.forge, pull, call.user)
    elif body.get("state") == "open":
        await pull_requests.reopen_pull_request(call.forge, pull, call.user)
    return answer(await full_pull_json(call.forge, pull))


async def list_files(call: Call) -> web.StreamResponse:
    pull = call.pull
    chosen, headers = call.page(await reviews.changed_files(pull))
    base, head = pull.base_ref_oid, pull.head_ref_oid
    return answer([await file_json(pull.repository, base, head, file) for file in chosen], headers=headers)


async def list_commits(call: Call) -> web.StreamResponse:
    pull = call.pull
    commits = await pull.repository.git.log("--reverse", pull.head_ref_oid, f"^{pull.base_ref_oid}")
    return pages(call, commits, lambda commit: commit_json(call.forge, pull.repository, commit))


async def get_merged(call: Call) -> web.StreamResponse:
    if not call.pull.merged:
        raise not_found()
    return web.Response(status=204)


async def merge_pull(call: Call) -> web.StreamResponse:
    body, pull = await call.body(), call.pull
    wanted = MergeRequest(
        method=str(body.get("merge_method") or "merge"),
        sha=body.get("sha"),
        title=body.get("commit_title"),
        message=body.get("commit_message"),
    )
    sha = await merge(call.forge, pull, call.user, wanted)
    return answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


async def update_branch(call: Call) -> web.StreamResponse:
    body, pull = await call.body(), call.pull
    await branch_update.update_branch(
        call.forge, pull, call.user, expected_head=body.get("expected_head_sha")
    )
    address = api(call.forge, "repos", pull.repository.full_name, "pulls", pull.number)
    return answer({"message": "Updating pull request branch.", "url": address}, 202)


async def list_reviews(call: Call) -> web.StreamResponse:
    return pages(call, call.pull.reviews, lambda review: review_json(call.forge, review))


async def create_review(call: Call) -> web.StreamResponse:
    body, pull = await call.body(), call.pull
    if "event" not in body:
        raise ApiError(422, "The stand-in has no pending reviews: send an event with the review.")
    review = await reviews.submit_review(
        call.forge,
        pull,
        call.user,
        event=body.get("event"),
        body=body.get("body"),
        comments=[remark for remark in body.get("comments") or [] if isinstance(remark, dict)],
        commit_oid=body.get("commit_id"),
    )
    return answer(review_json(call.forge, review))


async def dismiss_review(call: Call) -> web.StreamResponse:
    review = call.entity(Review)
    reviews.dismiss(call.forge, review, call.user)
    return answer(review_json(call.forge, review))


async def list_review_comments(call: Call) -> web.StreamResponse:
    comments = [comment for thread in call.pull.threads for comment in thread.comments]
    chosen, headers = call.page(comments)
    return answer([await review_comment_json(call.forge, comment) for comment in chosen], headers=headers)


async def create_review_comment(call: Call) -> web.StreamResponse:
    body, pull = await call.body(), call.pull
    if body.get("in_reply_to"):
        return await _reply(call, body["in_reply_to"], body.get("body"))
    try:
        await reviews.submit_review(
            call.forge, pull, call.user, event="COMMENT", comments=[body], commit_oid=body.get("commit_id")
        )
    except reviews.UnresolvedPlaceError as error:
        # This endpoint says the same in another form.
        raise custom(
            "PullRequestReviewComment", "could not be resolved", f"pull_request_review_thread.{error.field}"
        ) from None
    return answer(await review_comment_json(call.forge, pull.threads[-1].comments[0]), 201)


async def reply_to_comment(call: Call) -> web.StreamResponse:
    body = await call.body()
    return await _reply(call, call.number("id"), body.get("body"))


async def _reply(call: Call, comment_id: object, text: object) -> web.StreamResponse:
    first = call.forge.store.find(ReviewComment, comment_id) if isinstance(comment_id, int) else None
    if first is None or first.thread.pull_request is not call.pull:
        raise not_found()
    comment = reviews.reply(call.forge, first.thread, call.user, text)
    return answer(await review_comment_json(call.forge, comment), 201)


_PULLS = "/repos/{owner}/{repo}/pulls"
_PULL = _PULLS + "/{number:\\d+}"

ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", _PULLS, list_pulls),
    ("POST", _PULLS, create_pull),
    ("GET", _PULL, get_pull),
    ("PATCH", _PULL, edit_pull),
    ("GET", _PULL + "/files", list_files),
    ("GET", _PULL + "/commits", list_commits),
    ("GET", _PULL + "/merge", get_merged),
    ("PUT", _PULL + "/merge", merge_pull),
    ("PUT", _PULL + "/update-branch", update_branch),
    ("GET", _PULL + "/reviews", list_reviews),
    ("POST", _PULL + "/reviews", create_review),
    ("PUT", _PULL + "/reviews/{id:\\d+}/dismissals", dismiss_review),
    ("GET", _PULL + "/comments", list_review_comments),
    ("POST", _PULL + "/comments", create_review_comment),
    ("POST", _PULL + "/comments/{id:\\d+}/replies", reply_to_comment),
)

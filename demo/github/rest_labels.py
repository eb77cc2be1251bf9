"""REST: the labels of a repository, and who is asked for a review of a pull request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from demo.github.errors import custom, invalid, not_found
from demo.github.forge import require
from demo.github.rest import Call, Endpoint, answer, pages, strings
from demo.github.rest_views import label_json, pull_json
from demo.github.state import Label

if TYPE_CHECKING:
    from aiohttp import web

_COLOR = re.compile(r"[0-9a-fA-F]{6}")


async def list_labels(call: Call) -> web.StreamResponse:
    repository = call.repository
    return pages(
        call, list(repository.labels.values()), lambda label: label_json(call.forge, repository, label)
    )


async def get_label(call: Call) -> web.StreamResponse:
    repository = call.repository
    label = repository.labels.get(call.request.match_info["label"].lower())
    if label is None:
        raise not_found()
    return answer(label_json(call.forge, repository, label))


async def create_label(call: Call) -> web.StreamResponse:
    repository, body = call.repository, await call.body()
    require(repository, call.user, "write")
    name, color = body.get("name"), body.get("color", "ededed")
    if not isinstance(name, str) or not 0 < len(name) <= 50:
        raise invalid("Label", "name")
    if not isinstance(color, str) or not _COLOR.fullmatch(color):
        raise invalid("Label", "color")
    if name.lower() in repository.labels:
        raise invalid("Label", "name", "already_exists")
    label = Label(name=name, color=color, description=body.get("description"))
    repository.labels[name.lower()] = call.forge.store.add(label)
    return answer(label_json(call.forge, repository, label), 201)


async def request_reviewers(call: Call) -> web.StreamResponse:
    """Ask people for a review; the stand-in keeps no record of it but this answer."""
    pull, body = call.pull, await call.body()
    require(pull.repository, call.user, "write")
    asked = []
    for login in strings(body.get("reviewers")):
        user = call.forge.store.users.get(login)
        if user is None or not pull.repository.allows(user, "read"):
            raise custom("PullRequest", "Reviews may only be requested from collaborators.")
        if user is pull.author:
            raise custom("PullRequest", "Review cannot be requested from pull request author.")
        asked.append(login)
    values: dict[str, Any] = pull_json(call.forge, pull)
    return answer({**values, "requested_reviewers": [{"login": login} for login in asked]}, 201)


_REPOSITORY = "/repos/{owner}/{repo}"

ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", _REPOSITORY + "/labels", list_labels),
    ("POST", _REPOSITORY + "/labels", create_label),
    ("GET", _REPOSITORY + "/labels/{label}", get_label),
    ("POST", _REPOSITORY + "/pulls/{number:\\d+}/requested_reviewers", request_reviewers),
)

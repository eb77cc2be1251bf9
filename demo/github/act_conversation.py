"""Acts about what is said: comments, the emojis below them, and review threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github import issues, reactions, reviews
from demo.github.act_subjects import comment_of, subject_of
from demo.github.errors import ApiError
from demo.github.state import ReviewThread

if TYPE_CHECKING:
    from demo.github.act_subjects import Act
    from demo.github.forge import Forge
    from demo.github.state import Repository, User


async def comment(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Comment ``body`` on the issue or pull request ``number``."""
    made = issues.add_comment(forge, subject_of(repository, values), user, values.get("body"))
    return {"id": made.database_id, "node_id": made.id}


async def reply(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Answer ``body`` in the review ``thread`` (node id)."""
    made = reviews.reply(
        forge, forge.node(str(values.get("thread")), ReviewThread, user), user, values.get("body")
    )
    return {"id": made.database_id}


async def resolve(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Resolve the review ``thread`` (node id), or open it again with ``resolved: false``."""
    thread = forge.node(str(values.get("thread")), ReviewThread, user)
    reviews.set_resolved(forge, thread, user, values.get("resolved", True) is True)
    return {"resolved": thread.is_resolved}


async def edit_comment(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Replace the text of a comment (see :func:`~demo.github.act_subjects.comment_of`) by ``body``, or
    ``tick`` or ``untick`` the box that stands before these words in it, as a click on it does.
    """
    found = comment_of(forge, repository, user, values)
    issues.edit_comment(
        forge, found, user, values["body"] if "body" in values else _ticked(found.body, values)
    )
    return {"id": found.database_id, "node_id": found.id, "body": found.body}


def _ticked(body: str, values: dict[str, Any]) -> str:
    """Return a comment as GitHub's page sends it once a box is clicked: with the line ends of forms."""
    ticks = "tick" in values
    words = str(values.get("tick") or values.get("untick") or "")
    before, after = f"- [{' ' if ticks else 'x'}] {words}", f"- [{'x' if ticks else ' '}] {words}"
    lines = body.splitlines()
    if not words or not any(line.strip().startswith(before) for line in lines):
        raise ApiError(422, f"The comment has no line {before!r}.")
    return "\r\n".join(
        line.replace(before, after, 1) if line.strip().startswith(before) else line for line in lines
    )


async def react(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Put the emoji ``content`` (``+1``, the default, ``heart`` …) below a comment
    (see :func:`~demo.github.act_subjects.comment_of`); with ``taken_back`` remove it.
    """
    found = comment_of(forge, repository, user, values)
    content = values.get("content") or "+1"
    if values.get("taken_back"):
        reactions.take_back(forge, found, user, content)
    else:
        reactions.react(forge, found, user, content)
    return {"comment": found.database_id, "reactions": len(found.reactions)}


ACTS: dict[str, Act] = {
    "comment": comment,
    "edit_comment": edit_comment,
    "react": react,
    "reply": reply,
    "resolve": resolve,
}

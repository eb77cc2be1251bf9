"""Reactions: emojis below comments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.github.errors import invalid
from demo.github.forge import Forge, require, writable
from demo.github.issues import record_comment
from demo.github.state import Comment, Reaction, User

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENTS: Mapping[str, str] = {
    "+1": "THUMBS_UP",
    "-1": "THUMBS_DOWN",
    "laugh": "LAUGH",
    "hooray": "HOORAY",
    "confused": "CONFUSED",
    "heart": "HEART",
    "rocket": "ROCKET",
    "eyes": "EYES",
}
"""REST's word → GraphQL's."""


def react(forge: Forge, comment: Comment, actor: User, content: object) -> Reaction:
    """Put an emoji below a comment, once for each person and emoji: a second time gives the first one back.

    :param content: REST's or GraphQL's word.
    :raises ApiError: 404 where ``actor`` may not read the comment; 422 for another word.
    """
    repository = comment.subject.repository
    require(repository, actor, "read")
    writable(repository)
    word = CONTENTS.get(str(content), str(content))
    if word not in CONTENTS.values():
        raise invalid("Reaction", "content")
    for reaction in comment.reactions:
        if reaction.author is actor and reaction.content == word:
            return reaction
    made = forge.store.add(Reaction(comment=comment, author=actor, content=word))
    comment.reactions.append(made)
    record_comment(forge, "reaction.created", comment, actor, content=word)
    return made


def take_back(forge: Forge, comment: Comment, actor: User, content: object) -> None:
    """Remove one's own emoji; where there is none, nothing happens."""
    word = CONTENTS.get(str(content), str(content))
    for reaction in [r for r in comment.reactions if r.author is actor and r.content == word]:
        comment.reactions.remove(reaction)
        del forge.store.nodes[reaction.id]
        record_comment(forge, "reaction.deleted", comment, actor, content=word)

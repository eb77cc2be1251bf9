"""GraphQL's mutation that moves a branch, or deletes it, if it is where it is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github.errors import ApiError
from demo.github.git_values import ZERO
from demo.github.graphql_mutations import mutation
from demo.github.pushes import move_branch
from demo.github.state import Repository

if TYPE_CHECKING:
    from demo.github.graphql_nodes import Context


@mutation("updateRefs")
async def update_refs(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    repository = context.forge.node(values["repositoryId"], Repository, context.viewer)
    updates = values["refUpdates"]
    if len(updates) != 1 or not updates[0]["name"].startswith("refs/heads/"):
        raise ApiError(422, "The stand-in updates one branch a request.")
    branch = updates[0]["name"].removeprefix("refs/heads/")
    expected = updates[0].get("beforeOid")
    if expected == ZERO:
        raise ApiError(422, "The stand-in makes no branches this way.")
    await move_branch(
        context.forge, repository, context.viewer, branch, updates[0]["afterOid"], expected=expected
    )
    return {}

"""What the calls of housekeeping conclude from answers that are whole, partial, refused or lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_branch_calls import DELETE_REF, BranchCalls
from airflow_provider_agents.hooks.github_models import ClosedRef
from airflow_provider_agents.hooks.github_transport import GraphQLAnswer

if TYPE_CHECKING:
    from airflow_provider_agents.domain.stale_branches import ClosedWork

SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 15, tzinfo=UTC)
HEAD = "a" * 40


class Transport:
    """Answers queries in order, and mutations with what is told."""

    def __init__(self, *answers: Any, mutation: Exception | None = None) -> None:
        self.answers = list(answers)
        self.mutation = mutation
        self.asked: list[dict[str, Any]] = []

    async def query(self, document: str, variables: Any, operation: Any) -> GraphQLAnswer:
        self.asked.append(dict(variables))
        data = self.answers.pop(0)
        errors = data.pop("errors", ()) if isinstance(data, dict) else ()
        return GraphQLAnswer(data=data, errors=errors)

    async def mutate(self, document: str, variables: Any, operation: Any) -> Any:
        assert document is DELETE_REF
        self.asked.append(dict(variables))
        if self.mutation is not None:
            raise self.mutation
        return {"updateRefs": {"clientMutationId": None}}


def calls(*answers: Any, mutation: Exception | None = None) -> tuple[BranchCalls, Transport]:
    transport = Transport(*answers, mutation=mutation)
    client = BranchCalls()
    client._transport = transport  # type: ignore[assignment]
    return client, transport


def node(number: int = 7, branch: str = "ai/task-12345678", **values: Any) -> dict[str, Any]:
    found = {"number": number, "headRefName": branch, "headRef": {"id": "REF"}}
    return found | {"repository": {"nameWithOwner": "acme/shop"}} | values


def page(*nodes: Any, total: int = 1, after: str | None = None) -> dict[str, Any]:
    info = {"hasNextPage": after is not None, "endCursor": after}
    return {"search": {"issueCount": total, "pageInfo": info, "nodes": list(nodes)}}


@pytest.mark.parametrize(("login", "author"), [("mona", "mona"), ("agents[bot]", "app/agents")])
async def test_own_work_of_a_span_is_searched_for(login: str, author: str) -> None:
    others = [node(branch="feature"), node(headRef=None), None, {}, node(repository=None)]
    client, transport = calls(
        {"viewer": {"login": login}}, page(node(), *others, after="c1"), page(node(8), total=8)
    )
    found, more = await client.own_closed_pull_requests(SINCE, UNTIL, prefix="ai/")
    assert found == [
        ClosedRef(repository="acme/shop", number=number, branch="ai/task-12345678") for number in (7, 8)
    ]
    assert more is False
    assert transport.asked[1]["search"] == (
        f"is:pr is:closed author:{author} closed:2026-01-01T00:00:00Z..2026-01-15T00:00:00Z"
    )
    assert [asked["after"] for asked in transport.asked[1:]] == [None, "c1"]


@pytest.mark.parametrize(("total", "more", "read"), [(1000, False, 10), (1001, True, 1)])
async def test_a_search_that_cannot_tell_of_all_says_so_at_once(total: int, more: bool, read: int) -> None:
    pages = [page(node(), total=total, after=f"c{number}") for number in range(20)]
    client, transport = calls({"viewer": {"login": "mona"}}, *pages)
    found, has_more = await client.own_closed_pull_requests(SINCE, UNTIL, prefix="ai/")
    assert (len(found), has_more, len(transport.asked)) == (read, more, read + 1)


@pytest.mark.parametrize("answers", [({"viewer": None},), ({"viewer": {"login": "mona"}}, {"search": None})])
async def test_a_search_without_an_answer_is_an_error(answers: tuple[Any, ...]) -> None:
    client, _ = calls(*answers)
    with pytest.raises(ForgeError):
        await client.own_closed_pull_requests(SINCE, UNTIL, prefix="ai/")


def repository(sha: str | None = HEAD, **values: Any) -> dict[str, Any]:
    pull = {
        "url": "https://forge.example/acme/shop/pull/7",
        "body": "B",
        "state": "CLOSED",
        "closedAt": "2026-01-02T00:00:00Z",
        "viewerDidAuthor": True,
        "isCrossRepository": False,
        "headRefName": "b",
        "headRefOid": HEAD,
    }
    found = {
        "id": "R",
        "nameWithOwner": "acme/shop",
        "ref": {"target": {"oid": sha}} if sha else None,
        "from": {"totalCount": 0},
        "into": {"totalCount": 0},
        "pullRequest": pull | values.pop("pull", {}),
    }
    return {"repository": found | values}


async def work(*answers: Any) -> ClosedWork:
    client, _ = calls(*answers)
    return await client.closed_work("acme/shop", 7, "b")


async def test_a_pull_request_and_its_branch_are_read_in_one() -> None:
    found = await work(repository(**{"from": {"totalCount": 1}, "into": {"totalCount": 2}}))
    assert (found.open_pull_requests, found.branch_sha, found.head_sha) == (3, HEAD, HEAD)
    assert (found.ours, found.cross_repository, found.merged) == (True, False, False)
    assert (await work(repository(None))).branch_sha is None
    assert (await work(repository(pull={"state": "MERGED"}))).merged is True
    assert (await work(repository(pull={"state": "OPEN"}))).closed_at is None


@pytest.mark.parametrize(
    ("pull", "attribute", "value"),
    [
        ({"viewerDidAuthor": None}, "ours", False),
        ({"isCrossRepository": None}, "cross_repository", True),
        ({"closedAt": "soon"}, "closed_at", None),
    ],
)
async def test_what_is_absent_speaks_against_deletion(pull: Any, attribute: str, value: Any) -> None:
    assert getattr(await work(repository(pull=pull)), attribute) is value


@pytest.mark.parametrize(
    "answer",
    [
        {"repository": None},
        repository(pullRequest=None),
        repository(into=None),
        repository(**{"from": {"totalCount": None}}),
        repository(ref={"target": None}),
        repository(id=None),
        repository(pull={"headRefName": "another"}),
        repository(pull={"headRefOid": None}),
        repository() | {"errors": ({"message": "Something went wrong", "path": ["repository", "into"]},)},
    ],
)
async def test_nothing_is_concluded_from_a_part_of_an_answer(answer: Any) -> None:
    with pytest.raises(ForgeError):
        await work(answer)


async def test_a_deletion_names_the_commit_that_it_expects() -> None:
    found = await work(repository())
    client, transport = calls()
    assert await client.delete_branch_at(found) is True
    assert transport.asked == [{"repository": "R", "ref": "refs/heads/b", "head": HEAD, "nothing": "0" * 40}]


LOST, CONFLICT = ForgeUnavailableError("the answer was lost"), ForgeConflictError("rejected")


@pytest.mark.parametrize(
    ("error", "now", "outcome"),
    [
        (LOST, repository(None), True),
        (LOST, repository("b" * 40), False),
        (CONFLICT, repository(None), False),
        (CONFLICT, repository("b" * 40), False),
        (ForgeUnavailableError("odd"), repository("b" * 40), False),
    ],
)
async def test_after_a_refusal_or_a_lost_answer_the_branch_itself_tells(
    error: Exception, now: Any, outcome: bool
) -> None:
    found = await work(repository())
    client, _ = calls(now, mutation=error)
    assert await client.delete_branch_at(found) is outcome


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LOST, "was lost"),
        (CONFLICT, "a rule of the repository may protect it"),
        (ForgeAccessError("Contents: write is missing"), "Contents: write"),
    ],
)
async def test_a_branch_that_could_not_be_deleted_is_told(error: ForgeError, text: str) -> None:
    found = await work(repository())
    client, _ = calls(repository(), mutation=error)
    with pytest.raises(type(error), match=text):
        await client.delete_branch_at(found)

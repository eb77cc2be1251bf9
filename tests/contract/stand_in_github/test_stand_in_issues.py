"""Issues as such: their timeline, edits, assignees, family, locks and moves, and the webhooks of them."""

from __future__ import annotations

import pytest

from demo.github.errors import ApiError
from demo.github.webhook_payloads import events_of

REPOSITORY = "acme/calc"
ISSUE = """query($number: Int!) { repository(owner: "acme", name: "calc") { nameWithOwner issue(number: $number) {
  id title body state locked lastEditedAt editor { login } author { login }
  assignees(first: 10) { nodes { login } }
  userContentEdits(first: 10) { nodes { editedAt editor { login } } }
  parent { number } subIssues(first: 10) { nodes { number } }
  timelineItems(first: 100) { totalCount filteredCount nodes { __typename
    ... on LabeledEvent { actor { login } label { name } } ... on UnlabeledEvent { label { name } }
    ... on AssignedEvent { assignee { ... on User { login } ... on Bot { login } } }
    ... on RenamedTitleEvent { previousTitle currentTitle } ... on TransferredEvent { actor { login } } } }
  labels: timelineItems(first: 100, itemTypes: [LABELED_EVENT]) { totalCount filteredCount nodes { __typename } }
} } }"""


async def issue(agent, number=1):
    body = await agent.graphql(ISSUE, number=number)
    assert "errors" not in body, body["errors"]
    return body["data"]["repository"]["issue"]


async def test_labels_and_titles_are_in_the_timeline(seeded, agent):
    await seeded.act("alice", "edit", REPOSITORY, number=1, title="Better", labels=["agent"])
    found = await issue(agent)
    assert [node["__typename"] for node in found["timelineItems"]["nodes"]] == [
        "LabeledEvent",
        "RenamedTitleEvent",
        "UnlabeledEvent",
        "LabeledEvent",
    ]
    events = found["timelineItems"]["nodes"]
    assert (events[0]["actor"], events[0]["label"]) == ({"login": "acme"}, {"name": "bug"})
    assert (events[3]["actor"], events[3]["label"]) == ({"login": "alice"}, {"name": "agent"})
    assert events[1]["currentTitle"] == "Better"
    assert (found["labels"]["totalCount"], found["labels"]["filteredCount"]) == (4, 2)


async def test_edits_of_the_body_begin_with_the_body_as_written(seeded, agent):
    assert (await issue(agent))["lastEditedAt"] is None
    await seeded.act("alice", "edit", REPOSITORY, number=1, body="New")
    await seeded.act("alice", "edit", REPOSITORY, number=1, body="New")
    found = await issue(agent)
    assert [edit["editor"]["login"] for edit in found["userContentEdits"]["nodes"]] == ["alice", "acme"]
    assert found["editor"] == {"login": "alice"}


async def test_assignees_are_people_and_events_tell_of_bots_too(seeded, agent):
    await seeded.act("alice", "assign", REPOSITORY, number=1, to=["alice", "helper[bot]"])
    found = await issue(agent)
    assert found["assignees"]["nodes"] == [{"login": "alice"}]
    assert [e["assignee"]["login"] for e in found["timelineItems"]["nodes"][1:]] == ["alice", "helper"]
    filters = 'filterBy: {assignee: "Alice"}'
    query = (
        f'{{ repository(owner: "acme", name: "calc") {{ issues(first: 9, {filters}) {{ totalCount }} }} }}'
    )
    assert (await agent.graphql(query))["data"]["repository"]["issues"]["totalCount"] == 1
    with pytest.raises(ApiError):
        await seeded.act("reader", "assign", REPOSITORY, number=1, to=["reader"])


async def test_the_family_of_an_issue(seeded, agent):
    for title in ("Two", "Three"):
        await seeded.act("alice", "open_issue", REPOSITORY, title=title)
    for child in (3, 2):
        await seeded.act("alice", "add_sub_issue", REPOSITORY, number=1, child=child)
    assert [node["number"] for node in (await issue(agent))["subIssues"]["nodes"]] == [3, 2]
    assert (await issue(agent, 2))["parent"] == {"number": 1}
    for number, child in ((3, 2), (1, 1)):
        with pytest.raises(ApiError):
            await seeded.act("alice", "add_sub_issue", REPOSITORY, number=number, child=child)


async def test_only_writers_comment_on_a_locked_issue(seeded, agent):
    await seeded.act("alice", "lock", REPOSITORY, number=1)
    assert (await issue(agent))["locked"] is True
    await seeded.act("agent", "comment", REPOSITORY, number=1, body="Still here")
    with pytest.raises(ApiError, match="issue is locked"):
        await seeded.act("reader", "comment", REPOSITORY, number=1, body="Me too")
    await seeded.act("alice", "lock", REPOSITORY, number=1, locked=False)
    await seeded.act("reader", "comment", REPOSITORY, number=1, body="Me too")


async def test_a_transfer_takes_everything_along(seeded, agent):
    await seeded.seed_synthetic("acme/old", {"a.py": "1\n"})
    old = seeded.create_issue("acme/old", "Moved", labels=["agent"])
    await seeded.act("agent", "comment", "acme/old", number=1, body="Hello")
    before = old.id
    moved = await seeded.act("acme", "transfer", "acme/old", number=1, to=REPOSITORY)
    found = await issue(agent, moved["number"])
    assert found["id"] == moved["node_id"] != before
    assert [node["__typename"] for node in found["timelineItems"]["nodes"]] == [
        "LabeledEvent",
        "TransferredEvent",
    ]
    body = await agent.graphql("query($id: ID!) { node(id: $id) { id } }", id=before)
    assert body["errors"][0]["type"] == "NOT_FOUND"


async def test_a_former_name_leads_to_the_repository_until_it_is_taken(seeded, agent):
    await seeded.act("acme", "rename_repository", REPOSITORY, to="abacus")
    body = await agent.graphql(ISSUE, number=1)
    assert body["data"]["repository"]["nameWithOwner"] == "acme/abacus"
    await seeded.seed_synthetic(REPOSITORY, {"a.py": "1\n"})
    body = await agent.graphql(ISSUE, number=1)
    assert body["errors"][0]["type"] == "NOT_FOUND"


async def test_what_a_deleted_account_wrote_has_no_author(seeded, agent):
    await seeded.act("reader", "open_issue", REPOSITORY, title="Mine")
    await seeded.act("reader", "delete_account", REPOSITORY)
    assert (await issue(agent, 2))["author"] is None
    assert (await agent.repo("GET", "/collaborators/reader/permission")).status == 404
    with pytest.raises(ApiError):
        await seeded.act("reader", "delete_account", "acme/none")


async def test_members_of_a_team(seeded, agent):
    await seeded.act("alice", "join_team", REPOSITORY, team="acme/Platform")
    await seeded.act("reader", "join_team", REPOSITORY, team="acme/platform", pending=True)
    for login, status, state in (("Alice", 200, "active"), ("reader", 200, "pending"), ("agent", 404, None)):
        found = await agent.call("GET", f"/api/v3/orgs/acme/teams/platform/memberships/{login}")
        assert (found.status, found.body.get("state")) == (status, state)


async def test_webhooks_of_issues(seeded):
    await seeded.act("alice", "open_issue", REPOSITORY, title="Two", labels=["agent"])
    await seeded.act("alice", "edit", REPOSITORY, number=2, title="Second", labels=["bug", "urgent"])
    await seeded.act("alice", "assign", REPOSITORY, number=2, to=["agent"])
    await seeded.act("alice", "close", REPOSITORY, number=2)
    told = [
        (name, payload["action"], payload.get("label", {}).get("name"))
        for entry in seeded.forge.mutations.entries
        if entry["number"] == 2
        for name, payload in events_of(seeded.forge, entry)
    ]
    assert told == [
        ("issues", "opened", None),
        ("issues", "edited", None),
        ("issues", "labeled", "bug"),
        ("issues", "labeled", "urgent"),
        ("issues", "unlabeled", "agent"),
        ("issues", "assigned", None),
        ("issues", "closed", None),
    ]

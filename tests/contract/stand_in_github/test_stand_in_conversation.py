from __future__ import annotations

import pytest

from demo.github.errors import ApiError

REPOSITORY = "acme/calc"
SAID = """query { repository(owner: "acme", name: "calc") { issueOrPullRequest(number: 1) { ... on Issue {
  updatedAt comments(first: 10) { nodes { id body updatedAt author { __typename login } editor { login }
    reactions(first: 10) { totalCount nodes { id content createdAt user { login } } }
    thumbs: reactions(first: 10, content: THUMBS_UP) { nodes { user { login } } } } } } } } }"""


async def ticket(agent):
    body = await agent.graphql(SAID)
    assert "errors" not in body, body["errors"]
    return body["data"]["repository"]["issueOrPullRequest"]


async def said(agent):
    return (await ticket(agent))["comments"]["nodes"]


@pytest.fixture
async def comment(seeded, agent):
    """Number and node id of a comment of the agent's on the issue."""
    return await seeded.act("agent", "comment", REPOSITORY, number=1, body="- [ ] Two\n- [x] Three")


async def test_everybody_who_may_read_reacts_once_with_each_emoji(seeded, agent, comment):
    for who, content in (("alice", "+1"), ("alice", "THUMBS_UP"), ("alice", "eyes"), ("reader", "+1")):
        await seeded.act(who, "react", REPOSITORY, comment=comment["id"], content=content)
    (found,) = await said(agent)
    assert found["reactions"]["totalCount"] == 3
    reactions = [(r["user"]["login"], r["content"]) for r in found["reactions"]["nodes"]]
    assert reactions == [("alice", "THUMBS_UP"), ("alice", "EYES"), ("reader", "THUMBS_UP")]
    assert [r["user"]["login"] for r in found["thumbs"]["nodes"]] == ["alice", "reader"]
    entries = [m for m in seeded.mutations if m["kind"] == "reaction.created"]
    assert [(m["actor"], m["number"], m["details"]) for m in entries][:2] == [
        ("alice", 1, {"comment_id": comment["id"], "content": "THUMBS_UP"}),
        ("alice", 1, {"comment_id": comment["id"], "content": "EYES"}),
    ]
    node = found["reactions"]["nodes"][0]["id"]
    lookup = "query($id: ID!) {node(id: $id) {__typename ... on Reaction {content}}}"
    assert (await agent.graphql(lookup, id=node))["data"]["node"] == {
        "__typename": "Reaction",
        "content": "THUMBS_UP",
    }


async def test_a_reaction_is_taken_back_by_its_author_alone(seeded, agent, comment):
    for who in ("alice", "reader"):
        await seeded.act(who, "react", REPOSITORY, number=1)
    await seeded.act("alice", "react", REPOSITORY, number=1, taken_back=True)
    await seeded.act("alice", "react", REPOSITORY, number=1, taken_back=True)
    (found,) = await said(agent)
    assert [r["user"]["login"] for r in found["reactions"]["nodes"]] == ["reader"]
    assert [m["actor"] for m in seeded.mutations if m["kind"] == "reaction.deleted"] == ["alice"]


async def test_reactions_move_no_times_and_go_with_their_comment(seeded, agent, comment):
    seeded.forge.clock.stop()
    before = await ticket(agent)
    seeded.forge.clock.advance(60)
    await seeded.act("alice", "react", REPOSITORY, number=1)
    after = await ticket(agent)
    assert after["updatedAt"] == before["updatedAt"]
    (was,), (found,) = before["comments"]["nodes"], after["comments"]["nodes"]
    assert found["updatedAt"] == was["updatedAt"]
    (reaction,) = found["reactions"]["nodes"]
    assert reaction["createdAt"] > found["updatedAt"]
    assert (await agent.repo("DELETE", f"/issues/comments/{comment['id']}")).status == 204
    assert reaction["id"] not in seeded.forge.store.nodes


async def test_a_bots_reaction_has_no_user(seeded, agent, comment):
    await seeded.act("acme", "configure", REPOSITORY, private=False)
    await seeded.act("ci[bot]", "react", REPOSITORY, number=1)
    (found,) = await said(agent)
    assert [r["user"] for r in found["reactions"]["nodes"]] == [None]


async def test_graphql_names_a_bot_without_its_suffix(seeded, agent):
    await seeded.act("acme", "configure", REPOSITORY, private=False)
    await seeded.act("ci[bot]", "comment", REPOSITORY, number=1, body="Coverage.")
    (found,) = await said(agent)
    assert found["author"] == {"__typename": "Bot", "login": "ci"}
    (listed,) = (await agent.repo("GET", "/issues/1/comments")).body
    assert (listed["user"]["type"], listed["user"]["login"]) == ("Bot", "ci[bot]")


@pytest.mark.parametrize(
    ("who", "values", "status"),
    [
        ("stranger", {"number": 1}, 404),
        ("alice", {"number": 1, "content": "tada"}, 422),
        ("alice", {"number": 1, "by": "reader"}, 404),
        ("alice", {"comment": 1}, 404),
        ("alice", {"comment": "IC_gone"}, 404),
    ],
)
async def test_what_is_no_reaction(seeded, comment, who, values, status):
    count = len(seeded.mutations)
    with pytest.raises(ApiError) as refused:
        await seeded.act(who, "react", REPOSITORY, **values)
    assert refused.value.status == status
    assert len(seeded.mutations) == count


async def test_people_tick_boxes_in_the_comments_of_others(seeded, agent, comment):
    await seeded.act("alice", "comment", REPOSITORY, number=1, body="Later")
    await seeded.act("alice", "edit_comment", REPOSITORY, number=1, by="agent", tick="Two")
    await seeded.act("alice", "edit_comment", REPOSITORY, comment=comment["node_id"], untick="Three")
    found, _ = await said(agent)
    # As the forms of GitHub's pages send it.
    assert found["body"] == "- [x] Two\r\n- [ ] Three"
    assert (found["author"]["login"], found["editor"]) == ("agent", {"login": "alice"})
    assert [(m["actor"], m["details"]) for m in seeded.mutations if m["kind"] == "comment.edited"] == [
        ("alice", {"comment_id": comment["id"], "body": "- [x] Two\r\n- [x] Three"}),
        ("alice", {"comment_id": comment["id"], "body": "- [x] Two\r\n- [ ] Three"}),
    ]


@pytest.mark.parametrize(
    ("who", "values", "status"),
    [
        ("reader", {"body": "Mine now"}, 403),
        ("alice", {"body": " "}, 422),
        ("alice", {"tick": "Three"}, 422),
        ("alice", {"untick": "Two"}, 422),
        ("alice", {"tick": ""}, 422),
    ],
)
async def test_what_is_no_edit(seeded, agent, comment, who, values, status):
    with pytest.raises(ApiError) as refused:
        await seeded.act(who, "edit_comment", REPOSITORY, comment=comment["id"], **values)
    assert refused.value.status == status
    (found,) = await said(agent)
    assert (found["body"], found["editor"]) == ("- [ ] Two\n- [x] Three", None)

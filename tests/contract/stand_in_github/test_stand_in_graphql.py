from __future__ import annotations

import pytest
from graphql import get_named_type, is_leaf_type, is_required_argument

from demo.github.graphql import load_schema

REPOSITORY = "acme/calc"
STORED = {
    "AssignedEvent",
    "LabeledEvent",
    "RenamedTitleEvent",
    "TransferredEvent",
    "UnassignedEvent",
    "UnlabeledEvent",
    "UserContentEdit",
    "AddedToMergeQueueEvent",
    "App",
    "AutoMergeDisabledEvent",
    "AutoMergeEnabledEvent",
    "Bot",
    "CheckRun",
    "CheckSuite",
    "Issue",
    "IssueComment",
    "Label",
    "MergeQueue",
    "MergeQueueEntry",
    "PullRequest",
    "PullRequestReview",
    "PullRequestReviewComment",
    "PullRequestReviewThread",
    "RemovedFromMergeQueueEvent",
    "Repository",
    "StatusContext",
    "User",
    "Workflow",
}

CONTEXTS = """
query Contexts($n: Int!, $after: String) { repository(owner: "acme", name: "calc") { pullRequest(number: $n) {
  commits(last: 1) { nodes { commit { oid statusCheckRollup { state contexts(first: 100, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    nodes {
      __typename
      ... on CheckRun { name status conclusion isRequired(pullRequestNumber: $n) checkSuite { app { slug } } }
      ... on StatusContext { context state isRequired(pullRequestNumber: $n) }
    }
  } } } } }
} } }
"""


async def test_more_than_a_hundred_checks_come_in_pages(seeded, pull, agent):
    await seeded.act(
        "acme", "configure", REPOSITORY, rules={"main": {"required_checks": ["check 104", "lint"]}}
    )
    for number in range(105):
        await seeded.act(
            "alice", "check_run", REPOSITORY, number=pull, name=f"check {number}", conclusion="success"
        )
    await seeded.act("alice", "status", REPOSITORY, number=pull, context="lint", state="pending")
    names, after, pages = [], None, 0
    while True:
        data = (await agent.graphql(CONTEXTS, n=pull, after=after))["data"]
        (node,) = data["repository"]["pullRequest"]["commits"]["nodes"]
        rollup = node["commit"]["statusCheckRollup"]
        assert rollup["state"] == "PENDING"
        assert rollup["contexts"]["totalCount"] == 106
        names += [(c.get("name") or c["context"], c["isRequired"]) for c in rollup["contexts"]["nodes"]]
        pages += 1
        if not rollup["contexts"]["pageInfo"]["hasNextPage"]:
            break
        after = rollup["contexts"]["pageInfo"]["endCursor"]
    assert pages == 2
    assert len(set(names)) == 106
    assert [name for name, required in names if required] == ["check 104", "lint"]


@pytest.mark.parametrize(
    ("conclusions", "state"),
    [
        (["success", "neutral", "skipped"], "SUCCESS"),
        (["success", None], "PENDING"),
        (["failure", None], "FAILURE"),
        (["cancelled"], "FAILURE"),
        (["timed_out"], "FAILURE"),
    ],
)
async def test_rollup(seeded, pull, agent, conclusions, state):
    for number, conclusion in enumerate(conclusions):
        await seeded.act(
            "alice", "check_run", REPOSITORY, number=pull, name=str(number), conclusion=conclusion
        )
    (node,) = (await agent.graphql(CONTEXTS, n=pull))["data"]["repository"]["pullRequest"]["commits"]["nodes"]
    assert node["commit"]["statusCheckRollup"]["state"] == state


async def test_no_checks_is_no_rollup(seeded, pull, agent):
    (node,) = (await agent.graphql(CONTEXTS, n=pull))["data"]["repository"]["pullRequest"]["commits"]["nodes"]
    assert node["commit"]["statusCheckRollup"] is None


@pytest.mark.parametrize(
    ("query", "kind", "text"),
    [
        ('{repository(owner:"acme",name:"none"){id}}', "NOT_FOUND", "a Repository with the name 'acme/none'"),
        (
            '{repository(owner:"acme",name:"calc"){issue(number:99){id}}}',
            "NOT_FOUND",
            "an Issue with the number of 99",
        ),
        ('{repository(owner:"acme",name:"calc"){pullRequest(number:99){id}}}', "NOT_FOUND", "a PullRequest"),
        ('{node(id:"PR_x"){id}}', "NOT_FOUND", "global id of 'PR_x'"),
        (
            '{repository(owner:"acme",name:"calc"){issues{nodes{id}}}}',
            "MISSING_PAGINATION_BOUNDARIES",
            "`issues`",
        ),
        (
            '{repository(owner:"acme",name:"calc"){issues(first:101){nodes{id}}}}',
            "EXCESSIVE_PAGINATION",
            "101 records",
        ),
        (
            '{repository(owner:"acme",name:"calc"){issues(first:1,after:"?"){nodes{id}}}}',
            "INVALID_CURSOR_ARGUMENTS",
            "`?`",
        ),
    ],
)
async def test_errors_are_typed(seeded, agent, query, kind, text):
    body = await agent.graphql(query)
    assert body["errors"][0]["type"] == kind
    assert text in body["errors"][0]["message"]
    assert body["errors"][0]["path"]


async def test_hidden_node_is_not_found(seeded, pull, agent, client_of):
    pull_id = (await agent.repo("GET", f"/pulls/{pull}")).body["node_id"]
    query = "query($ids: [ID!]!) {nodes(ids: $ids) {__typename ... on PullRequest {number}}}"
    mine = await agent.graphql(query, ids=[pull_id, "PR_none"])
    assert mine["data"]["nodes"] == [{"__typename": "PullRequest", "number": pull}, None]
    assert mine["errors"][0]["path"] == ["nodes", 1]
    theirs = await client_of("token-of-stranger").graphql(query, ids=[pull_id])
    assert theirs["data"]["nodes"] == [None]


async def test_unknown_field_is_an_error_with_status_200(seeded, agent):
    answer = await agent.call("POST", "/api/graphql", json={"query": "{viewer{shoeSize}}"})
    assert answer.status == 200
    assert "shoeSize" in answer.body["errors"][0]["message"]
    assert "data" not in answer.body


async def test_cost_follows_the_connections_asked_for(seeded, agent):
    deep = """{repository(owner:"acme",name:"calc"){issues(first:100){nodes{comments(first:100){nodes{id}}
      labels(first:10){nodes{id}}}}} rateLimit{cost nodeCount remaining limit used}}"""
    rate = (await agent.graphql(deep))["data"]["rateLimit"]
    assert (rate["cost"], rate["nodeCount"]) == (2, 100 + 100 * 100 + 100 * 10)
    assert rate["limit"] - rate["used"] == rate["remaining"]
    cheap = (await agent.graphql("{viewer{login} rateLimit{cost}}"))["data"]
    assert cheap == {"viewer": {"login": "agent"}, "rateLimit": {"cost": 1}}


async def test_mutations_of_the_ticket(seeded, agent):
    query = '{repository(owner:"acme",name:"calc"){issue(number:1){id state labels(first:5){nodes{name}}}}}'
    issue = (await agent.graphql(query))["data"]["repository"]["issue"]
    assert issue["labels"]["nodes"] == [{"name": "bug"}]
    comment = 'mutation($s: ID!) {addComment(input:{subjectId:$s, body:"Done"}){commentEdge{node{id viewerDidAuthor}}}}'
    made = (await agent.graphql(comment, s=issue["id"]))["data"]["addComment"]["commentEdge"]["node"]
    assert made["viewerDidAuthor"] is True
    edit = 'mutation($c: ID!) {updateIssueComment(input:{id:$c, body:"Really"}){issueComment{body}}}'
    assert (await agent.graphql(edit, c=made["id"]))["data"]["updateIssueComment"]["issueComment"][
        "body"
    ] == "Really"
    close = "mutation($i: ID!) {closeIssue(input:{issueId:$i, stateReason:COMPLETED}){issue{state stateReason closed}}}"
    closed = (await agent.graphql(close, i=issue["id"]))["data"]["closeIssue"]["issue"]
    assert closed == {"state": "CLOSED", "stateReason": "COMPLETED", "closed": True}


async def test_merge_holds_the_expected_head(seeded, pull, agent, head):
    pull_id = (await agent.repo("GET", f"/pulls/{pull}")).body["node_id"]
    query = """mutation Merge($p: ID!, $h: GitObjectID) {mergePullRequest(input: {pullRequestId: $p,
      expectedHeadOid: $h, mergeMethod: SQUASH}) {pullRequest {merged mergeCommit {oid message}}}}"""
    refused = await agent.graphql(query, p=pull_id, h="0" * 40)
    assert refused["errors"][0]["type"] == "UNPROCESSABLE"
    assert "Head branch was modified" in refused["errors"][0]["message"]
    done = (await agent.graphql(query, p=pull_id, h=head(pull)))["data"]["mergePullRequest"]["pullRequest"]
    assert done["merged"] is True
    assert done["mergeCommit"]["message"] == f"Fix add() (#{pull})"


async def test_objects_refs_and_lists(seeded, pull, agent, head):
    query = """{repository(owner:"acme",name:"calc"){
      viewerPermission defaultBranchRef{name target{oid}} ref(qualifiedName:"refs/heads/agents/1"){name target{oid}}
      file: object(expression:"agents/1:calc.py"){... on Blob{text isBinary}}
      commit: object(expression:"agents/1"){oid}
      none: object(expression:"main:none.py"){oid}
      pullRequests(headRefName:"agents/1", states:[OPEN], first:5, orderBy:{field:UPDATED_AT, direction:DESC}){
        totalCount nodes{number isDraft headRepository{nameWithOwner} closingIssuesReferences(first:5){nodes{number}}
          autoMergeRequest{enabledAt} mergeQueueEntry{state} isInMergeQueue}}
      issues(labels:["bug","other"], states:[OPEN], first:5){nodes{number}}
    }}"""
    body = await agent.graphql(query)
    found = body["data"]["repository"]
    assert "errors" not in body
    assert found["viewerPermission"] == "WRITE"
    assert found["ref"] == {"name": "agents/1", "target": {"oid": head(pull)}}
    assert "a + b" in found["file"]["text"]
    assert found["commit"]["oid"] == head(pull)
    assert found["none"] is None
    (node,) = found["pullRequests"]["nodes"]
    assert node["closingIssuesReferences"]["nodes"] == [{"number": 1}]
    assert found["issues"]["nodes"] == [{"number": 1}]


@pytest.fixture
def with_checks(workflow):
    workflow("true")


async def test_every_field_of_every_stored_object_is_answered(with_checks, seeded, pull, agent):
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="x", conclusion="failure")
    await seeded.act("alice", "status", REPOSITORY, number=pull, context="lint", state="error")
    await seeded.act("alice", "comment", REPOSITORY, number=pull, body="Hello")
    remark = {"path": "calc.py", "line": 2, "body": "Why?"}
    await seeded.act("alice", "review", REPOSITORY, number=pull, comments=[remark])
    rules = {"main": {"required_checks": ["queue"], "merge_queue": True}}
    await seeded.act("acme", "configure", REPOSITORY, rules=rules, auto_merge_allowed=True)
    await seeded.act("alice", "enable_auto_merge", REPOSITORY, number=pull)
    await seeded.act("alice", "disable_auto_merge", REPOSITORY, number=pull)
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="queue", conclusion="success")
    await seeded.act("alice", "enqueue", REPOSITORY, number=pull)
    await seeded.act("alice", "dequeue", REPOSITORY, number=pull)
    await seeded.act("alice", "enqueue", REPOSITORY, number=pull)
    await seeded.seed_synthetic("acme/old", {"a.py": "1\n"})
    seeded.create_issue("acme/old", "Old", labels=["bug"])
    await seeded.act("acme", "transfer", "acme/old", number=1, to=REPOSITORY)
    await seeded.act("alice", "edit", REPOSITORY, number=1, title="New", body="Text", labels=["agent"])
    for people in (["alice", "dependabot[bot]"], []):
        await seeded.act("alice", "assign", REPOSITORY, number=1, to=people)
    schema = load_schema()
    ids = [entity.id for entity in seeded.forge.store.nodes.values()]
    names = sorted(type_.name for type_ in schema.get_possible_types(schema.type_map["Node"]))
    spreads = " ".join(f"... on {name} {{ {_everything(schema, name, 3)} }}" for name in names)
    body = await agent.graphql(
        f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ __typename {spreads} }} }}", ids=ids
    )
    assert "errors" not in body, body["errors"][:3]
    asked = {node["__typename"] for node in body["data"]["nodes"]}
    assert asked == STORED


def _everything(schema, type_name, depth):
    """Return a selection of all fields, each under a name of its own, as fields of one name differ in type.

    Left out are those that need an argument, which other tests give.
    """
    fields = ["__typename"]
    for name, field in getattr(schema.type_map[type_name], "fields", {}).items():
        if any(is_required_argument(argument) for argument in field.args.values()) or name == "isRequired":
            continue
        arguments = "(first: 2)" if "first" in field.args else ""
        inner = get_named_type(field.type)
        if is_leaf_type(inner):
            fields.append(f"{type_name}_{name}: {name}{arguments}")
        elif depth:
            stored = inner.name in STORED
            below = "__typename" if stored else _everything(schema, inner.name, depth - 1)
            fields.append(f"{type_name}_{name}: {name}{arguments} {{ {below} }}")
    return " ".join(fields)

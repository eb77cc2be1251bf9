from __future__ import annotations

import pytest
from graphql import parse

from demo.github.graphql_cost import measure, query_cost

REPOSITORY = "acme/calc"

DOCUMENTED = """query {
  viewer { login
    repositories(first: 100) { edges { node { id
      issues(first: 50) { edges { node { id
        labels(first: 60) { edges { node { id name } } } } } } } } } } }"""

NODES_SIMPLE = """query { viewer { repositories(first: 50) { edges { repository:node { name
  issues(first: 10) { totalCount edges { node { title bodyHTML } } } } } } } }"""

NODES_COMPLEX = """query { viewer {
  repositories(first: 50) { edges { repository:node { name
    pullRequests(first: 20) { edges { pullRequest:node { title
      comments(first: 10) { edges { comment:node { bodyHTML } } } } } }
    issues(first: 20) { totalCount edges { issue:node { title bodyHTML
      comments(first: 10) { edges { comment:node { bodyHTML } } } } } } } } }
  followers(first: 10) { edges { follower:node { login } } } } }"""


def test_documented_example_of_points():
    cost = measure(DOCUMENTED)
    assert (cost.requests, cost.points) == (5101, 51)
    assert query_cost(DOCUMENTED) == query_cost(parse(DOCUMENTED)) == 51


@pytest.mark.parametrize(("document", "nodes"), [(NODES_SIMPLE, 550), (NODES_COMPLEX, 22_060)])
def test_documented_examples_of_nodes(document, nodes):
    assert measure(document).nodes == nodes


def test_a_query_without_connections_costs_one_point():
    assert query_cost("query {viewer{login}}") == 1


def test_page_sizes_come_from_variables_and_their_defaults():
    document = """query($big:Int!, $small:Int = 50) {viewer {repositories(first:$big) {nodes {
      issues(first:$small) {nodes {labels(last:60) {nodes {id}}}}}}}}"""
    assert query_cost(document, {"big": 100}) == 51
    assert query_cost(document, {"big": 100, "small": 10}) == 11


def test_a_connection_asked_for_twice_is_fetched_once_and_an_alias_is_another_one():
    same = """query {viewer {repositories(first:100) {nodes {issues(first:1) {totalCount}
      ...F ... on Repository {issues(first:1) {nodes {id}}}}}}}
      fragment F on Repository {issues(first:1) {pageInfo {hasNextPage}}}"""
    assert measure(same).requests == 101
    other = """query {viewer {repositories(first:100) {nodes {a:issues(first:1) {totalCount}
      b:issues(first:1) {totalCount}}}}}"""
    assert measure(other).requests == 201


def test_objects_looked_up_by_id_are_parents_but_no_connection():
    document = "query($ids:[ID!]!) {nodes(ids:$ids) {... on PullRequest {labels(first:20) {nodes {name}}}}}"
    cost = measure(document, {"ids": [f"PR_{n}" for n in range(100)]})
    assert (cost.requests, cost.points, cost.nodes) == (100, 1, 2100)


def test_what_a_directive_leaves_out_costs_nothing():
    document = """query($deep:Boolean!) {viewer {repositories(first:100) {nodes {
      issues(first:100) @include(if:$deep) {nodes {id}} labels(first:9) @skip(if:$deep) {nodes {id}}}}}}"""
    assert measure(document, {"deep": True}).nodes == 100 + 100 * 100
    assert measure(document, {"deep": False}).nodes == 100 + 100 * 9


def test_the_named_operation_is_the_one_that_counts():
    document = (
        DOCUMENTED.replace("query {", "query Big {", 1) + "mutation Small {closeIssue(input:{}) {issue {id}}}"
    )
    assert query_cost(document, operation_name="Big") == 51
    small = measure(document, operation_name="Small")
    assert (small.points, small.secondary) == (1, 5)
    with pytest.raises(ValueError, match="Name one"):
        query_cost(document)


async def test_rate_limit_field_and_headers_agree(seeded, agent):
    query = """query {repository(owner:"acme",name:"calc"){issues(first:100){nodes{labels(first:20){nodes{name}}}}}
      rateLimit{cost limit remaining used nodeCount resetAt}}"""
    answer = await agent.call("POST", "/api/graphql", json={"query": query})
    found = answer.body["data"]["rateLimit"]
    assert (found["cost"], found["limit"], found["nodeCount"]) == (1, 5000, 2100)
    assert (found["used"], found["remaining"]) == (1, 4999)
    assert answer.headers["x-ratelimit-remaining"] == "4999"
    assert answer.headers["x-ratelimit-resource"] == "graphql"
    rest = await agent.repo("GET", "/issues/1")
    assert rest.headers["x-ratelimit-resource"] == "core"
    assert rest.headers["x-ratelimit-used"] == "1"


async def test_more_nodes_than_allowed(seeded, agent):
    query = """query {repository(owner:"acme",name:"calc"){pullRequests(first:100){nodes{
      comments(first:100){nodes{id}} reviews(first:100){nodes{comments(first:100){nodes{id}}}}}}}}"""
    body = await agent.graphql(query)
    assert body["errors"][0]["type"] == "MAX_NODE_LIMIT_EXCEEDED"
    assert "1,020,100 possible nodes" in body["errors"][0]["message"]


@pytest.mark.parametrize(
    ("bound", "kind"),
    [("", "MISSING_PAGINATION_BOUNDARIES"), ("(first:101)", "EXCESSIVE_PAGINATION")],
)
async def test_pages_need_a_bound_from_1_to_100(seeded, agent, bound, kind):
    query = f"""query {{repository(owner:"acme",name:"calc"){{issues{bound}{{totalCount}}}}}}"""
    assert (await agent.graphql(query))["errors"][0]["type"] == kind

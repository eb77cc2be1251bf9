"""The stand-in, and every GraphQL document that the project sends, against GitHub's published schema."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from fetched import fetched, give_up
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    is_required_argument,
    is_required_input_field,
    is_specified_scalar_type,
    parse,
    validate,
)

from demo.github.graphql import SCHEMA_PATH
from demo.github.graphql_nodes import cursor
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.github.state import Permission

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(__file__).with_name("github_schema") / "package.json"
CACHE = ROOT / ".cache" / "github-schema"
SCHEMA = Path("node_modules", "@octokit", "graphql-schema", "schema.graphql")
INSTALL_SECONDS = 100
REPOSITORY = "acme/calc"


def documents() -> dict[str, str]:
    """Return every document that reads, by its operation name."""
    from airflow_provider_agents.hooks import (
        github_branch_calls,
        github_conversation,
        github_mutations,
        github_open_queries,
        github_queries,
        github_rule_calls,
    )

    return (
        github_queries.DOCUMENTS
        | github_mutations.LOOKS
        | github_conversation.DOCUMENTS
        | github_branch_calls.DOCUMENTS
        | github_open_queries.DOCUMENTS
        | github_rule_calls.DOCUMENTS
    )


def mutations() -> dict[str, str]:
    from airflow_provider_agents.hooks import github_branch_calls, github_mutations

    return github_mutations.MUTATIONS | github_branch_calls.MUTATIONS


def fetch_schema() -> str:
    """Return the text of GitHub's published schema, from the npm package that the manifest names."""
    return (fetched(CACHE, MANIFEST, _fetch) / SCHEMA).read_text()


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        give_up("npm is not installed: it fetches GitHub's published schema.")
    (CACHE / SCHEMA).unlink(missing_ok=True)
    shutil.copy(MANIFEST, CACHE / "package.json")
    command = [str(npm), "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"no answer within {INSTALL_SECONDS} s"
    if not (CACHE / SCHEMA).exists():
        give_up(f"npm could not fetch GitHub's published schema: {said[-500:]}")


@pytest.fixture(scope="session")
def published() -> GraphQLSchema:
    return build_schema(fetch_schema(), assume_valid=True)


@pytest.fixture(scope="session")
def ours() -> GraphQLSchema:
    return build_schema(SCHEMA_PATH.read_text())


def test_ours_is_a_part_of_the_published_schema(ours: GraphQLSchema, published: GraphQLSchema) -> None:
    faults = []
    for name, type_ in ours.type_map.items():
        if name.startswith("__") or is_specified_scalar_type(type_):
            continue
        theirs = published.type_map.get(name)
        if type(theirs) is not type(type_):
            faults.append(f"{name}: {type(type_).__name__} here, {type(theirs).__name__} there")
        else:
            faults += differences(name, type_, theirs)
    assert faults == []
    assert len(ours.type_map) > 80


def differences(name: str, mine: Any, theirs: Any) -> list[str]:
    """Return what of the type ``mine`` the published one has not, or has otherwise."""
    if isinstance(mine, GraphQLEnumType):
        # All values: a client must be ready for each.
        return [f"{name}: other values"] if set(mine.values) != set(theirs.values) else []
    if isinstance(mine, GraphQLUnionType):
        extra = {type_.name for type_ in mine.types} - {type_.name for type_ in theirs.types}
        return [f"{name}: {extra} does not belong to it"] if extra else []
    if isinstance(mine, GraphQLInputObjectType):
        return input_differences(name, mine, theirs)
    if isinstance(mine, (GraphQLObjectType, GraphQLInterfaceType)):
        extra = {type_.name for type_ in mine.interfaces} - {type_.name for type_ in theirs.interfaces}
        found = [f"{name} does not implement {extra}"] if extra else []
        for field, definition in mine.fields.items():
            found += field_differences(f"{name}.{field}", definition, theirs.fields.get(field))
        return found
    return []


def field_differences(name: str, mine: Any, theirs: Any) -> list[str]:
    if theirs is None:
        return [f"{name} is not there"]
    found = [] if str(mine.type) == str(theirs.type) else [f"{name}: {mine.type} here, {theirs.type} there"]
    for argument, definition in mine.args.items():
        other = theirs.args.get(argument)
        if other is None or str(other.type) != str(definition.type):
            found.append(f"{name}({argument}: {definition.type}) is {other and other.type} there")
        elif other.default_value != definition.default_value:
            found.append(f"{name}({argument}) has another default")
    for argument, definition in theirs.args.items():
        if is_required_argument(definition) and argument not in mine.args:
            found.append(f"{name} lacks the argument {argument}")
    return found


def input_differences(name: str, mine: Any, theirs: Any) -> list[str]:
    found = []
    for field, definition in mine.fields.items():
        other = theirs.fields.get(field)
        if other is None or str(other.type) != str(definition.type):
            found.append(f"{name}.{field}: {definition.type} here, {other and other.type} there")
    for field, definition in theirs.fields.items():
        if is_required_input_field(definition) and field not in mine.fields:
            found.append(f"{name} lacks {field}")
    return found


def test_every_difference_is_noticed(published: GraphQLSchema) -> None:
    wrong = build_schema(
        """
        type Query { viewer: User repository(owner: String!, name: String!): Repository }
        type User { login: String }
        type Repository { name: String! issue(number: Int): Int shoeSize: Int }
        enum IssueState { OPEN }
        input CloseIssueInput { stateReason: IssueClosedStateReason }
        enum IssueClosedStateReason { COMPLETED DUPLICATE NOT_PLANNED }
        """
    )
    found = [
        fault
        for name in ("Query", "User", "Repository", "IssueState", "CloseIssueInput")
        for fault in differences(name, wrong.type_map[name], published.type_map[name])
    ]
    assert [fault.split(" ")[0].rstrip(":") for fault in found] == [
        "Query.viewer",
        "User.login",
        "Repository.issue",
        "Repository.issue(number",
        "Repository.shoeSize",
        "IssueState",
        "CloseIssueInput",
    ]


@pytest.mark.parametrize("name", [*documents(), *mutations()])
def test_document_is_valid_at_github(name: str, published: GraphQLSchema) -> None:
    assert validate(published, parse((documents() | mutations())[name])) == []


@pytest.mark.parametrize("name", [*documents(), *mutations()])
def test_document_has_the_name_and_the_kind_that_it_is_listed_under(name: str) -> None:
    (operation,) = (
        each
        for each in parse((documents() | mutations())[name]).definitions
        if isinstance(each, OperationDefinitionNode)
    )
    assert operation.name is not None
    # One document may be listed in several sizes.
    assert operation.name.value == name.split(" ")[0]
    assert (operation.operation.value == "mutation") is (name in mutations())


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[StandInGitHub]:
    """A repository with an issue and a pull request that has checks, reviews, threads and comments."""
    seed = tmp_path / "seed"
    (seed / ".github" / "workflows").mkdir(parents=True)
    (seed / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    steps = "steps: [{run: 'exit 1'}]"
    (seed / ".github" / "workflows" / "ci.yml").write_text(f"on: push\njobs: {{test: {{{steps}}}}}\n")
    async with StandInGitHub(tmp_path / "data", mergeability_delay=0) as stand_in:
        stand_in.add_token("agent", "token")
        permissions: dict[str, Permission] = {"agent": "write", "alice": "write"}
        await stand_in.seed_repository(REPOSITORY, seed, permissions=permissions, required_approvals=1)
        stand_in.create_issue(REPOSITORY, "add() subtracts", "It should add.", labels=["agent"])
        fixed = {"calc.py": "def add(a, b):\n    return a + b\n"}
        await stand_in.act("agent", "push_commit", REPOSITORY, branch="agents/1", files=fixed)
        opened = {"head": "agents/1", "title": "Fix", "body": "Closes #1"}
        await stand_in.act("agent", "open_pull", REPOSITORY, **opened)
        await stand_in.act("agent", "edit", REPOSITORY, number=2, labels=["agent"])
        await stand_in.act("alice", "status", REPOSITORY, number=2, context="lint", state="pending")
        remark = {"path": "calc.py", "line": 2, "body": "Why?"}
        review = {"event": "REQUEST_CHANGES", "body": "No.", "comments": [remark]}
        await stand_in.act("alice", "review", REPOSITORY, number=2, **review)
        for body in ("First", "Second"):
            await stand_in.act("agent", "comment", REPOSITORY, number=2, body=body)
        await stand_in.act("alice", "react", REPOSITORY, number=2)
        await stand_in.act("alice", "edit_comment", REPOSITORY, number=2, body="Second, edited")
        await stand_in.checks_settled()
        yield stand_in


def variables_of(document: DocumentNode, server: StandInGitHub) -> dict[str, Any]:
    """Return a value for each variable of the document that must have one."""
    repository = server.forge.store.repositories[REPOSITORY]
    pull = repository.pulls[2]
    known = {
        "owner": "acme",
        "name": "calc",
        "number": 2,
        "ref": "refs/heads/agents/1",
        "id": pull.id,
        "ids": [pull.id],
        "subjectId": pull.id,
        "pullRequestId": pull.id,
        "threadId": pull.threads[0].id,
        "thread": pull.threads[0].id,
        "issueId": repository.issues[1].id,
        "body": "Done.",
        "after": cursor(0),
        "before": cursor(1),
        "branch": "agents/1",
        "search": "is:pr",
        "login": "acme",
    }
    operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    names = [
        definition.variable.name.value
        for definition in operation.variable_definitions or ()
        if str(definition.type.kind) == "non_null_type" or definition.variable.name.value in known
    ]
    # A document for several of a kind numbers its variables.
    plain = {name: name.rstrip("0123456789") for name in names}
    assert set(plain.values()) <= set(known), "Give the new variable a value here."
    return {name: known[plain[name]] for name in names}


@pytest.mark.parametrize("name", documents())
async def test_stand_in_answers_document_as_github_would(
    name: str, server: StandInGitHub, published: GraphQLSchema
) -> None:
    document = parse(documents()[name])
    request = {"query": documents()[name], "variables": variables_of(document, server)}
    headers = {"Authorization": "Bearer token"}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.post(f"{server.url}/api/graphql", json=request) as response,
    ):
        body = await response.json()
    assert "errors" not in body
    assert Walk(published, document).faults(body["data"]) == []


class Walk:
    """Compares an answer with the types that the published schema gives to what was asked."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        self._operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))

    def faults(self, data: Any) -> list[str]:
        root = self._schema.get_root_type(self._operation.operation)
        assert root is not None
        return self._object(root, [self._operation.selection_set], data, "data")

    def _object(self, type_: Any, selections: list[SelectionSetNode], value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: no object"]
        if not isinstance(type_, GraphQLObjectType):
            possible = {possible.name: possible for possible in self._schema.get_possible_types(type_)}
            named = value.get("__typename")
            if named is not None and named not in possible:
                return [f"{path}: {named} is no {type_}"]
            # Where the type was not asked for, the answer must fit one of the possible types.
            tries = [possible[named]] if named else possible.values()
            return min((self._object(one, selections, value, path) for one in tries), key=len)
        asked: dict[str, list[FieldNode]] = {}
        for selection in selections:
            self._collect(type_, selection, asked)
        found = [f"{path}: {key} was not asked for" for key in value if key not in asked]
        for key, fields in asked.items():
            name = fields[0].name.value
            if key not in value:
                found.append(f"{path}.{key}: missing")
            elif name != "__typename":
                below = [field.selection_set for field in fields if field.selection_set]
                found += self._value(type_.fields[name].type, below, value[key], f"{path}.{key}")
        return found

    def _collect(
        self, type_: GraphQLObjectType, selections: SelectionSetNode, asked: dict[str, list[FieldNode]]
    ) -> None:
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                key = selection.alias.value if selection.alias else selection.name.value
                asked.setdefault(key, []).append(selection)
                continue
            if isinstance(selection, FragmentSpreadNode):
                fragment: Any = self._fragments[selection.name.value]
            else:
                assert isinstance(selection, InlineFragmentNode)
                fragment = selection
            condition = fragment.type_condition
            if condition is None or self._fits(type_, condition.name.value):
                self._collect(type_, fragment.selection_set, asked)

    def _fits(self, type_: GraphQLObjectType, condition: str) -> bool:
        wanted = self._schema.type_map[condition]
        if wanted is type_:
            return True
        if isinstance(wanted, (GraphQLInterfaceType, GraphQLUnionType)):
            return self._schema.is_sub_type(wanted, type_)
        return False

    def _value(self, type_: Any, selections: list[SelectionSetNode], value: Any, path: str) -> list[str]:
        if isinstance(type_, GraphQLNonNull):
            if value is None:
                return [f"{path}: null"]
            type_ = type_.of_type
        if value is None:
            return []
        if isinstance(type_, GraphQLList):
            if not isinstance(value, list):
                return [f"{path}: no list"]
            return [
                fault
                for index, item in enumerate(value)
                for fault in self._value(type_.of_type, selections, item, f"{path}[{index}]")
            ]
        if isinstance(type_, GraphQLEnumType):
            return [] if value in type_.values else [f"{path}: {value} is no {type_}"]
        if selections:
            return self._object(type_, selections, value, path)
        kinds: dict[str, type | tuple[type, ...]] = {"Int": int, "Boolean": bool, "Float": (int, float)}
        fits = isinstance(value, kinds.get(type_.name, str))
        return [] if fits else [f"{path}: {value!r} is no {type_}"]


def test_the_walk_notices_wrong_answers(published: GraphQLSchema) -> None:
    query = """{ repository(owner: "a", name: "b") { pullRequest(number: 1) {
      number mergeable title labels(first: 1) { nodes { name } } } } }"""
    good = {"number": 1, "mergeable": "UNKNOWN", "title": "T", "labels": {"nodes": [{"name": "bug"}]}}
    walk = Walk(published, parse(query))

    def faults(**changes: Any) -> list[str]:
        return walk.faults({"repository": {"pullRequest": {**good, **changes}}})

    assert faults() == []
    assert faults(labels=None) == []
    assert faults(number="1") == ["data.repository.pullRequest.number: '1' is no Int"]
    assert faults(title=None) == ["data.repository.pullRequest.title: null"]
    assert faults(mergeable="MAYBE") == ["data.repository.pullRequest.mergeable: MAYBE is no MergeableState"]
    assert faults(labels={"nodes": {}}) == ["data.repository.pullRequest.labels.nodes: no list"]
    assert faults(labels={}) == ["data.repository.pullRequest.labels.nodes: missing"]
    assert faults(extra=1) == ["data.repository.pullRequest: extra was not asked for"]

"""Our subset of Linear's schema, and every document that is sent to Linear, against the vendor's published types.

Linear publishes no schema file; its SDK's type declarations are made from the schema and name every type,
field, argument and nullability.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fetched import fetched, give_up
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    is_specified_scalar_type,
    parse,
    print_ast,
    validate,
)
from linear_world import MOST_COMPLEXITY, SCHEMA, complexity

from airflow_provider_agents.hooks.linear_entries import CLOSED_TYPES
from airflow_provider_agents.hooks.linear_queries import MUTATIONS, PAGE, QUERIES

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(__file__).with_name("linear_schema") / "package.json"
CACHE = ROOT / ".cache" / "linear-schema"
PACKAGE = Path("node_modules", "@linear", "sdk", "dist")
INSTALL_SECONDS = 100

DOCUMENTS = QUERIES | MUTATIONS


@dataclass
class Declared:
    """A type as the vendor declares it: its members' GraphQL types, and the comment above each."""

    members: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        give_up("npm is not installed: it fetches the types that Linear publishes.")
    shutil.rmtree(CACHE / "node_modules", ignore_errors=True)
    shutil.copy(MANIFEST, CACHE / "package.json")
    command = [str(npm), "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"no answer within {INSTALL_SECONDS} s"
    if not (CACHE / PACKAGE).exists():
        give_up(f"npm could not fetch the types that Linear publishes: {said[-500:]}")


@pytest.fixture(scope="session")
def published() -> dict[str, Declared]:
    folder = fetched(CACHE, MANIFEST, _fetch) / PACKAGE
    largest = max(folder.glob("index*.d.mts"), key=lambda file: file.stat().st_size)
    return declarations(largest.read_text())


_OPENING = re.compile(r"(?:declare )?(?:type (\w+) = (?:Node & )?|enum (\w+) )\{$")
_MEMBER = re.compile(r"  (\w+)(\?)?: (.+);$")
_VALUE = re.compile(r'  \w+ = "(\w+)",$')


def declarations(text: str) -> dict[str, Declared]:
    """Return the object types, inputs, arguments and enums of a declaration file."""
    found: dict[str, Declared] = {}
    current: Declared | None = None
    said: list[str] = []
    for line in text.splitlines():
        if opening := _OPENING.match(line):
            # A name that is declared again is that of a document's result, not of the schema.
            current = found.setdefault(opening[1] or opening[2], Declared())
            current = current if not current.members else None
        elif line.startswith("}"):
            current = None
        elif current is not None and line.lstrip().startswith(("/**", "*")):
            said.append(line.strip(" /*"))
        elif current is not None and (member := _MEMBER.match(line)):
            current.members[member[1]] = graphql_type(member[3], optional=bool(member[2]))
            current.said[member[1]] = " ".join(said)
            said = []
        elif current is not None and (value := _VALUE.match(line)):
            current.members[value[1]] = ""
            said = []
    return found


def graphql_type(written: str, *, optional: bool) -> str:
    """Translate a type of TypeScript to GraphQL's way of writing: ``Maybe<Array<X>>`` is ``[X!]``."""
    maybe = re.fullmatch(r"(?:Input)?Maybe<(.+)>", written)
    inner = maybe[1] if maybe else written
    if many := re.fullmatch(r"Array<(.+)>", inner):
        name = f"[{graphql_type(many[1], optional=False)}]"
    elif scalar := re.fullmatch(r'Scalars\["(\w+)"\]', inner):
        name = scalar[1]
    else:
        name = inner
    return name if maybe or optional else f"{name}!"


def args_of(type_: str, name: str) -> str:
    return f"{type_}{name[0].upper()}{name[1:]}Args"


def test_the_declarations_are_read(published: dict[str, Declared]) -> None:
    assert published["Issue"].members["description"] == "String"
    assert published["Issue"].members["labelIds"] == "[String!]!"
    assert published["Query"].members["issue"] == "Issue!"
    assert published["QueryIssuesArgs"].members["first"] == "Int"
    assert published["AttachmentCreateInput"].members["issueId"] == "String!"
    assert "createdAt" in published["PaginationOrderBy"].members
    assert len(published) > 1_000


def test_our_schema_is_a_part_of_the_published_one(published: dict[str, Declared]) -> None:
    faults: list[str] = []
    checked = 0
    for name, type_ in SCHEMA.type_map.items():
        if name.startswith("__") or is_specified_scalar_type(type_):
            continue
        if isinstance(type_, GraphQLEnumType):
            faults += [f"{name}.{v}" for v in type_.values if v not in published[name].members]
        elif isinstance(type_, GraphQLObjectType | GraphQLInputObjectType):
            theirs = published.get(name, Declared())
            for member, found in type_.fields.items():
                checked += 1
                if theirs.members.get(member) != str(found.type):
                    faults.append(f"{name}.{member}: {found.type} here, {theirs.members.get(member)} there")
                if "@deprecated" in theirs.said.get(member, ""):
                    faults.append(f"{name}.{member} is deprecated: {theirs.said[member]}")
                if isinstance(type_, GraphQLObjectType):
                    faults += _arguments(published, name, member, type_)
            if isinstance(type_, GraphQLInputObjectType):
                needed = {m for m, t in theirs.members.items() if t.endswith("!")}
                faults += [f"{name}.{m} is required there" for m in needed - set(type_.fields)]
    assert faults == []
    assert checked > 150


def _arguments(published: dict[str, Declared], name: str, member: str, type_: GraphQLObjectType) -> list[str]:
    theirs = published.get(args_of(name, member), Declared()).members
    ours = type_.fields[member].args
    faults = [
        f"{name}.{member}({argument}: {found.type}) here, {theirs.get(argument)} there"
        for argument, found in ours.items()
        if theirs.get(argument) != str(found.type)
    ]
    needed = {argument for argument, found in theirs.items() if found.endswith("!")}
    return faults + [f"{name}.{member}({argument}) is required there" for argument in needed - set(ours)]


@pytest.mark.parametrize("scalar", ["DateTime", "DateTimeOrDuration", "JSONObject"])
def test_the_scalars_are_there(published: dict[str, Declared], scalar: str) -> None:
    assert scalar in published["Scalars"].members


@pytest.mark.parametrize(
    ("type_", "member", "words"),
    [
        ("Mutation", "attachmentCreate", "updates existing if the same `url` and `issueId` is used"),
        ("AttachmentCreateInput", "metadata", "Attachment metadata object with string and number values"),
        ("CommentCreateInput", "id", "UUID v4 format"),
        ("Attachment", "creator", "creator of the attachment"),
        ("Comment", "editedAt", "last edited by its author"),
        ("IssueHistory", "actorId", "Null if the change was made by an integration, automation"),
        ("User", "active", "active or disabled"),
        ("User", "guest", "guest in the workspace"),
        ("Issue", "creator", "Null if"),
        ("Issue", "trashed", "trash bin"),
        ("Team", "groupIssueHistory", "group"),
    ],
)
def test_what_we_rely_on_is_written_there(
    published: dict[str, Declared], type_: str, member: str, words: str
) -> None:
    assert words in published[type_].said[member]


def test_the_types_of_states_are_those_that_are_published(published: dict[str, Declared]) -> None:
    said = published["WorkflowState"].said["type"]
    assert all(f'"{name}"' in said for name in CLOSED_TYPES | {"started", "unstarted", "backlog", "triage"})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_is_valid(name: str) -> None:
    document = parse(DOCUMENTS[name])
    assert validate(SCHEMA, document) == []
    assert "Agents" in print_ast(document)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_costs_less_than_linear_takes(name: str) -> None:
    assert complexity(DOCUMENTS[name], {"first": PAGE}) < MOST_COMPLEXITY * 0.6


def test_a_wrong_subset_is_noticed(published: dict[str, Declared]) -> None:
    published = {**published, "Issue": Declared({**published["Issue"].members, "title": "String"})}
    with pytest.raises(AssertionError, match=r"Issue\.title: String! here, String there"):
        test_our_schema_is_a_part_of_the_published_one(published)

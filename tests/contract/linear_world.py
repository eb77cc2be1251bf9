"""A small Linear over real HTTP: its GraphQL for tickets, with people, permissions, history, costs and faults.

The schema is a subset of the published one, which ``test_linear_schema.py`` holds it to.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    build_schema,
    get_named_type,
    graphql_sync,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SCHEMA_PATH = Path(__file__).with_name("linear_schema") / "schema.graphql"
SCHEMA: GraphQLSchema = build_schema(SCHEMA_PATH.read_text())
MOST_COMPLEXITY = 10_000
"""Points of one query beyond which Linear refuses it."""
OUR_KEY = "lin_api_canary_of_the_agent"

Json = dict[str, Any]


def _refuse(message: str, kind: str = "invalid input", code: str = "INPUT_ERROR") -> GraphQLError:
    return GraphQLError(message, extensions={"type": kind, "code": code, "userError": True})


@dataclass
class Fault:
    """What goes wrong with the next requests of an operation.

    ``kind``: ``status`` (answers ``status`` with ``body``), ``ratelimited``, ``partial`` (an error beside the
    data), ``lost`` (does it, and closes the connection), ``cut`` (closes it before), ``hang``.
    """

    operation: str
    kind: str
    times: int = 1
    status: int = 500
    body: str = "upstream failed"
    headers: dict[str, str] = field(default_factory=dict)


class World:
    """The workspace. Its clock stands still until :meth:`tick`, or a change that somebody makes."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
        self.users: dict[str, Json] = {}
        self.teams: dict[str, Json] = {}
        self.labels: dict[str, Json] = {}
        self.issues: dict[str, Json] = {}
        self.comments: dict[str, Json] = {}
        self.deleted_comments: set[str] = set()
        self.requests: list[tuple[str, Json]] = []
        self.costs: list[int] = []
        self.faults: list[Fault] = []
        self.mutations: list[str] = []
        self.canned: dict[str, Callable[[Json], str]] = {}
        """Answers of operations that are too many for GraphQL to be run."""
        self.url = ""
        self._numbers = itertools.count(1)
        self._version = 0
        self._found: dict[str, tuple[int, list[Json]]] = {}
        self.agent = self.user("Agent", "agent@acme.test", app=True)
        self.keys = {OUR_KEY: self.agent["id"]}

    # People, teams, tickets -------------------------------------------------------------------------------

    def tick(self, seconds: float = 1.0) -> datetime:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self.now

    def user(
        self, name: str, email: str, *, app: bool = False, guest: bool = False, active: bool = True
    ) -> Json:
        """Add a person, or an app."""
        made: Json = {
            "id": self._uuid(),
            "name": name,
            "email": email,
            "active": active,
            "guest": guest,
            "app": app,
            "organization": {"id": "org", "name": "Acme"},
            "_teams": [],
        }
        made["teams"] = lambda info, **page: self._page(made["_teams"], page)
        self.users[made["id"]] = made
        return made

    def team(self, key: str, states: dict[str, str] | None = None) -> Json:
        """Add a team with its states, by name and type."""
        states = states or {
            "Triage": "triage",
            "Todo": "unstarted",
            "In Progress": "started",
            "In Review": "started",
            "Done": "completed",
            "Released": "completed",
            "Canceled": "canceled",
        }
        made: Json = {"id": self._uuid(), "key": key, "name": f"Team {key}"}
        made["_states"] = [
            {"id": self._uuid(), "name": name, "type": kind, "position": float(place)}
            for place, (name, kind) in enumerate(states.items())
        ]
        made["states"] = lambda info, **page: self._page(made["_states"], page)
        self.teams[key] = made
        return made

    def label(self, name: str) -> Json:
        """Return the label of this name."""
        return self.labels.setdefault(name, {"id": self._uuid(), "name": name})

    def issue(
        self,
        team: str,
        title: str = "Mend the basket",
        *,
        description: str | None = "It is broken.",
        creator: Json | None = None,
        labels: tuple[str, ...] = (),
        state: str = "Todo",
        **values: Any,
    ) -> Json:
        """Write a ticket."""
        number = next(self._numbers)
        id_ = self._uuid()
        made: Json = {
            "id": id_,
            "identifier": f"{team}-{number}",
            "title": title,
            "description": description,
            "url": f"https://linear.app/acme/issue/{team}-{number}",
            "createdAt": self.now.isoformat(),
            "updatedAt": self.now.isoformat(),
            "archivedAt": None,
            "trashed": None,
            "priorityLabel": "No priority",
            "subIssueSortOrder": None,
            "team": self.teams[team],
            "state": self.state(team, state),
            "creator": creator,
            "assignee": None,
            "delegate": None,
            "project": None,
            "parent": None,
            "_labels": [self.label(name) for name in labels],
            "_comments": [],
            "_history": [],
            "_attachments": [],
            "_relations": [],
            "_inverse": [],
            **values,
        }
        for name, store in (
            ("labels", "_labels"),
            ("comments", "_comments"),
            ("history", "_history"),
            ("attachments", "_attachments"),
            ("relations", "_relations"),
            ("inverseRelations", "_inverse"),
        ):
            made[name] = self._connection(made, store)
        made["children"] = lambda info, **page: self._page(
            [other for other in self.issues.values() if other["parent"] is made], page
        )
        self.issues[id_] = made
        self._version += 1
        return made

    def state(self, team: str, name: str) -> Json:
        """Return the state of this name."""
        return next(state for state in self.teams[team]["_states"] if state["name"] == name)

    def change(self, issue: Json, by: Json | None, **entry: Any) -> Json:
        """Note a change in the history: names of its fields as there."""
        self.tick()
        made: Json = {
            "id": self._uuid(),
            "createdAt": self.now.isoformat(),
            "updatedAt": self.now.isoformat(),
            "actorId": by["id"] if by else None,
            **entry,
        }
        issue["_history"].append(made)
        self.touch(issue)
        return made

    def touch(self, issue: Json) -> None:
        """Let the ticket have changed now."""
        issue["updatedAt"] = self.now.isoformat()
        self._version += 1

    def add_label(self, issue: Json, name: str, by: Json | None) -> Json:
        """Put a label on."""
        issue["_labels"].append(self.label(name))
        return self.change(issue, by, addedLabels=[self.label(name)])

    def remove_label(self, issue: Json, name: str, by: Json | None) -> Json:
        """Take a label off."""
        issue["_labels"].remove(self.label(name))
        return self.change(issue, by, removedLabels=[self.label(name)])

    def assign(self, issue: Json, to: Json | None, by: Json | None, role: str = "Assignee") -> Json:
        """Assign or delegate."""
        before, issue[role.lower()] = issue[role.lower()], to
        entry: Json = {f"from{role}": before, f"to{role}": to}
        if role == "Assignee":
            entry |= {"fromAssigneeId": before and before["id"], "toAssigneeId": to and to["id"]}
        return self.change(issue, by, **entry)

    def move(self, issue: Json, name: str, by: Json | None) -> Json:
        """Move to another state."""
        before, issue["state"] = issue["state"], self.state(issue["team"]["key"], name)
        now = issue["state"]
        return self.change(
            issue, by, fromState=before, toState=now, fromStateId=before["id"], toStateId=now["id"]
        )

    def comment(self, issue: Json, body: str, by: Json | None, *, id_: str = "") -> Json:
        """Write a comment; the ticket's ``updatedAt`` stays, as nothing says that it moves."""
        self.tick()
        made: Json = {
            "id": id_ or self._uuid(),
            "body": body,
            "url": f"{issue['url']}#comment-{id_ or len(issue['_comments'])}",
            "createdAt": self.now.isoformat(),
            "updatedAt": self.now.isoformat(),
            "user": by,
            "issue": issue,
        }
        issue["_comments"].append(made)
        self.comments[made["id"]] = made
        self._version += 1
        return made

    def delete_comment(self, comment: Json) -> None:
        """Delete a comment; its id stays taken."""
        del self.comments[comment["id"]]
        self.deleted_comments.add(comment["id"])
        comment["issue"]["_comments"].remove(comment)

    def relate(self, issue: Json, kind: str, other: Json) -> None:
        """Say that ``issue`` blocks, duplicates, … ``other``."""
        made = {"id": self._uuid(), "type": kind, "issue": issue, "relatedIssue": other}
        issue["_relations"].append(made)
        other["_inverse"].append(made)

    def attach(self, issue: Json, url: str, by: Json | None, title: str = "File", **metadata: Any) -> Json:
        """Attach something."""
        made = {"id": self._uuid(), "title": title, "url": url, "metadata": metadata, "creator": by}
        issue["_attachments"].append(made)
        return made

    # GraphQL ----------------------------------------------------------------------------------------------

    def root(self, viewer: Json) -> Json:
        """Return the resolvers of a request."""
        return {
            "viewer": viewer,
            "issue": lambda info, **given: self._issue(given["id"]),
            "issues": self._issues,
            "teams": lambda info, **given: self._page(_fitting(self.teams.values(), given), given),
            "user": lambda info, **given: self._one(self.users, given["id"], "User"),
            "users": lambda info, **given: self._page(_fitting(self.users.values(), given), given),
            "comment": lambda info, **given: self._one(self.comments, given["id"], "Comment"),
            "issueUpdate": lambda info, **given: self._update(viewer, **given),
            "commentCreate": lambda info, **given: self._create_comment(viewer, given["input"]),
            "commentUpdate": lambda info, **given: self._update_comment(viewer, **given),
            "attachmentCreate": lambda info, **given: self._create_attachment(viewer, given["input"]),
        }

    def _issue(self, id_: str) -> Json:
        for issue in self.issues.values():
            if id_ in (issue["id"], issue["identifier"]):
                return issue
        raise _refuse("Entity not found: Issue")

    @staticmethod
    def _one(kept: dict[str, Json], id_: str, name: str) -> Json:
        if id_ not in kept:
            raise _refuse(f"Entity not found: {name}")
        return kept[id_]

    def _issues(self, info: Any, **given: Any) -> Json:
        archived = given.get("includeArchived", False)
        key = json.dumps([given.get("filter"), archived], sort_keys=True, default=str)
        version, found = self._found.get(key, (-1, []))
        if version != self._version:
            found = _fitting([i for i in self.issues.values() if archived or i["archivedAt"] is None], given)
            self._found = {key: (self._version, found)}
        return self._page(found, given)

    def _connection(self, issue: Json, store: str) -> Callable[..., Json]:
        return lambda info, **given: self._page(_fitting(issue[store], given), given)

    def _page(self, found: list[Json], page: Json) -> Json:
        """Return a page, newest first as Linear has it."""
        order, first, after = page.get("orderBy", "createdAt"), page.get("first", 50), page.get("after")
        if found and order in found[0]:
            found = sorted(found, key=lambda item: item[order], reverse=True)
        begin = 0
        if after is not None:
            begin = int(after.removeprefix("cursor-"))
        shown = found[begin : begin + first]
        more = begin + first < len(found)
        end = f"cursor-{begin + len(shown)}" if shown else None
        return {"nodes": shown, "pageInfo": {"hasNextPage": more, "endCursor": end}}

    def _update(self, viewer: Json, **given: Any) -> Json:
        issue, wanted = self._issue(given["id"]), given["input"]["stateId"]
        states = {state["id"]: state for state in issue["team"]["_states"]}
        if wanted not in states:
            raise _refuse("stateId is of another team")
        self.mutations.append("move")
        self.move(issue, states[wanted]["name"], viewer)
        return {"success": True, "issue": issue}

    def _create_comment(self, viewer: Json, values: Json) -> Json:
        if uuid.UUID(values["id"]).version != 4:
            raise _refuse("id must be a UUID of version 4")
        if values["id"] in self.comments or values["id"] in self.deleted_comments:
            raise _refuse("conflict on insert of Comment")
        self.mutations.append("create comment")
        made = self.comment(self._issue(values["issueId"]), values["body"], viewer, id_=values["id"])
        return {"success": True, "comment": made}

    def _update_comment(self, viewer: Json, **given: Any) -> Json:
        comment = self._one(self.comments, given["id"], "Comment")
        if comment["user"] is not viewer:
            raise _refuse("You can only edit your own comments", "forbidden", "FORBIDDEN")
        self.mutations.append("update comment")
        self.tick()
        comment |= {"body": given["input"]["body"], "updatedAt": self.now.isoformat()}
        self._version += 1
        return {"success": True, "comment": comment}

    def _create_attachment(self, viewer: Json, values: Json) -> Json:
        issue = self._issue(values["issueId"])
        self.mutations.append("write claim")
        for known in issue["_attachments"]:
            if known["url"] == values["url"]:
                known |= {"title": values["title"], "metadata": values["metadata"]}
                return {"success": True, "attachment": known}
        made = self.attach(issue, values["url"], viewer, values["title"], **values["metadata"])
        return {"success": True, "attachment": made}

    def _uuid(self) -> str:
        return str(uuid.uuid4())

    # HTTP -------------------------------------------------------------------------------------------------

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.json()
        document = parse(body["query"])
        operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))
        name = operation.name.value if operation.name else ""
        self.requests.append((name, body["variables"]))
        fault = self._fault(name)
        if fault is not None and fault.kind == "hang":
            await asyncio.sleep(3600)
        if fault is not None and fault.kind == "cut":
            return self._cut(request)
        if fault is not None and fault.kind == "status":
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
        if fault is not None and fault.kind == "ratelimited":
            error = {
                "message": "Rate limit exceeded",
                "extensions": {"type": "ratelimited", "code": "RATELIMITED"},
            }
            return web.json_response({"errors": [error]}, status=400, headers=fault.headers)
        viewer = self.keys.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if viewer is None:
            error = {
                "message": "Authentication required, not authenticated",
                "extensions": {"type": "authentication error", "code": "AUTHENTICATION_ERROR"},
            }
            return web.json_response({"errors": [error]}, status=401)
        cost = complexity(body["query"], body["variables"])
        self.costs.append(cost)
        if cost > MOST_COMPLEXITY:
            error = {
                "message": "Query too complex",
                "extensions": {"type": "invalid input", "code": "INPUT_ERROR"},
            }
            return web.json_response({"errors": [error]}, status=400)
        if name in self.canned:
            return web.json_response(text=self.canned[name](body["variables"]))
        result = graphql_sync(
            SCHEMA, body["query"], self.root(self.users[viewer]), variable_values=body["variables"]
        )
        if fault is not None and fault.kind == "lost":
            return self._cut(request)
        return self._response(result, cost, partial=fault is not None)

    def _response(self, result: ExecutionResult, cost: int, *, partial: bool) -> web.Response:
        errors = [error.formatted for error in result.errors or ()]
        if partial:
            errors.append({"message": "Internal server error", "extensions": {"type": "internal error"}})
        answer: Json = {"data": result.data} | ({"errors": errors} if errors else {})
        status = 200 if result.data is not None else 400
        headers = {"Date": format_datetime(self.now, usegmt=True), "X-Complexity": str(cost)}
        return web.json_response(answer, status=status, headers=headers)

    def _fault(self, operation: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.operation in ("", operation):
                fault.times -= 1
                return fault
        return None

    @staticmethod
    def _cut(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.close()
        return web.Response()


@asynccontextmanager
async def served(world: World) -> AsyncIterator[World]:
    """Serve the world on a free port of the loopback interface."""
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/graphql", world.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        world.url = f"http://127.0.0.1:{runner.addresses[0][1]}/graphql"
        yield world
    finally:
        await runner.cleanup()


# Filters ---------------------------------------------------------------------------------------------------


def _fitting(items: Any, given: Json) -> list[Json]:
    rule = given.get("filter")
    return [item for item in items if rule is None or _fits(item, rule)]


def _fits(value: Any, rule: Json) -> bool:
    return all(_fits_one(value, name, wanted) for name, wanted in rule.items())


def _fits_one(value: Any, name: str, wanted: Any) -> bool:
    match name:
        case "or":
            return any(_fits(value, other) for other in wanted)
        case "some":
            return any(_fits(item, wanted) for item in value)
        case "eq":
            return bool(value == wanted)
        case "eqIgnoreCase":
            return str(value).casefold() == wanted.casefold()
        case "in":
            return value in wanted
        case "nin":
            return value not in wanted
        case "startsWith":
            return str(value).startswith(wanted)
        case "gte":
            return value is not None and datetime.fromisoformat(value) >= datetime.fromisoformat(wanted)
    if value is None:
        return False
    inner = value.get(f"_{name}", value.get(name))
    return _fits(inner, wanted)


# Costs -----------------------------------------------------------------------------------------------------


def complexity(query: str, variables: Json) -> int:
    """Return the points of a query as Linear counts them: 0.1 a property, 1 an object, lists times their size."""
    document = parse(query)
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    root = SCHEMA.get_root_type(operation.operation)
    assert root is not None
    return math.ceil(_cost(operation.selection_set, root, fragments, variables))


def _fields(selection: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> Iterator[FieldNode]:
    for node in selection.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, FragmentSpreadNode):
            yield from _fields(fragments[node.name.value].selection_set, fragments)


def _cost(
    selection: SelectionSetNode,
    parent: GraphQLObjectType,
    fragments: dict[str, FragmentDefinitionNode],
    variables: Json,
) -> float:
    total = 0.0
    for node in _fields(selection, fragments):
        type_ = get_named_type(parent.fields[node.name.value].type)
        if node.selection_set is None or not isinstance(type_, GraphQLObjectType):
            total += 0.1
            continue
        inner = 1 + _cost(node.selection_set, type_, fragments, variables)
        total += inner * (_size(node, variables) if type_.name.endswith("Connection") else 1)
    return total


def _size(node: FieldNode, variables: Json) -> int:
    for argument in node.arguments:
        if argument.name.value == "first":
            if isinstance(argument.value, IntValueNode):
                return int(argument.value.value)
            if isinstance(argument.value, VariableNode):
                return int(variables[argument.value.name.value])
    return 50

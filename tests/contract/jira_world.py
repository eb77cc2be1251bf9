"""A stand-in Jira over real HTTP: Cloud (version 3) or Data Center (version 2), as far as the source uses it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web
from jira_adf_rules import adf_fault, plain_text
from jira_jql import JqlError, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

Json = dict[str, Any]

CATEGORIES = {
    "Backlog": "new",
    "To Do": "new",
    "Queued": "new",
    "In Progress": "indeterminate",
    "In Review": "indeterminate",
    "Done": "done",
    "Won't Do": "done",
}
WORKFLOW = {
    "Backlog": ("To Do",),
    "To Do": ("Queued", "In Progress", "Done"),
    "Queued": ("In Progress",),
    "In Progress": ("In Review", "To Do"),
    "In Review": ("In Progress", "Done", "Won't Do"),
    "Done": ("To Do",),
    "Won't Do": ("To Do",),
}
ME = "robot"


@dataclass
class User:
    id: str
    email: str = ""
    active: bool = True
    account_type: str = "atlassian"
    groups: tuple[str, ...] = ()


@dataclass
class Comment:
    id: str
    author: str
    body: Any
    at: datetime
    editor: str = ""
    visibility: Json | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> str:
        return plain_text(self.body)


@dataclass
class Issue:
    id: str
    key: str
    creator: str
    created: datetime
    updated: datetime
    summary: str = "A ticket"
    description: Any = None
    status: str = "To Do"
    labels: tuple[str, ...] = ()
    assignee: str = ""
    priority: str = "Medium"
    components: tuple[str, ...] = ()
    parent: str = ""
    type: str = "Task"
    subtasks: list[str] = field(default_factory=list)
    links: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    histories: list[Json] = field(default_factory=list)
    properties: dict[str, Any] = field(default_factory=dict)

    def category(self) -> str:
        names = {"new": "To Do", "indeterminate": "In Progress", "done": "Done"}
        return names[CATEGORIES[self.status]]


@dataclass
class Fault:
    """What happens to the next requests that match, instead of, or after, what they ask for."""

    method: str
    path: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"errorMessages": ["no"], "errors": {}}'
    does_it: bool = False
    """Whether the request takes effect although its answer is lost."""
    drop: bool = False
    hang: float = 0
    slow_bytes: int = 0


class JiraWorld:
    """State, acts of people, and the server."""

    def __init__(self, *, cloud: bool) -> None:
        self.cloud = cloud
        self.users: dict[str, User] = {}
        self.issues: dict[str, Issue] = {}
        self.clock = datetime.now(UTC).replace(microsecond=0)
        self.log: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str, frozenset[str], Any]] = []
        """Method, path, names of the query's parameters, body."""
        self.queries: list[str] = []
        self.faults: list[Fault] = []
        self.login = "" if not cloud else "robot@example.com"
        self.token = "secret-token"
        self.logged_in = True
        self.anonymous = False
        self.lists_properties = True
        self.url = ""
        self.answers: deque[tuple[str, Any]] = deque(maxlen=500)
        """Name of the type in Jira's API, and what was said."""
        self.before_page: Callable[[int], None] | None = None
        self.lag = timedelta()
        """How long the search knows nothing of a change."""
        self.keeps_lists = False
        """Whether a query finds the same on all its pages, so that a long one is quick."""
        self._lists: dict[str, list[Issue]] = {}
        self._next = 10_000
        self.user(ME, email="robot@example.com")

    # Acts of people

    def user(self, id_: str, **more: Any) -> User:
        self.users[id_] = User(id_, **more)
        return self.users[id_]

    def tick(self, **more: float) -> datetime:
        self.clock += timedelta(**more) if more else timedelta(seconds=1)
        return self.clock

    def new_id(self) -> str:
        self._next += 1
        return str(self._next)

    def issue(self, key: str = "", *, by: str = "alice", **more: Any) -> Issue:
        id_ = self.new_id()
        at = self.tick()
        made = Issue(id=id_, key=key or f"SHOP-{id_}", creator=by, created=at, updated=at, **more)
        self.issues[id_] = made
        return made

    def change(self, issue: Issue, by: str, *items: Json) -> str:
        issue.updated = self.tick()
        id_ = self.new_id()
        issue.histories.append({"id": id_, "by": by, "at": self.clock, "items": list(items)})
        return id_

    def _item(self, name: str, before: str, before_text: str, after: str, after_text: str) -> Json:
        found: Json = {
            "field": name,
            "fieldtype": "jira",
            "from": before or None,
            "fromString": before_text,
            "to": after or None,
            "toString": after_text,
        }
        return {**found, "fieldId": name} if self.cloud else found

    def label(self, issue: Issue, by: str, *labels: str) -> str:
        before, issue.labels = " ".join(issue.labels), labels
        item = self._item("labels", "", before, "", " ".join(labels))
        return self.change(issue, by, item)

    def assign(self, issue: Issue, by: str, to: str) -> str:
        before, issue.assignee = issue.assignee, to
        ids = [self._person(name) if name else "" for name in (before, to)]
        return self.change(issue, by, self._item("assignee", ids[0], before.title(), ids[1], to.title()))

    def _person(self, name: str) -> str:
        return name if self.cloud else f"key-{name}"

    def set_status(self, issue: Issue, by: str, status: str) -> str:
        before, issue.status = issue.status, status
        return self.change(issue, by, self._item("status", "1", before, "2", status))

    def edit(self, issue: Issue, by: str, *, summary: str = "", description: Any = None) -> str:
        items = []
        if summary:
            items.append(self._item("summary", "", issue.summary, "", summary))
            issue.summary = summary
        if description is not None:
            items.append(self._item("description", "", "old", "", "new"))
            issue.description = description
        return self.change(issue, by, *items)

    def comment(self, issue: Issue, by: str, body: str, **more: Any) -> Comment:
        issue.updated = self.tick()
        content = document(body) if self.cloud else body
        made = Comment(self.new_id(), by, content, self.clock, **more)
        issue.comments.append(made)
        return made

    def fail(self, method: str, path: str, **more: Any) -> Fault:
        self.faults.append(Fault(method, path, **more))
        return self.faults[-1]

    def requests(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, f"{method} {path}")) for method, path in self.log)

    # The server

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[JiraWorld]:
        app = web.Application(client_max_size=50 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.log.append((request.method, path))
        fault = next(
            (f for f in self.faults if f.times and f.method == request.method and re.search(f.path, path)),
            None,
        )
        if fault is not None:
            fault.times -= 1
            if fault.does_it:
                await self._answer(request)
            if fault.hang:
                await asyncio.sleep(fault.hang)
            if fault.drop and request.transport is not None:
                request.transport.abort()
            if fault.slow_bytes:
                return await _drip(request, fault.slow_bytes)
            return web.Response(
                status=fault.status or 500,
                text=fault.body,
                content_type="application/json",
                headers=fault.headers,
            )
        return await self._answer(request)

    async def _answer(self, request: web.Request) -> web.Response:
        if self.anonymous:
            headers = {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"}
            return web.json_response({"issues": []}, headers=headers)
        wanted = f"Bearer {self.token}"
        if self.login:
            wanted = "Basic " + base64.b64encode(f"{self.login}:{self.token}".encode()).decode()
        version = 3 if self.cloud else 2
        found = re.fullmatch(r"/rest/api/(\d)/(.*)", request.path)
        if found is None:
            return web.Response(status=404, text="<html>not here</html>", content_type="text/html")
        resource = found[2]
        if int(found[1]) != version and resource not in ("serverInfo", "myself"):
            return _error(404, f"the stand-in speaks version {version}")
        if resource == "serverInfo":
            return self._say("ServerInformation", self._server_info())
        if request.headers.get("Authorization") != wanted or not self.logged_in:
            return _error(401, "Client must be authenticated to access this resource.")
        body = await request.json() if request.can_read_body else None
        self.sent.append((request.method, request.path, frozenset(request.query), body))
        self.clock += timedelta(milliseconds=1)
        return self._route(request.method, resource, request.query, body)

    def _say(self, kind: str, content: Any, status: int = 200) -> web.Response:
        self.answers.append((kind, content))
        return web.json_response(content, status=status)

    def _server_info(self) -> Json:
        return {
            "baseUrl": self.url,
            "version": "1001.0.0" if self.cloud else "10.3.1",
            "versionNumbers": [10, 3, 1],
            "deploymentType": "Cloud" if self.cloud else "Server",
            "buildNumber": 100,
            "serverTime": _at(self.clock),
            "serverTitle": "Jira",
        }

    def _route(self, method: str, resource: str, query: Any, body: Any) -> web.Response:
        parts = resource.split("/")
        match method, parts:
            case "GET", ["myself"]:
                return self._say("User", self._user(ME))
            case "POST", ["search", "jql"] if self.cloud:
                return self._search_cloud(body)
            case "POST", ["search"] if not self.cloud:
                return self._search_server(body)
            case "GET", ["user"]:
                return self._user_answer(query)
            case "GET", ["user", "groups"] if self.cloud:
                user = self.users.get(query.get("accountId", ""))
                groups = user.groups if user else ()
                return self._say(
                    "GroupName[]", [{"name": name, "groupId": name, "self": "x"} for name in groups]
                )
            case "GET", ["comment", id_, "properties", key]:
                for issue in self.issues.values():
                    for comment in issue.comments:
                        if comment.id == id_ and key in comment.properties:
                            return self._say("EntityProperty", {"key": key, "value": comment.properties[key]})
                return _error(404, "The property does not exist.")
            case _, ["issue", name, *rest]:
                issue = self._find(name)
                if issue is None:
                    return _error(404, "Issue does not exist or you do not have permission to see it.")
                return self._issue_route(method, issue, rest, query, body)
        return _error(404, f"the stand-in has no {method} {resource}")

    def _find(self, name: str) -> Issue | None:
        if name in self.issues:
            return self.issues[name]
        return next((issue for issue in self.issues.values() if issue.key == name), None)

    def _issue_route(self, method: str, issue: Issue, rest: list[str], query: Any, body: Any) -> web.Response:
        match method, rest:
            case "GET", []:
                return self._say("Issue", self._whole(issue, query))
            case "GET", ["changelog"] if self.cloud:
                start, most = int(query["startAt"]), int(query["maxResults"])
                values = [self._history(one) for one in issue.histories[start : start + most]]
                end = start + len(values) >= len(issue.histories)
                page = {"startAt": start, "maxResults": most, "total": len(issue.histories), "isLast": end}
                return self._say("PageChangelog", {**page, "values": values})
            case "GET", ["comment"]:
                start, most = int(query["startAt"]), min(int(query["maxResults"]), 100)
                values = [
                    self._comment(one, properties="properties" in query.get("expand", ""))
                    for one in issue.comments[start : start + most]
                ]
                page = {"startAt": start, "maxResults": most, "total": len(issue.comments)}
                return self._say("PageOfComments", {**page, "comments": values})
            case "POST", ["comment"]:
                if fault := self._body_fault(body.get("body")):
                    return fault
                made = Comment(self.new_id(), ME, body["body"], self.tick())
                made.properties = {one["key"]: one["value"] for one in body.get("properties", [])}
                issue.comments.append(made)
                issue.updated = self.clock
                return self._say("Comment", self._comment(made, properties=False), 201)
            case "PUT", ["comment", id_]:
                comment = next((one for one in issue.comments if one.id == id_), None)
                if comment is None:
                    return _error(404, f"Can not find a comment for the id: {id_}.")
                if fault := self._body_fault(body.get("body")):
                    return fault
                comment.body, comment.editor = body["body"], ME
                issue.updated = self.tick()
                return self._say("Comment", self._comment(comment, properties=False))
            case "GET", ["properties", key]:
                if key not in issue.properties:
                    return _error(404, f"The property with the key {key} does not exist.")
                return self._say("EntityProperty", {"key": key, "value": issue.properties[key]})
            case "PUT", ["properties", key]:
                if len(json.dumps(body)) > 32_768:
                    return _error(400, "The property value is too long.")
                created = key not in issue.properties
                issue.properties[key] = body
                return web.Response(status=201 if created else 200)
            case "POST", ["transitions"]:
                for way in self._transitions(issue):
                    if way["id"] == body["transition"]["id"]:
                        self.set_status(issue, ME, way["to"]["name"])
                        return web.Response(status=204)
                return _error(
                    400, "It seems that you have tried to perform a workflow operation that is not valid."
                )
        return _error(404, f"the stand-in has no {method} issue/…/{'/'.join(rest)}")

    def _body_fault(self, body: Any) -> web.Response | None:
        if not self.cloud:
            if isinstance(body, str) and len(body) <= 32_767:
                return None
            return _error(
                400, "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
            )
        if fault := adf_fault(body):
            return _error(400, f"INVALID_INPUT: {fault}")
        if len(json.dumps(body)) > 32_767:
            return _error(400, "CONTENT_LIMIT_EXCEEDED")
        return None

    # Pages

    def _search_cloud(self, body: Json) -> web.Response:
        after = int((body.get("nextPageToken") or "after-0").partition("-")[2])
        if self.before_page:
            self.before_page(len(self.queries) * 100)
        found = self._query(body["jql"])
        if isinstance(found, web.Response):
            return found
        left = [issue for issue in found if int(issue.id) > after]
        most = min(body["maxResults"], 100)
        page = left[:most]
        answer: Json = {"issues": [self._line(issue, body["fields"]) for issue in page]}
        if len(left) > most:
            answer["nextPageToken"] = f"after-{page[-1].id}"
        return self._say("SearchAndReconcileResults", answer)

    def _search_server(self, body: Json) -> web.Response:
        start = body["startAt"]
        if self.before_page:
            self.before_page(start)
        found = self._query(body["jql"])
        if isinstance(found, web.Response):
            return found
        page = [self._line(issue, body["fields"]) for issue in found[start : start + body["maxResults"]]]
        return web.json_response(
            {"startAt": start, "maxResults": body["maxResults"], "total": len(found), "issues": page}
        )

    def _query(self, jql: str) -> list[Issue] | web.Response:
        self.queries.append(jql)
        if self.keeps_lists and jql in self._lists:
            return self._lists[jql]
        try:
            fits = parse(jql, self.clock)
        except JqlError as error:
            return _error(400, str(error))
        self._lists = {
            jql: [issue for issue in self.issues.values() if fits(issue) and self._is_known(issue)]
        }
        return self._lists[jql]

    def _is_known(self, issue: Issue) -> bool:
        return issue.updated <= self.clock - self.lag

    # What things look like

    def _line(self, issue: Issue, names: Iterable[str]) -> Json:
        fields = self._fields(issue)
        return {
            "id": issue.id,
            "key": issue.key,
            "self": f"{self.url}/rest/api/3/issue/{issue.id}",
            "fields": {name: fields[name] for name in names},
        }

    def _whole(self, issue: Issue, query: Any) -> Json:
        names = query.get("fields", "").split(",")
        found = self._line(issue, names)
        wanted = query.get("properties", "")
        if wanted:
            found["properties"] = {k: v for k, v in issue.properties.items() if k == wanted}
        if "changelog" in query.get("expand", ""):
            histories = [self._history(one) for one in issue.histories]
            total = len(histories)
            found["changelog"] = {"startAt": 0, "maxResults": total, "total": total, "histories": histories}
        if "transitions" in query.get("expand", ""):
            found["transitions"] = self._transitions(issue)
        return found

    def _fields(self, issue: Issue) -> Json:
        return {
            "summary": issue.summary,
            "status": self._status(issue.status),
            "labels": list(issue.labels),
            "assignee": self._user(issue.assignee) if issue.assignee else None,
            "priority": {"id": "3", "name": issue.priority},
            "components": [{"id": "1", "name": name} for name in issue.components],
            "created": _at(issue.created),
            "updated": _at(issue.updated),
            "description": issue.description,
            "creator": self._user(issue.creator) if issue.creator else None,
            "attachment": issue.attachments,
            "issuelinks": issue.links,
            "parent": self._other(issue.parent) if issue.parent else None,
            "subtasks": [self._other(key) for key in issue.subtasks],
            "issuetype": {
                "id": "1",
                "name": issue.type,
                **({"hierarchyLevel": 1 if issue.type == "Epic" else 0} if self.cloud else {}),
            },
            "project": {"id": "1", "key": issue.key.partition("-")[0], "name": "Shop"},
        }

    def _other(self, key: str) -> Json:
        issue = self._find(key)
        assert issue is not None
        fields = {"summary": issue.summary, "status": self._status(issue.status)}
        return {"id": issue.id, "key": issue.key, "self": "x", "fields": fields}

    def link(self, one: Issue, name: str, inward: str, outward: str, other: Issue, *, side: str) -> None:
        """Link two issues as ``one`` shows it."""
        kind = {"id": "1", "name": name, "inward": inward, "outward": outward}
        one.links.append({"id": self.new_id(), "type": kind, f"{side}Issue": self._other(other.key)})

    def _status(self, name: str) -> Json:
        key = CATEGORIES[name]
        return {"id": name, "name": name, "statusCategory": {"id": 1, "key": key, "name": key}}

    def _transitions(self, issue: Issue) -> list[Json]:
        return [
            {"id": str(place), "name": f"Go to {name}", "to": self._status(name), "hasScreen": False}
            for place, name in enumerate(WORKFLOW[issue.status], 11)
        ]

    def _user(self, id_: str) -> Json:
        user = self.users.get(id_) or User(id_)
        common: Json = {"active": user.active, "displayName": id_.title(), "self": "x"}
        if user.email:
            common["emailAddress"] = user.email
        if self.cloud:
            return {"accountId": user.id, "accountType": user.account_type, **common}
        return {"key": f"key-{user.id}", "name": user.id, **common}

    def _user_answer(self, query: Any) -> web.Response:
        id_ = query.get("accountId") if self.cloud else query.get("username")
        if not self.cloud and query.get("key", "").startswith("key-"):
            id_ = query["key"].removeprefix("key-")
        if id_ not in self.users:
            return _error(404, "Specified user does not exist or you do not have required permissions")
        found = self._user(id_)
        groups = self.users[id_].groups
        found["groups"] = {"size": len(groups), "items": [{"name": name, "self": "x"} for name in groups]}
        return self._say("User", found)

    def _history(self, history: Json) -> Json:
        found = {"id": history["id"], "created": _at(history["at"]), "items": history["items"]}
        if history["by"]:
            found["author"] = self._user(history["by"])
        return found

    def _comment(self, comment: Comment, *, properties: bool) -> Json:
        found: Json = {
            "id": comment.id,
            "self": "x",
            "author": self._user(comment.author),
            "updateAuthor": self._user(comment.editor or comment.author),
            "body": comment.body,
            "created": _at(comment.at),
            "updated": _at(comment.at),
        }
        if comment.visibility:
            found["visibility"] = comment.visibility
        if properties and self.lists_properties:
            found["properties"] = [{"key": k, "value": v} for k, v in comment.properties.items()]
        return found


def document(text: str) -> Json:
    """Return a document with one paragraph for each line."""
    content = [
        {"type": "paragraph", "content": [{"type": "text", "text": line}] if line else []}
        for line in text.split("\n")
    ]
    return {"type": "doc", "version": 1, "content": content}


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"errorMessages": [message], "errors": {}}, status=status)


async def _drip(request: web.Request, count: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(count):
        await response.write(b" ")
        await asyncio.sleep(0.02)
    await response.write_eof()
    return response

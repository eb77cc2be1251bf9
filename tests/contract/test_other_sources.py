"""The examples of docs/tickets-other.md: each is executed as it stands there."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import (
    Ask,
    Claim,
    ClaimedRun,
    TicketComment,
    TicketEntry,
    TicketReading,
)
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.hooks import ticket_source
from airflow_provider_agents.operators.ticket_sources import source_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tickets-other.md"


# What the page says that the source's names are.
NAMES: dict[str, Any] = {
    "asyncio": asyncio,
    "asynccontextmanager": asynccontextmanager,
    "b64decode": b64decode,
    "b64encode": b64encode,
    "datetime": datetime,
    "timedelta": timedelta,
    "UTC": UTC,
    "Ask": Ask,
    "Claim": Claim,
    "Listing": ticket_source.Listing,
    "Standing": Standing,
    "TicketComment": TicketComment,
    "TicketEntry": TicketEntry,
    "TicketReading": TicketReading,
    "partial": partial,
    "connect": None,
    "LEVELS": {20: "read", 30: "write", 40: "maintain", 50: "admin"},
}


def example(word: str) -> dict[str, Any]:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    code = next(block for block in blocks if word in block)
    mark = re.search(r'`re\.compile\(r"(.*)"\)`', PAGE.read_text())
    assert mark is not None
    names: dict[str, Any] = {"__name__": "example", "MARK": re.compile(mark[1]), **NAMES}
    exec(compile(code, str(PAGE), "exec"), names)
    return names


def test_a_dag_that_starts_runs() -> None:
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import DagRunTriggerException

    dag = next(value for value in example("TriggerDagRunOperator").values() if isinstance(value, DAG))
    assert len(dag.tasks) == 2
    ids = set()
    for task in dag.tasks:
        task.render_template_fields({"ds": "2026-01-04"})  # type: ignore[typeddict-item]
        with pytest.raises(DagRunTriggerException) as caught:
            task.execute({})
        started = caught.value
        assert started.trigger_dag_id == "coding_task"
        assert started.skip_when_already_exists
        ids.add(started.dag_run_id)
        request, faults = parse_request(started.conf, Bounds())
        assert request is not None, faults
        assert request.repository in ("acme/shop", "acme/billing")
        assert request.budget_usd == 5
    assert ids == {"upgrade__acme-shop__2026-01-04", "upgrade__acme-billing__2026-01-04"}


@pytest.mark.parametrize("where", ["docs/tickets-jira.md", "dags/tickets/jira.yaml"])
def test_the_definitions_of_jira_that_are_shown(where: str) -> None:
    text = (PAGE.parents[1] / where).read_text()
    if where.endswith(".md"):
        text = textwrap.dedent(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    definition = SourceDefinition.model_validate(yaml.safe_load(text))
    assert definition.source == "jira"
    assert definition.authority.start.teams == ("developers",)
    assert definition.authority.start.permission is None


class Tracker:
    """A tracker like GitLab's with one project."""

    def __init__(self) -> None:
        self.issues = [self._issue(number, ["agent"]) for number in range(1, 102)]
        self.issues.append(self._issue(102, []))
        self.notes: list[dict[str, Any]] = [self._note(1, "me too", own=False)]
        self.failing = 0
        self.app = web.Application()
        self.app.router.add_get("/issues", self._list)
        self.app.router.add_get("/issues/{iid}", self._one)
        self.app.router.add_put("/issues/{iid}", self._close)
        self.app.router.add_get("/issues/{iid}/notes", self._notes)
        self.app.router.add_post("/issues/{iid}/notes", self._add)
        self.app.router.add_put("/issues/{iid}/notes/{id}", self._edit)
        self.app.router.add_get("/issues/{iid}/resource_label_events", self._events)
        self.app.router.add_get("/members/all/{id}", self._member)

    @staticmethod
    def _issue(iid: int, labels: list[str]) -> dict[str, Any]:
        at = "2026-01-04T10:00:00.000Z"
        common = {"iid": iid, "title": f"Issue {iid}", "web_url": f"https://tracker.example.com/{iid}"}
        texts = {"description": None, "author": {"id": 5}, "state": "opened"}
        return {**common, **texts, "labels": labels, "created_at": at, "updated_at": at}

    @staticmethod
    def _note(id_: int, body: str, *, own: bool) -> dict[str, Any]:
        at = "2026-01-04T10:00:00.000Z"
        return {"id": id_, "body": body, "own": own, "author": {"id": 9 if own else 5}, "created_at": at}

    async def _list(self, request: web.Request) -> web.Response:
        if request.headers.get("PRIVATE-TOKEN") != "token":
            return web.json_response({}, status=401)
        if self.failing:
            return web.json_response({}, status=self.failing)
        found = [one for one in self.issues if request.query.get("labels", "") in ["", *one["labels"]]]
        page = int(request.query["page"])
        part = found[(page - 1) * 100 : page * 100]
        following = str(page + 1) if page * 100 < len(found) else ""
        return web.json_response(part, headers={"X-Next-Page": following})

    def _find(self, request: web.Request) -> dict[str, Any]:
        for issue in self.issues:
            if str(issue["iid"]) == request.match_info["iid"]:
                return issue
        raise web.HTTPNotFound

    async def _one(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(request))

    async def _close(self, request: web.Request) -> web.Response:
        self._find(request)["state"] = {"close": "closed"}[(await request.json())["state_event"]]
        return web.json_response({})

    async def _notes(self, request: web.Request) -> web.Response:
        return web.json_response(self.notes)

    async def _add(self, request: web.Request) -> web.Response:
        self.notes.append(self._note(len(self.notes) + 1, (await request.json())["body"], own=True))
        return web.json_response(self.notes[-1])

    async def _edit(self, request: web.Request) -> web.Response:
        note = next(one for one in self.notes if str(one["id"]) == request.match_info["id"])
        note["body"] = (await request.json())["body"]
        return web.json_response(note)

    async def _events(self, request: web.Request) -> web.Response:
        event = {"user": {"id": 5}, "label": {"name": "agent"}, "created_at": "2026-01-04T10:00:00.000Z"}
        return web.json_response(
            [{**event, "id": 3, "action": "add"}, {**event, "id": 4, "action": "remove"}]
        )

    async def _member(self, request: web.Request) -> web.Response:
        return web.json_response({"access_level": 30, "username": "mona"})


@pytest.fixture
async def tracker() -> AsyncIterator[tuple[Tracker, str]]:
    made = Tracker()
    async with TestServer(made.app, host="127.0.0.1") as server:
        yield made, str(server.make_url("")).rstrip("/")


class Api:
    """The client that the page leaves to its reader."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def _call(self, method: str, path: str, **more: Any) -> tuple[Any, str]:
        async with self.http.request(method, f"{self.url}/{path}", **more) as answer:
            if answer.status >= 500:
                raise ForgeUnavailableError(f"{path}: HTTP {answer.status}")
            if answer.status >= 400:
                raise ForgeAccessError(f"{path}: HTTP {answer.status}")
            return await answer.json(), answer.headers.get("X-Next-Page", "")

    async def get(self, path: str, **params: Any) -> Any:
        found, page = await self._call("GET", path, params={**params, "page": 1})
        while page:
            more, page = await self._call("GET", path, params={**params, "page": page})
            found += more
        return found

    async def send(self, method: str, path: str, body: Any) -> Any:
        return (await self._call(method, path, json=body))[0]


def connecting(url: str) -> Any:
    @asynccontextmanager
    async def connect() -> AsyncIterator[Api]:
        bound = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(headers={"PRIVATE-TOKEN": "token"}, timeout=bound) as http:
            yield Api(http, url)

    return connect


async def test_a_source_of_ones_own(tracker: tuple[Tracker, str], monkeypatch: pytest.MonkeyPatch) -> None:
    world, url = tracker
    module = ModuleType("a_source_of_ones_own")
    names = example("TrackerIssues")
    names["connect"] = lambda connection: connecting(url)()
    module.TrackerIssues = names["TrackerIssues"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[-1]
    values = yaml.safe_load(text) | {"source": "a_source_of_ones_own.TrackerIssues"}
    definition = SourceDefinition.model_validate(values)
    source = source_for(definition)
    assert (definition.kind, source.kind) == ("custom", "custom")
    async with source.open():
        listing = await source.fetch(None)
        assert len(listing.entries) == 101
        assert listing.complete
        changed = await source.fetch(listing.cursor)
        assert not changed.complete
        assert [entry.actionable for entry in changed.entries].count(False) == 1
        found = await source.read(["7", "4711"])
        assert isinstance(found["4711"], ForgeAccessError)
        reading = found["7"]
        assert isinstance(reading, TicketReading)
        assert [(ask.key, ask.by) for ask in reading.asks] == [("label-3", "5")]
        assert reading.claim is None
        standing = await source.standing("5", "acme/shop")
        assert standing.permission == "write"
        claim = Claim(runs=(ClaimedRun(run_id="run", asks=("label-3",)),))
        first = await source.write_status(reading, claim, "Working.")
        assert await source.write_status(reading, claim.with_state("run", "ended"), "Done.") == first
        assert len(world.notes) == 2
        again = (await source.read(["7"]))["7"]
        assert isinstance(again, TicketReading)
        assert again.claim == claim.with_state("run", "ended")
        assert [comment.body for comment in again.comments] == ["me too"]
        await source.move(again, "working")
        await source.close(again)
        assert world.issues[6]["state"] == "closed"
        world.failing = 503
        with pytest.raises(ForgeUnavailableError):
            await source.fetch(None)


def test_the_example_is_short_and_has_every_member() -> None:
    code = re.search(r"```python\n(class TrackerIssues:.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 43
    members = {name for name in vars(ticket_source.TicketSource) if not name.startswith("_")}
    members |= set(ticket_source.TicketSource.__annotations__)
    assert members <= set(dir(example("TrackerIssues")["TrackerIssues"]))


@pytest.mark.parametrize("path", ["no_such_package.tickets.Mine", "json.NoSuchClass", "json.JSONDecoder"])
def test_a_class_that_cannot_be_used_is_named(path: str) -> None:
    definition = SourceDefinition.model_validate({"source": path})
    with pytest.raises(InvalidInputError, match=f"source: {path} cannot be used: "):
        source_for(definition)

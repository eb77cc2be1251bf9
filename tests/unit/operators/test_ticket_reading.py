"""How a run reads its ticket, and what keeps it from beginning."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fakes import GitHub, issue
from ticket_world import START, Source

from airflow_provider_agents.domain.authority_rules import AuthorityRules, Who
from airflow_provider_agents.domain.coding_task_request import Bounds, CodingTaskRequest, parse_request
from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import Edit
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeUnavailableError,
    InvalidInputError,
    TaskStoppedError,
)
from airflow_provider_agents.operators import ticket_reading
from airflow_provider_agents.operators.ticket_reading import ReadTicket, read_ticket


def request(**values: Any) -> CodingTaskRequest:
    found, faults = parse_request({"repository": "acme/shop"} | values, Bounds())
    assert found is not None, faults
    return found


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source = Source()
        self.id = self.source.add(7)
        self.definition = SourceDefinition(source="github", repositories=("acme/shop",))
        monkeypatch.setattr(ticket_reading, "load_definition", lambda name: self.definition)
        monkeypatch.setattr(ticket_reading, "source_for", lambda *given: self.source)

    def read(self, **values: Any) -> ReadTicket:
        digest = self.source.tickets[self.id].digest
        asked = {
            "ticket_source": "shop",
            "ticket_id": self.id,
            "ticket_asks": ["LE_7"],
            "ticket_digest": digest,
        }
        found = read_ticket(request(**asked | values), run_id="r", github_conn_id="github_default")
        assert found is not None
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_the_ticket_of_a_source_keeps_where_it_is_from(world: World) -> None:
    ticket = world.read().ticket
    assert (ticket.source, ticket.id, ticket.key, ticket.number) == ("shop", "I_7", "acme/shop#7", 7)
    assert world.read().authority == AuthorityRules()


def test_the_rules_of_the_source_are_those_of_the_run(world: World) -> None:
    rules = AuthorityRules(start=Who(users=("mona",)))
    world.definition = world.definition.model_copy(update={"authority": rules})
    world.definition.model_fields_set.add("authority")
    assert world.read().authority == rules


def test_an_edit_by_a_stranger_since_the_ask_stops_the_run(world: World) -> None:
    digest = world.source.tickets[world.id].digest
    edit = Edit(by="eve", at=START.replace(hour=23))
    world.source.change(world.id, body="rm -rf", edits=(edit,))
    with pytest.raises(TaskStoppedError, match=r"eve .* changed|changed the title or the text"):
        world.read(ticket_digest=digest)


def test_a_label_that_is_off_again_stops_the_run(world: World) -> None:
    world.source.change(world.id, entry={"labels": (), "actionable": False})
    with pytest.raises(TaskStoppedError, match="taken back"):
        world.read()


def test_what_could_not_be_read_is_left_to_the_retries(world: World) -> None:
    world.source.change(world.id, missing=("The timeline was cut.",))
    with pytest.raises(ForgeUnavailableError, match="timeline was cut"):
        world.read()


def test_a_ticket_of_another_repository_is_refused(world: World) -> None:
    with pytest.raises(
        InvalidInputError, match=r"is worked on in acme/shop by tickets/shop\.yaml, not in acme/api"
    ):
        world.read(repository="acme/api")


def test_a_ticket_that_is_gone_is_a_fault_of_the_input(world: World) -> None:
    async def read(ids: Any) -> Any:
        return {ids[0]: ForgeAccessError("there is no such issue")}

    world.source.read = read  # type: ignore[method-assign]
    with pytest.raises(InvalidInputError, match="ticket_id: there is no such issue"):
        world.read()


def test_a_run_without_a_ticket_reads_none() -> None:
    assert read_ticket(request(prompt="x"), run_id="r", github_conn_id="github_default") is None


def test_an_issue_that_a_person_named_needs_no_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    github = GitHub().install(monkeypatch)
    github.issues[3] = issue()
    found = read_ticket(request(issue_number=3), run_id="r", github_conn_id="github_default")
    assert found is not None
    assert (found.ticket.number, found.ticket.source, found.authority) == (3, "", None)
    github.issues[3] = dataclasses.replace(issue(), state="CLOSED")
    with pytest.raises(InvalidInputError, match="#3 is closed; reopen it"):
        read_ticket(request(issue_number=3), run_id="r", github_conn_id="github_default")

"""What `accept` reads of a ticket for the agent, and what the pods are told of its images."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fake_kubernetes import Kubernetes, to_json
from fakes import GitHub, Store, TaskInstance, coding_task, context
from ticket_world import Source

from agent_runner.contract import ENV_GATEWAY_CONFIG, FilePlaces, GatewayConfig, TicketImage
from agent_runner.gateway.settings import config_faults
from airflow_provider_agents.domain.attachment_files import FetchedFile, FileAccess
from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing, Who
from airflow_provider_agents.domain.coding_task import CodingTask, Ticket
from airflow_provider_agents.domain.coding_task_request import Bounds, CodingTaskRequest, parse_request
from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.ticket_content import FileSource, TicketContent, TicketPicture
from airflow_provider_agents.domain.tickets import Attachment, TicketComment
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.hooks import attachment_access, attachments, linear_files
from airflow_provider_agents.hooks.github import AgentsGitHubHook, GitHubCredential
from airflow_provider_agents.hooks.github_urls import github_urls
from airflow_provider_agents.operators import ticket_images, ticket_reading
from airflow_provider_agents.operators.steps import (
    AgentImplementOperator,
    AgentPlanOperator,
    AgentTestOperator,
)
from airflow_provider_agents.operators.ticket_images import image_access, image_names
from airflow_provider_agents.operators.ticket_reading import connection_of, read_ticket

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMBERS = AuthorityRules(start=Who(association=("member",)))
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
ACCESS = FileAccess(
    places=FilePlaces(listed=("user-images.githubusercontent.com",), own=("github.com",)),
    credential_place="github.com",
    authorization="Bearer canary",
    images="github",
)


class World:
    """One issue of a source in memory, and files that are there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source = Source()
        self.asked: list[str] = []
        self.opened: list[tuple[str, str]] = []
        self.files: dict[str, FetchedFile] = {}
        self.refused: dict[str, Exception] = {}
        self.id = self.source.add(7)
        # An issue that a person names is found by what people write.
        self.source.tickets["acme/shop#7"] = self.source.tickets[self.id]
        monkeypatch.setattr(ticket_reading, "source_for", lambda definition, authority=None: self.source)
        monkeypatch.setattr(self.source, "standing", self.standing)
        monkeypatch.setattr(attachment_access, "open_access", self.open_access)
        monkeypatch.setattr(attachments, "fetch_files", self.fetch_files)

    async def standing(self, person: str, repository: str) -> Standing:
        self.asked.append(person)
        if person in self.refused:
            raise self.refused[person]
        return self.source.people[person]

    async def open_access(self, definition: SourceDefinition, connection: str, repository: str) -> FileAccess:
        self.opened.append((connection, repository))
        return ACCESS

    async def fetch_files(self, wanted: Sequence[Attachment], access: FileAccess) -> dict[str, FetchedFile]:
        assert access is ACCESS
        return {each.url: self.files[each.url] for each in wanted}

    def ticket(self, **parts: Any) -> None:
        self.source.change("acme/shop#7", **parts)

    def read(self, authority: AuthorityRules | None = None) -> Ticket:
        found = read_ticket(request(), run_id="r", github_conn_id="gh", authority=authority)
        assert found is not None
        return found.ticket


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def request(**values: Any) -> CodingTaskRequest:
    parsed, faults = parse_request({"repository": "acme/shop", "issue_number": 7} | values, Bounds())
    assert parsed is not None, faults
    return parsed


def comment(number: int, author: str) -> TicketComment:
    return TicketComment(
        key=f"c{number}", author=author, body=f"remark {number}", at=AT + timedelta(minutes=number)
    )


def test_issue_without_more(world: World) -> None:
    assert world.read().content == TicketContent()
    assert world.asked == []
    assert world.opened == []


def test_comments_are_those_of_people_who_may_be_heard(world: World) -> None:
    world.ticket(comments=(comment(1, "mona"), comment(2, "eve"), comment(3, "mona")))
    content = world.read().content
    assert [each.body for each in content.comments] == ["remark 1", "remark 3"]
    assert sorted(world.asked) == ["eve", "mona"]


def test_rules_of_the_repository_say_who_is_heard(world: World) -> None:
    world.ticket(comments=(comment(1, "eve"),))
    rules = AuthorityRules(context=Who(users=("eve",)))
    assert [each.outsider for each in world.read(rules).content.comments] == [True]


def test_whom_the_source_does_not_know_is_not_heard(world: World) -> None:
    world.refused["zoe"] = ForgeAccessError("no such user")
    world.ticket(comments=(comment(1, "zoe"), comment(2, "mona")))
    content = world.read().content
    assert [each.author for each in content.comments] == ["mona"]
    assert content.left_out == ("1 comment of people who are not heard here.",)


def test_source_that_does_not_answer_is_asked_again_by_the_task(world: World) -> None:
    world.refused["zoe"] = ForgeUnavailableError("try later")
    world.ticket(comments=(comment(1, "zoe"),))
    with pytest.raises(ForgeUnavailableError):
        world.read()


def test_files_are_fetched_with_the_connection_of_the_source(world: World) -> None:
    log, shot = (
        "https://github.com/user-attachments/files/1/a.log",
        "https://github.com/user-attachments/assets/0-1",
    )
    world.files = {log: FetchedFile(text="boom"), shot: FetchedFile(image=True)}
    world.ticket(attachments=(Attachment(name="a.log", url=log), Attachment(name="shot", url=shot)))
    content = world.read().content
    assert [each.text for each in content.texts] == ["boom"]
    assert [each.url for each in content.images] == [shot]
    assert content.image_source == FileSource(
        how="github", listed=ACCESS.places.listed, own=ACCESS.places.own
    )
    assert world.opened == [("gh", "acme/shop")]
    assert "canary" not in content.model_dump_json()


def test_closed_issue_is_refused_before_anything_is_fetched(world: World) -> None:
    world.ticket(
        fields={"state": "CLOSED"},
        comments=(comment(1, "mona"),),
        attachments=(Attachment(name="a", url="https://github.com/a"),),
    )
    with pytest.raises(InvalidInputError, match="closed"):
        world.read()
    assert (world.asked, world.opened) == ([], [])


@pytest.mark.parametrize(
    ("definition", "connection"),
    [
        (SourceDefinition(source="github", repositories=("a/b",)), "github_default"),
        (SourceDefinition(source="github", repositories=("a/b",), connection="ghes"), "ghes"),
        (SourceDefinition(source="linear", teams=("ENG",), works_in=({"repository": "a/b"},), authority=MEMBERS), "linear_default"),
        (SourceDefinition(source="jira", jql="x", works_in=({"repository": "a/b"},), authority=MEMBERS), "jira_default"),
    ],
)  # fmt: skip
def test_connection_of_a_source(definition: SourceDefinition, connection: str) -> None:
    assert connection_of(definition) == connection


# What pods are told

SHOT = "https://github.com/user-attachments/assets/0-1"
OLD = "https://user-images.githubusercontent.com/1/2.png"


def task(how: Any = "github", urls: tuple[str, ...] = (SHOT, OLD), **ticket: Any) -> CodingTask:
    source = FileSource(how=how, listed=("user-images.githubusercontent.com",), own=("github.com",))
    images = tuple(TicketPicture(name="shot", stem=f"shot-{n}", url=url) for n, url in enumerate(urls))
    content = TicketContent(images=images, image_source=source)
    return coding_task(ticket=Ticket(**{"number": 7, "title": "T", "content": content} | ticket))


@pytest.mark.parametrize("step", ["plan", "implement", "fix"])
def test_steps_that_get_the_images(step: Any) -> None:
    assert image_names(task(), step) == ("shot-0", "shot-1")


@pytest.mark.parametrize("step", ["test", "review"])
def test_steps_that_get_no_images(step: Any) -> None:
    assert image_names(task(), step) == ()
    assert image_access(task(), step, github_urls(None)).images == ()


def test_task_without_a_ticket_has_no_images() -> None:
    assert image_names(coding_task(), "plan") == ()


def test_token_is_for_images_at_the_forge_itself() -> None:
    access = image_access(task(), "plan", github_urls(None))
    assert access.images == (
        TicketImage(url=SHOT, auth="github"), TicketImage(url=OLD, auth="none"),
    )  # fmt: skip
    assert access.places == FilePlaces(listed=("user-images.githubusercontent.com",), own=("github.com",))
    assert access.api_url == "https://api.github.com"


def test_forge_that_the_ticket_is_not_at_gets_its_token_only_itself() -> None:
    ghes = github_urls("https://ghes.example.com")
    assert [each.auth for each in image_access(task(), "plan", ghes).images] == ["none", "none"]


def linear(monkeypatch: pytest.MonkeyPatch, sign: Any) -> CodingTask:
    definition = SourceDefinition(
        source="linear",
        connection="lin",
        teams=("ENG",),
        works_in=({"repository": "acme/shop"},),
        authority=MEMBERS,
    )
    monkeypatch.setattr(ticket_images, "load_definition", lambda name: definition)
    monkeypatch.setattr(linear_files, "sign_files", sign)
    upload = ("https://uploads.linear.app/1",)
    return task("signed", upload, kind="linear", number=None, source="eng", id="u-1", key="ENG-1")


def test_linear_signs_for_each_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sign(connection: str, ticket: str, urls: Sequence[str]) -> dict[str, str]:
        assert (connection, ticket) == ("lin", "u-1")
        return {url: f"{url}?signature=s" for url in urls}

    made = image_access(linear(monkeypatch, sign), "plan", github_urls(None))
    assert made.images == (TicketImage(url="https://uploads.linear.app/1?signature=s"),)
    assert made.api_url == ""


def test_linear_that_does_not_sign_stops_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sign(connection: str, ticket: str, urls: Sequence[str]) -> dict[str, str]:
        raise ForgeUnavailableError("Linear could not be reached")

    made = image_access(linear(monkeypatch, sign), "plan", github_urls(None))
    assert made.images == (TicketImage(url="https://uploads.linear.app/1"),)


@pytest.mark.parametrize(
    ("kind", "served"), [(AgentPlanOperator, 2), (AgentImplementOperator, 2), (AgentTestOperator, 0)]
)
def test_pod_of_a_step_is_told_of_the_images(monkeypatch: pytest.MonkeyPatch, kind: Any, served: int) -> None:
    """Names to the runner, addresses to the gateway; nothing else knows them."""
    GitHub().install(monkeypatch)
    found = GitHubCredential(urls=github_urls(None), token="canary-token")
    monkeypatch.setattr(AgentsGitHubHook, "get_conn", lambda hook: found)
    operator = kind(task_id="step", coding_task=task().model_dump(mode="json"))
    kubernetes = Kubernetes()
    operator.__dict__.update(hook=kubernetes, client=kubernetes)
    run = context(TaskInstance("step"), Store())
    operator._task = operator.resolve_task(run)
    operator._spec = operator.build_spec(operator._task, run)
    pod = to_json(operator.build_pod_request_obj(run))
    containers = {each["name"]: each for each in [*pod["spec"]["containers"], *pod["spec"]["initContainers"]]}
    values = {each["name"]: each.get("value", "") for each in containers["gateway"]["env"]}
    config = GatewayConfig.from_json(values[ENV_GATEWAY_CONFIG])
    assert [each.url for each in config.images.images] == [SHOT, OLD][:served]
    assert config_faults(config) == []
    assert operator._spec.images == ("shot-0", "shot-1")[:served]
    assert SHOT not in str(containers["base"]["env"])
    assert "names of images" in operator._spec.prompt or not served

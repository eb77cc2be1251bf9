"""Where each tracker's files are, and which of them its credential opens; whose file each one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.hooks.attachment_access import open_access
from airflow_provider_agents.hooks.github_ticket_parse import MOST_FILES, RawTicket, parse_ticket
from airflow_provider_agents.hooks.github_ticket_rules import TicketRules

if TYPE_CHECKING:
    import pytest

    from agent_runner.contract import FilePlaces

CANARY = "canary"


async def access_of(monkeypatch: pytest.MonkeyPatch, source: str, **connection: Any) -> Any:
    async def of(conn_id: str) -> Connection:
        return Connection(conn_id=conn_id, conn_type=source, password=CANARY, **connection)

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(of))
    needed: dict[str, Any] = {
        "github": {"repositories": ["acme/shop"]},
        "linear": {"teams": ["ENG"], "works_in": [{"repository": "acme/shop"}]},
        "jira": {"jql": "x", "works_in": [{"repository": "acme/shop"}]},
    }[source]
    definition = SourceDefinition.model_validate(
        {
            "source": source,
            "attachment_hosts": ["Files.Example.com"],
            "authority": {"start": {"association": ["member"]}},
            **needed,
        }
    )
    return await open_access(definition, "c", "acme/shop")


def opened(places: FilePlaces, url: str) -> bool:
    try:
        places.check(url)
    except Exception:
        return False
    return True


async def test_github(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await access_of(monkeypatch, "github")
    assert (found.credential_place, found.authorization, found.images) == (
        "github.com", f"Bearer {CANARY}", "github",
    )  # fmt: skip
    assert found.places.own == ("github.com",)
    for host in ("github.com", "user-images.githubusercontent.com", "files.example.com"):
        assert opened(found.places, f"https://{host}/a")
    for host in ("gist.github.com", "x.githubusercontent.com", "s3.amazonaws.com", "x.s3.amazonaws.com"):
        assert not opened(found.places, f"https://{host}/a")
    assert CANARY not in repr(found)


async def test_github_enterprise_server(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await access_of(monkeypatch, "github", host="https://GHES.example.com:8443/api/v3")
    assert found.credential_place == "ghes.example.com:8443"
    assert found.places.own == ("ghes.example.com:8443", "media.ghes.example.com:8443")
    assert not opened(found.places, "https://user-images.githubusercontent.com/a")


async def test_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await access_of(monkeypatch, "linear")
    assert (found.credential_place, found.images) == ("uploads.linear.app", "signed")
    assert found.places.own == ("uploads.linear.app",)
    assert found.places.listed == ("files.example.com",)


async def test_jira(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await access_of(monkeypatch, "jira", host="https://acme.atlassian.net", login="a@example.com")
    assert (found.credential_place, found.images) == ("acme.atlassian.net", "")
    assert found.authorization == "Basic YUBleGFtcGxlLmNvbTpjYW5hcnk="
    assert opened(found.places, "https://api.media.atlassian.com/file/1")
    server = await access_of(monkeypatch, "jira", host="https://jira.corp/jira")
    assert server.authorization == f"Bearer {CANARY}"
    assert server.places.own == ("jira.corp",)


def test_files_of_an_issue_say_which_comment_names_them() -> None:
    one, two = (f"https://github.com/user-attachments/assets/{n}" for n in (1, 2))
    node = {
        "id": "I_1",
        "number": 7,
        "title": "T",
        "url": "https://github.com/acme/shop/issues/7",
        "createdAt": "2026-01-01T10:00:00Z",
        "updatedAt": "2026-01-01T10:00:00Z",
        "state": "OPEN",
        "body": f"![shot]({one})",
        "repository": {"nameWithOwner": "acme/shop"},
        "labels": {"nodes": []},
        "assignees": {"nodes": []},
    }
    comments = [
        {"id": "C_1", "body": f"![again]({one}) ![more]({two})", "createdAt": "2026-01-01T11:00:00Z"},
        {"id": "C_2", "body": f"ours ![x]({two})", "createdAt": "2026-01-01T12:00:00Z", "viewerDidAuthor": True},
        {"id": "C_3", "body": "".join(f"![]({one}{n})" for n in range(50)), "createdAt": "2026-01-01T13:00:00Z"},
        {"id": "C_4", "body": "".join(f"![]({two}{n})" for n in range(50)), "createdAt": "2026-01-01T14:00:00Z"},
    ]  # fmt: skip
    raw = RawTicket(node, [], comments, [])
    rules = TicketRules(SourceDefinition(source="github", repositories=("acme/shop",)))
    found = parse_ticket(raw, rules, [], [], "github.com", []).attachments
    assert [(each.name, each.url, each.comment) for each in found[:3]] == [
        ("shot", one, ""), ("again", one, "C_1"), ("more", two, "C_1"),
    ]  # fmt: skip
    assert len(found) == MOST_FILES
    assert "C_2" not in {each.comment for each in found}

from __future__ import annotations

import json

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.github import AgentsGitHubHook, credential


def connection(**values: object) -> Connection:
    return Connection(conn_id="gh", conn_type="github", **values)


@pytest.fixture
def connected(stub, token, monkeypatch: pytest.MonkeyPatch) -> None:
    found = connection(host=stub.url, password=token)

    async def async_found(conn_id: str) -> Connection:
        return found

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(lambda conn_id: found))
    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(async_found))


def test_the_token_is_not_in_the_repr(token: str) -> None:
    found = credential(connection(password=f" {token}\n"))
    assert found.token == token
    assert token not in repr(found)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "'gh' has no token; put one into its password"),
        ({"password": "  "}, "has no token"),
        (
            {"extra": json.dumps({"app_id": 1, "key_path": "k.pem"})},
            "key_path 'k.pem' cannot be read: No such",
        ),
        ({"extra": json.dumps({"app_id": 1})}, "private_key or key_path is missing"),
        ({"extra": json.dumps({"private_key": "k"})}, "app_id is missing"),
        ({"extra": json.dumps({"app_id": True, "private_key": "k"})}, "app_id is missing"),
        ({"extra": json.dumps({"app_id": 1, "private_key": "k", "installation_id": "x"})}, "is no number"),
        (
            {
                "extra": json.dumps(
                    {"app_id": 1, "private_key": "k", "token_permissions": {"contents": "all"}}
                )
            },
            "token_permissions is no object of names to read, write or admin",
        ),
        ({"extra": "{"}, "its extra is no JSON"),
        ({"extra": json.dumps({"unrelated": 1})}, "has no token"),
        ({"password": "two words"}, "its password is not a token"),
        ({"password": "token\r\nX-Evil: 1"}, "its password is not a token"),
        ({"password": "t", "host": "ftp://x"}, "host of the GitHub connection"),
    ],
)
def test_unusable_connections_name_fault_and_remedy(values: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        credential(connection(**values))


async def test_a_missing_connection_says_how_to_create_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(conn_id: str) -> Connection:
        raise AirflowNotFoundException("no such connection")

    async def async_missing(conn_id: str) -> Connection:
        return missing(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(missing))
    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(async_missing))
    with pytest.raises(InvalidInputError, match="airflow connections add gh --conn-type github"):
        AgentsGitHubHook("gh").get_conn()
    with pytest.raises(InvalidInputError, match="airflow connections add gh --conn-type github"):
        async with AgentsGitHubHook("gh").client():
            pass


async def test_the_client_uses_the_connection(connected: None, stub, token: str) -> None:
    stub.on("GET /api/v3/repos/acme/shop/issues/3", {"number": 3, "state": "open"})
    async with AgentsGitHubHook("gh").client() as client:
        assert (await client.issue("acme/shop", 3)).number == 3
    assert stub.asked[0].headers["Authorization"] == f"Bearer {token}"
    assert stub.asked[0].headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert stub.asked[0].headers["User-Agent"].startswith("airflow-provider-agents/")


async def test_a_token_of_a_person_is_not_bound_to_one_owner(connected: None, stub) -> None:
    stub.on("GET /api/v3/repos/acme/shop/issues/3", {"number": 3, "state": "open"})
    async with AgentsGitHubHook("gh", repositories=("acme/shop", "umbrella/lab")).client() as client:
        assert (await client.issue("acme/shop", 3)).number == 3


async def test_run_refuses_inside_an_event_loop(connected: None) -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        AgentsGitHubHook("gh").run(lambda client: client.issue("acme/shop", 3))


def test_run_works_in_a_plain_thread(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    found = connection(host="http://127.0.0.1:9", password=token)
    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(lambda conn_id: found))

    async def work(client: object) -> str:
        return repr(client)

    answer = AgentsGitHubHook("gh").run(work)
    assert "GitHubClient" in answer
    assert token not in answer

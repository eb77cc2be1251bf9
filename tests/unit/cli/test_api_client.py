"""The client of Airflow's API: what it tries again, what it never does twice, and what its faults say."""

from __future__ import annotations

import pytest

from airflow_provider_agents.cli import api_access, api_client
from airflow_provider_agents.cli.api_access import airflow_api, api_url
from airflow_provider_agents.cli.api_client import AirflowApi, ApiError
from tests.unit.cli.fake_airflow import TOKEN, FakeAirflow, Fault


def client(airflow: FakeAirflow, **environ: str) -> AirflowApi:
    names = {"token": api_access.TOKEN, "username": api_access.USERNAME, "password": api_access.PASSWORD}
    return airflow_api(
        {api_access.URL: airflow.url, **{names[name]: value for name, value in environ.items()}}
    )


@pytest.mark.parametrize("status", [429, 502, 503, 504, 0])
def test_a_read_is_tried_again(airflow: FakeAirflow, status: int) -> None:
    airflow.faults = [Fault("GET /api", status, times=2)]
    assert client(airflow, token=TOKEN).get("/dags/coding_task/dagRuns")["dag_runs"] == []
    assert len(airflow.requests) == 3


@pytest.mark.parametrize("status", [503, 0])
def test_a_read_gives_up(airflow: FakeAirflow, status: int) -> None:
    airflow.faults = [Fault("GET /api", status, times=99)]
    with pytest.raises(ApiError) as error:
        client(airflow, token=TOKEN).get("/dags/coding_task/dagRuns")
    assert error.value.status == (status or None)
    assert len(airflow.requests) == api_client.READ_TRIES


@pytest.mark.parametrize("status", [500, 400, 403, 404, 409, 422])
def test_a_lasting_refusal_is_not_tried_again(airflow: FakeAirflow, status: int) -> None:
    airflow.faults = [Fault("GET /api", status, times=99)]
    with pytest.raises(ApiError, match="injected") as error:
        client(airflow, token=TOKEN).get("/dags/coding_task/dagRuns")
    assert (error.value.status, len(airflow.requests)) == (status, 1)


@pytest.mark.parametrize("status", [429, 502, 503, 504, 0, 500])
def test_a_change_is_sent_once(airflow: FakeAirflow, status: int) -> None:
    airflow.faults = [Fault("POST /api", status, times=99)]
    with pytest.raises(ApiError):
        client(airflow, token=TOKEN).change("POST", "/dags/coding_task/dagRuns", {})
    assert len(airflow.requests) == 1


def test_the_pause_that_the_server_asks_for_is_bounded(airflow: FakeAirflow) -> None:
    airflow.faults = [Fault("GET /api", 429, headers={"Retry-After": "3600"})]
    pauses: list[float] = []
    tokens = api_access.EnvironmentTokens(airflow.url, {api_access.TOKEN: TOKEN})
    AirflowApi(airflow.url, tokens, sleep=pauses.append).get("/dags/coding_task/dagRuns")
    assert pauses == [10.0]


def test_a_redirect_is_not_followed_and_takes_no_token_along(airflow: FakeAirflow) -> None:
    with FakeAirflow() as elsewhere:
        airflow.faults = [Fault("GET /api", 307, headers={"Location": f"{elsewhere.url}/x"})]
        with pytest.raises(ApiError, match=r"redirects to .*AIRFLOW_AGENTS_API_URL"):
            client(airflow, token=TOKEN).get("/dags/coding_task/dagRuns")
        assert elsewhere.requests == []


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"\xff\xfe"])
def test_what_is_no_airflow_says_so(airflow: FakeAirflow, body: bytes) -> None:
    airflow.faults = [Fault("GET /api", 200, body=body)]
    with pytest.raises(ApiError, match="correct AIRFLOW_AGENTS_API_URL"):
        client(airflow, token=TOKEN).get("/dags/coding_task/dagRuns")


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"", b'{"dag_runs": null}'])
def test_a_list_that_is_none(airflow: FakeAirflow, body: bytes) -> None:
    airflow.faults = [Fault("GET /api", 200, body=body)]
    with pytest.raises(ApiError, match="no list 'dag_runs'"):
        list(client(airflow, token=TOKEN).pages("/dags/coding_task/dagRuns", "dag_runs"))


def test_an_answer_without_end_is_not_read_to_it(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_client, "MOST_BYTES", 1_000)
    airflow.faults = [Fault("GET /api", 200, body=b'"' + b"x" * 5_000 + b'"')]
    with pytest.raises(ApiError, match="larger than"):
        client(airflow, token=TOKEN).get("/dags/coding_task/dagRuns")


def test_all_pages_are_read(airflow: FakeAirflow) -> None:
    airflow.page = 7
    for number in range(30):
        airflow.add_run(f"r{number}")
    found = list(client(airflow, token=TOKEN).pages("/dags/coding_task/dagRuns", "dag_runs"))
    assert len({run["dag_run_id"] for run in found}) == 30
    assert len(airflow.requests) == 5


def test_a_list_that_never_ends(airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "MOST_PAGES", 3)
    body = b'{"dag_runs": [{}], "total_entries": 1000000}'
    airflow.faults = [Fault("GET /api", 200, body=body, times=99)]
    with pytest.raises(ApiError, match="more than 3 pages"):
        list(client(airflow, token=TOKEN).pages("/dags/coding_task/dagRuns", "dag_runs"))


def test_validation_faults_are_one_line(airflow: FakeAirflow) -> None:
    body = b'{"detail": [{"loc": ["body", "conf"], "msg": "wrong"}, {"loc": ["query"], "msg": "odd"}]}'
    airflow.faults = [Fault("GET /api", 422, body=body)]
    with pytest.raises(ApiError, match=r"body\.conf: wrong; query: odd"):
        client(airflow, token=TOKEN).get("/dags/coding_task/dagRuns")


@pytest.mark.parametrize("name", [".", "..", "a/b", "a?b", "a#b", "%2e%2e", "ä"])
def test_a_name_never_leads_elsewhere(airflow: FakeAirflow, name: str) -> None:
    api = client(airflow, token=TOKEN)
    airflow.add_run(name)
    assert api.get(f"/dags/coding_task/dagRuns/{api_client.part(name)}")["dag_run_id"] == name


# Where the credential comes from


def test_a_token_is_used_as_it_is_and_not_renewed(airflow: FakeAirflow) -> None:
    with pytest.raises(ApiError, match="AIRFLOW_AGENTS_API_TOKEN") as error:
        client(airflow, token="expired").get("/dags/coding_task/dagRuns")
    assert error.value.status == 401
    assert len(airflow.requests) == 1


def test_user_and_password_get_a_token_and_another_when_it_expires(airflow: FakeAirflow) -> None:
    api = client(airflow, username="admin", password="right")
    api.get("/dags/coding_task/dagRuns")
    airflow.tokens.clear()
    api.get("/dags/coding_task/dagRuns")
    assert [request.split()[0] for request in airflow.requests] == ["POST", "GET", "GET", "POST", "GET"]


def test_a_wrong_password_says_so_and_is_not_repeated(airflow: FakeAirflow) -> None:
    with pytest.raises(ApiError, match="Invalid credentials") as error:
        client(airflow, username="admin", password="wr0ng-one").get("/dags/coding_task/dagRuns")
    assert "wr0ng-one" not in str(error.value)
    assert len(airflow.requests) == 1


def test_half_a_login(airflow: FakeAirflow) -> None:
    with pytest.raises(ApiError, match="AIRFLOW_AGENTS_API_PASSWORD is not set"):
        client(airflow, username="admin").get("/dags")
    assert airflow.requests == []


def test_where_everybody_may_come_in_nothing_is_needed(airflow: FakeAirflow) -> None:
    airflow.all_admins = True
    assert client(airflow).get("/dags/coding_task/dagRuns")["total_entries"] == 0


def test_without_a_terminal_the_remedy_is_named(airflow: FakeAirflow) -> None:
    with pytest.raises(ApiError, match="set AIRFLOW_AGENTS_API_TOKEN, or"):
        client(airflow).get("/dags/coding_task/dagRuns")


def test_a_person_at_the_terminal_is_asked_once(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(url: str) -> dict[str, str]:
        asked.append(url)
        return {"username": "admin", "password": "right"}

    monkeypatch.setattr(api_access, "_ask", ask)
    api = client(airflow)
    api.get("/dags/coding_task/dagRuns")
    airflow.tokens.clear()
    api.get("/dags/coding_task/dagRuns")
    assert asked == [airflow.url]


def test_nobody_listens() -> None:
    api = airflow_api(
        {api_access.URL: "http://127.0.0.1:9", api_access.USERNAME: "a", api_access.PASSWORD: "b"}
    )
    with pytest.raises(ApiError, match=r"does not answer.*is it up"):
        api.get("/dags")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://airflow.example.com/", "https://airflow.example.com"),
        ("https://example.com/airflow", "https://example.com/airflow"),
        ("http://127.0.0.1:8080/api/v2", "http://127.0.0.1:8080"),
    ],
)
def test_addresses(given: str, url: str) -> None:
    assert api_url({api_access.URL: given}) == url


@pytest.mark.parametrize(
    "given", ["airflow.example.com", "ftp://x", "http://", "https://a:0", "https://a/?b=c", "http://[x"]
)
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(ApiError, match="AIRFLOW_AGENTS_API_URL"):
        api_url({api_access.URL: given})


@pytest.mark.parametrize(
    "address",
    [
        "https://mona:hunter2@airflow.example.com",
        "https://mona:hunter2@airflow.example.com?x=1",
        "ftp://mona:hunter2@airflow.example.com",
        "https://mona:hunter2@airflow.example.com:port",
        "mona:hunter2@airflow.example.com",
    ],
)
def test_a_credential_in_the_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ApiError, match="holds a credential") as caught:
        api_url({api_access.URL: address})
    assert "hunter2" not in str(caught.value)


def test_without_an_address_airflows_own_setting_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://configured.example.com/")
    assert api_url({}) == "https://configured.example.com"
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    assert api_url({}) == "http://localhost:8080"

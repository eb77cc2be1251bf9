"""The clients against a small server that answers as Airflow and the stand-in do."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from demo.airflow_client import TRIES, AirflowClient
from demo.forge_client import ForgeClient
from demo.http_json import HttpError, call
from demo.kubernetes_client import KubernetesClient
from demo.processes import free_port
from demo.watch import RunWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUN = "/api/v2/dags/d/dagRuns/r%3A1"


class Server:
    """Answers by path; ``requests`` are what came."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"GET /auth/token": {"access_token": "first"}}
        self.requests: list[tuple[str, str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                authorization = self.headers.get("Authorization", "")
                outer.requests.append(
                    (f"{self.command} {self.path}", authorization, json.loads(body) if body else None)
                )
                answer = outer.answers.get(f"{self.command} {self.path}", (404, {"detail": "none"}))
                answer = answer(authorization) if callable(answer) else answer
                status, value = answer if isinstance(answer, tuple) else (200, answer)
                data = b"" if value is None else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def asked(self, what: str) -> int:
        return sum(request[0] == what for request in self.requests)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def only_with(token: str, value: Any) -> Callable[[str], Any]:
    return lambda given: value if given == f"Bearer {token}" else (401, {"detail": "expired"})


def test_an_error_has_status_and_words(server: Server):
    server.answers["POST /x"] = (422, {"message": "'title' is missing."})
    with pytest.raises(HttpError, match=r"HTTP 422.*'title' is missing") as caught:
        call("POST", f"{server.url}/x", {})
    assert caught.value.status == 422


def test_an_empty_answer_is_none(server: Server):
    server.answers["GET /x"] = (204, None)
    assert call("GET", f"{server.url}/x") is None


def test_loopback_is_reached_whatever_proxy_the_environment_names(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    server.answers["GET /x"] = {"ok": True}
    assert call("GET", f"{server.url}/x") == {"ok": True}


def test_an_expired_token_is_renewed_once(server: Server):
    client = AirflowClient(server.url)
    server.answers["GET /api/v2/dags/d"] = only_with("first", {"dag_id": "d"})
    assert client.dag("d") == {"dag_id": "d"}
    server.answers["GET /auth/token"] = {"access_token": "second"}
    server.answers["GET /api/v2/dags/d"] = only_with("second", {"dag_id": "d"})
    assert client.dag("d") == {"dag_id": "d"}
    server.answers["GET /api/v2/dags/d"] = only_with("third", {})
    with pytest.raises(HttpError, match="401"):
        client.dag("d")


def test_what_is_not_there_is_none(server: Server):
    client = AirflowClient(server.url)
    assert client.dag("d") is None
    assert client.xcom("d", "r:1", "t") is None
    assert client.task_log("d", "r:1", "t") == ""


def test_health_is_empty_while_nobody_answers(server: Server):
    assert AirflowClient(f"http://127.0.0.1:{free_port()}").health() == {}
    server.answers["GET /api/v2/monitor/health"] = {
        "scheduler": {"status": "healthy"},
        "triggerer": {"status": None},
        "dag_processor": None,
    }
    assert AirflowClient(server.url).health()["scheduler"] == "healthy"
    assert AirflowClient(server.url).health()["triggerer"] != "healthy"


def test_a_dag_that_does_not_come_is_explained_by_the_import_errors(server: Server):
    server.answers["GET /api/v2/importErrors"] = {
        "import_errors": [{"filename": "bad.py", "stack_trace": "SyntaxError: oops"}]
    }
    with pytest.raises(TimeoutError, match=r"(?s)DAG d: not there.*bad\.py.*SyntaxError: oops"):
        AirflowClient(server.url).wait_for_dag("d", 0.01)


def test_trigger_sends_conf_and_returns_the_run_id(server: Server):
    server.answers["POST /api/v2/dags/d/dagRuns"] = {"dag_run_id": "r:1"}
    client = AirflowClient(server.url)
    assert client.trigger("d", {"repository": "acme/app"}, "r:1") == "r:1"
    assert server.requests[-1][2] == {
        "conf": {"repository": "acme/app"},
        "logical_date": None,
        "dag_run_id": "r:1",
    }


def test_task_instances_are_read_page_by_page(server: Server):
    path = f"GET {RUN}/taskInstances?limit=100&offset="
    server.answers[path + "0"] = {"task_instances": [{"n": n} for n in range(100)], "total_entries": 101}
    server.answers[path + "100"] = {"task_instances": [{"n": 100}], "total_entries": 101}
    assert [task["n"] for task in AirflowClient(server.url).task_instances("d", "r:1")] == list(range(101))


def test_a_log_is_text_with_the_error_at_its_place(server: Server):
    server.answers[f"GET {RUN}/taskInstances/t/logs/2?full_content=true"] = {
        "content": [
            {"event": "began"},
            {"event": "Task failed", "error_detail": [{"exc_type": "ValueError", "exc_value": "no"}]},
            "as text",
        ]
    }
    log = AirflowClient(server.url).task_log("d", "r:1", "t", 2)
    assert log == "began\nTask failed\nValueError: no\nas text"


def test_waiting_for_a_run_tells_where_it_stands(server: Server):
    server.answers[f"GET {RUN}"] = {"state": "running"}
    server.answers[f"GET {RUN}/taskInstances?limit=100&offset=0"] = {
        "task_instances": [{"task_id": "plan", "state": "deferred"}],
        "total_entries": 1,
    }
    with pytest.raises(TimeoutError, match='"plan": "deferred"'):
        AirflowClient(server.url).wait_for_run("d", "r:1", 0.01)


def test_waiting_for_a_task_tells_its_state(server: Server):
    server.answers[f"GET {RUN}/taskInstances/plan"] = {"task_id": "plan", "state": "queued"}
    client = AirflowClient(server.url)
    with pytest.raises(TimeoutError, match="it is queued"):
        client.wait_for_task("d", "r:1", "plan", {"success"}, 0.01)
    assert client.wait_for_task("d", "r:1", "plan", {"queued", "success"}, 5)["task_id"] == "plan"


def test_the_watcher_reads_each_result_once_and_again_after_a_clear(server: Server):
    tasks = [
        {"task_id": "plan.round_1.plan", "state": "success", "try_number": 1},
        {"task_id": "land.round_1.gate", "state": "success", "try_number": 1},
        {"task_id": "land.round_1.fix", "state": "running", "try_number": 1},
    ]
    plan = f"GET {RUN}/taskInstances/plan.round_1.plan/xcomEntries/return_value?stringify=false"
    gate = f"GET {RUN}/taskInstances/land.round_1.gate/xcomEntries/decision?stringify=false"
    server.answers |= {
        f"GET {RUN}": {"state": "running", "start_date": None},
        f"GET {RUN}/taskInstances?limit=100&offset=0": {"task_instances": tasks, "total_entries": 3},
        plan: {"value": {"ledger": {"usd": 0.5}}},
        gate: {"value": {"verdict": "fix"}},
    }
    watcher = RunWatcher(AirflowClient(server.url), "d", "r:1")
    watcher.poll()
    states = {stage.name: stage.state for stage in watcher.poll()}
    assert (states["plan"], states["checks 1"], states["fix 1"]) == ("done", "rejected", "running")
    assert watcher.usd == 0.5
    assert not watcher.ended
    assert server.asked(plan) == server.asked(gate) == 1

    tasks[0]["try_number"] = 2
    server.answers[plan] = {"value": {"ledger": {"usd": 0.75}}}
    server.answers[f"GET {RUN}"] = {"state": "failed", "start_date": None}
    tasks[2] |= {"state": "failed", "end_date": "2026-01-01T12:00:09Z"}
    tasks.append({"task_id": "finish", "state": "failed", "end_date": "2026-01-01T12:00:10Z"})
    watcher.poll()
    assert watcher.usd == 0.75
    assert watcher.ended
    failed = watcher.failed_task()
    assert failed is not None
    assert failed["task_id"] == "land.round_1.fix"


def test_the_forge_client_speaks_both_parts_of_the_stand_in(server: Server, tmp_path):
    server.answers |= {
        "POST /_demo/repositories": (201, {"sha": "abc"}),
        "POST /_demo/issues": (201, {"number": 1}),
        "GET /_demo/mutations": [{"seq": 1}],
        "GET /api/v3/repos/acme/app/pulls?state=all&per_page=100": [{"number": 2}],
        "GET /api/v3/repos/acme/app/pulls/2": only_with("t0ken", {"number": 2, "merged": True}),
    }
    forge = ForgeClient(server.url, "t0ken")
    forge.seed_repository("acme/app", tmp_path, private=False)
    assert server.requests[-1][2] == {"name": "acme/app", "folder": str(tmp_path), "private": False}
    assert forge.create_issue("acme/app", "Broken", labels=["bug"])["number"] == 1
    assert server.requests[-1][2]["labels"] == ["bug"]
    assert forge.mutations() == [{"seq": 1}]
    assert forge.pull_requests("acme/app") == [{"number": 2, "merged": True}]


def test_the_clusters_client_brings_the_token_of_its_kubeconfig(server: Server, tmp_path: Path):
    kubeconfig = tmp_path / "kubeconfig"
    clusters, users = [{"cluster": {"server": f"{server.url}/"}}], [{"user": {"token": "t0ken"}}]
    kubeconfig.write_text(json.dumps({"clusters": clusters, "users": users}))
    client = KubernetesClient(kubeconfig)
    server.answers |= {"GET /pods": {"items": [1]}, "POST /pods": {}}
    assert client.get("/pods") == {"items": [1]}
    client.post("/pods", {"a": 1})
    with pytest.raises(HttpError):
        client.delete("/pods")
    assert server.requests == [
        ("GET /pods", "Bearer t0ken", None),
        ("POST /pods", "Bearer t0ken", {"a": 1}),
        ("DELETE /pods", "Bearer t0ken", None),
    ]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"clusters": [], "users": []}', '{"clusters": [{"cluster": 1}]}']
)
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, content: str):
    (tmp_path / "kubeconfig").write_text(content)
    with pytest.raises(ValueError, match="is no kubeconfig of the local pod runtime"):
        KubernetesClient(tmp_path / "kubeconfig")


def test_a_run_whose_start_was_not_answered_is_started_once(server: Server):
    """Airflow's API server may hang for a minute; the run may be there all the same."""
    answers = iter([(500, {"detail": "locked"}), (409, {"detail": "there"})])
    server.answers["POST /api/v2/dags/d/dagRuns"] = lambda given: next(answers)
    run_id = AirflowClient(server.url).trigger("d", {"a": 1})
    sent = [body for what, _, body in server.requests if what == "POST /api/v2/dags/d/dagRuns"]
    assert [body["dag_run_id"] for body in sent] == [run_id, run_id]
    assert run_id.startswith("manual__")


def test_a_run_that_somebody_else_started_is_an_error(server: Server):
    server.answers["POST /api/v2/dags/d/dagRuns"] = (409, {"detail": "there"})
    with pytest.raises(HttpError, match="409"):
        AirflowClient(server.url).trigger("d", run_id="r:1")


def test_a_question_that_was_not_answered_is_asked_again(server: Server):
    answers = iter([(500, {"detail": "locked"}), (200, {"dag_id": "d"})])
    server.answers["GET /api/v2/dags/d"] = lambda given: next(answers)
    assert AirflowClient(server.url).dag("d") == {"dag_id": "d"}


def test_an_airflow_that_never_answers_is_given_up(server: Server):
    server.answers["GET /api/v2/dags/d"] = (500, {"detail": "locked"})
    with pytest.raises(HttpError, match="500"):
        AirflowClient(server.url).dag("d")
    assert server.asked("GET /api/v2/dags/d") == TRIES

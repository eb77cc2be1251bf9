"""The part of Airflow's API that the commands use, in memory and over real HTTP, with faults on demand."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "token-of-the-test"
TIME = "2026-11-21T10:{:02d}:00+00:00"


@dataclass
class Fault:
    """What some requests are answered with."""

    pattern: str
    """Of ``METHOD path``."""
    status: int
    """0: the connection is dropped; -1: it is, after the change was made."""
    times: int = 1
    body: bytes = b'{"detail": "injected"}'
    headers: dict[str, str] = field(default_factory=dict)


class FakeAirflow:
    """Keeps runs, tasks, XComs, logs and Variables."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, dict[str, Any]]] = {}
        self.downstream: dict[str, list[str]] = {}
        self.xcoms: dict[tuple[str, str, str], Any] = {}
        self.logs: dict[tuple[str, str, int], list[Any]] = {}
        self.variables: dict[str, str] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.questions: dict[str, list[dict[str, Any]]] = {}
        self.params: dict[str, Any] = {"max_attempts": {"value": 3, "schema": {"maximum": 3}}}
        self.paused = False
        self.all_admins = False
        self.users = {"admin": "right"}
        self.tokens = {TOKEN}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.page = 100
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add_run(
        self, run_id: str, state: str = "running", conf: dict[str, Any] | None = None, **values: Any
    ) -> None:
        minute = len(self.runs) % 60
        self.runs[run_id] = {
            "dag_id": "coding_task",
            "dag_run_id": run_id,
            "state": state,
            "conf": conf or {},
            "note": None,
            "queued_at": TIME.format(minute),
            "run_after": TIME.format(minute),
            "start_date": TIME.format(minute),
            "end_date": TIME.format(59) if state in ("success", "failed") else None,
            **values,
        }
        self.tasks.setdefault(run_id, {})

    def add_task(
        self, run_id: str, task_id: str, state: str | None, begin: int = 0, try_number: int = 1, **values: Any
    ) -> None:
        ended = state in ("success", "failed", "skipped", "upstream_failed")
        self.tasks[run_id][task_id] = {
            "task_id": task_id,
            "state": state,
            "try_number": try_number if state else 0,
            "map_index": -1,
            "start_date": TIME.format(begin) if state not in (None, "skipped", "upstream_failed") else None,
            "end_date": TIME.format(begin + 1) if ended else None,
            **values,
        }

    # Answers

    def answer(self, method: str, target: str, body: Any, token: str) -> tuple[int, Any]:
        parts = urlsplit(target)
        path, query = parts.path, {key: values[-1] for key, values in parse_qs(parts.query).items()}
        states = parse_qs(parts.query).get("state", [])
        if path == "/auth/token":
            return self._token(method, body)
        if token not in self.tokens:
            return 401, {"detail": "Invalid JWT token"}
        for pattern, act in self._routes():
            name, _, expression = pattern.partition(" ")
            found = re.fullmatch(f"/api/v2{expression}", path)
            if found and name == method:
                named = {key: unquote(value) for key, value in found.groupdict().items()}
                return act(named, {**query, "states": states}, body)
        return 404, {"detail": f"no route {method} {path}"}

    def _routes(self) -> list[tuple[str, Any]]:
        run = r"/dags/coding_task/dagRuns/(?P<run>[^/]+)"
        task = run + r"/taskInstances/(?P<task>[^/]+)"
        return [
            (r"GET /dags/coding_task/details", lambda *_: (200, {"is_paused": self.paused, "params": self.params})),
            (r"GET /dags/coding_task/dagRuns", self._list),
            (r"POST /dags/coding_task/dagRuns", self._trigger),
            (f"GET {run}", self._run),
            (f"PATCH {run}", self._patch_run),
            (f"GET {run}/taskInstances", self._tasks),
            (f"GET {run}/hitlDetails", lambda n, q, b: self._listed("hitl_details", self.questions.get(n["run"], []), q)),
            (r"POST /dags/~/dagRuns/~/taskInstances/list", self._tasks_of_many),
            (f"PATCH {task}", self._patch_task),
            (f"GET {task}/xcomEntries", self._xcoms),
            (f"GET {task}/xcomEntries/(?P<key>[^/]+)", self._xcom),
            (f"GET {task}/logs/(?P<try>[0-9]+)", self._log),
            (r"POST /dags/coding_task/clearTaskInstances", self._clear),
            (r"GET /variables", self._variables),
            (r"GET /variables/(?P<key>[^/]+)", self._variable),
            (r"PATCH /variables/(?P<key>[^/]+)", self._patch_variable),
            (r"POST /variables", self._new_variable),
            (r"GET /connections/(?P<id>[^/]+)", self._connection),
        ]  # fmt: skip

    def _token(self, method: str, body: Any) -> tuple[int, Any]:
        if method == "GET":
            return (201, {"access_token": TOKEN}) if self.all_admins else (403, {"detail": "not all admins"})
        if self.users.get(body["username"]) == body["password"]:
            self.tokens.add(fresh := f"{TOKEN}-{len(self.requests)}")
            return 201, {"access_token": fresh}
        return 401, {"detail": "Invalid credentials"}

    def _listed(self, key: str, entries: list[Any], query: dict[str, Any]) -> tuple[int, Any]:
        offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 50)), self.page)
        return 200, {key: entries[offset : offset + limit], "total_entries": len(entries)}

    def _list(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        found = list(reversed(self.runs.values()))
        if query["states"]:
            found = [run for run in found if run["state"] in query["states"]]
        if text := query.get("conf_contains"):
            found = [run for run in found if text in json.dumps(run["conf"])]
        if text := query.get("run_id_pattern"):
            found = [run for run in found if text.lower() in run["dag_run_id"].lower()]
        if text := query.get("run_id_prefix_pattern"):
            found = [run for run in found if run["dag_run_id"].startswith(text)]
        if since := query.get("end_date_gte"):
            found = [run for run in found if run["end_date"] and run["end_date"] >= since]
        return self._listed("dag_runs", found, query)

    def _trigger(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        run_id = body["dag_run_id"]
        if run_id in self.runs:
            return 409, {"detail": {"reason": "Unique constraint violation"}}
        self.add_run(run_id, "queued", body["conf"], note=body.get("note"))
        return 200, self.runs[run_id]

    def _run(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        run = self.runs.get(named["run"])
        return (200, run) if run else (404, {"detail": f"The DagRun {named['run']} was not found"})

    def _patch_run(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        run = self.runs.get(named["run"])
        if run is None:
            return 404, {"detail": "The DagRun was not found"}
        run.update(body)
        return 200, run

    def _tasks(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        if named["run"] == "~":
            every = [
                task | {"dag_run_id": run} for run, tasks in self.tasks.items() for task in tasks.values()
            ]
            return self._listed(
                "task_instances", [task for task in every if task["state"] in query["states"]], query
            )
        if named["run"] not in self.runs:
            return 404, {"detail": "The DagRun was not found"}
        return self._listed("task_instances", list(self.tasks[named["run"]].values()), query)

    def _tasks_of_many(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        found = [
            task | {"dag_run_id": run}
            for run in body["dag_run_ids"]
            for task in self.tasks.get(run, {}).values()
            if "coding_task" in body["dag_ids"] and task["task_id"] in body["task_ids"]
        ]
        return self._listed("task_instances", found, {"limit": body["page_limit"]})

    def _patch_task(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        task = self.tasks[named["run"]][named["task"]]
        task["state"] = body["new_state"]
        return 200, {"task_instances": [task]}

    def _xcoms(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        entries = [
            {"run_id": run, "task_id": task, "key": key}
            for run, task, key in self.xcoms
            if named["run"] in ("~", run) and query.get("xcom_key", key) == key
        ]
        return self._listed("xcom_entries", entries, query)

    def _xcom(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        key = (named["run"], named["task"], named["key"])
        return (
            (200, {"value": self.xcoms[key]})
            if key in self.xcoms
            else (404, {"detail": "XCom entry not found"})
        )

    def _log(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        task = self.tasks[named["run"]].get(named["task"])
        number = int(named["try"])
        if task is None or number > task["try_number"]:
            return 404, {"detail": "TaskInstance not found"}
        lines = self.logs.get((named["run"], named["task"], number), [])
        begin = int(query.get("token", 0))
        header = [
            {"event": "::group::Log message source details"},
            {"event": "/a/file"},
            {"event": "::endgroup::"},
        ]
        at_work = number == task["try_number"] and task["state"] in ("running", "deferred")
        content = ([] if "token" in query else header) + lines[begin:]
        return 200, {"content": content, "continuation_token": str(len(lines)) if at_work else None}

    def _clear(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        tasks = self.tasks[body["dag_run_id"]]
        wanted = list(body["task_ids"])
        for name in wanted:
            wanted += [each for each in self.downstream.get(name, []) if each not in wanted]
        found = [dict(tasks[name]) for name in wanted if name in tasks]
        if not body["dry_run"]:
            for name in wanted:
                if name in tasks:
                    tasks[name].update(state=None, start_date=None, end_date=None)
            self.runs[body["dag_run_id"]]["state"] = "queued"
        return 200, {"task_instances": found, "total_entries": len(found)}

    def _variables(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        prefix = query.get("variable_key_prefix_pattern", "")
        found = [{"key": k, "value": v} for k, v in self.variables.items() if k.startswith(prefix)]
        return self._listed("variables", found, query)

    def _variable(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        key = named["key"]
        return (
            (200, {"key": key, "value": self.variables[key]})
            if key in self.variables
            else (404, {"detail": "none"})
        )

    def _patch_variable(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        if named["key"] not in self.variables:
            return 404, {"detail": "The Variable was not found"}
        self.variables[named["key"]] = body["value"]
        return 200, body

    def _new_variable(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        self.variables[body["key"]] = body["value"]
        return 201, body

    def _connection(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        found = self.connections.get(named["id"])
        return (200, found) if found else (404, {"detail": "The Connection was not found"})

    def fault_of(self, request: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None


def _handler(fake: FakeAirflow) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def _do(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            request = f"{self.command} {self.path}"
            fake.requests.append(request)
            if body is not None:
                fake.bodies.append(body)
            fault = fake.fault_of(request)
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if fault and fault.status <= 0:
                if fault.status < 0:
                    fake.answer(self.command, self.path, body, token)
                self.close_connection = True
                return
            if fault:
                self._send(fault.status, fault.body, fault.headers)
                return
            status, answer = fake.answer(self.command, self.path, body, token)
            self._send(status, json.dumps(answer).encode(), {})

        do_GET = do_POST = do_PATCH = _do  # noqa: N815

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler

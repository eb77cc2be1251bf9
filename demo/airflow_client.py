"""The part of Airflow's REST API that the demo and the end-to-end tests use."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from demo.http_json import HttpError, call
from demo.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

TRIES = 4
"""Airflow 3.3 writes its log of actions in the event loop of the API server. Where a task that starts has written
to SQLite at that moment, and not yet committed, both wait for the database's time limit, and nobody is answered.
"""
FINAL_RUN_STATES = frozenset({"success", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who asks."""

    user: str
    password: str = field(repr=False)


class AirflowClient:
    """Talks to an api-server with the simple auth manager.

    :param url: root of the api-server, e.g. ``http://127.0.0.1:8080``.
    :param login: ``None``: the api-server lets everybody in (``simple_auth_manager_all_admins``).
    """

    def __init__(self, url: str, login: Login | None = None) -> None:
        self.url = url.rstrip("/")
        self._login = login
        self._token = ""

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request below ``/api/v2`` and return the JSON that was answered; a question is asked several times.

        :raise HttpError: the status is 400 or above.
        :raise OSError: no connection, or no answer in time.
        """
        if method == "GET":
            return surely(lambda: self._authorized(method, path, body))
        return self._authorized(method, path, body)

    def health(self) -> dict[str, str]:
        """Return the state of each component, e.g. ``{"scheduler": "healthy"}``; empty before it answers."""
        try:
            answer = call("GET", f"{self.url}/api/v2/monitor/health", timeout=5)
        except (HttpError, OSError, ValueError):
            return {}
        return {name: str((part or {}).get("status")) for name, part in answer.items()}

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return a DAG, or ``None`` if there is none of that id (yet)."""
        found = self._optional(f"/dags/{_part(dag_id)}")
        return dict(found) if found else None

    def import_errors(self) -> list[dict[str, Any]]:
        """Return the DAG files that could not be imported, each with its ``stack_trace``."""
        return list(self.request("GET", "/importErrors")["import_errors"])

    def wait_for_dag(self, dag_id: str, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until a DAG is there.

        :raise TimeoutError: it is not; the message has the import errors.
        """
        try:
            return wait_for(lambda: self.dag(dag_id), what=f"DAG {dag_id}", seconds=seconds, interval=0.3)
        except TimeoutError as error:
            faults = [f"{fault['filename']}:\n{fault['stack_trace']}" for fault in self.import_errors()]
            raise TimeoutError("\n".join([f"{error}.", *faults])) from None

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a run and return its id.

        :raise HttpError: 400 if the conf does not fit the DAG's params, 409 if there is a run of that id.
        """
        run_id = run_id or f"manual__{datetime.now(UTC).isoformat()}"
        body = {"conf": dict(conf or {}), "logical_date": None, "dag_run_id": run_id}
        asked = 0

        def start() -> None:
            nonlocal asked
            asked += 1
            try:
                self.request("POST", f"/dags/{_part(dag_id)}/dagRuns", body)
            except HttpError as error:
                # After an answer that was lost, the run that is there is ours.
                if error.status != 409 or asked == 1:
                    raise

        surely(start)
        return run_id

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the last runs of a DAG, at most 100, the newest first."""
        query = urlencode({"limit": 100, "order_by": "-run_after"})
        return list(self.request("GET", f"/dags/{_part(dag_id)}/dagRuns?{query}")["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run."""
        return dict(self.request("GET", _run_path(dag_id, run_id)))

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float) -> dict[str, Any]:
        """Wait until a run has ended, whichever way, and return it.

        :raise TimeoutError: it goes on; the message has the state of every task.
        """

        def ended() -> dict[str, Any] | None:
            run = self.run(dag_id, run_id)
            return run if run["state"] in FINAL_RUN_STATES else None

        try:
            return wait_for(ended, what=f"end of {dag_id} {run_id}", seconds=seconds, interval=0.5)
        except TimeoutError as error:
            states = {task["task_id"]: task["state"] for task in self.task_instances(dag_id, run_id)}
            raise TimeoutError(f"{error}; tasks: {json.dumps(states)}") from None

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.request("GET", f"{path}?{urlencode({'limit': 100, 'offset': len(found)})}")
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def task_instance(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return the one task instance of a task that is not mapped."""
        return dict(self.request("GET", _task_path(dag_id, run_id, task_id)))

    def wait_for_task(
        self, dag_id: str, run_id: str, task_id: str, states: frozenset[str] | set[str], seconds: float
    ) -> dict[str, Any]:
        """Wait until a task is in one of ``states``, and return its instance.

        :raise TimeoutError: it is not; the message has its state.
        """
        seen: dict[str, Any] = {}

        def reached() -> dict[str, Any] | None:
            seen.update(self.task_instance(dag_id, run_id, task_id))
            return seen if seen["state"] in states else None

        try:
            what = f"{task_id} of {run_id} in state {' or '.join(sorted(states))}"
            return wait_for(reached, what=what, seconds=seconds, interval=0.3)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {seen.get('state')}") from None

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """Return the log of one try as text, one event a line; empty if there is none."""
        path = f"{_task_path(dag_id, run_id, task_id)}/logs/{try_number}?full_content=true"
        answer = self._optional(path) or {}
        content = answer.get("content") or []
        return "\n".join(_log_line(event) for event in ([content] if isinstance(content, str) else content))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom's value, or ``None`` if there is none."""
        path = f"{_task_path(dag_id, run_id, task_id)}/xcomEntries/{_part(key)}?stringify=false"
        return (self._optional(path) or {}).get("value")

    def task_state(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """Return what a task remembers under ``key``, or ``None``."""
        entry = self._optional(f"{_task_path(dag_id, run_id, task_id)}/state-store/{_part(key)}")
        return (entry or {}).get("value")

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str, fields: Mapping[str, Any]) -> None:
        """Answer the question of a task, as a person does on the page of required actions.

        :raise HttpError: 404 if the task asks nothing, 409 if it was answered already.
        """
        body = {"chosen_options": [option], "params_input": dict(fields)}
        self.request("PATCH", f"{_task_path(dag_id, run_id, task_id)}/-1/hitlDetails", body)

    def _optional(self, path: str) -> Any:
        try:
            return self.request("GET", path)
        except HttpError as error:
            if error.status == 404:
                return None
            raise

    def _authorized(self, method: str, path: str, body: Any) -> Any:
        try:
            return self._request(method, path, body)
        except HttpError as error:
            if error.status != 401:
                raise
        self._token = ""  # expired
        return self._request(method, path, body)

    def _request(self, method: str, path: str, body: Any) -> Any:
        if not self._token:
            self._token = self._new_token()
        headers = {"Authorization": f"Bearer {self._token}"}
        return call(method, f"{self.url}/api/v2{path}", body, headers=headers)

    def _new_token(self) -> str:
        if self._login is None:
            answer = call("GET", f"{self.url}/auth/token")
        else:
            login = {"username": self._login.user, "password": self._login.password}
            answer = call("POST", f"{self.url}/auth/token", login)
        return str(answer["access_token"])


def surely(change: Callable[[], T]) -> T:
    """Make a change that may be made twice; again where Airflow did not answer (see :data:`TRIES`)."""
    for _ in range(TRIES - 1):
        try:
            return change()
        except HttpError as error:
            if error.status < 500:
                raise
        except TimeoutError:
            pass
    return change()


def _part(name: str) -> str:
    return quote(name, safe="")


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}"


def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{_part(task_id)}"


def _log_line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    line = str(event.get("event", ""))
    for error in event.get("error_detail") or ():
        line += f"\n{error.get('exc_type')}: {error.get('exc_value')}"
    return line

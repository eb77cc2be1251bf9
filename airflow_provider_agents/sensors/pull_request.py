"""Waits in any DAG until a pull request is merged, closed, approved or green."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_agents.domain.conditions import CONDITIONS, Condition, examine, result_of
from airflow_provider_agents.exceptions import ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger, error_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

_BACKSTOP = timedelta(minutes=15)
"""How long after its deadline Airflow ends a wait whose trigger did not, e.g. without a triggerer."""


_WORDS: Mapping[Condition, str] = {
    "merged": "merged",
    "closed": "closed",
    "checks_passed": "through its checks",
    "green": "green",
    "approved": "approved",
}


class PullRequestSensor(BaseSensorOperator):
    """Wait until a GitHub pull request is in the state that ``until`` names.

    It looks once, and then waits in the triggerer, at no worker slot. Its result (XCom ``return_value``) is
    a dictionary with ``state``, ``head_sha``, ``url`` and ``merge_commit_sha``. It fails, without a retry,
    when the state cannot come any more (closed while it waits for ``merged``) and when the time is up; with
    ``soft_fail`` it is skipped instead.

    :param repository: ``owner/name`` (templated).
    :param pull_request_number: number of the pull request (templated).
    :param github_conn_id: connection of type ``github`` (templated).
    :param until: ``merged``, ``closed`` (merged or not), ``checks_passed`` (at least one check, all passed),
        ``approved``, or ``green`` (checks passed, no changes requested, no conflict).
    :param deferrable: wait in the triggerer; otherwise as ``mode`` says.
    :param poke_interval: seconds (or ``timedelta``) between two looks. All that wait with one connection in
        a triggerer share them.
    :param timeout: seconds (or ``timedelta``) until it gives up, counted from the first try's first look;
        retries do not prolong it, clearing the task begins it anew.
    :param retries: for infrastructure; a wait that failed for good is not repeated.
    """

    template_fields: Sequence[str] = ("repository", "pull_request_number", "github_conn_id")
    operator_extra_links = (PullRequestLink(),)
    ui_color = "#e6eef9"

    def __init__(
        self,
        *,
        repository: str,
        pull_request_number: int | str,
        github_conn_id: str = AgentsGitHubHook.default_conn_name,
        until: Condition = "merged",
        deferrable: bool = True,
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float = timedelta(days=7),
        retries: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, retries=retries, **kwargs)
        if until not in CONDITIONS:
            raise ValueError(f"until must be one of {', '.join(CONDITIONS)}, not {until!r}")
        self.repository = repository
        self.pull_request_number = pull_request_number
        self.github_conn_id = github_conn_id
        self.until = until
        self.deferrable = deferrable
        self._node_id: str | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Look once; return the result, or wait for it."""
        if not self.deferrable:
            result: dict[str, Any] | None = super().execute(context)
            return result
        try:
            return self._look_and_defer(context)
        except (AirflowFailException, AirflowSensorTimeout) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once at the pull request.

        :raises AirflowFailException: the state cannot come any more.
        """
        try:
            snapshot = self._read(context)
        except ForgeUnavailableError as error:
            self.log.warning("Could not look at the pull request now: %s", error)
            return PokeReturnValue(is_done=False)
        finding = examine(snapshot, self.until)
        if finding.outcome == "impossible":
            raise AirflowFailException(f"Waiting until {self.until} ended: {finding.message}")
        self.log.info("%s: %s", "Done" if finding.outcome == "met" else "Waiting", finding.message)
        done = finding.outcome == "met"
        return PokeReturnValue(is_done=done, xcom_value=result_of(snapshot) if done else None)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the trigger's event into the result or the failure."""
        status = event["status"]
        if status == "met":
            return {key: event[key] for key in ("state", "head_sha", "url", "merge_commit_sha")}
        if status == "impossible":
            raise AirflowFailException(f"Waiting until {self.until} ended: {event['message']}")
        if status == "deadline":
            self._time_is_up(event["message"])
        raise error_of(event)

    def _look_and_defer(self, context: Context) -> dict[str, Any]:
        found = self.poke(context)
        if found.is_done:
            result: dict[str, Any] = found.xcom_value or {}
            return result
        now = datetime.now(UTC)
        deadline = self._deadline(context, now)
        if now >= deadline:
            self._time_is_up("")
        trigger = PullRequestTrigger(
            repository=self.repository,
            number=self._number(),
            node_id=self._node_id,
            github_conn_id=self.github_conn_id,
            poll_interval=self.poke_interval,
            deadline=deadline.isoformat(),
            until=self.until,
        )
        raise TaskDeferred(
            trigger=trigger, method_name="execute_complete", timeout=deadline - now + _BACKSTOP
        )

    def _deadline(self, context: Context, now: datetime) -> datetime:
        """Return when to give up: set by the first try, kept by its retries, set anew by a clear."""
        deadline = now + timedelta(seconds=self.timeout)
        task_instance, store = context["ti"], context.get("task_state_store")
        if store is None:
            return deadline
        # A clear raises max_tries, which a retry leaves alone.
        key = f"deadline_{(task_instance.max_tries or 0) - (self.retries or 0)}"
        if isinstance(kept := store.get(key), str):
            return datetime.fromisoformat(kept)
        store.set(key, deadline.isoformat(), retention=timedelta(seconds=self.timeout) + timedelta(days=1))
        return deadline

    def _read(self, context: Context) -> PullRequestSnapshot:
        number = self._number()
        hook = AgentsGitHubHook(self.github_conn_id, repository=self.repository)
        snapshot = hook.run(lambda github: github.snapshot(self.repository, number))
        self._node_id = snapshot.node_id
        context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=snapshot.url)
        return snapshot

    def _number(self) -> int:
        text = str(self.pull_request_number).strip().removeprefix("#")
        if not text.isdecimal() or int(text) < 1:
            raise InvalidInputError(
                [f"pull_request_number: must be the number of a pull request, not {text[:80]!r}"]
            )
        return int(text)

    def _time_is_up(self, last: str) -> NoReturn:
        seen = f" When last seen: {last}" if last else ""
        limit = str(timedelta(seconds=self.timeout)).removesuffix(", 0:00:00")
        raise AirflowSensorTimeout(
            f"{self.repository}#{self._number()} was not {_WORDS[self.until]} within {limit}.{seen}"
        )

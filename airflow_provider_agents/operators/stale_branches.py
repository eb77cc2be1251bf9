"""Deletes the work branches of pull requests that were closed long ago, if this installation made them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator

from airflow_provider_agents import settings
from airflow_provider_agents.domain.stale_branches import BRANCH_PREFIX, by_the_forge, by_the_record
from airflow_provider_agents.exceptions import ForgeError
from airflow_provider_agents.operators.forge import connection_id, forge_defaults
from airflow_provider_agents.operators.run_records import RunRecords
from airflow_provider_agents.operators.sweep import Swept, given_number, is_dry_run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.housekeeping import SweepDecision
    from airflow_provider_agents.domain.stale_branches import ClosedWork
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_models import ClosedRef

T = TypeVar("T")

LOOK_BACK = timedelta(days=90)
"""Pull requests that became old enough earlier than this are not looked for."""
SLICE = timedelta(days=15)
"""Of one search. It can tell of 1,000 pull requests: where there are more, its halves are searched."""
SHORTEST_SLICE = timedelta(hours=1)
MOST_BRANCHES = 500
"""Branches that one run looks at; the next one goes on with the others."""


class SweepBranchesOperator(BaseOperator):
    """Delete stale work branches: of closed pull requests that a run of this Airflow opened.

    Which, and why never another one: :mod:`airflow_provider_agents.domain.stale_branches`. The forge compares
    the branch with the head of the closed pull request in the act of deleting it, so that a commit which
    comes in between is safe. One branch or repository that fails does not stop the rest.

    :param report_only: a dry run: say what would be deleted, and delete nothing. (templated: a text that reads ``true``)
    :param keep_days: how long a branch is kept after its pull request was closed and its run ended; 0: for ever;
        empty: ``[agents] branch_keep_days``. (templated)
    :param github_conn_id: Airflow connection of type ``github``; empty: ``[agents] github_conn_id``. (templated)
    :return: ``{"dry_run", "branches"}``, the latter a :class:`~.sweep.Swept`; ``kept`` counts those whose pull
        request was closed long enough ago.
    :raises InvalidInputError: the connection is missing, or is a GitHub App with several installations.
    :raises ForgeError: nothing could be searched for; or, after all the rest was done, what failed last.
    """

    template_fields: Sequence[str] = ("report_only", "keep_days", "github_conn_id")
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        report_only: bool | str = False,
        keep_days: float | str | None = None,
        github_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.report_only = report_only
        self.keep_days = keep_days
        self.github_conn_id = connection_id(github_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        keep = self._keep()
        if not keep:
            raise AirflowSkipException("Branches are kept for ever: [agents] branch_keep_days is 0.")
        dry_run = is_dry_run(self.report_only)
        now = datetime.now(tz=UTC)
        found = self._candidates(now - keep)
        records = RunRecords(context)
        swept = Swept()
        last: ForgeError | None = None
        for repository in dict.fromkeys(ref.repository for ref in found):
            refs = [ref for ref in found if ref.repository == repository]
            try:
                works = self._read(repository, refs, swept)
                gone = [work for work in works if self._goes(work, records, now, keep, swept)]
                self._delete(repository, gone, swept, dry_run=dry_run)
            except ForgeError as error:
                last = error
                self._fault(swept, f"{repository}: {error}")
        result = {"dry_run": dry_run, "branches": asdict(swept)}
        context["ti"].xcom_push(key="return_value", value=result)
        verb = "would be deleted" if dry_run else "deleted"
        self.log.info(
            "branches: %d %s, %d kept, %d faults", swept.deleted, verb, swept.kept, len(swept.faults)
        )
        if swept.faults:
            raise last or ForgeError(
                "Not every branch could be judged; the next run tries again:\n" + "\n".join(swept.faults)
            )
        return result

    def _keep(self) -> timedelta:
        days = given_number("keep_days", self.keep_days)
        if days is None:
            days = max(settings.amount("branch_keep_days", 14.0), 0.0)
        return timedelta(days=days)

    def _candidates(self, until: datetime) -> list[ClosedRef]:
        async def search(client: GitHubClient) -> list[ClosedRef]:
            found: list[ClosedRef] = []
            ends = [until - SLICE * number for number in range(LOOK_BACK // SLICE)]
            spans = [(end - SLICE, end) for end in ends]
            while spans:
                begin, end = spans.pop()
                refs, more = await client.own_closed_pull_requests(begin, end, prefix=BRANCH_PREFIX)
                if more and end - begin > SHORTEST_SLICE:
                    middle = begin + (end - begin) / 2
                    spans += [(middle, end), (begin, middle)]
                    continue
                if more:
                    self.log.warning(
                        "More than 1,000 pull requests were closed between %s and %s; only 100 are looked at.",
                        begin, end,
                    )  # fmt: skip
                found += refs
            return found

        found = list(dict.fromkeys(self._ask(None, search)))
        if len(found) > MOST_BRANCHES:
            self.log.info("%d branches are there; this run looks at %d of them.", len(found), MOST_BRANCHES)
            # Not always the same ones: some stay for ever.
            first = int(until.timestamp()) // 3600 * MOST_BRANCHES % len(found)
            found = (found[first:] + found[:first])[:MOST_BRANCHES]
        return found

    def _read(self, repository: str, refs: Sequence[ClosedRef], swept: Swept) -> list[ClosedWork]:
        async def read(client: GitHubClient) -> list[ClosedWork]:
            works = []
            for ref in refs:
                try:
                    works.append(await client.closed_work(repository, ref.number, ref.branch))
                except ForgeError as error:
                    self._fault(swept, f"{repository} {ref.branch}: {error}")
            return works

        return self._ask(repository, read)

    def _goes(
        self, work: ClosedWork, records: RunRecords, now: datetime, keep: timedelta, swept: Swept
    ) -> bool:
        try:
            decision = _decide(work, records, now, keep)
        except Exception as error:  # a run that Airflow cannot tell of must not stop the others
            self._fault(swept, f"{work.repository} {work.branch}: its run cannot be read: {error}")
            return False
        if decision.action == "keep":
            self.log.info("Kept branch %s of %s: %s", work.branch, work.repository, decision.reason)
            swept.kept += 1
            return False
        return True

    def _delete(self, repository: str, works: Sequence[ClosedWork], swept: Swept, *, dry_run: bool) -> None:
        async def delete(client: GitHubClient) -> None:
            for work in works:
                name = f"{repository} {work.branch}"
                try:
                    # The branch is compared in the act; that nobody has opened work on it since, only here.
                    same = await client.closed_work(repository, work.number, work.branch) == work
                    gone = same and await client.delete_branch_at(work)
                except ForgeError as error:
                    self._fault(swept, f"{name}: {error}")
                    continue
                if gone:
                    self.log.info("Deleted branch %s, was at %s: %s", name, work.head_sha, work.url)
                    swept.add(name)
                else:
                    self.log.info("Kept branch %s: it has changed since it was judged.", name)
                    swept.kept += 1

        if dry_run:
            for work in works:
                self.log.info("Would delete branch %s of %s: %s", work.branch, repository, work.url)
                swept.add(f"{repository} {work.branch}")
        elif works:
            self._ask(repository, delete)

    def _ask(self, repository: str | None, question: Callable[[GitHubClient], Awaitable[T]]) -> T:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        return AgentsGitHubHook(self.github_conn_id, repository=repository).run(question)

    def _fault(self, swept: Swept, text: str) -> None:
        self.log.warning("%s", text)
        swept.fail(text)


def _decide(work: ClosedWork, records: RunRecords, now: datetime, keep: timedelta) -> SweepDecision:
    decision = by_the_forge(work, now=now, keep=keep)
    if decision is not None:
        return decision
    assert work.origin is not None
    return by_the_record(work, records.record(*work.origin), now=now, keep=keep)

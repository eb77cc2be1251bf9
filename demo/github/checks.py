"""Checks that really run: the jobs of a commit's workflow files.

What a job does is in :mod:`demo.github.job_steps`; what it comes to can be set beforehand, see
:attr:`~demo.github.state.Repository.scripts`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING

from demo.github import clock
from demo.github.check_state import PASSING, CheckAnnotation, CheckRun, CheckSuite, Workflow
from demo.github.git_program import GitError
from demo.github.git_values import Signature
from demo.github.job_log import JobLog
from demo.github.job_steps import check_out, job_environment, read_summary, run_step
from demo.github.planned_checks import PlannedState, ScriptedOutcome, WaitingJob
from demo.github.state import PullRequest, Repository, now
from demo.github.workflows import WorkflowError, WorkflowFile, parse_workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from demo.github.forge import Forge

FOLDER = ".github/workflows"
APP = "github-actions"
MAX_WORKFLOWS = 20
SUMMARY_LINES = 40

_logger = logging.getLogger(__name__)


class CheckRunner:
    """Starts the workflows of commits, and keeps a bounded number of their jobs running."""

    def __init__(self, forge: Forge) -> None:
        # The automation merges, and a merge needs the forge, which needs this module.
        from demo.github.automation import Automation

        self._forge = forge
        self._slots = asyncio.Semaphore(forge.settings.parallel_checks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.Task[None]] = set()
        self._automation = Automation(forge)

    async def on_push(self, repository: Repository, branch: str, sha: str) -> None:
        """Start the workflows of ``sha`` that a push to ``branch`` starts."""
        await self._start(repository, "push", branch, branch, sha, sha, f"refs/heads/{branch}")

    async def on_pull_request(self, pull: PullRequest) -> None:
        """Start the workflows that a new head of a pull request starts, on its merge into the base.

        As on GitHub there is nothing to run while it conflicts with its base.
        """
        git = pull.repository.git
        base, head = await git.branch(pull.base_ref_name), pull.head_ref_oid
        if base is None or pull.state != "OPEN":
            return
        merged = await git.merge_tree(base, head)
        if merged.conflicts:
            return
        author = Signature(name="GitHub", email="noreply@github.example")
        commit = await git.commit_tree(merged.tree, (base, head), f"Merge {head} into {base}", author=author)
        ref = f"refs/pull/{pull.number}/merge"
        await git.force_ref(ref, commit)
        await self._start(
            pull.repository, "pull_request", pull.base_ref_name, pull.head_ref_name, head, commit, ref
        )

    async def on_merge_group(self, repository: Repository, base: str, branch: str, sha: str) -> None:
        """Start the workflows that the merge queue of ``base`` starts for ``sha``, the tip of its ``branch``."""
        await self._start(repository, "merge_group", base, branch, sha, sha, f"refs/heads/{branch}")

    def spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        """Do ``work`` in the background; :meth:`settled` waits for it, and :meth:`stop` ends it."""
        self._keep(self._tasks, work, name)

    def later(self, at: float, do: Callable[[], None]) -> None:
        """Call ``do`` at the time ``at`` of the stand-in's clock, in seconds since the epoch."""

        async def wait() -> None:
            await clock.active().sleep(at - clock.active().time())
            do()

        self._keep(self._timers, wait(), "timer")

    async def resume(self) -> None:
        """Go on with what a stand-in that was ended has left undone."""
        for repository in self._forge.store.repositories.values():
            for suite in repository.suites:
                for run in suite.latest_runs():
                    if run.status != "COMPLETED" and run.plan:
                        self.follow_plan(run)
                    elif run.status != "COMPLETED" and run.work is not None:
                        self.spawn(self._perform(run, run.work), f"check {run.name}")
            self._automation.look_again(repository)

    async def stop(self) -> None:
        """End all jobs and their processes."""
        tasks = [*self._tasks, *self._timers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until no job is queued or running, and all that follows from their ends is done.

        Runs that are planned for a time to come are not waited for.
        """
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def start_job(self, suite: CheckSuite, work: WaitingJob) -> CheckRun:
        """Run a job, as soon as one of the slots is free."""
        run = self.add_run(suite, work.job.name)
        run.work = work
        self.spawn(self._perform(run, work), f"check {run.name} of {suite.head_sha[:12]}")
        return run

    def add_run(self, suite: CheckSuite, name: str) -> CheckRun:
        """Make a queued run of the present attempt; it takes the place of an earlier one of that name."""
        run = self._forge.store.add(CheckRun(suite=suite, name=name, attempt=suite.attempt))
        repository = suite.repository.full_name
        if suite.workflow is not None:
            run.details_url = self._forge.link(
                repository, "actions", "runs", suite.database_id, "job", run.database_id
            )
        suite.runs.append(run)
        return run

    def play_script(self, run: CheckRun) -> bool:
        """Let a queued run come to what was set for its name; return whether anything was."""
        outcome = self._next_outcome(run)
        if outcome is not None:
            self._play(run, outcome)
        return outcome is not None

    def follow_plan(self, run: CheckRun) -> None:
        """Let a run become what is planned for it, each when it is due."""
        if run.plan:
            planned = run.plan[0]
            self.later(planned.at, lambda: self._become(run, planned))

    def complete(self, run: CheckRun, conclusion: str, title: str | None, summary: str | None) -> None:
        """End a run, and start the jobs that waited for it."""
        run.status, run.conclusion, run.completed_at = "COMPLETED", conclusion, now()
        run.started_at = run.started_at or run.completed_at
        run.title, run.summary = title, summary
        run.suite.updated_at = now()
        self._start_waiting(run.suite)
        self._forge.mutations.record(
            "check.completed",
            run.suite.repository.full_name,
            actor=f"{run.suite.app.slug}[bot]",
            name=run.name,
            sha=run.suite.head_sha,
            event=run.suite.event,
            conclusion=conclusion,
            check_run_id=run.database_id,
        )

    def _keep(self, tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None], name: str) -> None:
        # Without the context of the request that it follows from: whose token that was is no matter here.
        task = asyncio.create_task(work, name=name, context=Context())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_report)

    async def _start(
        self, repository: Repository, event: str, trigger: str, branch: str, sha: str, checkout: str, ref: str
    ) -> None:
        entries = await repository.git.list_tree(checkout, FOLDER)
        names = [n for kind, _, n, _ in entries if kind == "blob" and n.endswith((".yml", ".yaml"))]
        for name in sorted(names)[:MAX_WORKFLOWS]:
            path = f"{FOLDER}/{name}"
            text = (await repository.git.blob(checkout, path) or b"").decode(errors="replace")
            try:
                parsed = parse_workflow(text, path)
            except WorkflowError as error:
                if event == "push":
                    suite = self._suite(repository, event, branch, sha, path, path)
                    self.complete(
                        self.add_run(suite, path), "STARTUP_FAILURE", "Invalid workflow file", str(error)
                    )
                continue
            if parsed.runs_on(event, trigger):
                suite = self._suite(repository, event, branch, sha, parsed.path, parsed.name)
                self._start_workflow(suite, parsed, checkout, ref)

    def _start_workflow(self, suite: CheckSuite, workflow: WorkflowFile, checkout: str, ref: str) -> None:
        works = [WaitingJob(job=job, checkout=checkout, ref=ref) for job in workflow.jobs]
        suite.waiting = [work for work in works if work.job.needs]
        for work in works:
            if not work.job.needs:
                self.start_job(suite, work)

    def _suite(
        self, repository: Repository, event: str, branch: str, sha: str, path: str, name: str
    ) -> CheckSuite:
        store = self._forge.store
        number = repository.run_numbers[path] = repository.run_numbers.get(path, 0) + 1
        suite = CheckSuite(
            repository=repository,
            head_sha=sha,
            branch=branch,
            app=store.app(APP),
            workflow=store.add(Workflow(name=name, path=path)),
            event=event,
            run_number=number,
        )
        repository.suites.append(store.add(suite))
        return suite

    def _start_waiting(self, suite: CheckSuite) -> None:
        """Start the jobs whose needs have ended; one whose needs have not passed is skipped."""
        for work in list(suite.waiting):
            if work not in suite.waiting:
                continue
            ended = {run.work.job.key: run for run in suite.latest_runs() if run.work is not None}
            waiting = {other.job.key for other in suite.waiting}
            needed = [ended.get(key) for key in work.job.needs]
            if waiting & set(work.job.needs) or any(run is None or not run.conclusion for run in needed):
                continue
            suite.waiting.remove(work)
            passed = all(run is not None and run.conclusion == "SUCCESS" for run in needed)
            if work.job.condition == "always" or passed == (work.job.condition == "success"):
                self.start_job(suite, work)
            else:
                skipped = self.add_run(suite, work.job.name)
                skipped.work = work
                self.complete(skipped, "SKIPPED", None, None)

    def _next_outcome(self, run: CheckRun) -> ScriptedOutcome | None:
        outcomes = run.suite.repository.scripts.get(run.name, [])
        for outcome in outcomes:
            if outcome.event in (None, run.suite.event):
                outcomes.remove(outcome)
                return outcome
        return None

    def _become(self, run: CheckRun, planned: PlannedState) -> None:
        if not run.plan or run.plan[0] is not planned:
            # Another plan has taken the place of the one that this was of.
            return
        run.plan.pop(0)
        if planned.conclusion is not None:
            self.complete(run, planned.conclusion, run.title, run.summary)
        else:
            run.status, run.started_at = planned.status, run.started_at or now()
        self.follow_plan(run)

    def _play(self, run: CheckRun, outcome: ScriptedOutcome) -> None:
        run.status, run.started_at = "IN_PROGRESS", now()
        run.title, run.summary = outcome.title, outcome.summary
        if outcome.log is not None:
            log = JobLog()
            log.feed(outcome.log.encode())
            log.flush()
            run.log, run.annotations = log.text(), log.annotations
        if outcome.seconds:
            at = clock.active().time() + outcome.seconds
            run.plan = [PlannedState(at=at, status="COMPLETED", conclusion=outcome.conclusion)]
            self.follow_plan(run)
        else:
            self.complete(run, outcome.conclusion, outcome.title, outcome.summary)

    async def _perform(self, run: CheckRun, work: WaitingJob) -> None:
        async with self._slots:
            if outcome := self._next_outcome(run):
                self._play(run, outcome)
                return
            run.status, run.started_at = "IN_PROGRESS", now()
            log = JobLog()
            scratch = Path(tempfile.mkdtemp(prefix="check-"))
            try:
                conclusion, title = await self._run_job(run, work, scratch, log)
            except (GitError, OSError) as error:
                log.line(f"##[error]{error}")
                conclusion, title = "STARTUP_FAILURE", "The job could not be started"
            finally:
                summary = read_summary(scratch)
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
            log.flush()
            run.log, run.annotations = log.text(), log.annotations
            if not summary and conclusion not in PASSING:
                summary = f"```\n{log.tail(SUMMARY_LINES)}\n```"
            self.complete(run, conclusion, title, summary)

    async def _run_job(self, run: CheckRun, work: WaitingJob, scratch: Path, log: JobLog) -> tuple[str, str]:
        workspace = scratch / "workspace"
        await check_out(run.suite.repository, work.checkout, workspace)
        environment = job_environment(scratch, workspace, run, work, self._forge.url)
        limit = self._forge.settings.check_timeout
        failed: str | None = None
        try:
            async with asyncio.timeout(limit):
                for step in work.job.steps:
                    if (step.condition == "success" and failed) or (
                        step.condition == "failure" and not failed
                    ):
                        continue
                    code = await run_step(step, workspace, scratch, environment, log)
                    if code and not step.continue_on_error:
                        failed = failed or f"{step.name}: exit code {code}"
                        log.annotations.append(
                            CheckAnnotation(
                                path=".github",
                                line=1,
                                level="FAILURE",
                                message=f"Process completed with exit code {code}.",
                            )
                        )
        except TimeoutError:
            log.line(f"##[error]The job has exceeded the maximum execution time of {limit:g} s.")
            return "TIMED_OUT", f"Took longer than {limit:g} s"
        return ("FAILURE", failed) if failed else ("SUCCESS", "All steps passed")


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _logger.error("%s failed", task.get_name(), exc_info=fault)

"""Checks that really run: the jobs of a commit's workflow files, as processes of this machine.

A job runs with the rights of the server and only with what it is given: a fresh checkout, a home of its own
and a short environment. It is no sandbox: seed only repositories whose code may run here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from demo.github.job_log import JobLog
from demo.github.repositories import GitError, Signature, run_git
from demo.github.state import (
    CheckAnnotation,
    CheckRun,
    CheckSuite,
    PullRequest,
    Repository,
    Workflow,
    now,
)
from demo.github.workflows import Job, Step, WorkflowError, WorkflowFile, parse_workflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.github.forge import Forge

FOLDER = ".github/workflows"
APP = "github-actions"
MAX_WORKFLOWS = 20
SUMMARY_LINES = 40
SUMMARY_BYTES = 64 * 1024
KILL_SECONDS = 2.0
"""Grace between the polite and the final signal to a job's processes."""


@dataclass(frozen=True, kw_only=True)
class _Assignment:
    """A job to run: which one, for which check run, on which commit."""

    run: CheckRun
    job: Job
    checkout: str
    """Commit to check out: the head, or its merge into the base for a pull request."""
    ref: str


class CheckRunner:
    """Starts the workflows of commits, and keeps a bounded number of their jobs running."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._slots = asyncio.Semaphore(forge.settings.parallel_checks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._assignments: dict[int, _Assignment] = {}

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

    async def rerun(self, run: CheckRun) -> CheckRun | None:
        """Run the job of a finished check run again, as a new check run in its place.

        Returns ``None`` when it is no job of a workflow, or has not ended.
        """
        assignment = self._assignments.get(run.database_id)
        if assignment is None or run.status != "COMPLETED":
            return None
        return self._enqueue(run.suite, assignment.job, assignment.checkout, assignment.ref)

    async def stop(self) -> None:
        """End all jobs and their processes."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until no job is queued or running."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

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
                    self._report_broken(self._suite(repository, event, branch, sha, path, path), str(error))
                continue
            if parsed.runs_on(event, trigger):
                self._start_workflow(repository, event, branch, sha, checkout, ref, parsed)

    def _start_workflow(
        self,
        repository: Repository,
        event: str,
        branch: str,
        sha: str,
        checkout: str,
        ref: str,
        workflow: WorkflowFile,
    ) -> None:
        suite = self._suite(repository, event, branch, sha, workflow.path, workflow.name)
        for job in workflow.jobs:
            self._enqueue(suite, job, checkout, ref)

    def _suite(
        self, repository: Repository, event: str, branch: str, sha: str, path: str, name: str
    ) -> CheckSuite:
        store = self._forge.store
        number = repository.run_numbers[path] = repository.run_numbers.get(path, 0) + 1
        workflow = store.add(Workflow(name=name, path=path))
        suite = CheckSuite(
            repository=repository,
            head_sha=sha,
            branch=branch,
            app=store.app(APP),
            workflow=workflow,
            event=event,
            run_number=number,
        )
        repository.suites.append(store.add(suite))
        return suite

    def _report_broken(self, suite: CheckSuite, why: str) -> None:
        run = self._forge.store.add(
            CheckRun(suite=suite, name=suite.workflow.path if suite.workflow else APP)
        )
        suite.runs.append(run)
        self._complete(run, "STARTUP_FAILURE", "Invalid workflow file", why)

    def _enqueue(self, suite: CheckSuite, job: Job, checkout: str, ref: str) -> CheckRun:
        run = self._forge.store.add(CheckRun(suite=suite, name=job.name))
        repository = suite.repository.full_name
        run.details_url = self._forge.link(
            repository, "actions", "runs", suite.database_id, "job", run.database_id
        )
        suite.runs.append(run)
        assignment = _Assignment(run=run, job=job, checkout=checkout, ref=ref)
        self._assignments[run.database_id] = assignment
        task = asyncio.create_task(
            self._perform(assignment), name=f"check {job.name} of {suite.head_sha[:12]}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    async def _perform(self, assignment: _Assignment) -> None:
        run = assignment.run
        async with self._slots:
            run.status, run.started_at = "IN_PROGRESS", now()
            log = JobLog()
            scratch = Path(tempfile.mkdtemp(prefix="check-"))
            try:
                conclusion, title = await self._run_job(assignment, scratch, log)
            except (GitError, OSError) as error:
                log.line(f"##[error]{error}")
                conclusion, title = "STARTUP_FAILURE", "The job could not be started"
            finally:
                summary = _read_summary(scratch)
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
            log.flush()
            run.log, run.annotations = log.text(), log.annotations
            if not summary and conclusion != "SUCCESS":
                summary = f"```\n{log.tail(SUMMARY_LINES)}\n```"
            self._complete(run, conclusion, title, summary)

    async def _run_job(self, assignment: _Assignment, scratch: Path, log: JobLog) -> tuple[str, str]:
        suite = assignment.run.suite
        workspace = scratch / "workspace"
        await _check_out(suite.repository, assignment.checkout, workspace)
        environment = _environment(scratch, workspace, suite, assignment, self._forge.url)
        limit = self._forge.settings.check_timeout
        failed: str | None = None
        try:
            async with asyncio.timeout(limit):
                for step in assignment.job.steps:
                    if (step.condition == "success" and failed) or (
                        step.condition == "failure" and not failed
                    ):
                        continue
                    code = await _run_step(step, workspace, scratch, environment, log)
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

    def _complete(self, run: CheckRun, conclusion: str, title: str, summary: str | None) -> None:
        run.status, run.conclusion, run.completed_at = "COMPLETED", conclusion, now()
        run.title, run.summary = title, summary
        run.suite.updated_at = now()
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


async def _check_out(repository: Repository, commit: str, workspace: Path) -> None:
    """Fetch one commit into a fresh clone, as the checkout action does."""
    folder = str(workspace)
    await run_git("init", "--quiet", folder)
    await run_git(
        "-C", folder, "fetch", "--quiet", "--depth=1", "--no-tags", repository.git.path.as_uri(), commit
    )
    await run_git("-C", folder, "checkout", "--quiet", "--detach", "FETCH_HEAD")


def _environment(
    scratch: Path, workspace: Path, suite: CheckSuite, assignment: _Assignment, url: str
) -> dict[str, str]:
    """Return all that a job gets to know; nothing of the server's own environment is in it."""
    home, tools, temporary = scratch / "home", scratch / "tools", scratch / "tmp"
    for folder in (home, tools, temporary):
        folder.mkdir()
    for name in ("python", "python3"):
        # Not a link: an interpreter of a virtual environment finds it by the path that it was called by.
        shim = tools / name
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        shim.chmod(0o755)
    path = [str(tools), str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": suite.event,
        "GITHUB_JOB": assignment.run.name,
        "GITHUB_REF": assignment.ref,
        "GITHUB_REPOSITORY": suite.repository.full_name,
        "GITHUB_RUN_ID": str(suite.database_id),
        "GITHUB_RUN_NUMBER": str(suite.run_number),
        "GITHUB_SERVER_URL": url,
        "GITHUB_SHA": assignment.checkout,
        "GITHUB_STEP_SUMMARY": str(scratch / "summary.md"),
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_TEMP": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


async def _run_step(
    step: Step, workspace: Path, scratch: Path, environment: Mapping[str, str], log: JobLog
) -> int:
    """Run one step with ``bash -e`` in a process group of its own; return its exit code."""
    log.line(f"##[group]{step.name}")
    for line in step.run.rstrip().splitlines():
        log.line(line)
    log.line("##[endgroup]")
    directory = _directory(workspace, step.directory)
    if directory is None:
        log.line(f"##[error]There is no working directory {step.directory!r}.")
        return 1
    script = scratch / "step.sh"
    script.write_text(step.run)
    # A pipe of our own: asyncio's would make the wait for the script one for all that it left running.
    receiving, sending = os.pipe()
    pipe = os.fdopen(receiving, "rb", buffering=0)
    reader = asyncio.create_task(_drain(pipe, log))
    try:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "--noprofile",
            "--norc",
            "-e",
            str(script),
            cwd=directory,
            env={**environment, **step.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sending,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except BaseException:
        reader.cancel()
        raise
    finally:
        os.close(sending)
    try:
        code = await process.wait()
        # What the script left running holds the pipe open; it ends with the step.
        _signal_group(process.pid, signal.SIGKILL)
        await reader
    finally:
        await _end_group(process)
        reader.cancel()
    log.flush()
    if code:
        log.line(f"##[error]Process completed with exit code {code}.")
    return code


def _directory(workspace: Path, name: str) -> Path | None:
    """Return a folder of the checkout, or ``None`` where there is none of that name inside it."""
    folder = (workspace / name).resolve()
    inside = folder.is_relative_to(workspace.resolve())
    return folder if inside and folder.is_dir() else None


async def _drain(pipe: IO[bytes], log: JobLog) -> None:
    """Feed ``log`` from a pipe until its other end is closed everywhere."""
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), pipe
    )
    try:
        while data := await stream.read(65_536):
            log.feed(data)
    finally:
        transport.close()


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Make sure that nothing of a step's process group is left."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _read_summary(scratch: Path) -> str | None:
    path = scratch / "summary.md"
    try:
        with path.open("rb") as file:
            return file.read(SUMMARY_BYTES).decode(errors="replace").strip() or None
    except OSError:
        return None

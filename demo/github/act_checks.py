"""Acts about checks: what other services report, and what the next runs come to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from demo.github import clock, reruns
from demo.github.act_subjects import sha_of
from demo.github.check_state import CheckAnnotation, CheckRun, CheckSuite, Status, Workflow
from demo.github.checks import APP
from demo.github.errors import ApiError, not_found
from demo.github.job_log import JobLog
from demo.github.planned_checks import PlannedState, ScriptedOutcome
from demo.github.state import now

if TYPE_CHECKING:
    from demo.github.act_subjects import Act
    from demo.github.forge import Forge
    from demo.github.state import Repository, User

CONCLUSIONS = frozenset(
    [
        "ACTION_REQUIRED",
        "CANCELLED",
        "FAILURE",
        "NEUTRAL",
        "SKIPPED",
        "STALE",
        "STARTUP_FAILURE",
        "SUCCESS",
        "TIMED_OUT",
    ]
)
STATUSES = frozenset(["QUEUED", "IN_PROGRESS", "COMPLETED", "WAITING", "PENDING", "REQUESTED"])
EVENTS = frozenset(["merge_group", "pull_request", "push"])
"""What starts workflows."""
STATES = frozenset(["ERROR", "EXPECTED", "FAILURE", "PENDING", "SUCCESS"])


async def status(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Set the commit status ``context`` to ``state`` (``success``, …) on a head, with ``description`` and
    ``target_url``; with ``after`` only in so many seconds.
    """
    at = clock.active().time() + float(values.get("after") or 0)
    made = Status(
        repository=repository,
        sha=await sha_of(repository, values),
        context=str(values.get("context") or "default"),
        state=_word(values.get("state") or "success", STATES, "state"),
        description=values.get("description"),
        target_url=values.get("target_url"),
        creator=user,
        created_at=datetime.fromtimestamp(int(at), UTC),
    )
    repository.statuses.append(forge.store.add(made))

    def tell() -> None:
        forge.mutations.record(
            "status.created",
            repository.full_name,
            actor=user.login,
            context=made.context,
            state=made.state,
            sha=made.sha,
        )

    if values.get("after"):
        forge.checks.later(at, tell)
    else:
        tell()
    return {"sha": made.sha}


async def check_run(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Report a check called ``name`` on a head, of the app ``app`` or as a job of the Actions workflow
    ``workflow``. The same name on the same head is the same check, unless ``again`` makes another run of it.

    What it is: ``status``, ``conclusion``, ``title``, ``summary``, ``log`` and ``annotations`` ([{path, line,
    level, message}]). What it becomes, in seconds from now: ``appears_after``, ``starts_after``,
    ``completes_after`` (with ``conclusion``). ``more_to_come`` says whether further jobs of its workflow are
    announced, as with jobs that need others.
    """
    conclusion = _word(values["conclusion"], CONCLUSIONS, "conclusion") if values.get("conclusion") else None
    word = _word(values.get("status") or "in_progress", STATUSES, "status")
    sha = await sha_of(repository, values)
    suite = _suite(forge, repository, sha, values)
    suite.more_to_come = bool(values.get("more_to_come", suite.more_to_come))
    name = str(values.get("name") or "check")
    run = next((run for run in reversed(suite.runs) if run.name == name), None)
    if run is None or values.get("again"):
        run = forge.checks.add_run(suite, name)
    _describe(run, values)
    waits = {key: float(values.get(f"{key}_after") or 0) for key in ("appears", "starts", "completes")}
    present = clock.active().time()
    if waits["appears"]:
        run.appears_at = present + waits["appears"]
    run.plan.clear()
    if waits["starts"]:
        run.plan.append(PlannedState(at=present + waits["starts"], status="IN_PROGRESS"))
    if conclusion and any(waits.values()):
        at = present + max(waits.values())
        run.plan.append(PlannedState(at=at, status="COMPLETED", conclusion=conclusion))
    if conclusion and not run.plan:
        forge.checks.complete(run, conclusion, run.title, run.summary)
    else:
        run.status = "QUEUED" if waits["starts"] else word
        run.conclusion, run.completed_at = None, None
        run.started_at = None if run.status == "QUEUED" else run.started_at or now()
    forge.checks.follow_plan(run)
    return {"id": run.database_id, "sha": sha, "suite": suite.database_id}


def _suite(forge: Forge, repository: Repository, sha: str, values: dict[str, Any]) -> CheckSuite:
    """Return the suite of the app, or of the workflow's run, on a commit; made on first sight."""
    workflow = str(values["workflow"]) if values.get("workflow") else None
    app = forge.store.app(APP if workflow else str(values.get("app") or "external-ci"))
    for suite in repository.suites:
        named = suite.workflow.name if suite.workflow else None
        if suite.app is app and suite.head_sha == sha and named == workflow:
            return suite
    suite = CheckSuite(
        repository=repository, head_sha=sha, branch=str(values.get("branch") or ""), app=app, event="app"
    )
    if workflow is not None:
        path = f".github/workflows/{workflow.lower().replace(' ', '-')}.yml"
        suite.workflow, suite.event = forge.store.add(Workflow(name=workflow, path=path)), "push"
    repository.suites.append(forge.store.add(suite))
    return suite


def _describe(run: CheckRun, values: dict[str, Any]) -> None:
    run.title, run.summary = values.get("title"), values.get("summary")
    if values.get("details_url"):
        run.details_url = str(values["details_url"])
    if (text := values.get("log")) is not None:
        log = JobLog()
        log.feed(str(text).encode())
        log.flush()
        run.log, run.annotations = log.text(), log.annotations
    if "annotations" in values:
        run.annotations = [
            CheckAnnotation(
                path=str(item["path"]),
                line=int(item.get("line") or 1),
                level=str(item.get("level") or "failure").upper(),
                message=str(item.get("message") or ""),
            )
            for item in values["annotations"]
        ]


async def script_check(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Set what the next runs of the check ``name`` come to, on whatever head: ``outcomes`` ([{conclusion,
    title, summary, log, seconds, on}]), or one of these ``times`` over. ``on`` is the event that runs are of for
    which it is meant: ``push``, ``pull_request`` or ``merge_group``; others run as they do otherwise, and so do
    all after them.
    """
    given = values.get("outcomes") or [values] * int(values.get("times") or 1)
    outcomes = [
        ScriptedOutcome(
            conclusion=_word(item.get("conclusion") or "failure", CONCLUSIONS, "conclusion"),
            title=item.get("title"),
            summary=item.get("summary"),
            log=item.get("log"),
            seconds=float(item.get("seconds") or 0),
            event=_event(item.get("on")),
        )
        for item in given
    ]
    waiting = repository.scripts.setdefault(str(values.get("name") or "check"), [])
    waiting += outcomes
    return {"waiting": len(waiting)}


async def rerun(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Run the check ``name`` on a head again."""
    sha = await sha_of(repository, values)
    run = next((run for run in repository.check_runs(sha) if run.name == values.get("name")), None)
    if run is None:
        raise not_found()
    again = reruns.rerun_job if run.suite.workflow else reruns.rerequest
    return {"id": again(forge, run, user).database_id}


def _event(value: object) -> str | None:
    if value is not None and value not in EVENTS:
        raise ApiError(422, f"'on' is one of {', '.join(sorted(EVENTS))}.")
    return None if value is None else str(value)


def _word(value: object, known: frozenset[str], field: str) -> str:
    word = str(value).upper()
    if word not in known:
        raise ApiError(422, f"{field!r} is one of {', '.join(sorted(known)).lower()}.")
    return word


ACTS: dict[str, Act] = {
    "status": status,
    "check_run": check_run,
    "script_check": script_check,
    "rerun": rerun,
}

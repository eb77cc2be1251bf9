"""REST's representations of checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github.rest_views import api, moment, user_json

if TYPE_CHECKING:
    from demo.github.check_state import CheckAnnotation, CheckRun, CheckSuite, Status
    from demo.github.forge import Forge


def check_run_json(forge: Forge, run: CheckRun) -> dict[str, Any]:
    suite, repository = run.suite, run.suite.repository
    url = api(forge, "repos", repository.full_name, "check-runs", run.database_id)
    app = {
        "id": suite.app.database_id,
        "node_id": suite.app.id,
        "slug": suite.app.slug,
        "name": suite.app.name,
    }
    pulls = [p for p in repository.open_pulls() if p.head_ref_oid == suite.head_sha]
    return {
        "id": run.database_id,
        "node_id": run.id,
        "name": run.name,
        "head_sha": suite.head_sha,
        "external_id": "",
        "status": run.status.lower(),
        "conclusion": run.conclusion.lower() if run.conclusion else None,
        "started_at": moment(run.started_at),
        "completed_at": moment(run.completed_at),
        "url": url,
        "html_url": run.details_url,
        "details_url": run.details_url,
        "output": {
            "title": run.title,
            "summary": run.summary,
            "text": None,
            "annotations_count": len(run.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": suite.database_id},
        "app": app,
        "pull_requests": [{"id": p.database_id, "number": p.number} for p in pulls],
    }


def annotation_json(annotation: CheckAnnotation) -> dict[str, Any]:
    return {
        "path": annotation.path,
        "start_line": annotation.line,
        "end_line": annotation.end_line or annotation.line,
        "start_column": None,
        "end_column": None,
        "annotation_level": annotation.level.lower(),
        "title": annotation.title or "",
        "message": annotation.message,
        "raw_details": "",
    }


def job_json(forge: Forge, run: CheckRun) -> dict[str, Any]:
    """Return the workflow job that a check run stands for; both have one number."""
    name = run.suite.repository.full_name
    return {
        "id": run.database_id,
        "run_id": run.suite.database_id,
        "run_attempt": run.attempt,
        "node_id": run.id,
        "head_sha": run.suite.head_sha,
        "head_branch": run.suite.branch,
        "name": run.name,
        "workflow_name": run.suite.workflow.name if run.suite.workflow else None,
        "status": run.status.lower(),
        "conclusion": run.conclusion.lower() if run.conclusion else None,
        "started_at": moment(run.started_at),
        "completed_at": moment(run.completed_at),
        "url": api(forge, "repos", name, "actions", "jobs", run.database_id),
        "html_url": run.details_url,
        "check_run_url": api(forge, "repos", name, "check-runs", run.database_id),
        "steps": [],
    }


def workflow_run_json(forge: Forge, suite: CheckSuite) -> dict[str, Any]:
    """Return the workflow run that a check suite stands for; both have one number here."""
    repository, number = suite.repository, suite.database_id
    pulls = [p for p in repository.open_pulls() if p.head_ref_oid == suite.head_sha]
    return {
        "id": number,
        "node_id": suite.id,
        "name": suite.workflow.name if suite.workflow else None,
        "path": suite.workflow.path if suite.workflow else None,
        "workflow_id": suite.workflow.database_id if suite.workflow else None,
        "check_suite_id": number,
        "check_suite_node_id": suite.id,
        "head_branch": suite.branch,
        "head_sha": suite.head_sha,
        "event": suite.event,
        "run_number": suite.run_number,
        "run_attempt": suite.attempt,
        "status": suite.status.lower(),
        "conclusion": suite.conclusion.lower() if suite.conclusion else None,
        "pull_requests": [{"id": p.database_id, "number": p.number} for p in pulls],
        "created_at": moment(suite.created_at),
        "updated_at": moment(suite.updated_at),
        "url": api(forge, "repos", repository.full_name, "actions", "runs", number),
        "html_url": forge.link(repository.full_name, "actions", "runs", number),
        "jobs_url": api(forge, "repos", repository.full_name, "actions", "runs", number, "jobs"),
    }


def status_json(forge: Forge, status: Status) -> dict[str, Any]:
    return {
        "id": status.database_id,
        "node_id": status.id,
        "state": status.state.lower(),
        "context": status.context,
        "description": status.description,
        "target_url": status.target_url,
        "creator": user_json(forge, status.creator),
        "created_at": moment(status.created_at),
        "updated_at": moment(status.created_at),
    }

"""Lets an agent review a pull request. Trigger it from the UI, or with JSON conf from whatever hears of one."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_agents.domain.review_request import REVIEW_RUN_MODES
from airflow_provider_agents.task_groups.pr_review import pr_review_group

DOC = """\
### Review of a pull request

An agent that can change nothing reads the head of a pull request, also of a fork, and judges it. The verdict
is posted as a review with remarks at the lines, at most six, once for each head.

* `look` … whether there is something to review; without a model
* `review` … the agent reads it, in a pod
* `hold` … a person submits, edits or discards the draft (mode `hold`), on the page *Required Actions*
* `post` … the review is posted, unless the pull request has a new head by then
"""

with DAG(
    "pr_review",
    dag_display_name="Review of a pull request",
    description="An agent reviews a pull request",
    doc_md=DOC,
    schedule=None,
    catchup=False,
    max_active_runs=50,
    params={
        "repository": Param(type="string", title="Repository", description_md="As `owner/name`."),
        "pull_request_number": Param(type="integer", minimum=1, title="Pull request"),
        "mode": Param(
            "hold",
            enum=list(REVIEW_RUN_MODES),
            title="Mode",
            description_md="`hold`: a person submits the draft. `post`: posted at once. `on_request`: posted at "
            "once, where a person asked for it, by hand here or with `/review`. `off`: nothing.",
        ),
        "event": Param(
            None,
            type=["null", "string"],
            title="Event",
            description_md="What started the run, e.g. `pull_request.synchronize`. Empty: a person did. With "
            "an event, drafts and mode `on_request` wait for `/review`.",
        ),
        "prompt": Param(
            None,
            type=["null", "string"],
            format="multiline",
            title="Prompt",
            description_md="What to look at.",
            section="Agent",
        ),
        "agent": Param(None, type=["null", "string"], title="Program", section="Agent"),
        "model": Param(None, type=["null", "string"], title="Model", section="Agent"),
        "turns": Param(30, type="integer", minimum=1, maximum=500, title="Turns", section="Agent"),
        "budget_usd": Param(
            None,
            type=["null", "number"],
            exclusiveMinimum=0,
            title="Budget (USD)",
            description_md="Empty: `[agents] budget_usd`.",
            section="Agent",
        ),
    },
    tags=["agents"],
):
    pr_review_group(group_id=None)

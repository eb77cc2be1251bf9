"""What becomes of an agent's work when its step ends early: it goes to the work branch, if it can."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from agent_runner.console import one_line, say
from agent_runner.deadline import Deadline
from agent_runner.failure import StepCancelled, StepFailed
from agent_runner.process import Supervision
from agent_runner.publish import publish
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from agent_runner.checkout import Checkout
    from agent_runner.contract import StepSpec
    from agent_runner.draft import Draft
    from agent_runner.git import Git

SECONDS = 60.0
"""How long publishing it may take, within the step's own limit."""
STOP_SECONDS = 15.0
"""The same once the runner was told to stop: about half of the pod's grace."""


def publish_work_so_far(
    git: Git, spec: StepSpec, checkout: Checkout, draft: Draft, supervision: Supervision
) -> None:
    """Commit and push what the agent has done, in a time box of its own. Never raises for a failure of that.

    What must not be published (conflict markers, an unfinished rebase) stays back, as does what the forge
    refuses; the log and the summary say so.

    :param draft: says afterwards what is on the work branch.
    """
    try:
        deadline = supervision.deadline.within(SECONDS)
        _publish(git, spec, checkout, draft, Supervision(supervision.stop, supervision.reaper, deadline))
    except StepCancelled:
        # The stop request stays set: what is left of the pod's grace is used under another one.
        with contextlib.closing(StopRequest()) as unset:
            limit = Deadline.after(STOP_SECONDS)
            _publish(git, spec, checkout, draft, Supervision(unset, supervision.reaper, limit))


def _publish(git: Git, spec: StepSpec, checkout: Checkout, draft: Draft, supervision: Supervision) -> None:
    try:
        publish(git.under(supervision), spec, checkout, draft, unfinished=True)
    except StepCancelled:
        raise
    except (StepFailed, OSError) as error:
        note = f"The work so far was not published: {one_line(str(error), 400)}"
        say(f"publish: {note}")
        draft.summary = f"{draft.summary}\n\n{note}".strip()

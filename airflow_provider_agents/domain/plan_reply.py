"""What people on the ticket said to a plan: :func:`read_plan_replies`, a pure function.

Only what people with authority wrote is handed in (by default: with write access). A 👍 or ``/approve`` approves the plan that was shown
before it; ``/stop`` and ``/reject`` end the run; ``/agent`` asks for another run and says nothing to this one's plan;
every other comment is what the next plan has to answer, all of them, not only the first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.domain.untrusted import clean, clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.authority_rules import Action

SETTLE_SECONDS = 60
"""After a remark, for the same person's next one: thoughts come in more than one comment."""
MOST_REMARKS = 50
MOST_REMARK_BYTES = 8_000

# Four spaces or a tab before it would make it code, and so somebody's quotation.
_COMMAND = re.compile(r"(?:[ \t]*\r?\n)* {0,3}/(approve|reject|stop)(?=\s|$)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A comment of a person with authority."""

    key: str
    author: str
    body: str
    at: datetime
    may: frozenset[Action] = field(default=frozenset({"approve", "steer", "merge"}))
    """What its author may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """A thumbs up on a comment of ours, of a person who may approve."""

    login: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that a person said to the plan."""

    author: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReply:
    """What the replies come to."""

    verdict: Literal["approved", "replan", "stopped"]
    by: str
    """Who decided it."""
    remarks: tuple[Remark, ...] = ()
    """What the next plan answers; with ``approved``, what the work is to heed beside the plan."""
    answered: tuple[str, ...] = ()
    """Keys of all the replies that are in this."""


def read_plan_replies(
    replies: Sequence[Reply],
    thumbs: Sequence[Thumb],
    *,
    shown_at: datetime,
    now: datetime,
    answered: frozenset[str] = frozenset(),
) -> PlanReply | None:
    """Say what the replies to a plan come to; ``None``: nothing yet, or more may be coming.

    :param replies: since the first plan was shown, oldest first. To approve takes the right to approve; to end
        the run or to say what the next plan is to answer, that or the right to steer.
    :param thumbs: on the comment with the plan, of people who may approve.
    :param shown_at: when this plan was shown, by the forge's clock: what came before approves nothing.
    :param now: by the forge's clock.
    :param answered: keys of the replies that an earlier plan answered already.
    """
    new = [reply for reply in replies if reply.key not in answered]
    keys = tuple(reply.key for reply in new)
    remarks: list[Remark] = []
    approval: tuple[datetime, str] | None = None
    last_remark: datetime | None = None
    for reply in new:
        if asks_for_agent(reply.body):
            continue
        found = _COMMAND.match(reply.body)
        if not reply.may & ({"approve"} if found and found[1] == "approve" else {"approve", "steer"}):
            continue
        if found and found[1] in ("stop", "reject") and not (found[1] == "reject" and found[2].strip()):
            return PlanReply(verdict="stopped", by=reply.author, answered=keys)
        if found and found[1] == "approve":
            if reply.at < shown_at:
                continue
            approval = reply.at, reply.author
        said = clip(clean(found[2] if found else reply.body), MOST_REMARK_BYTES)
        if said:
            remarks.append(Remark(author=reply.author, text=said))
            if not found or found[1] != "approve":
                # A remark after an approval takes it back.
                last_remark, approval = reply.at, None
    for thumb in sorted(thumbs, key=lambda t: t.at):
        # The forge tells whole seconds: which of two in one was first is not known.
        if last_remark is not None and thumb.at <= last_remark:
            continue
        if thumb.at >= shown_at and (approval is None or thumb.at > approval[0]):
            approval = thumb.at, thumb.login
    # Whoever approves after a remark has read it.
    if approval is not None:
        return PlanReply(verdict="approved", by=approval[1], remarks=tuple(remarks), answered=keys)
    if last_remark is None or now - last_remark < timedelta(seconds=SETTLE_SECONDS):
        return None
    kept = tuple(remarks[:MOST_REMARKS])
    return PlanReply(verdict="replan", by=kept[-1].author, remarks=kept, answered=keys)

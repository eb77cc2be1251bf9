"""How a plan is put before people: the question on Airflow's page, and the comment on the ticket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.domain.people import InputField, Option, Question, facts_code
from airflow_provider_agents.domain.plan_choices import ChoiceGroup, boxes, fields
from airflow_provider_agents.domain.untrusted import clean, clip, fence, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.domain.plan_reply import Remark

APPROVE = "Approve"
REPLAN = "Plan again"
REJECT = "Reject"
FEEDBACK = "feedback"
"""Name of the form's field."""
MOST_PLAN_BYTES = 400_000
MOST_PAGE_BYTES = 60_000
"""Of the plan on Airflow's page; the ticket has all of it."""
MOST_FEEDBACK_BYTES = 40_000


def plan_markdown(output: Mapping[str, Any], most_bytes: int = MOST_PLAN_BYTES) -> str:
    """Return a plan's structured output as Markdown that is fit to be posted under our name."""
    lines = [str(output.get("summary") or "").strip()]
    for heading, key in (("Steps", "steps"), ("Files", "files"), ("Risks", "risks")):
        items = output.get(key)
        if isinstance(items, list | tuple) and items:
            mark = "1." if key == "steps" else "-"
            lines += ["", f"#### {heading}", *(f"{mark} {_item(item)}" for item in items)]
    return outbound("\n".join(lines), most_bytes)


def plan_facts(output: Mapping[str, Any]) -> str:
    """Return what an approval consents to: this plan, with its choices."""
    return json.dumps(output, sort_keys=True, default=str)


def plan_question(
    output: Mapping[str, Any],
    groups: Sequence[ChoiceGroup],
    *,
    title: str,
    round_number: int,
    rounds: int,
    comment_url: str = "",
) -> Question:
    """Return what is asked on Airflow's page.

    :param title: what the plan is for.
    :param rounds: most plans; in the last round nothing can be planned again.
    :param comment_url: the plan on the ticket.
    """
    last = round_number >= rounds
    options = (
        Option(name=APPROVE, explanation="the plan is carried out.", binding=True),
        Option(name=REPLAN, explanation="the next plan answers what you write under Feedback."),
        Option(name=REJECT, explanation="the run ends here."),
    )
    feedback = InputField(
        name=FEEDBACK,
        title="Feedback",
        kind="multiline",
        description="For the next plan; with Approve, what the work is to heed besides.",
    )
    where = f"\n\nThe same on the ticket: {comment_url}" if comment_url else ""
    return Question(
        key=f"plan:{round_number}",
        subject=f"Plan {round_number} of at most {rounds}: {one_line(title, 150)}",
        body=plan_markdown(output, MOST_PAGE_BYTES) + where,
        options=tuple(option for option in options if not (last and option.name == REPLAN)),
        fields=(feedback, *fields(groups)),
        facts=plan_facts(output),
    )


def plan_comment(
    output: Mapping[str, Any],
    groups: Sequence[ChoiceGroup],
    *,
    round_number: int,
    rounds: int,
    chosen: Mapping[str, str] | None = None,
    link: str | None = None,
    closing: str = "",
    approvers: str = "people with write access",
) -> str:
    """Return the comment with the plan, which is edited in place.

    :param link: address of Airflow's form.
    :param closing: how it ended, one sentence; empty while it is open.
    :param approvers: who may approve it, in words.
    """
    parts = [f"### Plan {round_number} of at most {rounds}"]
    parts += [f"**{closing}**"] if closing else []
    parts.append(plan_markdown(output))
    if groups:
        parts.append("\n".join(["#### To choose", *boxes(groups, chosen)]))
    if not closing:
        parts.append(
            "\n".join(
                [
                    "---",
                    *_how_to_answer(
                        groups,
                        facts_code(plan_facts(output)),
                        last=round_number >= rounds,
                        link=link,
                        approvers=approvers,
                    ),
                ]
            )
        )
    return "\n\n".join(parts)


def feedback_text(remarks: Sequence[Remark]) -> str:
    """Return what people said to a plan, for the prompt of the next one: fenced, all of it that fits."""
    said = "\n\n".join(f"{one_line(r.author, 80)}:\n{clip(clean(r.text), 8_000)}" for r in remarks)
    return (
        fence(said, "what people with a say in it said to the plan", most_bytes=MOST_FEEDBACK_BYTES)
        if said
        else ""
    )


def _how_to_answer(
    groups: Sequence[ChoiceGroup], code: str, *, last: bool, link: str | None, approvers: str
) -> list[str]:
    lines = ["- To go on: give this comment a 👍, or write `/approve`."]
    lines += ["- To choose otherwise: tick another box above, then approve."] if groups else []
    lines += (
        [] if last else ["- To change it: reply with what should be different. All replies are answered."]
    )
    lines += ["- To end: write `/stop`."]
    lines += (
        [f"- Or answer in [Airflow]({link}), with the code `{code}` if its page shows an older plan."]
        if link
        else []
    )
    note = f"To approve is for {outbound(approvers)}; only a 👍 that was given to *this* plan counts."
    return [*lines, "", f"<sub>{note}</sub>"]


def _item(item: Any) -> str:
    return " ".join(str(item).split())

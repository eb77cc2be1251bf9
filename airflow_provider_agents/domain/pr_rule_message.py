"""What rules write under pull requests: one comment of a rule, edited in place. Models and outsiders had a part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.outbound import outbound

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule_circumstances import Guarded

MOST_REASON_BYTES = 2_000
MOST_COMMENT_BYTES = 10_000


def comment_marker(rule: str) -> str:
    """Return what makes the comment of a rule known again, see ``comment_in_place``."""
    # Two hyphens would end the HTML comment; no rule has a dot in its name.
    return f"pr-rule={rule.replace('--', '-.')}"


def close_comment(rule: str, reason: str) -> str:
    """Return the comment of a rule that closes a pull request."""
    return _comment(
        "Closed by a rule",
        outbound(reason, MOST_REASON_BYTES),
        rule,
        "Open it again, and no rule will close it.",
    )


def plain_comment(rule: str, text: str) -> str:
    """Return the comment that a rule wants to make."""
    return _comment("", outbound(text, MOST_COMMENT_BYTES), rule, "")


def escalation_comment(
    rule: str, found: Guarded, reason: str, head_sha: str, *, label: str, link: str
) -> str:
    """Return the comment that calls people.

    :param found: what the guards said; without one of their names the model itself calls people.
    :param reason: the model's; empty where it gave no answer.
    :param link: page on which people choose; empty where its address is not known.
    """
    facts = []
    if found.guard:
        facts.append(f"- Guard `{found.guard}`: {outbound(found.message, MOST_REASON_BYTES)}")
    if reason:
        facts.append(f"- What the rule found: {outbound(reason, MOST_REASON_BYTES)}")
    facts.append(f"- Head: `{head_sha[:12]}`")
    where = f"[in Airflow]({link})" if link else "in Airflow, under *Required Actions*"
    how = (
        f"Choose {where} what becomes of this head, or decide here as ever. "
        f"As long as the label `{outbound(label)}` is on, no rule merges or closes it."
    )
    return _comment("This pull request needs a person", "\n".join(facts), rule, how)


def choice_comment(rule: str, person: str, choice: str, head_sha: str, why_not: str = "") -> str:
    """Return the comment once a person chose.

    :param choice: in words: ``to merge``.
    :param why_not: why that was not done; empty where it was.
    """
    # No mention: the name may be one of Airflow, and belong to somebody else on GitHub.
    text = f"{outbound(person, 200)} chose {choice} at `{head_sha[:12]}`."
    note = "It was not done. Decide here; as long as the label is on, no rule does." if why_not else ""
    if why_not:
        text = f"{text}\n\n{outbound(why_not, MOST_REASON_BYTES)}"
    return _comment("A person chose", text, rule, note)


def _comment(title: str, text: str, rule: str, note: str) -> str:
    parts = [f"### {title}" if title else "", text, note, f"<sub>By the rule `{rule}`.</sub>"]
    return "\n\n".join(part for part in parts if part)

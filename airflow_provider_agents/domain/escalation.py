"""When the gate asks a person: the question, the comment that shows it, and what an answer means.

Pure. The gate asks on Airflow's page and keeps one comment on the pull request up to date; what was chosen is
judged here by the same rules as ever, :func:`.landing.decide`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.budget import LedgerRecord, allowance, spent
from airflow_provider_agents.domain.landing import Decision, decide
from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.domain.people import Answer, InputField, Option, Question, facts_code
from airflow_provider_agents.domain.untrusted import clean, clip, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_agents.domain.commands import Command
    from airflow_provider_agents.domain.landing_history import LandingHistory
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

ANOTHER_ROUND = "Another round"
MERGE = "Merge"
CLOSE = "Close"
LEAVE = "Leave"
INSTRUCTIONS = "instructions"
"""Name of the form's field."""
MOST_INSTRUCTION_BYTES = 8_000

Choice = Literal["round", "merge", "close", "leave"]
_CHOICES: Mapping[str, Choice] = {ANOTHER_ROUND: "round", MERGE: "merge", CLOSE: "close", LEAVE: "leave"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationAnswer:
    """What a person chose for a pull request that needs one."""

    choice: Choice
    by: str
    at: datetime
    head_sha: str
    """Head that the person was asked about: a merge is of this one only."""
    instructions: str = ""
    """For another round."""
    overridden: tuple[str, ...] = ()
    """Names of the failing checks that the person was shown and merges in spite of."""
    key: str = ""
    """Node id of the comment, where it was a command."""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-ready values."""
        return {**dataclasses.asdict(self), "at": self.at.isoformat(), "overridden": list(self.overridden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EscalationAnswer:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            **{
                **values,
                "at": datetime.fromisoformat(values["at"]),
                "overridden": tuple(values.get("overridden", ())),
            }
        )


def escalation_key(snapshot: PullRequestSnapshot, decision: Decision, history: LandingHistory) -> str:
    """Return what tells this escalation from a later one of the same gate."""
    return f"escalation:{snapshot.head_sha[:12]}:{decision.reason}:{history.granted_rounds}"


def escalation_question(
    snapshot: PullRequestSnapshot,
    decision: Decision,
    history: LandingHistory,
    *,
    books: Iterable[LedgerRecord] = (),
    rounds_left: int,
    comment_url: str = "",
) -> Question:
    """Return what is asked on Airflow's page.

    :param books: what every pod of the run spent.
    :param rounds_left: rounds that the graph still has; none: another round cannot be chosen.
    :param comment_url: where the newest state stands: Airflow shows the question as it was first asked.
    """
    newest = f"\n\nThe newest state is in [this comment]({comment_url})." if comment_url else ""
    return Question(
        key=escalation_key(snapshot, decision, history),
        subject=f"{snapshot.repository}#{snapshot.number}: {one_line(decision.message, 150)}",
        body=_facts(snapshot, decision, history, books) + newest,
        options=_options(snapshot, rounds_left),
        facts=_consent(snapshot),
        fields=(
            InputField(
                name=INSTRUCTIONS,
                title="Instructions",
                kind="multiline",
                description="What the agent is to do in another round.",
            ),
        )
        if rounds_left > 0
        else (),
    )


def escalation_comment(
    snapshot: PullRequestSnapshot,
    decision: Decision,
    history: LandingHistory,
    *,
    books: Iterable[LedgerRecord] = (),
    rounds_left: int,
    links: Mapping[str, str] | None = None,
    answer: EscalationAnswer | None = None,
) -> str:
    """Return the comment on the pull request, which is edited in place.

    :param links: option name → address of Airflow's form with that option chosen; the key ``""`` has none
        chosen.
    :param answer: what was chosen, once it was.
    """
    parts = [_facts(snapshot, decision, history, books)]
    if answer is not None:
        parts = [
            f"**{_chosen(answer)}**",
            f"<details><summary>What it was about</summary>\n\n{parts[0]}\n\n</details>",
        ]
    else:
        links = links or {}
        commands = {ANOTHER_ROUND: "`/retry <instructions>`", LEAVE: "`/stop`"}
        if not snapshot.checks_in("failed"):
            commands[MERGE] = "`/merge`"
        lines = ["**What can be chosen**", ""]
        for option in _options(snapshot, rounds_left):
            name = f"[{option.name}]({links[option.name]})" if option.name in links else f"**{option.name}**"
            command = commands.get(option.name)
            lines.append(f"- {name}: {option.explanation}" + (f" Here: {command}." if command else ""))
        if "" in links:
            lines += ["", f"All of them in [Airflow]({links['']})."]
        code = facts_code(_consent(snapshot))
        lines += [
            "",
            f"<sub>State `{code}`: to merge, Airflow asks for this code where its page is older.</sub>",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(["### This pull request needs a person", *parts])


def read_answer(answer: Answer, snapshot: PullRequestSnapshot) -> EscalationAnswer:
    """Return what an answer on Airflow's page means.

    :param snapshot: a reading that agrees with what the person was shown, which
        :func:`~airflow_provider_agents.operators.asking.take_answer` sees to: its failing checks are what a
        merge overrides.
    """
    choice = _CHOICES[answer.option]
    failing = sorted({check.name for check in snapshot.checks_in("failed")}) if choice == "merge" else ()
    return EscalationAnswer(
        choice=choice,
        by=answer.by,
        at=answer.at,
        head_sha=snapshot.head_sha,
        instructions=answer.text(INSTRUCTIONS) if choice == "round" else "",
        overridden=tuple(failing),
    )


def read_command(command: Command, snapshot: PullRequestSnapshot, at: datetime) -> EscalationAnswer | None:
    """Return what a command in a comment means while a person is asked; ``None`` for those that answer nothing.

    ``/merge`` overrides no failing check: for that a person has to see them named, on Airflow's page.
    """
    choices: Mapping[str, Choice] = {"retry": "round", "tell": "round", "merge": "merge", "stop": "leave"}
    choice = choices.get(command.name)
    if choice is None or (choice == "merge" and not command.about_head):
        return None
    return EscalationAnswer(
        choice=choice,
        by=command.author,
        at=at,
        head_sha=snapshot.head_sha,
        instructions=command.text if choice == "round" else "",
        key=command.key,
    )


def judge_answer(
    answer: EscalationAnswer,
    snapshot: PullRequestSnapshot,
    policy: LandingPolicy,
    history: LandingHistory,
) -> tuple[Decision, LandingHistory]:
    """Return what the gate does now, and the history with what was granted.

    Call it with a fresh reading each time until the answer is carried out.

    ``fix``
        another round; hand :func:`instructions_text` to it before all else.
    ``merge`` or ``enqueue``
        a person told us to merge. The failing checks that the person was shown count as passed; every other
        rule stands: no conflict, no standing objection of a reviewer, no draft, no hold label, no check that
        still runs or fails anew, and this head only.
    ``stop``
        ``closed_by_person``: close the pull request, then end. ``left_by_person``: end with the reason.
    ``wait``
        merging must wait: look again.
    ``escalate``
        the merge is not possible; ask again with its message.
    """
    if snapshot.state != "OPEN":
        return decide(snapshot, policy, history), history
    if answer.choice == "close":
        text = f"{answer.by} chose to close {snapshot.url}."
        return Decision(verdict="stop", reason="closed_by_person", message=text, rule="judge_answer"), history
    if answer.choice == "leave":
        text = f"{answer.by} chose to leave {snapshot.url} as it is."
        return Decision(verdict="stop", reason="left_by_person", message=text, rule="judge_answer"), history
    if answer.choice == "round":
        granted = dataclasses.replace(
            history,
            granted_rounds=history.granted_rounds + 1,
            commands=history.commands | ({answer.key} if answer.key else set()),
        )
        text = f"{answer.by} asked for another round."
        return Decision(verdict="fix", reason="told_by_person", message=text, rule="judge_answer"), granted
    return _judge_merge(answer, snapshot, policy, history)


def instructions_text(answer: EscalationAnswer) -> str:
    """Return what the fix step is told first; empty where the person wrote nothing."""
    said = clip(clean(answer.instructions), MOST_INSTRUCTION_BYTES)
    return f"{one_line(answer.by)}, who may steer this run, says:\n\n{said}" if said else ""


def _judge_merge(
    answer: EscalationAnswer, snapshot: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> tuple[Decision, LandingHistory]:
    if snapshot.head_sha != answer.head_sha:
        text = f"{answer.by} chose to merge {answer.head_sha[:12]}, but the pull request is at {snapshot.head_sha[:12]} now."
        return Decision(verdict="escalate", reason="head_moved", message=text, rule="judge_answer"), history
    consented = dataclasses.replace(
        history,
        approved_heads=history.approved_heads | {answer.head_sha},
        overridden={**history.overridden, answer.head_sha: answer.overridden},
        commands=history.commands | ({answer.key} if answer.key else set()),
    )
    decision = decide(snapshot, policy, consented)
    if decision.verdict in ("merge", "enqueue"):
        override = f" in spite of {', '.join(answer.overridden)}" if answer.overridden else ""
        message = f"{answer.by} chose to merge {answer.head_sha[:12]}{override}."
        return dataclasses.replace(decision, reason="merge_by_person", message=message), consented
    if decision.verdict in ("fix", "rerun_checks", "review", "escalate"):
        # What was chosen is a merge: what stands against it is for the person to know, not for the agent.
        message = f"{answer.by} chose to merge, which is not possible: {decision.message}"
        return Decision(
            verdict="escalate", reason=decision.reason, message=message, rule="judge_answer"
        ), history
    return decision, consented


def _consent(snapshot: PullRequestSnapshot) -> str:
    """Return what a merge by a person consents to: this head, with these failing checks."""
    failing = sorted({check.name for check in snapshot.checks_in("failed")})
    return "\n".join([snapshot.head_sha, *failing])


def _options(snapshot: PullRequestSnapshot, rounds_left: int) -> tuple[Option, ...]:
    failing = sorted({check.name for check in snapshot.checks_in("failed")})
    # Outsiders may name checks: a mention in a name would call people from our comment.
    shown = outbound(", ".join(one_line(name, 80) for name in failing), 1_000)
    spite = f", in spite of {shown}" if failing else ""
    found = (
        Option(name=ANOTHER_ROUND, explanation="the agent tries once more, with your instructions."),
        Option(
            name=MERGE,
            explanation=f"merge {snapshot.head_sha[:12]}{spite}. Conflicts and standing objections still hold.",
            binding=True,
        ),
        Option(name=CLOSE, explanation="close the pull request without a merge."),
        Option(name=LEAVE, explanation="leave it open; the run ends with the reason."),
    )
    return found if rounds_left > 0 else found[1:]


def _facts(
    snapshot: PullRequestSnapshot,
    decision: Decision,
    history: LandingHistory,
    books: Iterable[LedgerRecord],
) -> str:
    """Return what failed, what was tried and what it cost, as Markdown. Names in it are of outsiders."""
    lines = [outbound(decision.message, 2_000), ""]
    failing = sorted({check.name for check in snapshot.checks_in("failed")})
    if failing:
        lines += [f"- Failing checks: {outbound(', '.join(failing), 1_000)}"]
    lines += [f"- Head: `{snapshot.head_sha[:12]}`"]
    lines += [f"- Fix rounds: {len(history.rounds)}" + (f" ({_rounds(history)})" if history.rounds else "")]
    if history.reruns:
        names = sorted({name for rerun in history.reruns for name in rerun.checks})
        lines += [f"- Checks run again: {outbound(', '.join(names), 500)}"]
    lines += [f"- Cost: {_cost(books)}"]
    return "\n".join(lines)


def _rounds(history: LandingHistory) -> str:
    counts: dict[str, int] = {}
    for each in history.rounds:
        counts[each.reason] = counts.get(each.reason, 0) + 1
    without = sum(each.head_after is None for each in history.rounds)
    words = [f"{reason.replace('_', ' ')}: {count}" for reason, count in counts.items()]
    return ", ".join(words) + (f"; {without} changed nothing" if without else "")


def _cost(books: Iterable[LedgerRecord]) -> str:
    records = list(books)
    unknown = sum(r.usd for r in allowance(records, limit_usd=None, limit_tokens=None).unsettled)
    return f"${spent(records):.2f}" + (
        f", and up to ${unknown:.2f} in pods that were lost" if unknown else ""
    )


def _chosen(answer: EscalationAnswer) -> str:
    what = {
        "round": "another round",
        "merge": "to merge",
        "close": "to close it",
        "leave": "to leave it as it is",
    }[answer.choice]
    # No mention: the name may be one of Airflow, and belong to somebody else on GitHub.
    return f"{outbound(one_line(answer.by, 80))} chose {what}, {answer.at:%Y-%m-%d %H:%M} UTC."

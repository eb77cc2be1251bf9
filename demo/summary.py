"""What the demo says when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from demo.terminal import Style, duration, money, printable

if TYPE_CHECKING:
    from demo.stages import Stage
    from demo.verdict import Verdict

LOG_LINES = 15
_FOLDS = ("::group::", "::endgroup::")
"""Begin and end of what Airflow's UI folds."""

_MUTATION_DETAILS = ("title", "branch", "head", "name", "conclusion", "method", "reason")


def success(
    verdict: Verdict,
    stages: Sequence[Stage],
    results: Mapping[str, Any],
    *,
    program: str,
    seconds: float,
    style: Style,
) -> Iterator[str]:
    """Yield the lines for a run that kept its promise.

    :param verdict: what the forge says.
    :param stages: the stages of the run.
    :param results: task id → result of a step or decision of a gate.
    :param program: name of the agent program.
    :param seconds: how long the run took.
    """
    pull = verdict.pull or {}
    yield style.bold(f"{style.mark('done')} Issue closed by a merged pull request, in {duration(seconds)}.")
    yield ""
    yield f"  Pull request   {printable(str(pull.get('html_url')))}"
    yield f"                 {printable(str(pull.get('title')))}"
    yield f"  Commit on main {str(pull.get('merge_commit_sha'))[:12]} ({pull.get('commits')} commits of the branch, squashed)"
    yield from effort(stages, results, program)
    yield ""
    yield from mutations(verdict.mutations)


def failure(
    faults: Sequence[str],
    task: Mapping[str, Any] | None,
    log: str,
    *,
    style: Style,
) -> Iterator[str]:
    """Yield the lines for a run that did not keep its promise.

    :param faults: what is wrong, a sentence each.
    :param task: task instance that failed first, if one did.
    :param log: log of that task.
    """
    yield style.bold(
        style.paint(f"{style.mark('failed')} The issue was not closed by a merged pull request.", "failed")
    )
    for fault in faults:
        yield f"  {printable(fault)}"
    if task:
        yield ""
        yield f"Task {task['task_id']} failed first (try {task.get('try_number')}). The end of its log:"
        lines = [line for line in log.splitlines() if line.strip() and not line.startswith(_FOLDS)]
        for line in lines[-LOG_LINES:]:
            yield f"  | {printable(line)}"


def effort(stages: Sequence[Stage], results: Mapping[str, Any], program: str) -> Iterator[str]:
    """Yield how often the agents worked, what they cost and which program they are."""
    done = [stage.name.partition(" ")[0] for stage in stages if stage.state != "pending"]
    steps = [result for result in results.values() if isinstance(result, Mapping)]
    versions = sorted({str(step["agent_version"]) for step in steps if step.get("agent_version")})
    models = sorted({str(step["model"]) for step in steps if step.get("model")})
    ledgers = [step["ledger"] for step in steps if isinstance(step.get("ledger"), Mapping)]
    cost = sum(float(ledger.get("usd") or 0) for ledger in ledgers)
    calls = sum(int(ledger.get("model_calls") or 0) for ledger in ledgers)
    yield f"  Attempts       {done.count('implement')} (implement and test)"
    yield f"  Fix rounds     {done.count('fix')}"
    yield f"  Model cost     {money(cost)} in {calls} calls, as the gateways metered it"
    yield f"  Agent program  {program} {', '.join(versions) or 'of unknown version'}, model {', '.join(models) or '-'}"


def timeline(entries: Sequence[Mapping[str, Any]], decisions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what happened and what was decided, in the order of time.

    :param entries: the forge's log of changes.
    :param decisions: of the landing gates, with ``at``, ``task_id``, ``verdict``, ``reason``, ``evidence``.
    """
    moments = [(_moment(e["at"]), "forge", f"{e['kind']}{_number(e)} by {e['actor']}") for e in entries]
    moments += [
        (
            _moment(d["at"]),
            d["task_id"].rpartition(".")[0].rpartition(".")[2].replace("_", " "),
            f"{d['verdict']} ({d['reason']}): {d['evidence']}",
        )
        for d in decisions
    ]
    opened = next((_moment(e["at"]) for e in entries if e["kind"] == "pull_request.opened"), None)
    yield "  What was decided, and on what; seconds since the pull request was opened:"
    for at, where, what in sorted(moments):
        if opened is not None and at >= opened:
            yield f"  {(at - opened).total_seconds():6.1f}  {where:<8}  {printable(what)[:140]}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _number(entry: Mapping[str, Any]) -> str:
    return f" #{entry['number']}" if entry.get("number") else ""


def mutations(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield every change of the repository, in order."""
    yield "  What changed at the forge, in order:"
    for entry in entries:
        details = entry.get("details") or {}
        shown = [printable(str(details[key]))[:60] for key in _MUTATION_DETAILS if details.get(key)]
        if sha := details.get("head_sha") or details.get("sha"):
            shown.append(str(sha)[:12])
        number = f" #{entry['number']}" if entry.get("number") else ""
        parts = [f"{entry['kind']}{number}", " · ".join(shown), f"by {printable(str(entry['actor']))}"]
        yield f"  {entry['seq']:>5}  {'  '.join(part for part in parts if part)}"

"""How a step ended, put together from what its pod left: the value that later tasks read.

The runner's result is a claim; the gateway's ledger is fact. Where they differ on money or on what was
pushed, the ledger is right.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent_runner.contract import (
    ContractError,
    Failure,
    Ledger,
    StepResult,
    StepSpec,
    TerminationMessage,
    failure,
)
from airflow_provider_agents.domain.pod_status import (
    BASE_CONTAINER,
    GATEWAY_CONTAINER,
    Pod,
    better_known,
    end_failure,
    termination_message,
)

_AFTER_A_REFUSAL = frozenset({"agent", "quota", "auth", "network", "rate_limit"})
"""What an agent program may make of a refused call, each in its own words."""

MCP_REFUSAL = "mcp "
"""How the gateway begins what it notes of MCP servers."""
_MOST_REASONS = 3

_PLACES = ("pod_name", "repository", "base_branch", "work_branch")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """A step's result, its ledger, and where it ran and worked."""

    result: StepResult
    ledger: Ledger | None
    pod_name: str
    repository: str = ""
    base_branch: str = ""
    work_branch: str = ""

    @property
    def finished(self) -> bool:
        """Whether the step did what was paid for, so that it must not run again."""
        return self.result.outcome in ("succeeded", "no_changes") or self.tests_failed

    @property
    def tests_failed(self) -> bool:
        """Whether the step's verdict is failing tests: an answer, not a fault."""
        failure = self.result.failure
        return self.result.outcome == "failed" and failure is not None and failure.category == "tests"

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON-ready values: the step's XCom ``return_value``."""
        values: dict[str, Any] = _jsonable(dataclasses.asdict(self.result))
        values["ledger"] = _jsonable(dataclasses.asdict(self.ledger)) if self.ledger else None
        if self.ledger:
            values["cost_usd"] = self.ledger.usd
        values |= {name: getattr(self, name) for name in _PLACES}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StepOutcome:
        """Read what :meth:`to_dict` gave."""
        ledger = values.get("ledger")
        return cls(
            result=StepResult.from_json(json.dumps(values)),
            ledger=Ledger.from_json(json.dumps(ledger)) if ledger else None,
            **{name: str(values.get(name) or "") for name in _PLACES},
        )

    def fault(self, *, no_changes_fails: bool = False) -> Failure | None:
        """Return why the step did not do its work, or ``None`` if it did.

        :param no_changes_fails: whether an agent that changed nothing has failed.
        """
        if self.result.outcome == "no_changes" and no_changes_fails:
            words = self.result.summary[:500] or "-"
            return failure("no_changes", f"The agent changed nothing. Its closing words: {words}")
        if self.finished:
            return None
        ended = f"The step ended as {self.result.outcome} without saying why."
        return self.result.failure or failure("no_reason", ended)

    def summary(self, step: str) -> str:
        """Return one line for the task log."""
        result, calls = self.result, self.ledger.model_calls if self.ledger else 0
        cost = self.ledger.usd if self.ledger else result.cost_usd
        return (
            f"Step {step}: {result.outcome}. {result.turns} turns, {calls} model calls, ${cost:.4f}, "
            f"{result.seconds:.0f} s, head {(result.head_sha or '-')[:12]}, pod {self.pod_name}.{self._tools_used()}"
        )

    def _tools_used(self) -> str:
        """Say what the agent asked of MCP servers, and why some of it had no answer."""
        if self.ledger is None:
            return ""
        said = [
            f"MCP server {use.server}: {use.calls} calls"
            + (f", {use.failed} failed" if use.failed else "")
            + (f", {use.refused} refused" if use.refused else "")
            for use in self.ledger.mcp
        ]
        said += [text for text in self.ledger.refusals if text.startswith(MCP_REFUSAL)][-_MOST_REASONS:]
        return "".join(f" {text}." for text in said)


def read_outcome(
    pod: Pod,
    log_lines: list[str],
    spec: StepSpec,
    *,
    forge_head: Callable[[], str | None] | None,
    seen: Failure | None = None,
) -> StepOutcome:
    """Put the outcome together from a pod that has ended.

    :param log_lines: end of the base container's log, where the whole result stands as a marked line.
    :param spec: what the step was asked to do.
    :param forge_head: for a step whose success implies a push: reads the work branch at the forge. Asked
        only where the ledger, which knows better, is missing.
    :param seen: what the trigger saw, who reads the pod's events too; used where the runner left no result.
    """
    ledger = _read_ledger(pod)
    try:
        result = _read_result(pod, log_lines, seen)
    except ContractError as error:
        result = StepResult(
            outcome="failed",
            failure=failure("malformed_result", f"The runner's result cannot be read: {error}"),
        )
    if forge_head is not None and result.outcome == "succeeded":
        pushes = ledger.pushes if ledger else ()
        pushed = forge_head() if ledger is None else pushes[-1].new if pushes else None
        if pushed != result.head_sha:
            result = dataclasses.replace(
                result,
                outcome="failed",
                failure=failure(
                    "unverified_head",
                    f"The runner says it pushed {result.head_sha}, "
                    f"the {'gateway saw' if ledger else 'forge has'} {pushed}.",
                ),
            )
    if (fact := _fact(pod, result, ledger, seen)) is not None:
        result = dataclasses.replace(result, outcome="failed", failure=fact)
    return StepOutcome(
        result=result,
        ledger=ledger,
        pod_name=pod["metadata"]["name"],
        repository=spec.repository,
        base_branch=spec.base_branch,
        work_branch=spec.work_branch,
    )


def _fact(pod: Pod, result: StepResult, ledger: Ledger | None, seen: Failure | None) -> Failure | None:
    """Return the failure that pod and gateway know better than the runner, or ``None``."""
    claimed = result.failure
    if claimed is None or result.outcome not in ("failed", "cancelled"):
        return None
    if (known := better_known(claimed, pod)) is not claimed:
        return known
    if claimed.code == "terminated" and seen is not None:
        # It was told to stop for what the trigger saw.
        return seen
    spent = ledger is not None and ledger.budget_refusals > 0
    if spent and claimed.category in _AFTER_A_REFUSAL and claimed.code != "budget_exhausted":
        return failure(
            "budget_exhausted", f"The gateway refused model calls: the budget is spent. {claimed.message}"
        )
    return None


def _read_result(pod: Pod, log_lines: list[str], seen: Failure | None) -> StepResult:
    text = termination_message(pod, BASE_CONTAINER)
    if not text:
        return StepResult(outcome="failed", failure=_unsaid(pod, seen))
    message = TerminationMessage.from_json(text)
    whole = (message.whole(line) for line in reversed(log_lines))
    # Without its log line (rotated away) the cut result is still all that control flow needs.
    return next((result for result in whole if result), message.result)


def _unsaid(pod: Pod, seen: Failure | None) -> Failure:
    """Return why a pod left no result. Of a trigger that lost sight of the pod, the pod itself knows more."""
    if seen is None or seen.code.startswith("kubernetes_"):
        return end_failure(pod)
    return seen


def _read_ledger(pod: Pod) -> Ledger | None:
    text = termination_message(pod, GATEWAY_CONTAINER)
    if not text:
        return None
    try:
        return Ledger.from_json(text)
    except ContractError:
        return None


def _jsonable(value: Any) -> Any:
    """Return ``value`` as a database can keep it.

    Tuples become lists: XCom keeps the difference, which REST clients then see. NUL characters, which
    PostgreSQL refuses in JSON, become replacement characters.
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {_jsonable(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value

"""What the ends of all agent programs have in common: the statuses of a model API, and a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.contract import Failure, failure

if TYPE_CHECKING:
    from agent_runner.process import Ended

CODE_OF_STATUS = {
    400: "model_request_refused",
    401: "model_credential",
    402: "budget_exhausted",
    403: "model_forbidden",
    404: "model_not_found",
    408: "model_unavailable",
    413: "prompt_too_long",
    429: "model_rate_limited",
    529: "model_overloaded",
}
"""HTTP status of a model API, or of the gateway in its place → code of a failure."""


def crashed(program: str, ended: Ended, what: str) -> Failure:
    """Return the failure of a program that ended without its verdict.

    :param program: its name for people.
    :param what: the rest of the sentence that begins with how it ended.
    """
    how = f"was killed by {ended.signal_name}" if ended.signal_name else f"ended with code {ended.returncode}"
    remedy = None
    if ended.signal_name == "SIGKILL":
        remedy = (
            "Run the step again, with more memory if it comes back: the kernel kills what exceeds its limit."
        )
    return failure("agent_crashed", f"{program} {how} {what}", remedy=remedy)

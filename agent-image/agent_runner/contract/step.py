"""What a step is asked to do, and how it ended."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from agent_runner.contract.attachments import IMAGE_STEM_PATTERN, MOST_IMAGES
from agent_runner.contract.names import (
    MAX_SPEC_BYTES,
    MAX_TERMINATION_MESSAGE_BYTES,
    PROGRAM_PATTERN,
    REPOSITORY_PATTERN,
    RESULT_MARKER,
    SESSION_KEY_PATTERN,
    SHA_PATTERN,
    VERSION,
    branch_fault,
)
from agent_runner.contract.tools import Skill, name_faults, skill_faults
from agent_runner.contract.wire import ContractError, dump, load, parse, to_line

Step = Literal["plan", "implement", "test", "fix", "review"]
READING_STEPS: frozenset[Step] = frozenset({"plan", "review"})
"""Steps whose agent only reads: nothing that it does to the checkout is kept."""
Outcome = Literal["succeeded", "failed", "no_changes", "cancelled"]
_THINKING = re.compile(r"on|off|[1-9][0-9]{3,5}")
FailureCategory = Literal[
    "image", "auth", "network", "rate_limit", "quota", "timeout", "budget", "agent", "context", "tests",
    "git", "conflict", "resource", "evicted", "scheduling", "storage", "config", "unknown",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Which agent program runs a step, and how."""

    program: str = "claude"
    """``claude``, ``codex``, or the name under which an image registers another one."""
    model: str | None = None
    """Model name as the program takes it (``--model``); ``None`` is the program's default."""
    effort: str | None = None
    max_turns: int | None = None
    """Most model turns of the step. The agent is told the number."""
    context_window: Literal["200k", "1m"] | None = None
    """How much the model keeps in mind, in tokens; ``None`` is the program's default. Claude Code only; ``1m`` counts
    beside a :attr:`model`."""
    thinking: str | None = None
    """``on``, ``off``, or the most tokens of one thought; ``None`` is the program's default. Claude Code only."""
    mcp_servers: tuple[str, ...] = ()
    """Names of the MCP servers that the agent finds at ``/mcp/<name>`` of the gateway."""
    skills: tuple[Skill, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a step may use."""

    seconds: int = 1_800
    """Wall-clock seconds, counted from the start of the runner."""
    stall_seconds: int = 300
    """How long the agent may give no sign of life; while one of its tools runs, twice as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """All that a pod needs to know to run one step. Holds no secret: whoever may read pods may read it."""

    step: Step
    repository: str
    """``owner/name``."""
    base_branch: str
    work_branch: str
    expected_head: str | None = None
    """Commit that the work branch is at on the forge; ``None``: the branch does not exist yet."""
    pull_request: int | None = None
    """Read the head of this pull request, which may come from a fork; :attr:`work_branch` then only names the
    branch of the checkout. ``review`` steps only, with :attr:`expected_head`."""
    prompt: str = ""
    """The task, rendered, for an agent that knows nothing of it yet; untrusted text in it is already cleaned,
    fenced and labelled."""
    resume_prompt: str = ""
    """What is said instead where the agent's session goes on: only what is new. Empty: :attr:`prompt`."""
    instructions: str = ""
    """Rules of the step, added to the agent's system prompt."""
    agent: AgentSettings = field(default_factory=AgentSettings)
    limits: Limits = field(default_factory=Limits)
    test_command: str | None = None
    """Shell command line of the ``test`` step; ``None``: found from the repository's files."""
    output_schema: dict[str, Any] | None = None
    """JSON schema of the structured output that the agent must give."""
    session_key: str | None = None
    """Names the conversation of the run: it goes on where the workspace has it, else a new one is kept under
    this name. ``None``: a new one, which nobody will look for."""
    run_setup: bool = True
    """Run the repository's set-up script."""
    submodules: bool = True
    """Check out submodules, those of repositories that the gateway serves."""
    lfs: bool = True
    """Get the content of files in Git LFS."""
    commit_message: str | None = None
    """Message for changes that the agent left uncommitted."""
    images: tuple[str, ...] = ()
    """Names, without number and ending, of the ticket's images, which the gateway serves in this order."""
    version: int = VERSION

    def __post_init__(self) -> None:
        faults = []
        if self.version != VERSION:
            faults.append(f"version: this image reads version {VERSION}, not {self.version}")
        if self.step not in typing.get_args(Step):
            faults.append(f"step: {self.step!r} is none of {', '.join(typing.get_args(Step))}")
        if not REPOSITORY_PATTERN.fullmatch(self.repository):
            faults.append(f"repository: {self.repository!r} is not owner/name")
        faults += [
            f"{name}: {fault}"
            for name in ("base_branch", "work_branch")
            if (fault := branch_fault(getattr(self, name)))
        ]
        if self.expected_head is not None and not SHA_PATTERN.fullmatch(self.expected_head):
            faults.append(f"expected_head: {self.expected_head!r} is not a commit id")
        if self.pull_request is not None and (self.step != "review" or not self.expected_head):
            faults.append("pull_request: only a review with an expected_head reads one")
        faults += [
            f"limits.{name}: {value} is not positive"
            for name in ("seconds", "stall_seconds")
            if (value := getattr(self.limits, name)) <= 0
        ]
        if not PROGRAM_PATTERN.fullmatch(self.agent.program):
            faults.append(f"agent.program: {self.agent.program!r} is not a name of an agent program")
        if self.agent.thinking is not None and not _THINKING.fullmatch(self.agent.thinking):
            faults.append(
                f"agent.thinking: {self.agent.thinking!r} is none of on, off and a number of tokens"
            )
        faults += [
            f"agent.mcp_servers: {fault}" for fault in name_faults(self.agent.mcp_servers, "an MCP server")
        ]
        faults += [f"agent.skills: {fault}" for fault in skill_faults(self.agent.skills)]
        if self.session_key is not None and not SESSION_KEY_PATTERN.fullmatch(self.session_key):
            faults.append(f"session_key: {self.session_key!r} is not letters, digits and -")
        if self.step != "test" and not self.prompt.strip():
            faults.append("prompt: empty")
        faults += [f"images: {name!r} is no safe name" for name in self.images if not _is_stem(name)]
        if len(self.images) > MOST_IMAGES:
            faults.append(f"images: {len(self.images)}, at most {MOST_IMAGES}")
        if faults:
            raise ContractError("step specification: " + "; ".join(faults))

    def to_json(self) -> str:
        """Return the specification as JSON; raise :class:`ContractError` beyond :data:`MAX_SPEC_BYTES`."""
        text = dump(self)
        if (size := len(text.encode())) > MAX_SPEC_BYTES:
            raise ContractError(f"step specification: {size:,} bytes, at most {MAX_SPEC_BYTES:,}")
        return text

    @classmethod
    def from_json(cls, text: str) -> StepSpec:
        """Read a specification; raise :class:`ContractError` naming every fault."""
        return load(cls, parse(text, "step specification"), "step specification", strict=True)

    def fingerprint(self) -> str:
        """SHA-256 over what the step was asked to do; ``expected_head`` is where it found the branch."""
        asked = dataclasses.asdict(self)
        del asked["expected_head"]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _is_stem(name: str) -> bool:
    return IMAGE_STEM_PATTERN.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step failed: a class for code, words for a person."""

    category: FailureCategory
    code: str
    """Stable lower-case word, e.g. ``max_turns``."""
    message: str
    remedy: str = ""
    """What a person can do about it."""
    retryable: bool = False
    """True where the same step may succeed unchanged: infrastructure, not the agent's work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Model tokens. ``input`` excludes both cache numbers, as Anthropic reports them."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """What the repository's own test command did."""

    __test__ = False  # not a pytest class

    command: str
    exit_code: int
    tail: str = ""
    """Last part of its output, standard error included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How a step ended. Everything in it is the base container's claim; facts are in the :class:`Ledger`."""

    outcome: Outcome
    failure: Failure | None = None
    summary: str = ""
    """The agent's closing words."""
    session_id: str | None = None
    """The agent program's own name of its session."""
    session_key: str | None = None
    """:attr:`StepSpec.session_key`, where a session was kept under it."""
    resumed: bool = False
    """True where an earlier session went on."""
    base_sha: str | None = None
    """Commit of the base branch at checkout."""
    head_sha: str | None = None
    """Commit of the work branch after the step."""
    commits: int = 0
    files_changed: tuple[str, ...] = ()
    cost_usd: float = 0.0
    tokens: Tokens = field(default_factory=Tokens)
    turns: int = 0
    seconds: float = 0.0
    model: str | None = None
    agent_version: str | None = None
    test: TestRun | None = None
    output: dict[str, Any] | None = None
    """Structured output of the step, where a schema was given and the agent complied."""
    version: int = VERSION

    def to_json(self) -> str:
        """Return the whole result as one line of JSON."""
        return dump(self)

    @classmethod
    def from_json(cls, text: str) -> StepResult:
        """Read a result; raise :class:`ContractError` where it does not fit."""
        return load(cls, parse(text, "step result"), "step result", strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminationMessage:
    """The runner's termination message: the result with its long texts cut, and how to know the whole one."""

    result: StepResult
    result_bytes: int
    result_sha256: str

    @classmethod
    def of(cls, result: StepResult) -> TerminationMessage:
        """Cut ``result`` so that :meth:`to_json` fits :data:`MAX_TERMINATION_MESSAGE_BYTES`."""
        whole = result.to_json().encode()
        digest = hashlib.sha256(whole).hexdigest()
        for room in (1_200, 600, 250, 80, 0):
            message = cls(result=_cut(result, room), result_bytes=len(whole), result_sha256=digest)
            if len(message.to_json().encode()) <= MAX_TERMINATION_MESSAGE_BYTES:
                return message
        raise ContractError("step result: does not fit a termination message even without its texts")

    def to_json(self) -> str:
        return dump(self)

    @classmethod
    def from_json(cls, text: str) -> TerminationMessage:
        """Read a message; raise :class:`ContractError` where it does not fit."""
        return load(cls, parse(text, "termination message"), "termination message", strict=False)

    def whole(self, log_line: str) -> StepResult | None:
        """Return the result that a marked log line holds, or ``None`` if it is not the one announced."""
        _, marker, text = log_line.partition(RESULT_MARKER)
        data = text.strip().encode()
        if not marker or len(data) != self.result_bytes:
            return None
        if hashlib.sha256(data).hexdigest() != self.result_sha256:
            return None
        return StepResult.from_json(data.decode())


def _cut(result: StepResult, room: int) -> StepResult:
    """Cut the texts of ``result`` to about ``room`` bytes of JSON each; what control flow reads stays."""
    return dataclasses.replace(
        result,
        summary=_clip(result.summary, room),
        output=None,
        files_changed=(),
        failure=result.failure
        and dataclasses.replace(
            result.failure,
            message=_clip(result.failure.message, max(room, 300)),
            remedy=_clip(result.failure.remedy, max(room, 200)),
        ),
        test=result.test
        and dataclasses.replace(
            result.test,
            command=_clip(result.test.command, 200),
            tail=_clip(result.test.tail, room, last=True),
        ),
    )


def _clip(text: str, room: int, *, last: bool = False) -> str:
    """Cut ``text`` so that it takes at most ``room`` bytes of JSON, where one character may take six."""

    def part(length: int) -> str:
        return text[len(text) - length :] if last else text[:length]

    fits, longest = 0, min(len(text), room)
    while fits < longest:
        length = (fits + longest + 1) // 2
        if len(to_line(part(length)).encode()) - 2 <= room:
            fits = length
        else:
            longest = length - 1
    return part(fits)

"""What Airflow and the pod of a step tell each other.

Lowest layer of the project: standard library only, imported by the operators (which write a
:class:`StepSpec` and read a :class:`StepResult`) and by the programs inside the pod. The wheel ships
this package, so both sides read one definition.

Every message is JSON with a ``version``. A specification with an unknown key is refused (the image is
older than the provider); a result with an unknown key is read (the provider is older than the image).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

VERSION = 1

MAX_SPEC_BYTES = 200_000
"""Largest specification, in bytes of UTF-8. All annotations of a pod together may have 262,144 bytes
(Kubernetes' ``TotalAnnotationSizeLimitB``)."""

MAX_TERMINATION_MESSAGE_BYTES = 4_096
"""Kubernetes cuts the termination message of a container here."""

RESULT_MARKER = "::agents-result::"
"""Starts the one line of the pod's log that holds the whole :class:`StepResult`. Readers drop such lines
from the task log and trust one only if size and SHA-256 match the termination message."""

_MAX_DEPTH = 100
"""Deepest nesting of a structured output: what copies and stores it does so by recursion."""

# Names of the container environment. Every path inside a pod comes from one of these.
ENV_SPEC_FILE = "AGENT_SPEC_FILE"
ENV_GATEWAY_URL_FILE = "AGENT_GATEWAY_URL_FILE"
ENV_WORKSPACE = "AGENT_WORKSPACE"
ENV_HOME = "AGENT_HOME"
ENV_TERMINATION_LOG = "AGENT_TERMINATION_LOG"
ENV_GATEWAY_CONFIG = "AGENT_GATEWAY_CONFIG"
ENV_SECRETS_DIR = "AGENT_SECRETS_DIR"
ENV_LEDGER_DIR = "AGENT_LEDGER_DIR"

SECRET_KEY_FORGE = "github-token"
SECRET_KEY_ANTHROPIC = "anthropic-api-key"
"""File names in the secret volume, and keys of the Kubernetes secret that it is made from."""

Step = Literal["plan", "implement", "test", "fix"]
Outcome = Literal["succeeded", "failed", "no_changes", "cancelled"]
FailureCategory = Literal[
    "image", "auth", "network", "rate_limit", "quota", "timeout", "budget", "agent", "context", "tests",
    "git", "conflict", "resource", "evicted", "scheduling", "storage", "config", "unknown",
]  # fmt: skip

SHA_PATTERN = re.compile(r"[0-9a-f]{40}")
REPOSITORY_PATTERN = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class ContractError(ValueError):
    """A message does not fit the contract. The text names each fault and where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Which agent program runs a step, and how."""

    program: Literal["claude"] = "claude"
    model: str | None = None
    """Model name as the program takes it (``--model``); ``None`` is the program's default."""
    effort: str | None = None
    max_turns: int | None = None
    """Most model turns of the step. The agent is told the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a step may use."""

    seconds: int = 1_800
    """Wall-clock seconds, counted from the start of the runner."""
    budget_usd: float | None = None


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
    prompt: str = ""
    """The task, rendered; untrusted text in it is already cleaned, fenced and labelled."""
    instructions: str = ""
    """Rules of the step, added to the agent's system prompt."""
    agent: AgentSettings = field(default_factory=AgentSettings)
    limits: Limits = field(default_factory=Limits)
    test_command: str | None = None
    """Shell command line of the ``test`` step; ``None``: found from the repository's files."""
    output_schema: dict[str, Any] | None = None
    """JSON schema of the structured output that the agent must give."""
    session_id: str | None = None
    """Agent session to resume, where its transcript is in the workspace."""
    commit_message: str | None = None
    """Message for changes that the agent left uncommitted."""
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
        if self.limits.seconds <= 0:
            faults.append(f"limits.seconds: {self.limits.seconds} is not positive")
        if self.step != "test" and not self.prompt.strip():
            faults.append("prompt: empty")
        if faults:
            raise ContractError("step specification: " + "; ".join(faults))

    def to_json(self) -> str:
        """Return the specification as JSON; raise :class:`ContractError` beyond :data:`MAX_SPEC_BYTES`."""
        text = _dump(self)
        if (size := len(text.encode())) > MAX_SPEC_BYTES:
            raise ContractError(f"step specification: {size:,} bytes, at most {MAX_SPEC_BYTES:,}")
        return text

    @classmethod
    def from_json(cls, text: str) -> StepSpec:
        """Read a specification; raise :class:`ContractError` naming every fault."""
        return _load(cls, _parse(text, "step specification"), "step specification", strict=True)

    def fingerprint(self) -> str:
        """SHA-256 over what the step was asked to do; ``expected_head`` is where it found the branch."""
        asked = dataclasses.asdict(self)
        del asked["expected_head"]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


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
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> StepResult:
        """Read a result; raise :class:`ContractError` where it does not fit."""
        return _load(cls, _parse(text, "step result"), "step result", strict=False)


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
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> TerminationMessage:
        """Read a message; raise :class:`ContractError` where it does not fit."""
        return _load(cls, _parse(text, "termination message"), "termination message", strict=False)

    def whole(self, log_line: str) -> StepResult | None:
        """Return the result that a marked log line holds, or ``None`` if it is not the one announced."""
        _, marker, text = log_line.partition(RESULT_MARKER)
        data = text.strip().encode()
        if not marker or len(data) != self.result_bytes:
            return None
        if hashlib.sha256(data).hexdigest() != self.result_sha256:
            return None
        return StepResult.from_json(data.decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """What the gateway of a pod lets through. Set by the operator, never by the repository."""

    repository: str
    work_branch: str
    expected_head: str | None = None
    forge_url: str = "https://github.com"
    """Root that git remotes are below: ``{forge_url}/{owner}/{name}.git``."""
    push: bool = True
    """False for steps that only read."""
    anthropic_url: str = "https://api.anthropic.com"
    secret_name: str = "agent-secrets"
    """Named in messages about a missing credential; the values are files in the secret volume."""
    version: int = VERSION

    def to_json(self) -> str:
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> GatewayConfig:
        """Read a configuration; raise :class:`ContractError` naming every fault."""
        return _load(cls, _parse(text, "gateway configuration"), "gateway configuration", strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One branch update that the forge accepted."""

    ref: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the gateway saw: fact, where the base container only claims. Its termination message."""

    usd: float = 0.0
    tokens: Tokens = field(default_factory=Tokens)
    model_calls: int = 0
    unpriced_models: tuple[str, ...] = ()
    """Models that the price table does not know and that were charged at its fallback."""
    pushes: tuple[Push, ...] = ()
    refusals: tuple[str, ...] = ()
    """What was refused and why, the last twenty."""
    version: int = VERSION

    def to_json(self) -> str:
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> Ledger:
        """Read a ledger; raise :class:`ContractError` where it does not fit."""
        return _load(cls, _parse(text, "ledger"), "ledger", strict=False)


def branch_fault(name: str) -> str | None:
    """Say why ``name`` is no safe branch name, or ``None``.

    Stricter than ``git check-ref-format``: ASCII letters, digits and ``._/-`` only, so that the name is
    also safe in a URL, a log line and a shell word.
    """
    if not isinstance(name, str) or not name:
        return "empty"
    if len(name.encode()) > 200:
        return "longer than 200 bytes"
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", name):
        return f"{name!r} has characters other than letters, digits and ._/-"
    if ".." in name or "//" in name or name.startswith(("/", "-", ".")) or name.endswith(("/", ".")):
        return f"{name!r} is not a valid git branch name"
    if any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        return f"{name!r} is not a valid git branch name"
    if SHA_PATTERN.fullmatch(name) or name == "HEAD":
        return f"{name!r} would be taken for a commit"
    return None


M = TypeVar("M")


def _dump(message: Any) -> str:
    return _json(dataclasses.asdict(message))


def _json(value: Any) -> str:
    """Return ``value`` as one line of JSON that can be encoded as UTF-8, whatever texts are in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Line ends to str.splitlines(), though not to JSON: a log line must stay one.
    for end in "\x85\u2028\u2029":
        text = text.replace(end, f"\\u{ord(end):04x}")
    # Lone surrogates, of file names that are no UTF-8 or of text that a program cut, have no encoding.
    return text.encode(errors="replace").decode()


def _parse(text: str, what: str) -> Any:
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{what}: not JSON: {error}") from None


def _finite(text: str) -> float:
    """Read a number of a message; what is none in JSON, or too large, could not be stored as JSON again."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _load(cls: type[M], value: Any, where: str, *, strict: bool) -> M:
    """Build the dataclass ``cls`` from parsed JSON, checking types; every fault is named in one error."""
    if not isinstance(value, Mapping):
        raise ContractError(f"{where}: an object is needed, not {type(value).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    faults = [f"unknown key {key!r}" for key in value if key not in fields] if strict else []
    arguments = {}
    for name, definition in fields.items():
        if name not in value:
            if (
                definition.default is dataclasses.MISSING
                and definition.default_factory is dataclasses.MISSING
            ):
                faults.append(f"{name} is missing")
            continue
        try:
            arguments[name] = _convert(hints[name], value[name], f"{where}.{name}", strict=strict)
        except ContractError as error:
            faults.append(str(error))
    if faults:
        raise ContractError(f"{where}: " + "; ".join(faults))
    return cls(**arguments)


def _convert(hint: Any, value: Any, where: str, *, strict: bool) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (hint,) = [a for a in arguments if a is not type(None)]
        return _convert(hint, value, where, strict=strict)
    if origin is Literal:
        if value not in arguments:
            raise ContractError(f"{where}: {value!r} is none of {', '.join(map(str, arguments))}")
        return value
    if dataclasses.is_dataclass(hint):
        return _load(typing.cast("type[Any]", hint), value, where, strict=strict)
    if origin is tuple:
        if not isinstance(value, list):
            raise ContractError(f"{where}: a list is needed, not {type(value).__name__}")
        return tuple(_convert(arguments[0], v, f"{where}[{i}]", strict=strict) for i, v in enumerate(value))
    wanted: Any = {dict: Mapping, float: (int, float)}.get(origin or hint, origin or hint)
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ContractError(f"{where}: {getattr(hint, '__name__', hint)} is needed, not {value!r}"[:300])
    if hint in (int, float) and not 0 <= value <= sys.float_info.max:
        raise ContractError(f"{where}: {str(value)[:40]} is not a finite number of zero or more")
    if isinstance(value, Mapping) and _deeper_than(_MAX_DEPTH, value):
        raise ContractError(f"{where}: nested deeper than {_MAX_DEPTH} levels")
    return float(value) if hint is float else value


def _deeper_than(levels: int, value: Any) -> bool:
    level = [value]
    for _ in range(levels + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


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
        if len(_json(part(length)).encode()) - 2 <= room:
            fits = length
        else:
            longest = length - 1
    return part(fits)

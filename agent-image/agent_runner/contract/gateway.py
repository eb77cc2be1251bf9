"""What the gateway of a pod lets through, and what it saw."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_runner.contract.attachments import ImageAccess
from agent_runner.contract.names import DEFAULT_PROTECTED_PATHS, VERSION
from agent_runner.contract.step import Tokens
from agent_runner.contract.tools import McpServer  # noqa: TC001 (read at run time)
from agent_runner.contract.wire import dump, load, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """A price that the installation sets, in USD per million tokens. Cache prices not given follow from
    ``input`` as they do in the gateway's own table.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What an earlier pod of the task was allowed, and nobody knows yet what it spent: it was lost."""

    pod: str
    usd: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the pod may spend, before what :attr:`unsettled` pods turn out to have spent is taken off.

    The gateway settles each of those from its ledger file, or, where there is none, at the whole reserve.
    """

    usd: float | None = None
    """``None``: no limit."""
    tokens: int | None = None
    """All tokens of a call count, cached ones too. ``None``: no limit."""
    unsettled: tuple[Reserve, ...] = ()


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
    read_repositories: tuple[str, ...] = ()
    """Further repositories, as ``owner/name``, that may be fetched: submodules, shared libraries."""
    protected_paths: tuple[str, ...] = DEFAULT_PROTECTED_PATHS
    """Patterns of paths that no push may change: ``**`` any folders, ``*`` and ``?`` within one name."""
    anthropic_url: str = "https://api.anthropic.com"
    openai_url: str = "https://api.openai.com"
    """Root that ``/v1/responses`` is below."""
    budget: Budget = field(default_factory=Budget)
    prices: dict[str, TokenPrice] = field(default_factory=dict)
    """Model family → price; wins over the gateway's own table."""
    images: ImageAccess = field(default_factory=ImageAccess)
    """The ticket's images, which the runner gets from the gateway."""
    mcp_servers: tuple[McpServer, ...] = ()
    """MCP servers that the agent may speak to, through the gateway."""
    secret_name: str = "agent-secrets"
    """Named in messages about a missing credential; the values are files in the secret volume."""
    version: int = VERSION

    def to_json(self) -> str:
        return dump(self)

    @classmethod
    def from_json(cls, text: str) -> GatewayConfig:
        """Read a configuration; raise :class:`ContractError` naming every fault."""
        return load(cls, parse(text, "gateway configuration"), "gateway configuration", strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One branch update that the forge accepted."""

    ref: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """What one model cost."""

    model: str
    calls: int
    usd: float
    tokens: Tokens
    unpriced: bool = False
    """True where the price table does not know the model and its fallback was charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpUse:
    """What the agent asked of one MCP server."""

    server: str
    calls: int
    """Calls of tools that the server answered."""
    failed: int = 0
    """Calls of tools that it did not answer, or refused."""
    refused: int = 0
    """Requests that the gateway refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What an unsettled pod of :class:`Budget` turned out to have spent."""

    pod: str
    usd: float
    tokens: int
    known: bool
    """True where its ledger was found; false where the whole reserve counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the gateway saw: fact, where the base container only claims. Its termination message.

    Calls that were cut off in the middle, by a restart or the end of the pod, are in the sums at their
    estimate.
    """

    usd: float = 0.0
    tokens: Tokens = field(default_factory=Tokens)
    model_calls: int = 0
    models: tuple[ModelUse, ...] = ()
    """The sums by model, dearest first."""
    unpriced_models: tuple[str, ...] = ()
    """Models that the price table does not know and that were charged at its fallback."""
    budget_refusals: int = 0
    """Calls that were refused because the budget is spent."""
    settled: tuple[Settled, ...] = ()
    pushes: tuple[Push, ...] = ()
    mcp: tuple[McpUse, ...] = ()
    """Use of MCP servers, by server."""
    refusals: tuple[str, ...] = ()
    """What was refused and why, the last twenty."""
    version: int = VERSION

    def to_json(self) -> str:
        return dump(self)

    @classmethod
    def from_json(cls, text: str) -> Ledger:
        """Read a ledger; raise :class:`ContractError` where it does not fit."""
        return load(cls, parse(text, "ledger"), "ledger", strict=False)

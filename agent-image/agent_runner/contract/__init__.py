"""What Airflow and the pod of a step tell each other.

Lowest layer of the project: standard library only, imported by the operators (which write a
:class:`StepSpec` and read a :class:`StepResult`) and by the programs inside the pod. The wheel ships
this package, so both sides read one definition.

Every message is JSON with a ``version``. A specification with an unknown key is refused (the image is
older than the provider); a result with an unknown key is read (the provider is older than the image).
"""

from agent_runner.contract.failures import (
    FAILURES,
    FailureKind,
    failure,
)
from agent_runner.contract.gateway import (
    Budget,
    GatewayConfig,
    Ledger,
    ModelUse,
    Push,
    Reserve,
    Settled,
    TokenPrice,
)
from agent_runner.contract.names import (
    DEFAULT_PROTECTED_PATHS,
    ENV_GATEWAY_CONFIG,
    ENV_GATEWAY_URL_FILE,
    ENV_HOME,
    ENV_LEDGER_DIR,
    ENV_POD_NAME,
    ENV_SCRATCH_DIR,
    ENV_SECRETS_DIR,
    ENV_SPEC_FILE,
    ENV_TERMINATION_LOG,
    ENV_WORKSPACE,
    MAX_SPEC_BYTES,
    MAX_TERMINATION_MESSAGE_BYTES,
    PROGRAM_PATTERN,
    REPOSITORY_PATTERN,
    RESULT_MARKER,
    SECRET_KEY_ANTHROPIC,
    SECRET_KEY_ANTHROPIC_OAUTH,
    SECRET_KEY_FORGE,
    SECRET_KEY_OPENAI,
    SECRET_KEYS,
    SESSION_KEY_PATTERN,
    SHA_PATTERN,
    VERSION,
    branch_fault,
)
from agent_runner.contract.step import (
    AgentSettings,
    Failure,
    FailureCategory,
    Limits,
    Outcome,
    Step,
    StepResult,
    StepSpec,
    TerminationMessage,
    TestRun,
    Tokens,
)
from agent_runner.contract.wire import (
    ContractError,
)

__all__ = [
    "DEFAULT_PROTECTED_PATHS",
    "ENV_GATEWAY_CONFIG",
    "ENV_GATEWAY_URL_FILE",
    "ENV_HOME",
    "ENV_LEDGER_DIR",
    "ENV_POD_NAME",
    "ENV_SCRATCH_DIR",
    "ENV_SECRETS_DIR",
    "ENV_SPEC_FILE",
    "ENV_TERMINATION_LOG",
    "ENV_WORKSPACE",
    "FAILURES",
    "MAX_SPEC_BYTES",
    "MAX_TERMINATION_MESSAGE_BYTES",
    "PROGRAM_PATTERN",
    "REPOSITORY_PATTERN",
    "RESULT_MARKER",
    "SECRET_KEYS",
    "SECRET_KEY_ANTHROPIC",
    "SECRET_KEY_ANTHROPIC_OAUTH",
    "SECRET_KEY_FORGE",
    "SECRET_KEY_OPENAI",
    "SESSION_KEY_PATTERN",
    "SHA_PATTERN",
    "VERSION",
    "AgentSettings",
    "Budget",
    "ContractError",
    "Failure",
    "FailureCategory",
    "FailureKind",
    "GatewayConfig",
    "Ledger",
    "Limits",
    "ModelUse",
    "Outcome",
    "Push",
    "Reserve",
    "Settled",
    "Step",
    "StepResult",
    "StepSpec",
    "TerminationMessage",
    "TestRun",
    "TokenPrice",
    "Tokens",
    "branch_fault",
    "failure",
]

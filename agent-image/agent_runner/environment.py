"""The container's environment: where everything is, and what of it programs of the step may see."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner import contract
from agent_runner.failure import failed

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV_GIT_NAME = "AGENT_GIT_NAME"
ENV_GIT_EMAIL = "AGENT_GIT_EMAIL"
ENV_CLAUDE_PROGRAM = "AGENT_CLAUDE_PROGRAM"

DEFAULT_GIT_NAME = "airflow-agents[bot]"
DEFAULT_GIT_EMAIL = "airflow-agents[bot]@users.noreply.github.com"

# What an image sets for its compilers and package managers. Everything else stays out: on one machine the
# runner's environment is that of a person.
_TOOLCHAIN = re.compile(
    r"PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ|JAVA_HOME|JAVA_TOOL_OPTIONS|MAVEN_[A-Z_]+|GRADLE_[A-Z_]+|M2_HOME"
    r"|GO(?:PATH|ROOT|PROXY|FLAGS|CACHE|MODCACHE|SUMDB|TOOLCHAIN|NOSUMDB|PRIVATE)|CARGO_HOME|RUSTUP_[A-Z]+"
    r"|NODE_(?:PATH|OPTIONS|EXTRA_CA_CERTS|VERSION)|NVM_[A-Z_]+|NPM_CONFIG_\w+|npm_config_\w+|pnpm_config_\w+|YARN_[A-Z_]+"
    r"|COREPACK_[A-Z_]+|PIP_[A-Z_]+|UV_[A-Z_]+|POETRY_[A-Z_]+|VIRTUAL_ENV|CONDA_[A-Z_]+|PYENV_[A-Z_]+"
    r"|PYTHON(?:PATH|HOME|DONTWRITEBYTECODE|UNBUFFERED)|GEM_[A-Z]+|BUNDLE_[A-Z_]+|RUBY[A-Z_]+|DOTNET_[A-Z_]+"
    r"|XDG_CACHE_HOME|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|HTTPS?_PROXY|https?_proxy|ALL_PROXY|all_proxy|LD_LIBRARY_PATH|PKG_CONFIG_PATH|CC|CXX"
)
_LOOPBACK = "127.0.0.1,localhost,::1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Paths and settings of the base container."""

    spec_file: Path
    gateway_url_file: Path
    workspace: Path
    home: Path
    """``HOME`` of the agent and of the test command."""
    temporary: Path
    git_name: str = DEFAULT_GIT_NAME
    git_email: str = DEFAULT_GIT_EMAIL
    claude_program: str = "claude"
    toolchain: Mapping[str, str]
    """Variables of the image that programs of the step inherit."""
    no_proxy: str = ""
    """Hosts that are reached without a proxy, beside the loopback."""
    cache: Path | None = None
    """The repository's folder for package caches and set-up results, where there is a cache claim."""
    mirror: Path | None = None
    """The repository's mirror, which the gateway writes, where there is a cache claim."""
    added: Mapping[str, str] = field(default_factory=dict)
    """What caches and the set-up script add for programs of the step."""
    first_on_path: tuple[Path, ...] = ()
    """Folders of the set-up script's programs: before the image's."""

    @property
    def checkout(self) -> Path:
        return self.workspace / "repo"

    @property
    def search_path(self) -> str:
        """``PATH`` of the image: where the runner's own programs are looked for, never among the repository's."""
        return self.toolchain.get("PATH") or "/usr/local/bin:/usr/bin:/bin"

    @property
    def git_config(self) -> Path:
        """Global git configuration of the agent and of the test command."""
        return self.home / ".gitconfig"

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Environment:
        """Read the environment; raise :class:`~agent_runner.failure.StepFailed` naming every fault."""
        required = (
            contract.ENV_SPEC_FILE,
            contract.ENV_GATEWAY_URL_FILE,
            contract.ENV_WORKSPACE,
            contract.ENV_HOME,
        )
        faults = [f"{name} is not set" for name in required if not variables.get(name)]
        if faults:
            raise failed(
                "environment", "The container's environment is incomplete: " + "; ".join(faults) + "."
            )
        cache = variables.get(contract.ENV_CACHE_DIR)
        mirror = variables.get(contract.ENV_MIRROR_DIR)
        spec_file, url_file, workspace, home = (Path(variables[name]).absolute() for name in required)
        return cls(
            spec_file=spec_file,
            gateway_url_file=url_file,
            workspace=workspace,
            home=home,
            temporary=Path(variables.get("TMPDIR") or tempfile.gettempdir()).absolute(),
            git_name=variables.get(ENV_GIT_NAME) or DEFAULT_GIT_NAME,
            git_email=variables.get(ENV_GIT_EMAIL) or DEFAULT_GIT_EMAIL,
            claude_program=variables.get(ENV_CLAUDE_PROGRAM) or "claude",
            toolchain={name: value for name, value in variables.items() if _TOOLCHAIN.fullmatch(name)},
            no_proxy=variables.get("NO_PROXY") or variables.get("no_proxy") or "",
            cache=Path(cache).absolute() if cache else None,
            mirror=Path(mirror).absolute() if mirror else None,
        )

    def program(self) -> dict[str, str]:
        """Return the environment of a program of the step: the image's toolchain, what caches and set-up add,
        and nothing else.
        """
        no_proxy = ",".join(filter(None, (self.no_proxy, _LOOPBACK)))
        return {
            "LANG": "C.UTF-8",
            **self.toolchain,
            **self.added,
            "PATH": ":".join((*map(str, self.first_on_path), self.search_path)),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "GIT_CONFIG_GLOBAL": str(self.git_config),
            "GIT_TERMINAL_PROMPT": "0",
            # Without a terminal an editor would wait for ever, as in `git rebase --continue`.
            "GIT_EDITOR": "true",
        }

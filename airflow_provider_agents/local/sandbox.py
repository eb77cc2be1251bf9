"""How a container sees the machine: as it is, or through bubblewrap."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from airflow_provider_agents.local import bubblewrap
from airflow_provider_agents.local.environment import PathTranslator
from airflow_provider_agents.local.process import Launch, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_PROBE_TIMEOUT = 20


class SandboxUnavailableError(RuntimeError):
    """The sandbox that was asked for does not work on this machine. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Bind:
    """One mount of a container.

    :param source: file or folder of this machine.
    :param target: absolute path in the container.
    """

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a container runs as, and what its file system is like, where the sandbox can show it."""

    hostname: str
    user: int
    group: int
    read_only_root: bool


class Sandbox(Protocol):
    """Starts programs so that they see the mounts of their container."""

    def translator(self, binds: Iterable[Bind]) -> Callable[[str], str]:
        """Return what turns a path of the container into the one that its process has to use."""
        ...

    def launch(
        self,
        command: list[str],
        environment: dict[str, str],
        directory: str | None,
        scratch: Path,
        binds: list[Bind],
        identity: Identity,
    ) -> Launch:
        """Return how to start ``command``.

        :param directory: working directory as the container sees it, if it names one.
        :param scratch: folder of the container, its working directory otherwise.
        :raises StartError: if the program does not exist.
        """
        ...


class NoSandbox:
    """Containers see the machine as it is; folders stand in place of mount paths."""

    def translator(self, binds: Iterable[Bind]) -> Callable[[str], str]:
        """Put the folders in place of the mount paths."""
        return PathTranslator({bind.target: str(bind.source) for bind in binds})

    def launch(
        self,
        command: list[str],
        environment: dict[str, str],
        directory: str | None,
        scratch: Path,
        binds: list[Bind],
        identity: Identity,
    ) -> Launch:
        """Start the program as it is; a working directory inside a volume is made, as Kubernetes does."""
        folder = Path(self.translator(binds)(directory)) if directory else scratch
        if any(folder.is_relative_to(bind.source) for bind in binds):
            folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise StartError(
                f"workingDir {directory} is in no volume and does not exist on this machine: mount a volume there"
            )
        program = find_program(command, environment, folder)
        return Launch((program, *command[1:]), environment, folder)


class BubblewrapSandbox:
    """Containers run under bubblewrap, with real mounts and processes of their own.

    :param hidden: folders that no container may see, such as the runtime's own data.
    :param readable: folders that stay readable although they are below a hidden one.
    :raises SandboxUnavailableError: if bubblewrap is missing or may not make namespaces.
    """

    def __init__(self, hidden: Iterable[Path], readable: Iterable[Path]) -> None:
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxUnavailableError(
                "bubblewrap (bwrap) is not installed: install the package 'bubblewrap', "
                "or start with --sandbox none and without real credentials"
            )
        self._program = program
        self._hidden = frozenset(path.resolve() for path in hidden)
        self._readable = frozenset(path.resolve() for path in readable)
        self._check()

    def _check(self) -> None:
        identity = Identity("probe", 1000, 1000, read_only_root=True)
        command = self._command([], identity, None, ["true"])
        try:
            result = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_PROBE_TIMEOUT,
                check=False,
                env={"PATH": os.defpath},
            )
            problem = (
                "" if result.returncode == 0 else result.stderr.strip() or f"exit code {result.returncode}"
            )
        except subprocess.TimeoutExpired:
            problem = f"no answer within {_PROBE_TIMEOUT} s"
        if problem:
            raise SandboxUnavailableError(
                f"bubblewrap is installed but cannot make a sandbox here ({problem}): allow unprivileged user "
                "namespaces (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, "
                "or the seccomp profile of the container that this runs in), or start with --sandbox none and "
                "without real credentials"
            )

    def translator(self, binds: Iterable[Bind]) -> Callable[[str], str]:
        """Change nothing: the mounts are real."""
        return str

    def launch(
        self,
        command: list[str],
        environment: dict[str, str],
        directory: str | None,
        scratch: Path,
        binds: list[Bind],
        identity: Identity,
    ) -> Launch:
        """Start bubblewrap; the environment goes through it, never over its command line."""
        arguments = self._command(binds, identity, directory, command)
        return Launch(tuple(arguments), environment, Path("/"), report_pid=True)

    def _command(
        self, binds: list[Bind], identity: Identity, directory: str | None, command: list[str]
    ) -> list[str]:
        root = bubblewrap.root_arguments(
            mount_points=[bind.target for bind in binds], hidden=self._hidden, readable=self._readable
        )
        mounts: list[str] = []
        for bind in sorted(binds, key=lambda each: each.target):
            mounts += ["--ro-bind" if bind.read_only else "--bind", str(bind.source), bind.target]
        options = bubblewrap.isolation_arguments(identity.hostname, identity.user, identity.group)
        last = ["--remount-ro", "/"] if identity.read_only_root else []
        place = ["--chdir", directory or "/"]
        return [self._program, *options, *root, *mounts, *last, *place, "--", *command]


def find_program(command: list[str], environment: Mapping[str, str], directory: Path) -> str:
    """Return the path of the program of a command line.

    :raises StartError: if there is none, in the words of a container runtime.
    """
    if not command:
        raise StartError("no command specified: give the container a command, or map its image with --image")
    name = command[0]
    if "/" in name:
        path = directory / name
        if not path.exists():
            raise StartError(f'exec: "{name}": stat {name}: no such file or directory')
        if not os.access(path, os.X_OK) or path.is_dir():
            raise StartError(f'exec: "{name}": permission denied')
        return str(path)
    if (found := shutil.which(name, path=environment["PATH"])) is None:
        raise StartError(f'exec: "{name}": executable file not found in $PATH')
    return found

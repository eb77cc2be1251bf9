"""git as the runner calls it: in a checkout that may be hostile, against the gateway, with no credential.

Nothing in the checkout configures these calls: the agent may have written hooks, filters, ``insteadOf``
rules or a file system monitor into ``.git``. So the repository's configuration is written anew before git
reads it (:meth:`Git.restore_config`), and what could run a program is switched off on the command line too.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner.contract import SHA_PATTERN, failure
from agent_runner.deadline import Deadline
from agent_runner.failure import StepCancelled, StepFailed, failed
from agent_runner.files import remove
from agent_runner.process import Supervision, Tail, run_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_runner.environment import Environment
    from agent_runner.gateway_address import GatewayAddress

RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds between tries of a network call. A gateway that crashed twice is back after about 16 seconds."""
LOCAL_SECONDS = 300.0
NETWORK_SECONDS = 900.0
_MAX_OUTPUT_BYTES = 32 * 1024 * 1024
_MAX_ERROR_BYTES = 16 * 1024

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.quotePath=false",
    "credential.helper=",
    "protocol.file.allow=never",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    # To see whether a submodule is changed, git would run what its configuration names.
    "diff.ignoreSubmodules=dirty",
    "commit.gpgSign=false",
    "diff.renames=false",
    "gc.auto=0",
    "maintenance.auto=false",
    # A connection that gives nothing for a minute is dead.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
)

CONFIG_OF_REMOTE = """\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = false
	logallrefupdates = true
[remote "origin"]
	url = {url}
	fetch = +refs/heads/*:refs/remotes/origin/*
	tagOpt = --no-tags
"""
"""All that git knows of a checkout: what it was cloned with is not kept."""
_PARTIAL_CONFIG = """\
	promisor = true
	partialclonefilter = blob:none
[core]
	repositoryformatversion = 1
[extensions]
	partialClone = origin
"""
"""Follows the remote: files of old commits are left out, and fetched when they are looked at."""
_NO_ALTERNATE_REFS_CONFIG = """\
[core]
	alternateRefsPrefixes = refs/none/
"""
"""Else git would tell the forge that it has the history of each commit that such a ref leads to."""
_BRANCH_CONFIG = """\
[branch "{branch}"]
	remote = origin
	merge = refs/heads/{branch}
"""

_PASSING = re.compile(
    r"Failed to connect|Couldn't connect|Connection (?:refused|reset|timed out)|Recv failure|Send failure"
    r"|Empty reply|unexpected disconnect|hung up unexpectedly|early EOF|transfer closed|Operation timed out"
    r"|Operation too slow|error: (?:429|5\d\d)|HTTP (?:429|5\d\d)|curl (?:18|28|52|55|56) "
)
_FILTER_REFUSED = re.compile(r"\bfilter(?:ing|s)?\b", re.IGNORECASE)
_HTTP_STATUS = re.compile(r"(?:returned error:|HTTP) ?(\d{3})")


@dataclass(frozen=True, slots=True)
class GitOutput:
    """What one call of git gave."""

    returncode: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace").strip()

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    @property
    def passing(self) -> bool:
        """True where the same call may succeed in a moment."""
        return not self.ok and _PASSING.search(self.stderr) is not None


class GitError(StepFailed):
    """A call of git failed; what it said is in the failure's message."""


class Git:
    """Calls git in the checkout of one repository."""

    def __init__(
        self, environment: Environment, supervision: Supervision, gateway: GatewayAddress, repository: str
    ) -> None:
        program = shutil.which("git", path=environment.search_path)
        if program is None:
            raise failed("git_missing", "git is not on the PATH of the image.")
        self.checkout = environment.checkout
        self.directory = environment.checkout / ".git"
        self.mirror_folder = environment.mirror
        self.partial = False
        """Whether files of old commits are left out of what is fetched of the history; in the configuration
        from when that is written next."""
        self.trusts_alternates = True
        """Whether what the refs of borrowed objects' repositories lead to is here with all of its history; in
        the configuration from when that is written next."""
        self._branch = ""
        self._program = program
        self._supervision = supervision
        self._gateway = gateway
        self._repository = repository
        self._settings: tuple[str, ...] = (
            *_SETTINGS,
            f"user.name={environment.git_name}",
            f"user.email={environment.git_email}",
        )
        self._variables = {
            "PATH": environment.search_path,
            "HOME": str(environment.home),
            "TMPDIR": str(environment.temporary),
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_DEFAULT_HASH": "sha1",
            "GIT_EDITOR": "true",
        }

    @property
    def url(self) -> str:
        """The repository's remote, at the gateway."""
        return f"{self._gateway.current}/git/{self._repository}.git"

    @property
    def gateway(self) -> GatewayAddress:
        """Where the gateway is."""
        return self._gateway

    @property
    def supervision(self) -> Supervision:
        """What watches over each call."""
        return self._supervision

    def under(self, supervision: Supervision) -> Git:
        """Return the same, watched over by another supervision."""
        other = copy.copy(self)
        other._supervision = supervision
        return other

    def configure(self, *settings: str) -> None:
        """Add settings, each as ``name=value``, to all calls that follow."""
        self._settings += settings

    def has_program(self, name: str) -> bool:
        """Say whether git would find a program on the PATH of the image."""
        return shutil.which(name, path=self._variables["PATH"]) is not None

    def init(self, branch: str) -> None:
        """Make an empty repository in the checkout's folder."""
        self.checkout.mkdir(parents=True, exist_ok=True)
        arguments = ("init", "--quiet", "--template=", f"--initial-branch={branch}", str(self.checkout))
        output = self._call(arguments, inside=False)
        if not output.ok:
            raise self.error(arguments, output)
        self.restore_config(branch)

    def restore_config(self, branch: str) -> None:
        """Write the repository's configuration anew, and undo what points git elsewhere.

        :raises StepFailed: ``.git`` is not a folder any more.
        """
        if self.directory.is_symlink() or not self.directory.is_dir():
            raise failed("checkout_broken", "The agent removed or replaced the .git folder of its checkout.")
        for name in ("config", "config.worktree", "commondir"):
            remove(self.directory / name)
        self._branch = branch
        (self.directory / "config").write_text(
            CONFIG_OF_REMOTE.format(url=self.url)
            + (_PARTIAL_CONFIG if self.partial else "")
            + ("" if self.trusts_alternates else _NO_ALTERNATE_REFS_CONFIG)
            + _BRANCH_CONFIG.format(branch=branch)
        )

    def run(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a local command and return its output; raise :class:`GitError` where it fails."""
        output = self.attempt(*arguments, stdin=stdin)
        if not output.ok:
            raise self.error(arguments, output)
        return output.text

    def fields(self, *arguments: str) -> list[str]:
        """Run a local command with ``-z`` and return its fields, each as the file system has it.

        :raises GitError: it fails.
        """
        output = self.attempt(*arguments)
        if not output.ok:
            raise self.error(arguments, output)
        return [os.fsdecode(field) for field in output.stdout.split(b"\0")[:-1]]

    def attempt(self, *arguments: str, stdin: bytes = b"") -> GitOutput:
        """Run a local command and return what came of it."""
        return self._call(arguments, stdin=stdin)

    def origin(self) -> str:
        """Return the remote that the checkout's configuration file names; empty where there is none."""
        file = self.directory / "config"
        return self._call(("config", f"--file={file}", "remote.origin.url"), inside=False).text

    def commit_id(self, revision: str) -> str | None:
        """Return the id of the commit that ``revision`` names, or ``None`` where it is not in the checkout."""
        # Not rev-parse, which would fetch a commit that a partial clone does not have.
        output = self.attempt(
            "rev-list", "--no-walk", "--missing=allow-any", "--end-of-options", f"{revision}^{{commit}}"
        )
        return output.text if output.ok and SHA_PATTERN.fullmatch(output.text) else None

    def head_of(self, directory: Path) -> str | None:
        """Return the commit that another repository is at, by its ``.git``, or ``None``."""
        arguments = (f"--git-dir={directory}", "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        output = self._call(arguments, inside=False)
        return output.text if output.ok and SHA_PATTERN.fullmatch(output.text) else None

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return self.attempt("merge-base", "--is-ancestor", ancestor, descendant).ok

    def remote_heads(self, *branches: str) -> dict[str, str]:
        """Ask the forge for the commits of ``branches``; those that do not exist are left out."""
        found = self.remote_refs(*(f"refs/heads/{branch}" for branch in branches))
        return {ref.removeprefix("refs/heads/"): sha for ref, sha in found.items()}

    def remote_refs(self, *refs: str) -> dict[str, str]:
        """Ask the forge for what ``refs``, each with its full name, point to; those that do not exist are left out."""
        output = self.network(lambda: ["ls-remote", self.url, *refs], inside=False)
        found = {}
        for line in output.text.splitlines():
            sha, _, ref = line.partition("\t")
            if ref in refs and SHA_PATTERN.fullmatch(sha):
                found[ref] = sha
        return found

    def fetch(self, *branches: str) -> None:
        """Fetch ``branches`` into ``refs/remotes/origin``."""
        self.fetch_refs({branch: f"refs/heads/{branch}" for branch in branches})

    def fetch_refs(self, branches: Mapping[str, str], *options: str) -> None:
        """Fetch refs of any kind into ``refs/remotes/origin``.

        :param branches: name there → full name of the ref at the forge.
        :param options: of ``git fetch``.
        """
        specs = [f"+{ref}:refs/remotes/origin/{branch}" for branch, ref in branches.items()]
        arguments = ("fetch", "--no-tags", "--no-write-fetch-head", "--quiet", *options)
        self.network(lambda: [*arguments, self.url, *specs])

    def fetch_history(self, branches: Mapping[str, str], *options: str) -> None:
        """Do the same, without the files of old commits where the checkout is :attr:`partial`.

        A server that leaves nothing out gives them too.
        """
        if not self.partial:
            self.fetch_refs(branches, *options)
            return
        specs = [f"+{ref}:refs/remotes/origin/{branch}" for branch, ref in branches.items()]
        arguments = ("fetch", "--no-tags", "--no-write-fetch-head", "--quiet", "--filter=blob:none", *options)

        def again() -> list[str]:
            # Only a remote with a name can be asked later for what was left out.
            self.restore_config(self._branch)
            return [*arguments, "origin", *specs]

        output = self.network(again, check=False)
        if output.ok:
            return
        if not _FILTER_REFUSED.search(output.stderr):
            raise self.error(arguments, output)
        self.fetch_refs(branches, "--no-filter", *options)

    def network(
        self, arguments: Callable[[], Sequence[str]], *, check: bool = True, inside: bool = True
    ) -> GitOutput:
        """Run a command against the gateway, again while it fails in passing.

        :param arguments: called for each try, as the gateway may have moved.
        :param check: raise :class:`GitError` for a failure that does not pass, else return it.
        :param inside: whether the command needs the checkout.
        """
        for delay in (*RETRY_DELAYS, None):
            before = self._gateway.refresh()
            output = self._call(arguments(), seconds=NETWORK_SECONDS, inside=inside)
            if output.ok:
                return output
            moved = self._gateway.refresh() != before
            if delay is None or not (moved or output.passing):
                break
            if self._supervision.deadline.remaining() <= delay:
                break
            if not moved:
                self._supervision.stop.wait(delay)
        if check:
            raise self.error(arguments(), output)
        return output

    def error(self, arguments: Sequence[str], output: GitOutput) -> GitError:
        """Return the failure that git's words amount to."""
        command = next((a for a in arguments if not a.startswith("-")), "")
        lines = [line.removeprefix("remote: ") for line in output.stderr.splitlines() if line.strip()]
        words = " / ".join(lines[-6:])[-1_000:] or f"exit code {output.returncode}"
        message = f"git {command}: {words}"
        status = next((int(code) for code in _HTTP_STATUS.findall(output.stderr)), None)
        if "No space left on device" in output.stderr or "Disk quota exceeded" in output.stderr:
            code = "disk_full"
        elif status in (401, 403):
            code = "forge_refused"
        elif status == 404 or re.search(r"^fatal: repository .* not found", output.stderr, re.MULTILINE):
            code = "repository_not_found"
        elif output.passing:
            code = "gateway_unreachable"
        else:
            code = "git_failed"
        return GitError(failure(code, message))

    def _call(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        seconds: float = LOCAL_SECONDS,
        inside: bool = True,
    ) -> GitOutput:
        stdout = bytearray()
        stderr = Tail(_MAX_ERROR_BYTES)

        def collect(chunk: bytes) -> None:
            stdout.extend(chunk[: max(0, _MAX_OUTPUT_BYTES - len(stdout))])

        # Named outright, so that git neither searches for a repository nor believes `core.worktree`.
        location = (f"--git-dir={self.directory}", f"--work-tree={self.checkout}") if inside else ()
        settings = [part for setting in self._settings for part in ("-c", setting)]
        ended = run_process(
            [self._program, *settings, *location, *arguments],
            cwd=self.checkout if inside else Path("/"),
            env=self._variables,
            supervision=self._supervision,
            on_output=collect,
            on_error=stderr.feed,
            stdin=stdin,
            deadline=Deadline.after(seconds),
        )
        if ended.cause == "stopped" and self._supervision.stop.received is not None:
            raise StepCancelled(self._supervision.stop.received)
        if ended.cause == "deadline":
            raise failed(
                "step_timeout" if self._supervision.deadline.passed() else "git_timeout",
                f"git {arguments[0]} was stopped: no time was left.",
            )
        # The address holds the gateway's nonce: it means nothing to a reader.
        words = stderr.text()
        if self._gateway.current:
            words = words.replace(self._gateway.current, "gateway")
        return GitOutput(ended.returncode, bytes(stdout), words)

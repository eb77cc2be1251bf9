"""Submodules of the checkout, fetched through the gateway where it serves their repositories.

``git submodule`` is not used: it would believe addresses, update commands and folders that the repository
or the agent has chosen. Each submodule is an ordinary repository, made anew in its folder, at the commit
that its parent names.
"""

from __future__ import annotations

import json
import re
import stat
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent_runner.contract import REPOSITORY_PATTERN, SHA_PATTERN, failure
from agent_runner.failure import StepFailed
from agent_runner.files import remove
from agent_runner.git import CONFIG_OF_REMOTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent_runner.git import Git

MAX_DEPTH = 5
"""Levels of submodules within submodules."""
MAX_SUBMODULES = 200
"""Submodules of one checkout, those within others included."""

_ASK_SECONDS = 30.0
_MAX_ANSWER_BYTES = 1 << 20
_PORTS = {"http": 80, "https": 443}
_HELPER = re.compile(r"[A-Za-z0-9]+::")
_SCP_FORM = re.compile(r"(?:[^@/:]+@)?(?P<host>\[[0-9A-Fa-f:]+\]|[^@/:]+):(?P<path>.*)")
_UNADVERTISED = re.compile(r"not our ref|unadvertised object|does not allow request|couldn't find remote ref")


class SubmoduleLeftOutError(Exception):
    """A submodule is not checked out; the text says why."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the gateway gives."""

    forge_url: str
    repositories: tuple[str, ...]
    """``owner/name``."""


@dataclass(frozen=True, slots=True)
class Submodule:
    """A submodule as its parent names it."""

    name: str
    path: str
    """Folder, relative to the parent's."""
    url: str
    commit: str


@dataclass(frozen=True, slots=True)
class Submodules:
    """What became of the submodules of a checkout; paths are relative to the checkout."""

    checked_out: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """Path and reason."""


def checkout_submodules(git: Git, gateway_url: str, say: Callable[[str], None]) -> Submodules:
    """Check out the submodules of ``HEAD`` that the gateway serves, those within others too.

    Their folders are emptied first. Those that are left out, because they lie on another server or are not
    among the repositories of the step, are said and stay empty folders.

    :param git: of the checkout, after :func:`~agent_runner.checkout.prepare`.
    :param gateway_url: ``http://127.0.0.1:PORT/NONCE``.
    :param say: writes a line to the log.
    :raises StepFailed: the gateway or the forge does not give what it serves.
    """
    return _Work(git, gateway_url, say).run()


def served_repository(url: str, *, parent: str, served: Served) -> str:
    """Return which repository of the gateway a submodule's address means, as ``owner/name``.

    Addresses of the forge count in each of their forms: ``https``, ``http``, ``git``, ``ssh``,
    ``user@host:path`` and relative ones. No address is ever contacted; the gateway's stands for it.

    :param url: as ``.gitmodules`` has it.
    :param parent: repository that holds the submodule, as ``owner/name``.
    :raises SubmoduleLeftOutError: if it is none of them.
    """
    owner_name = _repository_on_forge(url, parent=parent, forge_url=served.forge_url)
    if owner_name in served.repositories:
        return owner_name
    for repository in served.repositories:
        if repository.casefold() == owner_name.casefold():
            return repository
    raise SubmoduleLeftOutError(f"{owner_name} is not among the repositories that this step may read")


def _repository_on_forge(url: str, *, parent: str, forge_url: str) -> str:
    if not url or url.startswith("-") or not url.isprintable() or "\\" in url:
        raise SubmoduleLeftOutError("its address is not a URL")
    if url.startswith(("./", "../")):
        return _owner_name(_joined(parent, url))
    if _HELPER.match(url):
        raise SubmoduleLeftOutError("its address asks for a helper program of git")
    if "://" in url:
        path = _path_of_url(url, forge_url)
    elif scp := _SCP_FORM.fullmatch(url):
        path = _path_of_ssh(scp["host"].strip("[]"), "/" + scp["path"].lstrip("/"), forge_url)
    else:
        raise SubmoduleLeftOutError("its address is a folder of this machine")
    return _owner_name(path)


def _path_of_url(url: str, forge_url: str) -> str:
    forge = urlsplit(forge_url)
    try:
        target = urlsplit(url)
        place = (target.hostname, target.port or _PORTS.get(target.scheme))
    except ValueError:
        raise SubmoduleLeftOutError("its address is not a URL") from None
    if target.scheme not in ("https", "http", "git", "ssh", "git+ssh", "ssh+git"):
        raise SubmoduleLeftOutError(f"addresses with {target.scheme}:// are not fetched")
    if target.password is not None or (target.username is not None and target.scheme in _PORTS):
        raise SubmoduleLeftOutError("its address holds a credential")
    if target.scheme not in _PORTS:
        # A port of ssh says nothing about the forge's web server.
        return _path_of_ssh(target.hostname or "", target.path, forge_url)
    own = (forge.hostname, forge.port or _PORTS.get(forge.scheme))
    both_usual = place[0] == own[0] and target.port is None and forge.port is None
    if place != own and not both_usual:
        raise SubmoduleLeftOutError(f"it lies on another server, {target.netloc}")
    root = forge.path.rstrip("/")
    if not target.path.startswith(f"{root}/") or target.query or target.fragment:
        raise SubmoduleLeftOutError("its address is not that of a repository on the forge")
    return target.path.removeprefix(root)


def _path_of_ssh(host: str, path: str, forge_url: str) -> str:
    if host.lower() != urlsplit(forge_url).hostname:
        raise SubmoduleLeftOutError(f"it lies on another server, {host}")
    return path


def _joined(parent: str, url: str) -> str:
    """Resolve a relative address against the parent's, as git does: ``..`` takes a component off."""
    parts, steps = parent.split("/"), url.split("/")
    while steps and steps[0] in (".", ".."):
        if steps.pop(0) == "..":
            if not parts:
                raise SubmoduleLeftOutError("its relative address leads out of the forge")
            parts.pop()
    return "/".join([*parts, *steps])


def _owner_name(path: str) -> str:
    owner_name = path.strip("/").removesuffix(".git")
    if not REPOSITORY_PATTERN.fullmatch(owner_name) or {".", ".."} & set(owner_name.split("/")):
        raise SubmoduleLeftOutError("its address does not name an owner and a repository")
    return owner_name


@dataclass(frozen=True, slots=True)
class _Parent:
    """A repository whose submodules are to be checked out."""

    repository: str
    folder: Path
    prefix: str
    """Its folder, relative to the checkout."""
    commit: str
    depth: int

    @property
    def place(self) -> tuple[str, str]:
        """Options that name it to git, whatever is in its folder."""
        return f"--git-dir={self.folder / '.git'}", f"--work-tree={self.folder}"


class _Work:
    def __init__(self, git: Git, gateway_url: str, say: Callable[[str], None]) -> None:
        self._git = git
        self._gateway_url = gateway_url.rstrip("/")
        self._say = say
        self._served: Served | None = None
        self._checked_out: list[str] = []
        self._left_out: list[tuple[str, str]] = []

    def run(self) -> Submodules:
        head = self._git.commit_id("HEAD")
        repository = self._git.url.rpartition("/git/")[2].removesuffix(".git")
        waiting = [_Parent(repository, self._git.checkout, "", head, 0)] if head else []
        while waiting:
            parent = waiting.pop(0)
            for submodule in self._listed(parent):
                shown = parent.prefix + submodule.path
                try:
                    waiting.append(self._check_out(parent, submodule))
                except SubmoduleLeftOutError as error:
                    self._leave_out(shown, str(error))
                else:
                    self._checked_out.append(shown)
                    self._say(f"submodule {shown}: {waiting[-1].repository} at {submodule.commit[:12]}")
        return Submodules(tuple(self._checked_out), tuple(self._left_out))

    def _leave_out(self, shown: str, reason: str) -> None:
        self._left_out.append((shown, reason))
        self._say(f"submodule {shown}: left out, {reason}")

    def _check_out(self, parent: _Parent, submodule: Submodule) -> _Parent:
        if parent.depth >= MAX_DEPTH:
            raise SubmoduleLeftOutError(f"more than {MAX_DEPTH} levels of submodules")
        if len(self._checked_out) >= MAX_SUBMODULES:
            raise SubmoduleLeftOutError(f"more than {MAX_SUBMODULES} submodules")
        if self._served is None:
            self._served = _ask(self._gateway_url)
        repository = served_repository(submodule.url, parent=parent.repository, served=self._served)
        folder = _empty_folder(parent.folder, submodule.path)
        child = _Parent(
            repository, folder, f"{parent.prefix}{submodule.path}/", submodule.commit, parent.depth + 1
        )
        url = f"{self._gateway_url}/git/{repository}.git"
        self._git.run(*child.place, "init", "--quiet", "--template=")
        (folder / ".git" / "config").write_text(CONFIG_OF_REMOTE.format(url=url))
        self._fetch(child, url)
        self._git.run(*child.place, "checkout", "--quiet", "--force", "--detach", submodule.commit)
        if parent.depth == 0:
            # So that `git submodule` of the agent knows it, and asks the gateway.
            self._git.attempt("config", f"submodule.{submodule.name}.url", url)
        return child

    def _fetch(self, child: _Parent, url: str) -> None:
        options = (*child.place, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
        wanted = (*options, "--depth=1", url, child.commit)
        output = self._git.network(lambda: wanted, check=False)
        if output.ok:
            return
        if not _UNADVERTISED.search(output.stderr):
            raise self._git.error(("fetch", child.repository), output)
        # A server that gives no single commit gives its branches and tags.
        every = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        self._git.network(lambda: (*options, url, *every))
        found = self._git.attempt(*child.place, "cat-file", "-e", f"{child.commit}^{{commit}}")
        if not found.ok:
            raise StepFailed(
                failure(
                    "git_failed",
                    f"Submodule {child.prefix[:-1]}: {child.repository} has no commit {child.commit} on a branch "
                    "or a tag.",
                    remedy="Push that commit to the submodule's repository, or set `submodules` to false.",
                )
            )

    def _listed(self, parent: _Parent) -> Iterator[Submodule]:
        """Read ``.gitmodules`` of the parent's commit, and what the commit has at each path."""
        entry = _entries(self._tree(parent, ".gitmodules")).get(".gitmodules", ("", ""))
        if not entry[0].startswith("100"):
            return
        listed = self._git.attempt(
            *parent.place, "config", f"--blob={entry[1]}", "-z", "--get-regexp",
            r"^submodule\..*\.(path|url)$",
        )  # fmt: skip
        if not listed.ok:
            self._say(f"submodules of {parent.repository}: none in .gitmodules, or it is not readable")
            return
        modules = _modules(listed.stdout.decode("utf-8", "surrogateescape"))
        # git refuses to list any path where one of them leads out.
        for name in [name for name, (path, _) in modules.items() if not _is_inside(path)]:
            path, _ = modules.pop(name)
            self._leave_out(parent.prefix + path, "its path leads out of the repository")
        paths = [path for path, _ in modules.values()]
        for start in range(0, len(paths), 200):
            commits = _entries(self._tree(parent, *paths[start : start + 200]))
            for name, (path, url) in modules.items():
                mode, commit = commits.pop(path, ("", ""))
                if mode == "160000" and SHA_PATTERN.fullmatch(commit):
                    yield Submodule(name, path, url, commit)

    def _tree(self, parent: _Parent, *paths: str) -> bytes:
        output = self._git.attempt(*parent.place, "ls-tree", "-z", "--full-tree", parent.commit, "--", *paths)
        return output.stdout if output.ok else b""


def _is_inside(path: str) -> bool:
    return bool(path) and not path.startswith("/") and not {"", ".", ".."} & set(path.split("/"))


def _entries(tree: bytes) -> dict[str, tuple[str, str]]:
    """Return path → mode and object id, from ``ls-tree -z``."""
    entries = {}
    for record in tree.decode("utf-8", "surrogateescape").split("\0"):
        meta, tab, path = record.partition("\t")
        if tab and len(words := meta.split()) >= 3:
            entries[path] = (words[0], words[2])
    return entries


def _modules(listed: str) -> dict[str, tuple[str, str]]:
    """Return name → path and URL, from ``config -z``; the last value of a key counts, as for git."""
    modules: dict[str, tuple[str, str]] = {}
    for record in listed.split("\0"):
        key, _, value = record.partition("\n")
        name, _, variable = key.removeprefix("submodule.").rpartition(".")
        if not name:
            continue
        path, url = modules.get(name, ("", ""))
        modules[name] = (value, url) if variable == "path" else (path, value)
    return modules


def _empty_folder(parent: Path, path: str) -> Path:
    """Return the folder of a submodule, made empty; nothing outside of ``parent`` is touched."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.casefold() == ".git" for part in parts):
        raise SubmoduleLeftOutError("its path is not one within the checkout")
    folder = parent
    for part in parts[:-1]:
        folder /= part
        if not folder.exists() and not folder.is_symlink():
            folder.mkdir()
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise SubmoduleLeftOutError("its path leads through something that is no folder")
    folder /= parts[-1]
    remove(folder)
    folder.mkdir()
    return folder


def _ask(gateway_url: str) -> Served:
    """Ask the gateway which repositories it serves."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{gateway_url}/git/served", timeout=_ASK_SECONDS) as answer:
            told: Any = json.loads(answer.read(_MAX_ANSWER_BYTES))
        return Served(str(told["forge"]), tuple(str(name) for name in told["repositories"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else type(error).__name__
        raise StepFailed(
            failure(
                "gateway_unreachable", f"The gateway does not say which repositories it serves: {reason}."
            )
        ) from None

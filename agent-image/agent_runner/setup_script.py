"""The repository's set-up script, ``.agents/setup.sh``: what it says about itself, and what its result depends on.

Comment lines of the script declare it::

    # agents: key requirements.txt package-lock.json
    # agents: keep node_modules

``key`` names files of the checkout whose content decides, beside the script's own, whether an earlier result can be
used. ``keep`` names ignored paths of the checkout that the next step of the run finds again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from agent_runner import __version__
from agent_runner.failure import failed
from agent_runner.files import read_small

if TYPE_CHECKING:
    from agent_runner.contract import StepSpec
    from agent_runner.failure import StepFailed
    from agent_runner.git import Git

SCRIPT = ".agents/setup.sh"
MAX_SCRIPT_BYTES = 256 * 1024
MAX_PATHS = 50
"""Most paths that a script may declare of each kind."""
_DECLARATION = re.compile(r"^[ \t]*#[ \t]*agents:[ \t]*(\w*)[ \t]*(.*)$", re.MULTILINE)
_PACKAGE_LISTS = ("/etc/os-release", "/var/lib/dpkg/status", "/lib/apk/db/installed")
_TOOLCHAINS = ("python3", "python", "node", "go", "rustc", "java", "ruby", "gcc")


@dataclass(frozen=True, slots=True)
class SetupScript:
    """A set-up script and what it declares."""

    text: bytes
    key_files: tuple[str, ...] = ()
    """Files of the checkout that its result depends on."""
    kept: tuple[str, ...] = ()
    """Paths of the checkout that are left from step to step."""
    file: Path | None = None
    """Where it is in the checkout; ``None``: it was taken from another commit."""


def find_script(git: Git, spec: StepSpec, base_sha: str) -> SetupScript | None:
    """Return the set-up script of a step, or ``None`` where the repository has none, or it is not to be run.

    A review takes it from the base branch, as it does the advice to agents: what is under review does not
    prepare its own review.

    :raises StepFailed: it declares what is not allowed.
    """
    if not spec.run_setup:
        return None
    if spec.step == "review":
        text, file = _at_commit(git, base_sha), None
    else:
        file = git.checkout / SCRIPT
        text = b"" if file.parent.is_symlink() else read_small(file, MAX_SCRIPT_BYTES)
    return parse(text, file) if text.strip() else None


def kept_paths(git: Git, spec: StepSpec, base_sha: str) -> tuple[str, ...]:
    """Return the paths of the checkout that cleaning leaves alone: those that the script says, and git ignores.

    What git does not ignore would be taken for work of the agent and be committed.

    :raises StepFailed: the script declares what is not allowed.
    """
    script = find_script(git, spec, base_sha)
    if script is None:
        return ()
    return tuple(path for path in script.kept if git.attempt("check-ignore", "--quiet", "--", f"./{path}").ok)


def clean_arguments(kept: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arguments with which ``git clean`` leaves paths alone.

    :param kept: from :func:`kept_paths`.
    """
    return tuple(f"--exclude=/{path}" for path in kept)


def parse(text: bytes, file: Path | None = None) -> SetupScript:
    """Read the declarations of a script.

    :raises StepFailed: one is unknown, or names a path that is no plain one inside the checkout.
    """
    paths: dict[str, list[str]] = {"key": [], "keep": []}
    for word, rest in _DECLARATION.findall(text.decode(errors="replace")):
        if word not in paths:
            raise _refused(f"`# agents: {word}` is no declaration; there are `key` and `keep`")
        paths[word] += [_checked(word, path) for path in rest.split()]
    for word, found in paths.items():
        if len(found) > MAX_PATHS:
            raise _refused(f"`# agents: {word}` names {len(found)} paths, more than {MAX_PATHS}")
    return SetupScript(text, tuple(paths["key"]), tuple(paths["keep"]), file)


def key_of(script: SetupScript, checkout: Path, prefix_root: Path, search_path: str) -> str:
    """Return what the result depends on, as a hash in hexadecimal: script, files, image, machine, and place.

    :param prefix_root: folder that the result is below: what is installed may name its own path.
    :param search_path: ``PATH`` of the image.
    :raises StepFailed: a declared file is reached through a link, or is no file.
    """
    parts = [
        ["script", hashlib.sha256(script.text).hexdigest()],
        *(["file", name, _content(checkout, name)] for name in sorted(set(script.key_files))),
        ["image", image_identity(search_path)],
        ["machine", os.uname().machine],
        ["place", str(prefix_root)],
    ]
    return hashlib.sha256(json.dumps(parts).encode(errors="surrogateescape")).hexdigest()


def image_identity(search_path: str, lists: tuple[str, ...] = _PACKAGE_LISTS) -> str:
    """Return a hash of what the image brings along: its distribution's packages, its toolchains, this runner.

    :param lists: files in which distributions keep what is installed.
    """
    found: list[object] = [__version__]
    for name in lists:
        try:
            found.append(hashlib.sha256(Path(name).read_bytes()).hexdigest())
        except OSError:
            found.append(None)
    for name in _TOOLCHAINS:
        program = shutil.which(name, path=search_path)
        if program is not None:
            real = os.path.realpath(program)
            status = Path(real).stat()
            # Whole seconds: that is what the layers of an image keep.
            found.append([name, real, status.st_size, int(status.st_mtime)])
    return hashlib.sha256(json.dumps(found).encode(errors="surrogateescape")).hexdigest()


def _at_commit(git: Git, commit: str) -> bytes:
    entry = git.attempt("ls-tree", "-l", commit, "--", SCRIPT)
    fields = entry.text.split()
    if not entry.ok or len(fields) < 4 or not fields[0].startswith("100"):
        return b""
    if not fields[3].isdigit() or int(fields[3]) > MAX_SCRIPT_BYTES:
        return b""
    blob = git.attempt("cat-file", "blob", fields[2])
    return blob.stdout if blob.ok else b""


def _checked(word: str, path: str) -> str:
    """Return a declared path, as git writes it; raise where it may lead out of the checkout."""
    pure = PurePosixPath(path)
    parts = pure.parts
    if pure.is_absolute() or ".." in parts or not parts or parts[0] == ".git":
        raise _refused(f"`# agents: {word}` names {path}, which is not inside the checkout")
    if re.search(r"[*?\[\]!\\]", path) or not path.isprintable():
        raise _refused(f"`# agents: {word}` names {path}: one path, no pattern")
    return str(pure)


def _content(checkout: Path, name: str) -> str:
    """Return the hash of a file of the checkout; no link on the way is followed."""
    descriptor = os.open(checkout, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, leaf = PurePosixPath(name).parts
        for part in folders:
            inner = os.open(
                part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor
            )
            os.close(descriptor)
            descriptor = inner
        file = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    except FileNotFoundError:
        return "absent"
    except OSError as error:
        raise _refused(f"`# agents: key` names {name}, which is no plain file ({error.strerror})") from error
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _refused(f"`# agents: key` names {name}, which is no plain file")
    with os.fdopen(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _refused(what: str) -> StepFailed:
    return failed("setup_failed", f"{SCRIPT} cannot be used: {what}.", f"Correct the line in {SCRIPT}.")

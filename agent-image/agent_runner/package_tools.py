"""Which package managers keep their downloads on the cache claim, by which variables, and how safely.

``sharing`` is what the tool's own documentation and code allow to processes of different pods:

* ``shared``: several at once.
* ``local``: several at once, but not on a network file system, where its locks do not hold; there as ``one``.
* ``one``: one step at a time; a second one that runs meanwhile does without.

Yarn is not among them: its documentation asks those who run several at once for a mutex of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Sharing = Literal["shared", "local", "one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageTool:
    """One package manager. In values, ``{folder}`` is its folder of the cache, ``{home}`` the step's home."""

    name: str
    variables: Mapping[str, str]
    """What puts its cache into the folder; the first is the one that names it."""
    sharing: Sharing
    why: str
    """What the sharing rests on."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Further variables, each only where it is not set."""
    aliases: tuple[str, ...] = ()
    """Other variables that say the same: where one is set, the tool is left as it is."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """File of the repository → pattern of a line with which it says itself where the cache is."""
    only_with: tuple[str, ...] = ()
    """Files of the repository of which one must be there; empty: always."""
    forget: tuple[str, ...] = ()
    """What is no cache, in the same folder, and must not go from run to run: settings, credentials, own builds."""
    overrides_unwritable: bool = False
    """Whether a folder that the image names is replaced where the step cannot write it."""


TOOLS = (
    PackageTool(
        name="pip",
        variables={"PIP_CACHE_DIR": "{folder}"},
        sharing="shared",
        why="Entries are written beside their place and renamed into it (pip's SafeFileCache).",
        aliases=("PIP_NO_CACHE_DIR",),
    ),
    PackageTool(
        name="uv",
        variables={"UV_CACHE_DIR": "{folder}"},
        # A link would be refused between volumes, and would let a change in a checkout change the cache.
        also={"UV_LINK_MODE": "copy"},
        sharing="shared",
        why="Its documentation calls the cache append-only and safe for concurrent readers and writers.",
        aliases=("UV_NO_CACHE",),
        settings={"uv.toml": r"cache-dir\s*=", "pyproject.toml": r"cache-dir\s*="},
    ),
    PackageTool(
        name="npm",
        variables={"npm_config_cache": "{folder}"},
        sharing="shared",
        why="Its cache library, cacache, is content-addressed, made for concurrent access without locks.",
        aliases=("NPM_CONFIG_CACHE",),
        settings={".npmrc": r"cache\s*="},
    ),
    PackageTool(
        name="pnpm",
        # The second name is that of version 11, which does not read npm's names any more.
        variables={"npm_config_store_dir": "{folder}", "pnpm_config_store_dir": "{folder}"},
        sharing="local",
        why="The store is content-addressed and files are renamed into it; newer versions index it with SQLite, "
        "which no network file system keeps safe.",
        aliases=("NPM_CONFIG_STORE_DIR",),
        # npm warns of settings that it does not know, at every call.
        only_with=("pnpm-lock.yaml", "pnpm-workspace.yaml"),
        settings={".npmrc": r"store-dir\s*=", "pnpm-workspace.yaml": r"storeDir\s*:"},
    ),
    PackageTool(
        name="poetry",
        variables={"POETRY_CACHE_DIR": "{folder}"},
        # They are named after the checkout's path, which is the same in every pod.
        also={"POETRY_VIRTUALENVS_PATH": "{home}/.cache/pypoetry/virtualenvs"},
        sharing="one",
        why="Concurrent processes can see half-written entries (python-poetry/poetry issue 11048).",
        aliases=("POETRY_NO_CACHE",),
        settings={"poetry.toml": r"cache-dir\s*="},
    ),
    PackageTool(
        name="cargo",
        variables={"CARGO_HOME": "{folder}"},
        sharing="local",
        why="Processes wait for each other by a lock on the package cache, which cargo leaves out on NFS "
        "(rust-lang/cargo pull request 2623).",
        forget=("config", "config.toml", "credentials", "credentials.toml", "bin"),
        overrides_unwritable=True,
    ),
    PackageTool(
        name="go",
        variables={"GOMODCACHE": "{folder}/mod", "GOCACHE": "{folder}/build"},
        sharing="shared",
        why="`go help cache`: safe for concurrent invocations; the module cache has a lock for each module.",
    ),
    PackageTool(
        name="maven",
        # Options of the Java machine, because every version of Maven reads them. What the project itself
        # installs is kept apart (since 3.9), so that no build finds what another branch has built.
        variables={
            "MAVEN_OPTS": "-Dmaven.repo.local={folder} -Daether.enhancedLocalRepository.split=true "
            "-Daether.enhancedLocalRepository.localPrefix=installed"
        },
        sharing="one",
        why="Before 3.9 nothing guards a local repository against other processes, and later versions only where "
        "file locks were chosen, and all of them agree on the locks' names.",
        settings={".mvn/maven.config": r"-Dmaven\.repo\.local", ".mvn/jvm.config": r".*-Dmaven\.repo\.local"},
        forget=("installed",),
    ),
    PackageTool(
        name="gradle",
        variables={"GRADLE_USER_HOME": "{folder}"},
        sharing="one",
        why="Whoever needs a lock asks its holder over the loopback, which is another one in every pod.",
        forget=("init.d", "init.gradle", "init.gradle.kts", "gradle.properties"),
        overrides_unwritable=True,
    ),
)


def says_itself(tool: PackageTool, file: str, text: str) -> bool:
    """Say whether a file of the repository sets the place of the tool's cache.

    :param file: name as in :attr:`PackageTool.settings`.
    """
    return re.search(rf"^[ \t]*{tool.settings[file]}", text, re.MULTILINE) is not None

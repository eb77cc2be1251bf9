"""The cache claim: one for the installation, in which every repository has folders of its own.

A container mounts the folders of its repository only, each as a sub path, so that no repository can read or
write what belongs to another one:

* ``mirrors/<host>/<owner>/<name>``: the repository's mirror. The gateway writes it, the agent's container
  reads it, so that no agent can change what another run checks out.
* ``packages/<host>/<owner>/<name>``: package caches and results of the set-up script. The agent's container
  writes it: what one run leaves there, later runs of the same repository use.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from agent_runner.contract import REPOSITORY_PATTERN

CACHE_VOLUME = "cache"
"""Name of the pod's volume that is the claim."""
MIRRORS_FOLDER = "mirrors"
PACKAGES_FOLDER = "packages"


@dataclass(frozen=True, slots=True)
class CachePlace:
    """Where one repository's folders are on the cache claim."""

    claim: str
    mirror: str
    """Sub path of the mirror."""
    packages: str
    """Sub path of package caches and set-up results."""


def cache_place(claim: str, forge_url: str, repository: str) -> CachePlace:
    """Return the folders of a repository.

    :param claim: name of the persistent volume claim.
    :param forge_url: root that git remotes are below; its host keeps repositories of two forges apart.
    :param repository: ``owner/name``. Forges do not tell upper from lower case in it.
    :raises ValueError: if one of them cannot be a folder's name.
    """
    parts = urlsplit(forge_url)
    host = (parts.hostname or "") + (f"_{parts.port}" if parts.port else "")
    if not host or not REPOSITORY_PATTERN.fullmatch(repository):
        raise ValueError(f"{forge_url!r} and {repository!r} do not name a repository")
    below = f"{host.replace(':', '_')}/{repository}".lower()
    if {".", ".."} & set(below.split("/")):
        raise ValueError(f"{repository!r} does not name a repository")
    return CachePlace(claim, f"{MIRRORS_FOLDER}/{below}", f"{PACKAGES_FOLDER}/{below}")

"""How risky a change is: :func:`risk`, a sum of points that can be read.

That size and spread of a change predict defects is known: Kamei et al., "A Large-Scale Empirical Study of
Just-in-Time Quality Assurance" (IEEE TSE 2013) for lines added and files touched; Cohen et al., "Best Kept
Secrets of Peer Code Review" (2006) for the limits of 200 and 400 lines, past which reviewers find less.
How many points each fact is worth is our choice; so are the other facts. ``docs/landing.md`` has the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE_STEPS = ((1000, 25), (400, 20), (200, 12), (50, 5))
"""Points for more changed lines than this. 200 and 400: Cohen et al.; 50 and 1,000 and all points: ours."""
FILE_STEPS = ((30, 15), (10, 10), (3, 5))
"""Points for more changed files than this: ours, after the diffusion measures of Kamei et al."""
UNTESTED = 15
"""Code without a touched test: ours."""
TESTED = -10
"""Code with a touched test: ours."""
TESTS_REMOVED = 15
"""A removed test file, however much else is tested: ours; the cheapest way to green."""
FILES_REMOVED = 5
"""Removed files other than tests: ours."""
MANIFEST = 15
"""A dependency manifest: ours; a new package runs foreign code in every later build."""
LOCK_FILE = 10
"""A lock file without its manifest: ours."""
SENSITIVE: tuple[tuple[str, int, re.Pattern[str]], ...] = (
    (
        "continuous integration",
        25,
        re.compile(
            r"^\.github/(workflows|actions)/|^\.circleci/|^\.gitlab-ci|^\.buildkite/|^azure-pipelines"
            r"|(^|/)jenkinsfile$|^\.pre-commit-config\.yaml$|^\.husky/"
        ),
    ),
    (
        "protected files",
        25,
        re.compile(
            r"(^|/)codeowners$|(^|/)(claude|agents)\.md$|^\.mcp\.json$|^\.(claude|codex|cursor)/|^\.gitmodules$"
            r"|^\.gitattributes$|^\.github/(dependabot|renovate)"
        ),
    ),
    (
        "authentication and secrets",
        20,
        re.compile(
            r"(^|[/_.-])(auth|authn|authz|authentication|authorization|login|oauth2?|saml|sso|session|permissions?"
            r"|security|secrets?|crypto|passwords?|credentials?|tokens?)([/_.-]|$)|(^|/)\.env"
        ),
    ),
    (
        "migrations",
        20,
        re.compile(r"(^|/)(migrations?|alembic|db/migrate|flyway|liquibase)/|(^|/)schema\.(sql|prisma|rb)$"),
    ),
    (
        "deployment",
        15,
        re.compile(
            r"(^|/)(dockerfile|containerfile)[^/]*$|(^|/)(docker-)?compose[^/]*\.ya?ml$|\.(tf|tfvars|hcl)$"
            r"|(^|/)(deploy|deployment|helm|charts|k8s|kubernetes|terraform|ansible|infra)/"
        ),
    ),
)
"""Paths, in lower case, that need a person's eye, each kind once: ours."""

_MANIFESTS = re.compile(
    r"(^|/)(package\.json|pyproject\.toml|setup\.(py|cfg)|requirements[^/]*\.(txt|in)|pipfile|cargo\.toml|go\.mod"
    r"|pom\.xml|build\.gradle(\.kts)?|gemfile|composer\.json|mix\.exs|package\.swift|[^/]+\.csproj)$"
)
_LOCK_FILES = re.compile(
    r"(^|/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|uv\.lock|poetry\.lock"
    r"|pipfile\.lock|pdm\.lock|cargo\.lock|go\.sum|gradle\.lockfile|gemfile\.lock|composer\.lock|mix\.lock)$"
)
_TESTS = re.compile(
    r"(^|[/.])(tests?|__tests__|specs?|e2e|testdata)/|(^|/)(test_[^/]+|conftest)\.py$"
    r"|[._-](test|tests|spec)\.[a-z]+$"
)
_NOT_CODE = frozenset(
    {"", ".md", ".mdx", ".rst", ".txt", ".adoc", ".svg", ".png", ".jpg", ".gif", ".ico", ".csv"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """One file of a change."""

    path: str
    status: str
    """GitHub's word: ``added``, ``removed``, ``modified``, ``renamed``, ``copied``, ``changed``."""
    additions: int
    deletions: int
    previous_path: str = ""
    """Where it was before a rename."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that it touches, in lower case: a file that is moved away is touched where it was."""
        return tuple(path.lower() for path in (self.path, self.previous_path) if path)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskPart:
    """Why a change has some of its points."""

    name: str
    points: int
    """Negative where it lowers the risk."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """A score from 0 to 100 and where it comes from."""

    score: int
    parts: tuple[RiskPart, ...]


def risk(files: Sequence[ChangedFile]) -> Risk:
    """Return how risky a change of ``files`` is: the sum of its parts, cut to 0 … 100.

    Lines of lock files do not count as size, since nobody writes them.
    """
    parts = [
        part for part in (*_amount(files), *_tests(files), *_dependencies(files), *_paths(files)) if part
    ]
    return Risk(score=min(100, max(0, sum(part.points for part in parts))), parts=tuple(parts))


def _amount(files: Sequence[ChangedFile]) -> list[RiskPart | None]:
    written = [f for f in files if not _any(_LOCK_FILES, f)]
    lines = sum(f.additions + f.deletions for f in written)
    removed = [f for f in files if f.status == "removed" and not _any(_TESTS, f)]
    return [
        _stepped("size", SIZE_STEPS, lines, "changed lines"),
        _stepped("files", FILE_STEPS, len(files), "changed files"),
        RiskPart(name="removed files", points=FILES_REMOVED, why=_listed(removed)) if removed else None,
    ]


def _tests(files: Sequence[ChangedFile]) -> list[RiskPart | None]:
    tests = [f for f in files if _any(_TESTS, f)]
    removed = [f for f in tests if f.status == "removed"]
    code = [f for f in files if _is_code(f)]
    touched = [f for f in tests if f.status != "removed"]
    verdict = None
    if code and touched:
        verdict = RiskPart(name="tests", points=TESTED, why=f"Tests are touched: {_listed(touched)}")
    elif code:
        verdict = RiskPart(name="tests", points=UNTESTED, why=f"No test is touched with {_listed(code)}")
    return [
        verdict,
        RiskPart(name="removed tests", points=TESTS_REMOVED, why=_listed(removed)) if removed else None,
    ]


def _dependencies(files: Sequence[ChangedFile]) -> list[RiskPart | None]:
    if manifests := [f for f in files if _any(_MANIFESTS, f)]:
        return [RiskPart(name="dependencies", points=MANIFEST, why=_listed(manifests))]
    if locks := [f for f in files if _any(_LOCK_FILES, f)]:
        return [RiskPart(name="dependencies", points=LOCK_FILE, why=_listed(locks))]
    return []


def _paths(files: Sequence[ChangedFile]) -> list[RiskPart | None]:
    found = ((name, points, [f for f in files if _any(pattern, f)]) for name, points, pattern in SENSITIVE)
    return [RiskPart(name=name, points=points, why=_listed(hits)) for name, points, hits in found if hits]


def _is_code(file: ChangedFile) -> bool:
    if any(_any(pattern, file) for pattern in (_TESTS, _LOCK_FILES, _MANIFESTS)):
        return False
    return PurePosixPath(file.path.lower()).suffix not in _NOT_CODE


def _any(pattern: re.Pattern[str], file: ChangedFile) -> bool:
    return any(pattern.search(path) for path in file.paths)


def _stepped(name: str, steps: Sequence[tuple[int, int]], value: int, unit: str) -> RiskPart | None:
    for over, points in steps:
        if value > over:
            return RiskPart(name=name, points=points, why=f"{value} {unit}, more than {over}")
    return None


def _listed(files: Sequence[ChangedFile]) -> str:
    names = sorted(f.path for f in files)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

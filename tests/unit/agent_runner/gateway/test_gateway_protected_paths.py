from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import DEFAULT_PROTECTED_PATHS
from agent_runner.gateway.protected_paths import ProtectedPaths


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (".github/workflows/**", ".github/workflows/ci.yml"),
        (".github/workflows/**", ".github/workflows/a/b/c"),
        (".github/workflows/**", ".github/workflows"),
        (".github/workflows", ".github/workflows/ci.yml"),
        (".github/workflows/", ".github/workflows/ci.yml"),
        ("/Makefile", "Makefile"),
        ("docs/*.md", "docs/a.md"),
        ("docs/?.md", "docs/a.md"),
        ("docs/*", "docs/folder/file"),
        ("**/secret.env", "secret.env"),
        ("**/secret.env", "a/b/secret.env"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("a/**/**/z", "a/b/z"),
        ("**", "anything/at/all"),
        ("a*b*c", "aXbXc"),
        ("a[1]", "a[1]"),
        ("a.b", "a.b"),
        # As the most forgiving file systems see it.
        (".github/workflows/**", ".GitHub/WORKFLOWS/CI.yml"),
        (".github/workflows/**", ".github./workflows /ci.yml"),
        (".github/workflows/**", ".git\u200chub/workflows/ci.yml"),
        (".github/workflows/**", ".github/work\ufb02ows/ci.yml"),
        ("caf\u00e9", "cafe\u0301"),
        ("STRASSE", "straße"),
        ("a/*", "a/\udcff"),
        ("a/*", "a/new\nline"),
    ],
)
def test_covered(pattern: str, path: str) -> None:
    assert ProtectedPaths([pattern]).covers(path)
    assert ProtectedPaths(["other", pattern]).covers(path, leads_elsewhere=True)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (".github/workflows/**", ".github/dependabot.yml"),
        (".github/workflows/**", "x/.github/workflows/ci.yml"),
        (".github/workflows/**", ".github/workflows2/ci.yml"),
        (".github/workflows/**", ".github"),
        ("docs/*.md", "docs/a/b.md"),
        ("docs/?.md", "docs/ab.md"),
        ("docs/a?c", "docs/a/c"),
        ("Makefile", "sub/Makefile"),
        ("a[1]", "a1"),
        ("a.b", "aXb"),
        ("a/**/z", "a/b/y"),
        ("packages/*/LICENSE", "packages/README"),
        ("", "a"),
        ("/", "a"),
    ],
)
def test_not_covered(pattern: str, path: str) -> None:
    assert not ProtectedPaths([pattern]).covers(path)


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        (".github/workflows/**", ".github", True),
        (".github/workflows/**", ".GITHUB", True),
        ("packages/*/LICENSE", "packages/x", True),
        ("packages/*/LICENSE", "packages", True),
        ("packages/*/LICENSE", "package", False),
        ("**/secret", "anything", False),
        ("a/**/secret", "a", True),
        ("a/**/secret", "a/b", False),
        ("Makefile", "sub", False),
    ],
)
def test_links_in_the_place_of_a_folder(pattern: str, path: str, covered: bool) -> None:
    assert ProtectedPaths([pattern]).covers(path, leads_elsewhere=True) is covered


def test_nothing_protected() -> None:
    assert not ProtectedPaths([])
    assert not ProtectedPaths(["", "//"])
    assert ProtectedPaths(DEFAULT_PROTECTED_PATHS)


def test_no_path_takes_long() -> None:
    protected = ProtectedPaths(["**/" * 20 + "*a" * 20 + "b/**/x"])
    began = time.perf_counter()
    assert not protected.covers("a" * 2_000)
    assert not protected.covers("/".join(["a" * 20] * 2_000))
    assert time.perf_counter() - began < 5


NAMES = st.text(st.sampled_from("abAB.*?é "), min_size=1, max_size=4)


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES, max_size=3))
def test_a_path_protects_itself_in_any_case_and_all_below(names: list[str], below: list[str]) -> None:
    path = "/".join(names)
    protected = ProtectedPaths([path])
    for spelling in (path, path.upper(), path.lower()):
        assert protected.covers("/".join([spelling, *below]))

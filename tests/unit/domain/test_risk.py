"""The risk of a change: each part, the bounds, and what lowers it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.risk import ChangedFile, risk


def changed(path: str, additions: int = 5, deletions: int = 0, **values: Any) -> ChangedFile:
    return ChangedFile(
        **{"path": path, "status": "modified", "additions": additions, "deletions": deletions, **values}
    )


TEST = changed("tests/test_shop.py")
DOCS = changed("README.md")


def parts(*files: ChangedFile) -> dict[str, int]:
    return {part.name: part.points for part in risk(files).parts}


@pytest.mark.parametrize(
    ("lines", "points"),
    [(50, None), (51, 5), (200, 5), (201, 12), (400, 12), (401, 20), (1000, 20), (1001, 25)],
)
def test_size(lines: int, points: int | None) -> None:
    assert parts(changed("docs/a.md", lines - 10, 10)).get("size") == points


@pytest.mark.parametrize(("count", "points"), [(3, None), (4, 5), (10, 5), (11, 10), (30, 10), (31, 15)])
def test_files(count: int, points: int | None) -> None:
    assert parts(*(changed(f"docs/{n}.md", 1) for n in range(count))).get("files") == points


@pytest.mark.parametrize(
    ("files", "name", "points"),
    [
        ([changed("shop/cart.py")], "tests", 15),
        ([changed("shop/cart.py"), TEST], "tests", -10),
        ([changed("src/cart.ts"), changed("src/cart.test.ts")], "tests", -10),
        ([changed("pkg/cart.go"), changed("pkg/cart_test.go")], "tests", -10),
        ([changed("Shop/Cart.cs"), changed("Shop.Tests/CartTests.cs")], "tests", -10),
        ([changed("shop/latest.py"), changed("contest/a.py")], "tests", 15),
        ([DOCS], "tests", None),
        ([TEST], "tests", None),
        # Taking a test away is not testing.
        ([changed("shop/cart.py"), changed("tests/test_a.py", status="removed")], "tests", 15),
        ([changed("tests/test_a.py", status="removed"), TEST], "removed tests", 15),
        ([changed("shop/cart.py", status="removed")], "removed files", 5),
        ([changed("pyproject.toml")], "dependencies", 15),
        ([changed("web/package.json"), changed("web/package-lock.json")], "dependencies", 15),
        ([changed("uv.lock")], "dependencies", 10),
        ([changed("requirements-dev.txt")], "dependencies", 15),
        ([changed(".github/workflows/ci.yml")], "continuous integration", 25),
        ([changed("docs/.github/workflows.md")], "continuous integration", None),
        ([changed("CODEOWNERS")], "protected files", 25),
        ([changed("CLAUDE.md")], "protected files", 25),
        ([changed(".mcp.json")], "protected files", 25),
        ([changed(".gitmodules")], "protected files", 25),
        ([changed("shop/auth/views.py")], "authentication and secrets", 20),
        ([changed("shop/author.py")], "authentication and secrets", None),
        ([changed("shop/tokenizer.py")], "authentication and secrets", None),
        ([changed("shop/migrations/0002_add.py")], "migrations", 20),
        ([changed("Dockerfile.prod")], "deployment", 15),
        ([changed("infra/main.tf")], "deployment", 15),
        # A file that is moved away is touched where it was.
        ([changed("ci.yml", status="renamed", previous_path=".github/workflows/ci.yml")], "continuous integration", 25),
    ],
)  # fmt: skip
def test_parts(files: list[ChangedFile], name: str, points: int | None) -> None:
    assert parts(*files).get(name) == points


def test_lines_of_lock_files_are_no_size() -> None:
    assert "size" not in parts(changed("package-lock.json", 9_000, 8_000))


def test_a_kind_of_path_counts_once_and_names_its_files() -> None:
    found = risk([changed(f".github/workflows/{n}.yml") for n in range(5)])
    (part,) = [p for p in found.parts if p.name == "continuous integration"]
    assert part.points == 25
    assert part.why == ".github/workflows/0.yml, .github/workflows/1.yml, .github/workflows/2.yml and 2 more"


def test_the_score_is_the_sum_of_its_parts() -> None:
    found = risk([changed("shop/cart.py", 300), changed("pyproject.toml"), TEST])
    assert found.score == sum(p.points for p in found.parts) == 12 - 10 + 15


PATHS = st.sampled_from(
    ["a.py", "tests/a.py", "uv.lock", "setup.py", ".github/workflows/a.yml", "auth/a.py", "db/migrate/1.rb", "deploy/a.tf", "CLAUDE.md", "b.md"]
)  # fmt: skip
FILES = st.lists(
    st.builds(
        changed,
        PATHS,
        st.integers(0, 5_000),
        st.integers(0, 5_000),
        status=st.sampled_from(["added", "removed"]),
    ),
    max_size=60,
)


@given(FILES)
def test_the_score_is_bounded_and_explained(files: list[ChangedFile]) -> None:
    found = risk(files)
    assert 0 <= found.score <= 100
    assert found.score == min(100, max(0, sum(p.points for p in found.parts)))
    assert all(part.why and part.points for part in found.parts)
    assert risk(files[::-1]).score == found.score


def test_nothing_changed_is_no_risk() -> None:
    assert risk([]).score == 0
    assert risk([changed("shop/cart.py"), TEST]).score == 0

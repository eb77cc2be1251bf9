"""What a review reads beyond a snapshot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_detail_calls import MOST_FILE_PAGES
from airflow_provider_agents.hooks.github_review_calls import (
    description,
    diff_lines,
    own_reviews,
    same_login,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = "a" * 40


class Transport:
    def __init__(self, *pages: Any) -> None:
        self.pages = pages
        self.asked: list[str] = []

    async def read(self, path: str, operation: Any, params: Mapping[str, str] | None = None) -> Any:
        page = int((params or {}).get("page", "1"))
        self.asked.append(f"{path} {page}")
        return self.pages[min(page, len(self.pages)) - 1]


def client(*pages: Any) -> Any:
    return SimpleNamespace(_transport=Transport(*pages))


async def test_the_description_and_where_the_head_is() -> None:
    made = client({"body": "Why", "head": {"repo": {"full_name": "mona/shop"}}})
    found = await description(made, "acme/shop", 7)
    assert (found.body, found.head_repository) == ("Why", "mona/shop")
    assert made._transport.asked == ["/repos/acme/shop/pulls/7 1"]
    deleted = await description(client({"body": None, "head": {"repo": None}}), "acme/shop", 7)
    assert (deleted.body, deleted.head_repository) == ("", "")


async def test_every_page_of_the_files_is_read() -> None:
    full = [{"filename": f"f{n}", "patch": "@@ -0,0 +1 @@\n+x"} for n in range(100)]
    made = client(full, [{"filename": "last", "patch": "@@ -0,0 +5 @@\n+x"}, {"filename": "logo.png"}, "odd"])
    found = await diff_lines(made, "acme/shop", 7)
    assert len(found) == 101
    assert found["last"] == {5}
    assert "logo.png" not in found


async def test_pages_end() -> None:
    made = client([{"filename": "f", "patch": ""}] * 100)
    await diff_lines(made, "acme/shop", 7)
    assert len(made._transport.asked) == MOST_FILE_PAGES


@pytest.mark.parametrize("read", [diff_lines, lambda *of: own_reviews(*of, "bot")])
async def test_an_answer_that_is_no_list_is_not_an_empty_one(read: Any) -> None:
    """Without our own reviews in view the same one would be posted twice."""
    with pytest.raises(ForgeUnavailableError, match="no list"):
        await read(client({"message": "odd"}), "acme/shop", 7)


async def test_only_our_own_marked_reviews_count() -> None:
    marked = f"Fine. <!-- agents review head={HEAD} -->"

    def review(login: str, body: str = marked, at: str | None = "2026-01-02T12:00:00Z") -> dict[str, Any]:
        return {"user": {"login": login}, "body": body, "submitted_at": at}

    reviews = [review("stranger"), review("bot[bot]", "By hand"), review("bot[bot]", at=None)]
    assert await own_reviews(client(reviews), "acme/shop", 7, "bot") == {}
    found = await own_reviews(client([*reviews, review("Bot[bot]")]), "acme/shop", 7, "bot")
    assert [(head, at.isoformat()) for head, at in found.items()] == [(HEAD, "2026-01-02T12:00:00+00:00")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("mona", "Mona", True), ("bot[bot]", "bot", True), ("mona", "lisa", False), ("", "", False)],
)
def test_logins(one: str, other: str, same: bool) -> None:
    assert same_login(one, other) is same

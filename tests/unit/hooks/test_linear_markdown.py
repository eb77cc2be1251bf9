from __future__ import annotations

import pytest

from airflow_provider_agents.hooks.linear_markdown import MOST_BYTES, linear_markdown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**Working.** [run](https://a.test)", "**Working.** [run](https://a.test)"),
        (
            "a\n\n<details><summary>Plan</summary>\n\n- b\n\n</details>\n\n<sub>run `x`</sub>",
            "a\n\n+++ Plan\n\n- b\n\n+++\n\nrun `x`",
        ),
        ("<!-- hidden\nmarker -->a", "a"),
        # What stands in a section cannot end it.
        (
            "<details><summary>Plan</summary>\n+++\nb\n+++ c\n</details>",
            "+++ Plan\n\\+++\nb\n\\+++ c\n+++",
        ),
        ("a <details><summary>b</summary>", "a <details><summary>b</summary>"),
        (
            "https://linear.app/acme/profiles/ada and linear.app/acme/issue/ENG-1",
            "https://linear.app/acme/\u2060profiles/ada and linear.app/acme/issue/ENG-1",
        ),
    ],
)
def test_it_is_written_as_linear_shows_it(text: str, shown: str) -> None:
    assert linear_markdown(text) == shown


def test_a_long_text_is_cut_with_a_notice() -> None:
    shown = linear_markdown("ä" * MOST_BYTES)
    assert len(shown.encode()) < MOST_BYTES + 100
    assert "bytes left out" in shown

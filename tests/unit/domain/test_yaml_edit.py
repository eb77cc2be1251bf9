"""One value is put into a file, and nothing else of it changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.yaml_edit import put_yaml
from airflow_provider_agents.domain.yaml_source import load_yaml

PATH = ("repositories", "acme/shop", "merge_method")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "repositories:\n  acme/shop:\n    merge_method: rebase\n"),
        ("# ours\n", "# ours\nrepositories:\n  acme/shop:\n    merge_method: rebase\n"),
        (
            "repositories:\n  acme/shop:\n    lfs: true  # big\n\ndefaults:\n  draft: true\n",
            "repositories:\n  acme/shop:\n    lfs: true  # big\n    merge_method: rebase\n\ndefaults:\n  draft: true\n",
        ),
        (
            "repositories:\n    acme/*:\n        lfs: true\n    Acme/Shop:\n        merge_method: squash\n        lfs: on\n",
            "repositories:\n    acme/*:\n        lfs: true\n    Acme/Shop:\n        merge_method: rebase\n        lfs: on\n",
        ),
        (
            "repositories:\n  acme/shop:\n    merge_method:\n      - a\n      # b\n      - c\n    lfs: true\n",
            "repositories:\n  acme/shop:\n    merge_method: rebase\n    lfs: true\n",
        ),
        ("repositories:\n", "repositories:\n  acme/shop:\n    merge_method: rebase\n"),
        ("a: |\n  repositories:\n    x\n", "a: |\n  repositories:\n    x\nrepositories:\n  acme/shop:\n    merge_method: rebase\n"),
    ],
)  # fmt: skip
def test_a_value_is_put_in(text: str, wanted: str) -> None:
    assert put_yaml(text, PATH, "rebase") == wanted
    assert put_yaml(wanted, PATH, "rebase") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "repositories: {acme/shop: {lfs: true}}\n",
        "repositories:\n  acme/shop: {lfs: true}\n",
        "repositories: 5\n",
        "a: [\n",
    ],
)
def test_what_cannot_be_changed_by_lines_is_left_to_a_person(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be put in"):
        put_yaml(text, PATH, "rebase")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40))
def test_any_text_can_be_a_value(value: str) -> None:
    edited = put_yaml("a:\n  b: 1\n", ("a", "c"), value)
    assert load_yaml(edited, "x").value == {"a": {"b": 1, "c": value}}

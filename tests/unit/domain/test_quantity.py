"""Quantities of Kubernetes: halves for requests, doubles after memory ran out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.quantity import half, raised, size


@pytest.mark.parametrize(
    ("memory", "ceiling", "more"),
    [
        ("8Gi", "16Gi", "16Gi"),
        ("8Gi", "12Gi", "12Gi"),
        ("16Gi", "16Gi", None),
        ("20Gi", "16Gi", None),
        ("512Mi", "16Gi", "1024Mi"),
        ("1.5Gi", "16Gi", "3Gi"),
        ("8G", "16Gi", "16G"),
        ("1000000000", "16Gi", "2000000000"),
    ],
)
def test_more_memory_up_to_a_ceiling(memory: str, ceiling: str, more: str | None) -> None:
    assert raised(memory, ceiling) == more


@pytest.mark.parametrize("text", ["", "much", "8GB", "8m"])
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        raised(text, "16Gi")


quantities = st.builds("{}{}".format, st.integers(1, 4096), st.sampled_from(["Mi", "Gi", "Ti", "M", "G"]))


@given(quantities, quantities)
def test_more_is_more_and_within_the_ceiling(memory: str, ceiling: str) -> None:
    more = raised(memory, ceiling)
    if more is None:
        assert size(memory) >= size(ceiling)
    else:
        assert size(memory) < size(more) <= size(ceiling)


@given(quantities)
def test_half_is_half(memory: str) -> None:
    assert size(half(memory)) == pytest.approx(size(memory) / 2, rel=1e-3)

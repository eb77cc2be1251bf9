"""Label and field selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.local.api_errors import ApiError
from airflow_provider_agents.local.selectors import Selector, parse_fields, parse_labels

LABELS = {"app": "agents", "tier": "base", "agents.airflow/run": "r1", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("app=agents", True),
        ("app==agents", True),
        ("app = agents", True),
        ("app=other", False),
        ("app!=other", True),
        ("app!=agents", False),
        ("absent!=agents", True),
        ("absent=", False),
        ("empty=", True),
        ("app in (agents, other)", True),
        ("app in (other)", False),
        ("absent in (agents)", False),
        ("app notin (other)", True),
        ("app notin (agents,other)", False),
        ("absent notin (agents)", True),
        ("app", True),
        ("absent", False),
        ("!absent", True),
        ("!app", False),
        ("agents.airflow/run=r1,tier", True),
        ("app in (agents,other),tier notin (x,y),!absent", True),
        ("app in (agents,other),tier notin (base,y)", False),
        ("kubernetes_pod_operator=True,already_checked!=True,!airflow-worker", False),
        ("already_checked!=True,!airflow-worker", True),
    ],
)
def test_labels(selector, selected):
    assert Selector.parse("pods", selector, "").matches({"metadata": {"labels": LABELS}}) is selected


@pytest.mark.parametrize(
    "selector", ["a=b=c", "=x", "a in b", "a in (b", "a b", "-a=b", "a=-b-", "a,,b", "a in (b,/)"]
)
def test_what_is_no_label_selector(selector):
    with pytest.raises(ApiError, match="requirement") as caught:
        parse_labels(selector)
    assert caught.value.code == 400


key = st.from_regex(r"[a-z]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda text: text not in ("in", "notin")
)
value = st.from_regex(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?)?", fullmatch=True)


@given(key, st.sets(value, min_size=1, max_size=4), st.dictionaries(key, value, max_size=4), st.booleans())
def test_sets_and_their_complements_exclude_each_other(name, values, labels, present):
    if present:
        labels = labels | {name: next(iter(values))}
    joined = ",".join(values)
    item = {"metadata": {"labels": labels}}
    inside = Selector.parse("pods", f"{name} in ({joined})", "").matches(item)
    outside = Selector.parse("pods", f"{name} notin ({joined})", "").matches(item)
    assert inside is (labels.get(name) in values)
    assert inside is not outside


@given(st.dictionaries(key, value, min_size=1, max_size=5))
def test_equality_with_all_labels_selects(labels):
    selector = Selector.parse("pods", ",".join(f"{name}={text}" for name, text in labels.items()), "")
    assert selector.matches({"metadata": {"labels": labels}})
    first = next(iter(labels))
    assert not selector.matches({"metadata": {"labels": labels | {first: labels[first] + "x"}}})


POD = {"metadata": {"name": "a", "namespace": "n"}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True), ("metadata.name=a", True), ("metadata.name==b", False), ("status.phase!=Running", False),
        ("status.phase=Running,metadata.namespace=n", True), ("spec.nodeName=", True),
    ],
)  # fmt: skip
def test_fields(selector, selected):
    assert Selector.parse("pods", "", selector).matches(POD) is selected


@pytest.mark.parametrize("selector", ["spec.containers=x", "metadata.name", "involvedObject.name=a"])
def test_what_is_no_field_selector(selector):
    with pytest.raises(ApiError) as caught:
        parse_fields(selector, "pods")
    assert caught.value.code == 400

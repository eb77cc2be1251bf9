from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, BaseOperator
from fakes import TaskInstance, context

from airflow_provider_agents.operators.pulled import Pulled, values_of


class Reader(BaseOperator):
    template_fields = ("value",)

    def __init__(self, *, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value


def read(value: Any, **xcoms: Any) -> Any:
    with DAG("d", schedule=None):
        reader = Reader(task_id="reader", value=value)
    run = context(TaskInstance("reader", xcoms=xcoms))
    reader.render_template_fields(run)
    return reader.value


def test_a_value_keeps_its_type_and_is_not_rendered_again() -> None:
    pushed = {"body": "{{ 7*7 }}", "list": [1, {"x": None}]}
    assert read(Pulled("other"), **{"other:return_value": pushed}) == pushed


def test_another_key() -> None:
    assert read(Pulled("other", "feedback"), **{"other:feedback": "{{ 7*7 }}"}) == "{{ 7*7 }}"


def test_it_works_inside_of_lists() -> None:
    assert read([Pulled("a"), Pulled("b")], **{"a:return_value": 1}) == [1, None]


def test_a_task_that_pushed_nothing() -> None:
    assert read(Pulled("other")) is None


def test_it_draws_no_edge() -> None:
    with DAG("d", schedule=None):
        source = BaseOperator(task_id="source")
        reader = Reader(task_id="reader", value=Pulled("source"))
    assert reader.upstream_task_ids == set()
    assert source.downstream_task_ids == set()


def test_it_says_what_it_is() -> None:
    assert repr(Pulled("a.b", "feedback")) == "feedback of a.b"


def test_a_task_that_did_not_run_after_a_clear_left_nothing() -> None:
    ti = TaskInstance("reader", xcoms={"a:return_value": 1, "b:return_value": 2, "c:return_value": 3})
    ti.states = {"a": "skipped", "b": "upstream_failed", "c": "success"}
    assert values_of(context(ti), ["a", "b", "c", "d"]) == {"c": 3, "d": None}
    assert values_of(context(ti), []) == {}
    assert Pulled("a").resolve(context(ti)) is None
    assert Pulled("c").resolve(context(ti)) == 3

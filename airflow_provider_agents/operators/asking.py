"""How a running task asks a person, and waits without a worker.

The question stands on Airflow's page of required actions; the answer resumes the task. In between the task
may wait on a trigger of its own, or be woken to look again: neither answers the question, nor asks it twice.

What Airflow 3.3 does, which this rests on: an answer resumes a task that is ``awaiting_input`` or
``deferred``. A wait that ends without an answer, of a question without defaults, resumes with a ``timeout``
event and leaves the question open. Parking finds an answer that came while the task was running; deferring does
not, which is why a trigger has to look for it (:func:`.ticket_comments.given_answer`).

A question that is written again loses its answer and *keeps its old text*, over retries and clears too: the
page of a task goes on to show the first question that it ever asked. So a question is written once while it
is open; and an option that consents to something (:attr:`.people.Option.binding`) counts only if what it
consents to is what the page shows, or if its author typed the code of the newest facts, which stands where
the newest state does: in the comment on the forge, and in the log.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlencode

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_provider_agents.domain.people import Answer, InputField
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from uuid import UUID

    from airflow.sdk import BaseOperator, Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_agents.domain.people import Question

CONFIRM = "confirm"
"""Name of the form's field for the code of the newest facts."""
PAGE_KEY = "question_page"
"""Task state: code of the question that the page shows. Without a generation: the page outlives clears."""


def ask(
    operator: BaseOperator,
    context: Context,
    question: Question,
    *,
    method_name: str,
    look_again: timedelta | None = None,
    trigger: BaseTrigger | None = None,
) -> NoReturn:
    """Put the question to people and let go of the worker. Does not return.

    Call it again, with the same question, whenever the task woke up and still has to wait. Another question
    takes the place of the first; Airflow goes on to show the first one's text, so the text should say where
    the newest state is.

    :param method_name: method of the operator that takes over, with the event: hand it to :func:`take_answer`.
    :param look_again: how long to wait at most before the task is resumed to look for itself; only without a
        trigger, which has its own deadline: Airflow fails a deferred task that it wakes for a timeout.
    :param trigger: what to wait on beside the answer; it looks for an answer too, see the module. Without
        one the task waits as Airflow's own operators do.
    """
    if trigger is not None and look_again is not None:
        raise ValueError("look_again is for a wait without a trigger; give the trigger a deadline")
    _show_question(operator, context, question)
    if trigger is not None:
        operator.defer(trigger=trigger, method_name=method_name)
    raise TaskAwaitingInput(method_name=method_name, timeout=look_again)


def take_answer(
    operator: BaseOperator, context: Context, event: Mapping[str, Any] | None, question: Question
) -> Answer | None:
    """Return the answer to ``question``, if there is one, and store it before anything is done with it.

    An answer of the page counts once, and for the question that is open. One that consents to something that
    its author was not shown is refused, and the question is put again by the next :func:`ask`.

    :param event: what the task was resumed with; ``None`` at the start of a try, which finds the answer that
        an earlier try took.
    """
    stored = recall(context, _key(operator, context, "answer")) or {}
    if isinstance(stored.get(question.key), dict):
        return Answer.from_dict(stored[question.key])
    asked = recall(context, _key(operator, context, "asked"))
    # Without an open question the event's answer was taken already.
    if not asked or not (event or {}).get("chosen_options"):
        return None
    answer = answer_of(event, question)
    if answer is not None and (not question.binds(answer.option) or _was_shown(question, answer, asked)):
        store_answer(operator, context, answer)
        return answer
    operator.log.warning(
        "%s answers an earlier state of the question; it is put again. Code of the newest state: %s.",
        f"{answer.by}'s {answer.option!r}" if answer else "What was chosen",
        question.code,
    )
    # Airflow would go on to resume the task with it.
    remember(context, _key(operator, context, "asked"), {})
    return None


def store_answer(operator: BaseOperator, context: Context, answer: Answer) -> None:
    """Keep an answer over retries, e.g. one that was given on the forge."""
    key = _key(operator, context, "answer")
    remember(context, key, {**(recall(context, key) or {}), answer.key: answer.to_dict()})
    # The next question of this try must clear the answer that Airflow has.
    remember(context, _key(operator, context, "asked"), {})


def answer_of(event: Mapping[str, Any] | None, question: Question) -> Answer | None:
    """Return the answer in the event that a task was resumed with; ``None`` where it is something else.

    What nobody of flesh and blood chose is no answer, and neither is an option of another question.
    """
    chosen = list((event or {}).get("chosen_options") or ())
    if event is None or len(chosen) != 1 or chosen[0] not in question.option_names:
        return None
    user = event.get("responded_by_user")
    if event.get("timedout") or user is None:
        return None
    name = user.get("name") or user.get("id") if hasattr(user, "get") else getattr(user, "name", None)
    known = {each.name for each in question.fields} | {CONFIRM}
    values = {key: value for key, value in dict(event.get("params_input") or {}).items() if key in known}
    return Answer(
        key=question.key,
        option=chosen[0],
        fields=values,
        by=str(name or "somebody"),
        at=_moment(event.get("responded_at")),
    )


def form_link(
    context: Context, option: str | None = None, values: Mapping[str, str] | None = None
) -> str | None:
    """Return the address of the question's form, with an option chosen and fields filled in.

    ``None`` where ``[api] base_url`` is not set: nobody knows the address then.

    :param option: name of the option.
    :param values: field name → value.
    """
    base = conf.get("api", "base_url", fallback=None)
    if not base:
        return None
    ti = context["ti"]
    path = "/".join(
        quote(str(part), safe="")
        for part in ("dags", ti.dag_id, "runs", ti.run_id, "tasks", ti.task_id, "required_actions")
    )
    # The page reads the options as JSON, which Airflow 3.3's own link does not write.
    query = {"_options": json.dumps([option])} if option else {}
    query |= {"map_index": str(ti.map_index)} if ti.map_index is not None and ti.map_index >= 0 else {}
    query |= dict(values or {})
    return f"{base.rstrip('/')}/{path}" + (f"?{urlencode(query)}" if query else "")


def form_fields(fields: tuple[InputField, ...]) -> dict[str, dict[str, Any]]:
    """Return fields as Airflow's form takes them."""
    from airflow.sdk import Param

    return {each.name: Param(each.default, **_schema(each)).serialize() for each in fields}


def _schema(field: InputField) -> dict[str, Any]:
    schema: dict[str, Any] = {"title": field.title}
    if field.description:
        schema["description"] = field.description
    if field.kind == "boolean":
        return {**schema, "type": "boolean"}
    if field.kind == "choice":
        return {**schema, "type": "string", "enum": list(field.choices)}
    # Empty is an answer too.
    schema["type"] = ["null", "string"]
    return {**schema, "format": "multiline"} if field.kind == "multiline" else schema


def _show_question(operator: BaseOperator, context: Context, question: Question) -> None:
    """Write the question where people see it, unless it stands there already."""
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    ti_id: UUID = context["ti"].id
    if (page := recall(context, PAGE_KEY)) is None:
        # Before the question is written: a page of which nobody knows what it shows binds nobody.
        page = question.code
        remember(context, PAGE_KEY, page)
    mark = {"ti_id": str(ti_id), "key": question.key, "code": question.code, "page": page}
    key = _key(operator, context, "asked")
    if recall(context, key) == mark:
        return
    if page != question.code:
        operator.log.info("The page shows an older question. This is the newest, code %s:", question.code)
        operator.log.info("%s\n\n%s", question.subject, question.body)
    upsert_hitl_detail(
        ti_id=ti_id,
        options=list(question.option_names),
        subject=question.subject,
        body=_page_text(question),
        multiple=False,
        params=form_fields(_page_fields(question)),
    )
    remember(context, key, mark)


def _was_shown(question: Question, answer: Answer, asked: Mapping[str, Any]) -> bool:
    """Say whether who answered knew what the answer consents to."""
    return question.code in (asked["page"], answer.text(CONFIRM)) and asked["code"] == question.code


def _page_text(question: Question) -> str:
    if not any(option.binding for option in question.options):
        return question.body
    note = f"State `{question.code}`. Where the newest state has another code, this page is older than that."
    return f"{question.body}\n\n---\n{note}"


def _page_fields(question: Question) -> tuple[InputField, ...]:
    if not any(option.binding for option in question.options):
        return question.fields
    confirm = InputField(
        name=CONFIRM,
        title="Code",
        description="Only where this page is older than the newest state: the code of that.",
    )
    return (*question.fields, confirm)


def _key(operator: BaseOperator, context: Context, what: str) -> str:
    return f"{what}_{generation(operator, context)}"


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else datetime.now(tz=UTC)

"""Asks a model of another vendor for a rule's decision, by the hooks of Airflow's common-ai provider.

The answer comes from a tool that must be called, which all vendors' models have; one request is one question, and an
answer that does not fit is none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_runner.contract import Tokens
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.pr_rule_asking import Asking
from airflow_provider_agents.hooks.pr_rule_message import TOO_LONG, TOOL
from airflow_provider_agents.hooks.pr_rule_prices import QuestionPrices
from airflow_provider_agents.hooks.pr_rule_refinements import KNOWN
from airflow_provider_agents.hooks.pr_rule_reply import (
    Reply,
    Secrets,
    one_line,
    root_cause,
    status_detail,
    status_fault,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
    from pydantic_ai import Agent
    from pydantic_ai.exceptions import ModelHTTPError
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.settings import ModelSettings

    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_decision import ModelCall
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt

EXTRA = "pip install 'airflow-provider-agents[common-ai]'"


class CommonAiRuleModel:
    """A model behind a connection of type ``pydanticai…``.

    :param conn_id: of the connection.
    :param rule: whose questions are asked.
    :param model: name, perhaps with its vendor in front (``openai:gpt-5.5``); empty: the connection's.
    :raises InvalidInputError: the extra is not installed, or the connection cannot be used.
    """

    def __init__(self, conn_id: str, rule: PullRequestRule, model: str = "") -> None:
        try:
            from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
        except ImportError as error:
            fault = (
                f"the connection {conn_id!r} needs the extra `common-ai` ({one_line(error)}): run {EXTRA} where tasks "
                "run, or name a connection of type `anthropic`"
            )
            raise InvalidInputError([fault]) from None
        self._conn_id = conn_id
        connection = PydanticAIHook.get_connection(conn_id)
        self._secrets = Secrets(_secret_values(connection.password, connection.extra_dejson))
        try:
            hook = PydanticAIHook.get_hook(conn_id, hook_params={"model_id": model or None})
            name = hook.get_conn().model_name
        except Exception as error:
            fault = self._secrets.told(error)
        else:
            fault = ""
        if fault:
            raise InvalidInputError([f"the connection {conn_id!r} cannot be used for rules: {fault}"])
        self._hook: PydanticAIHook = hook
        self._asking = Asking(rule=rule, model=name, prices=QuestionPrices())

    def __repr__(self) -> str:
        return f"CommonAiRuleModel(connection={self._conn_id!r}, model={self.name!r})"

    @property
    def name(self) -> str:
        """Return the model's name, without the vendor's."""
        return self._asking.model

    def most_usd(self, prompt: RulePrompt) -> float:
        """Return what one question may cost at the most."""
        return self._asking.most_usd(prompt)

    def ask(self, prompt: RulePrompt) -> ModelCall:
        """Ask once, within the rule's ``model.timeout``."""
        return self._asking.ask(prompt, lambda: self._adapted(prompt))

    async def _adapted(self, prompt: RulePrompt) -> Reply:
        """Send, and once more without a temperature where the model takes none."""
        from pydantic_ai import capture_run_messages
        from pydantic_ai.exceptions import ModelHTTPError
        from pydantic_ai.usage import UsageLimits

        agent = self._agent(prompt)
        while True:
            settings = self._settings()
            with capture_run_messages() as messages:
                try:
                    result = await agent.run(
                        prompt.facts, model_settings=settings, usage_limits=UsageLimits(request_limit=1)
                    )
                    return self._ended(messages) or replace(_paid(messages), values=dict(result.output))
                except Exception as raised:
                    error = _decisive(raised)
                    if (
                        isinstance(error, ModelHTTPError)
                        and "temperature" in settings
                        and KNOWN.refused(
                            self._conn_id,
                            self.name,
                            error.status_code,
                            _words(error.body),
                            frozenset({"temperature"}),
                        )
                    ):
                        continue
                    return self._failure(error, messages)

    def _agent(self, prompt: RulePrompt) -> Agent[object, Any]:
        from pydantic_ai import StructuredDict, ToolOutput

        answer = StructuredDict(dict(prompt.schema), name=TOOL, description="Give your decision.")
        return self._hook.create_agent(
            # Not the library's choice: for some models it reads the answer out of a text, fences and all.
            output_type=ToolOutput(answer, name=TOOL),
            instructions=f"{prompt.contract}\n\n{prompt.rule}",
            retries=0,
        )

    def _settings(self) -> ModelSettings:
        options = self._asking.rule.model
        settings: ModelSettings = {
            "max_tokens": options.max_tokens,
            "timeout": options.timeout,
            # Repetitions are ours: a vendor's library would sleep for as long as a header says.
            "max_retries": 0,
        }
        if options.temperature is not None and "temperature" in KNOWN.of(self._conn_id, self.name):
            settings["temperature"] = options.temperature
        return settings

    def _failure(self, error: Exception, messages: list[ModelMessage]) -> Reply:
        """Return what it means that there is no answer of the form."""
        from pydantic_ai.exceptions import (
            ContentFilterError,
            ModelAPIError,
            ModelHTTPError,
            UnexpectedModelBehavior,
        )

        paid = _paid(messages)
        match error:
            case ModelHTTPError():
                return self._refusal(error)
            case ModelAPIError():
                return self._unreachable(error)
            case ContentFilterError():
                return replace(
                    paid, fault="refused", detail=f"the model refuses to answer: {self._told(error)}"
                )
            case UnexpectedModelBehavior():
                return self._ended(messages) or replace(
                    paid,
                    fault="malformed",
                    detail=f"the answer is not of the form asked for: {self._told(error)}",
                )
            case _:
                why = self._told(root_cause(error))
                where = f"the answer of the API of the connection {self._conn_id!r}"
                return replace(paid, fault="malformed", detail=f"{where} cannot be read ({why})")

    def _ended(self, messages: list[ModelMessage]) -> Reply | None:
        """Return why the last answer is not complete; ``None``: it is."""
        last = next(_responses(reversed(messages)), None)
        if last is not None and last.finish_reason == "length":
            return replace(_paid(messages), fault="truncated", detail=TOO_LONG)
        if last is not None and last.finish_reason == "content_filter":
            return replace(_paid(messages), fault="refused", detail="the model refuses to answer")
        return None

    def _unreachable(self, error: Exception) -> Reply:
        cause = root_cause(error)
        where = f"the API of the connection {self._conn_id!r}"
        if "timeout" in type(error).__name__.lower() or "Timeout" in cause:
            return Reply(fault="timeout", detail=f"{where} did not answer in time")
        return Reply(
            fault="unavailable",
            detail=f"{where} cannot be reached ({self._told(cause)}): correct the connection's host if that lasts",
        )

    def _refusal(self, error: ModelHTTPError) -> Reply:
        words = self._told(_words(error.body))
        headers = error.headers or {}
        return Reply(
            fault=status_fault(error.status_code, words),
            detail=status_detail(error.status_code, words, connection=self._conn_id, model=self.name),
            request_id=headers.get("request-id") or headers.get("x-request-id", ""),
            retry_after=error.retry_after,
            repeatable=headers.get("x-should-retry") != "false",
        )

    def _told(self, words: object) -> str:
        return self._secrets.told(words)


def _decisive(error: Exception) -> Exception:
    """Return the error that decides: of a chain of connections, all of which failed, that of the last."""
    while isinstance(error, ExceptionGroup) and error.exceptions:
        error = error.exceptions[-1]
    return error


def _responses(messages: Iterable[ModelMessage]) -> Iterator[ModelResponse]:
    from pydantic_ai.messages import ModelResponse

    return (message for message in messages if isinstance(message, ModelResponse))


def _paid(messages: list[ModelMessage]) -> Reply:
    """Return what the answers so far cost, whatever they say."""
    reply = Reply()
    for answer in _responses(messages):
        usage = answer.usage
        cached = usage.cache_read_tokens + usage.cache_write_tokens
        reply = replace(
            reply,
            tokens=reply.tokens
            + Tokens(
                input=max(0, usage.input_tokens - cached),
                output=usage.output_tokens,
                cache_read=usage.cache_read_tokens,
                cache_write=usage.cache_write_tokens,
            ),
            model=answer.model_name or "",
            request_id=answer.provider_response_id or "",
        )
    return reply


def _words(body: object) -> str:
    """Return what an API says, in the form that most have."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return str(inner["message"])
    return str(body or "")


def _secret_values(password: str | None, extra: object) -> Iterator[object]:
    """Yield what a connection keeps: the password, and every text of its extra that is named like a secret."""
    yield password
    if isinstance(extra, dict):
        for key, value in extra.items():
            if isinstance(value, dict):
                yield from _secret_values(None, value)
            elif any(word in str(key).lower() for word in ("key", "secret", "token", "password")):
                yield value

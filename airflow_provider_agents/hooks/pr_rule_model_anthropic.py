"""Asks a Claude model for a rule's decision, by the connection and the hook of Airflow's Anthropic provider.

The rule's part is marked for the prompt cache, the answer is asked for as structured output. A model, or a platform
in front of it, that does not take one of these is asked once more without it: the answer's form then comes from a
tool that must be called, with the same schema. Nothing is ever read out of prose.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from agent_runner.gateway.price_table import FALLBACK_ANTHROPIC
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.pr_rule_asking import Asking
from airflow_provider_agents.hooks.pr_rule_message import TOOL, read_message
from airflow_provider_agents.hooks.pr_rule_prices import QuestionPrices
from airflow_provider_agents.hooks.pr_rule_refinements import KNOWN
from airflow_provider_agents.hooks.pr_rule_reply import (
    Reply,
    Secrets,
    root_cause,
    status_detail,
    status_fault,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.providers.anthropic.hooks.anthropic import AnthropicHook, AsyncAnthropicClient
    from anthropic import APIStatusError

    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_decision import ModelCall
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt
    from airflow_provider_agents.hooks.pr_rule_refinements import Refinement


MOST_TO_CONNECT = 10.0
"""Seconds."""


class AnthropicRuleModel:
    """A Claude model behind a connection of type ``anthropic``.

    :param conn_id: of the connection.
    :param rule: whose questions are asked.
    :param model: name; empty: the connection's, or the hook's default.
    :raises InvalidInputError: the connection cannot be used.
    """

    def __init__(self, conn_id: str, rule: PullRequestRule, model: str = "") -> None:
        from airflow.providers.anthropic.hooks.anthropic import AnthropicHook

        self._conn_id = conn_id
        self._hook = AnthropicHook(conn_id=conn_id)
        # The connection is read here: the client is made in an event loop, where Airflow must not be asked.
        self._secrets = Secrets(_secret_values(self._hook))
        if any(not letter.isprintable() for letter in self._hook._connection.password or ""):
            fault = f"the password of the connection {conn_id!r} holds a line break: store the key again without it"
            raise InvalidInputError([fault])
        with self._usable():
            name = self._hook._resolve_model(model or None)
        self._asking = Asking(rule=rule, model=name, prices=QuestionPrices(FALLBACK_ANTHROPIC))

    def __repr__(self) -> str:
        return f"AnthropicRuleModel(connection={self._conn_id!r}, model={self.name!r})"

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self._asking.model

    def most_usd(self, prompt: RulePrompt) -> float:
        """Return what one question may cost at the most."""
        return self._asking.most_usd(prompt)

    def ask(self, prompt: RulePrompt) -> ModelCall:
        """Ask once, within the rule's ``model.timeout``.

        :raises InvalidInputError: the connection cannot be used.
        """
        return self._asking.ask(prompt, lambda: self._adapted(prompt))

    async def _adapted(self, prompt: RulePrompt) -> Reply:
        """Send, and once more for each refinement that is refused."""
        from anthropic import APIStatusError

        with self._usable():
            client = await self._hook.get_async_conn()
        # Repetitions are ours: the library's would sleep for as long as a header says.
        client.max_retries = 0
        try:
            while True:
                refinements = KNOWN.of(self._conn_id, self.name)
                try:
                    return read_message(await self._send(client, prompt, refinements))
                except APIStatusError as error:
                    if not KNOWN.refused(
                        self._conn_id, self.name, error.status_code, _words(error), refinements
                    ):
                        return self._refusal(error)
        except InvalidInputError:
            raise
        except Exception as error:
            return self._failure(error)
        finally:
            # Not of interest any more, and no reason to lose an answer.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await client.close()

    def _failure(self, error: Exception) -> Reply:
        """Return what it means that there is no answer of the API, whichever library under it says so."""
        from anthropic import APIConnectionError, APITimeoutError

        where = f"the API of the connection {self._conn_id!r}"
        why = self._secrets.told(root_cause(error))
        if isinstance(error, APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout":
            return Reply(fault="timeout", detail=f"{where} did not answer in time")
        if isinstance(error, APIConnectionError):
            return Reply(
                fault="unavailable",
                detail=f"{where} cannot be reached ({why}): correct the connection's host if that lasts",
            )
        return Reply(fault="malformed", detail=f"the answer of {where} cannot be read ({why})")

    async def _send(
        self, client: AsyncAnthropicClient, prompt: RulePrompt, refinements: frozenset[Refinement]
    ) -> object:
        from anthropic import Timeout

        options = self._asking.rule.model
        request: dict[str, Any] = {
            "model": self.name,
            "max_tokens": options.max_tokens,
            "system": [
                {"type": "text", "text": prompt.contract},
                {"type": "text", "text": prompt.rule, "cache_control": {"type": "ephemeral"}},
            ],
            "messages": [{"role": "user", "content": prompt.facts}],
        }
        if options.temperature is not None and "temperature" in refinements:
            # The library has no parameter for what newer models do not take.
            request["extra_body"] = {"temperature": options.temperature}
        schema = _schema(prompt)
        if "structured output" in refinements:
            request["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        else:
            request["tools"] = [{"name": TOOL, "description": "Give your decision.", "input_schema": schema}]
            request["tool_choice"] = {"type": "tool", "name": TOOL, "disable_parallel_tool_use": True}
        # Whether anybody is there is known much sooner than the answer, and costs nothing.
        timeout = Timeout(options.timeout, connect=min(MOST_TO_CONNECT, options.timeout / 4))
        with self._usable():
            return await client.messages.create(**request, timeout=timeout)

    def _refusal(self, error: APIStatusError) -> Reply:
        words = self._secrets.told(_words(error))
        headers = error.response.headers
        return Reply(
            fault=status_fault(error.status_code, words),
            detail=status_detail(error.status_code, words, connection=self._conn_id, model=self.name),
            request_id=error.request_id or "",
            retry_after=_seconds(headers),
            repeatable=headers.get("x-should-retry") != "false",
        )

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn what the hook and its library say about a connection into one error, without the cause."""
        from airflow.providers.anthropic.exceptions import AnthropicError as HookError
        from anthropic import AnthropicError, APIError

        fault = ""
        try:
            yield
        except APIError:
            raise
        except (HookError, AnthropicError, ImportError) as error:
            fault = self._secrets.told(error)
        except TypeError as error:
            # How the library says that there is no credential at all.
            if "authentication" not in str(error):
                raise
            fault = "it has no key: put one into its password"
        if fault:
            raise InvalidInputError(
                [f"the connection {self._conn_id!r} cannot be used for rules: {fault}"]
            ) from None


def _schema(prompt: RulePrompt) -> dict[str, Any]:
    """Return the schema as the API takes it: what it does not know stands in descriptions."""
    from anthropic import transform_schema

    return transform_schema(dict(prompt.schema))


def _words(error: APIStatusError) -> str:
    """Return what the API says; where it is no JSON of its own, what a proxy says."""
    return error.api_message or (str(error.body) if error.body else error.message)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the API wants to be left alone, where it names seconds."""
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after"]))
    return None


def _secret_values(hook: AnthropicHook) -> list[object]:
    connection = hook._connection
    kwargs = connection.extra_dejson.get("anthropic_client_kwargs", {})
    found: list[object] = [connection.password]
    if isinstance(kwargs, dict):
        found += [value for key, value in kwargs.items() if key in ("api_key", "auth_token")]
        found += list((kwargs.get("default_headers") or {}).values())
    return found

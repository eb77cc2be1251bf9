"""What the operators that talk to the forge share: the connection, retries, and how they fail."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from airflow_provider_agents import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from airflow_provider_agents.hooks.github_client import GitHubClient

T = TypeVar("T")

FORGE_RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[
                "airflow_provider_agents.exceptions.InvalidInputError",
                "airflow_provider_agents.exceptions.ForgeAccessError",
                "airflow_provider_agents.exceptions.TaskStoppedError",
            ],
            action=RetryAction.FAIL,
            reason="a person must act; repeating does not help",
        ),
    ]
)
"""Only what may pass by itself is tried again: the forge is away, or limits its rate."""


def forge_defaults(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Fill in the retries of an operator that talks to the forge."""
    kwargs.setdefault("retries", 3)
    kwargs.setdefault("retry_delay", timedelta(seconds=20))
    kwargs.setdefault("retry_policy", FORGE_RETRY_POLICY)
    return kwargs


class ForgeMixin:
    """Gives an operator the connection to its forge."""

    github_conn_id: str

    def ask_forge(self, repository: str, question: Callable[[GitHubClient], Coroutine[Any, Any, T]]) -> T:
        """Run ``question`` with a client of the connection, in this worker.

        :param repository: ``owner/name`` that it is about: the token of a GitHub App is made for that alone.
        """
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        return AgentsGitHubHook(self.github_conn_id, repository=repository).run(question)


def connection_id(given: str | None) -> str:
    """Return the connection id that was given, or the installation's default."""
    return given or settings.text("github_conn_id", "github_default")

"""How a rule asks a model: the contract of the ways to do it, and which one a connection stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule_decision import ModelCall
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt


class RuleModel(Protocol):
    """A model that can be asked what becomes of a pull request; for workers, outside an event loop."""

    @property
    def name(self) -> str:
        """Return the model's name, as prices know it."""

    def ask(self, prompt: RulePrompt) -> ModelCall:
        """Ask once; what goes wrong is in the result, nothing that may pass by itself is raised.

        :raises InvalidInputError: the connection is missing or cannot be used.
        """

    def most_usd(self, prompt: RulePrompt) -> float:
        """Return what one question may cost at the most, for the budget that is set aside before it."""

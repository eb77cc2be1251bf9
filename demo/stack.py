"""The whole system on one machine: stand-in GitHub, stand-in model, local pod runtime and a real Airflow."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Literal

from demo.forge_client import ForgeClient
from demo.hosts import ANTHROPIC_URL, OPENAI_URL, Hosts
from demo.local_stack import NAMESPACE, READY_SECONDS, SECRET, LocalStack

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NAMESPACE", "SECRET", "DemoStack"]


class DemoStack(LocalStack):
    """The local stack with a stand-in for GitHub, and with one for the models or the real ones.

    ::

        with DemoStack(folder) as stack:
            stack.forge.seed_repository("acme/app", sample)
            run_id = stack.trigger("coding_task", {"repository": "acme/app", "prompt": "…"})

    :param model: ``scripted``: the stand-in; ``real``: the APIs of Anthropic and OpenAI, which cost money.
    :param anthropic_api_key: credential of the real Anthropic API, or what the stand-in asks for.
    :param openai_api_key: the same of OpenAI's.
    :param model_arguments: more arguments for ``python -m demo.model``.
    :param forge_arguments: more arguments for ``python -m demo.github``.
    :param more: see :class:`LocalStack`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: Literal["scripted", "real"] = "scripted",
        anthropic_api_key: str = "",
        openai_api_key: str = "",
        model_arguments: tuple[str, ...] = (),
        forge_arguments: tuple[str, ...] = (),
        **more: Any,
    ) -> None:
        super().__init__(folder, **more)
        self.token = f"ghp_{secrets.token_hex(18)}"
        self.forge = ForgeClient("", self.token)
        self.model_url = ""
        """Root of the stand-in model; empty where the real ones are used."""
        self._scripted = model == "scripted"
        # The stand-in asks for keys, so that a gateway that does not add them, or mixes them up, is found out.
        self._anthropic_api_key = anthropic_api_key or ("sk-ant-stand-in" if self._scripted else "")
        self._openai_api_key = openai_api_key or ("sk-stand-in" if self._scripted else "")
        self._model_arguments = model_arguments
        self._forge_arguments = forge_arguments

    def mutations(self) -> list[dict[str, Any]]:
        """Return every change at the stand-in GitHub so far, in order."""
        return self.forge.mutations()

    def _find_hosts(self) -> Hosts:
        """Start the stand-ins."""
        github = self._part(
            "github", "demo.github", "--data", str(self.folder / "github"), "--token", self.token,
            *self._forge_arguments,
        )  # fmt: skip
        model = None
        if self._scripted:
            keys = ("--api-key", self._anthropic_api_key, "--openai-api-key", self._openai_api_key)
            model = self._part("model", "demo.model", *keys, *self._model_arguments)
        self.forge = ForgeClient(github.wait_ready(READY_SECONDS)["url"], self.token)
        if model:
            self.model_url = model.wait_ready(READY_SECONDS)["url"].rstrip("/")
        self._progress("Stand-ins are up")
        return Hosts(
            github_connection={
                "conn_type": "github",
                "host": f"{self.forge.url}/api/v3",
                "password": self.token,
            },
            github_token=self.token,
            anthropic_url=self.model_url or ANTHROPIC_URL,
            anthropic_api_key=self._anthropic_api_key,
            openai_url=self.model_url or OPENAI_URL,
            openai_api_key=self._openai_api_key,
        )

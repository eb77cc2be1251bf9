"""What the demo asks the local pod runtime: the Kubernetes API, and its ``/_local`` part."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from demo.http_json import call

if TYPE_CHECKING:
    from pathlib import Path


class KubernetesClient:
    """:param kubeconfig: file that the runtime wrote: JSON, with one cluster and the token of one user.
    :raise OSError: the file cannot be read.
    :raise ValueError: it is no such file.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        text = kubeconfig.read_text()
        try:
            config = json.loads(text)
            self.url = str(config["clusters"][0]["cluster"]["server"]).rstrip("/")
            token = config["users"][0]["user"]["token"]
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{kubeconfig} is no kubeconfig of the local pod runtime") from error
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        """Read, e.g. ``/api/v1/namespaces/agents/pods``; raises as :func:`~demo.http_json.call` does."""
        return call("GET", f"{self.url}{path}", headers=self._headers)

    def post(self, path: str, body: Any = None) -> Any:
        """Create an object, or let a fault happen; raises as :func:`~demo.http_json.call` does."""
        return call("POST", f"{self.url}{path}", body, headers=self._headers)

    def delete(self, path: str) -> Any:
        """Delete an object; raises as :func:`~demo.http_json.call` does."""
        return call("DELETE", f"{self.url}{path}", headers=self._headers)

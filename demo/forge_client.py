"""What the demo asks the stand-in GitHub: the same REST API that the provider uses, and its ``/_demo`` part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.http_json import call

if TYPE_CHECKING:
    from pathlib import Path


class ForgeClient:
    """:param url: root of the stand-in, e.g. ``http://127.0.0.1:3000``.
    :param token: credential of a user who may read the repositories.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self.token = token

    def seed_repository(self, name: str, folder: Path, **more: Any) -> dict[str, Any]:
        """Make the repository ``owner/name`` from the files in ``folder``.

        :param more: further fields of the stand-in's endpoint, e.g. ``rules``.
        """
        body = {"name": name, "folder": str(folder), **more}
        return dict(call("POST", f"{self.url}/_demo/repositories", body))

    def create_issue(self, repository: str, title: str, body: str = "", **more: Any) -> dict[str, Any]:
        """Open an issue and return its ``number`` and ``html_url``.

        :param more: further fields of the stand-in's endpoint, e.g. ``labels``.
        """
        fields = {"repository": repository, "title": title, "body": body, **more}
        return dict(call("POST", f"{self.url}/_demo/issues", fields))

    def act(self, login: str, do: str, repository: str, **values: Any) -> dict[str, Any]:
        """Do something as a person, e.g. ``review``."""
        return dict(
            call("POST", f"{self.url}/_demo/act", {"as": login, "do": do, "repository": repository, **values})
        )

    def mutations(self) -> list[dict[str, Any]]:
        """Return every change so far, in order: ``kind``, ``repository``, ``number``, ``actor``, ``details``."""
        return list(call("GET", f"{self.url}/_demo/mutations"))

    def get(self, path: str) -> Any:
        """Read from the REST API, e.g. ``/repos/acme/app/pulls/2``."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return call("GET", f"{self.url}/api/v3{path}", headers=headers)

    def issue(self, repository: str, number: int) -> dict[str, Any]:
        """Return an issue."""
        return dict(self.get(f"/repos/{repository}/issues/{number}"))

    def pull_requests(self, repository: str) -> list[dict[str, Any]]:
        """Return the pull requests, whatever their state, with all their fields."""
        listed = self.get(f"/repos/{repository}/pulls?state=all&per_page=100")
        return [self.get(f"/repos/{repository}/pulls/{pull['number']}") for pull in listed]

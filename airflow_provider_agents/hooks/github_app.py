"""A GitHub App: what a connection says of it, and the short-lived tokens that it is given.

The private key signs requests here, in a worker or in the triggerer, and never leaves them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.hooks.github_errors import Operation, response_error

if TYPE_CHECKING:
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

APP_EXTRAS = ("app_id", "installation_id", "private_key", "key_path", "token_permissions")
"""Names of the GitHub provider for the parts of an App in a connection's extra."""

OPERATOR_PERMISSIONS: Mapping[str, str] = MappingProxyType(
    {
        "actions": "write",
        "checks": "read",
        "contents": "write",
        "issues": "write",
        "metadata": "read",
        "pull_requests": "write",
        "statuses": "read",
    }
)
"""What the operators, sensors and triggers need, where the connection does not say otherwise."""

LEVELS = ("read", "write", "admin")

ISSUED_BEFORE = timedelta(seconds=60)
"""How far a signed request is dated back: GitHub refuses one from its own future."""
SIGNED_FOR = timedelta(minutes=9)
"""GitHub refuses more than ten minutes."""
TOLERATED_SKEW = timedelta(seconds=30)

_REPOSITORY = re.compile(r"([A-Za-z0-9_.-]+)/([A-Za-z0-9_.-]+)")
_MOST_KEY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubApp:
    """What a connection says of a GitHub App."""

    conn_id: str
    app_id: str
    private_key: str = field(repr=False)
    """RSA key in PEM form."""
    installation_id: int | None = None
    """``None``: found from the repository, or the App's only one."""
    token_permissions: Mapping[str, str] | None = None
    """Most that its tokens may have; ``None``: what each use needs."""

    @property
    def identity(self) -> str:
        """A digest that differs wherever the App, its installation or its key does; reveals no key."""
        parts = (self.app_id, str(self.installation_id), self.private_key, str(self.token_permissions))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def sign(self, now: datetime) -> str:
        """Return a signed token (JWT) with which the App speaks for itself, for nine minutes.

        :raises InvalidInputError: the key is none.
        """
        import jwt

        claims = {
            "iat": int((now - ISSUED_BEFORE).timestamp()),
            "exp": int((now + SIGNED_FOR).timestamp()),
            "iss": self.app_id,
        }
        try:
            return jwt.encode(claims, self.private_key, algorithm="RS256")
        except (jwt.PyJWTError, ValueError, TypeError):
            # Their words may quote the key.
            raise InvalidInputError(
                [
                    (
                        f"connection {self.conn_id!r}: its private key is no RSA key in PEM form; put the whole text of "
                        "the .pem file that GitHub made for the App into private_key, or its path into key_path"
                    )
                ]
            ) from None

    def permissions(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Return ``wanted``, having checked it against the connection's ``token_permissions``.

        :raises InvalidInputError: the connection allows less.
        """
        allowed = self.token_permissions
        if allowed is not None and (missing := _missing(wanted, {"metadata": "read", **allowed})):
            raise InvalidInputError(
                [f"connection {self.conn_id!r}: token_permissions of its extra lacks {missing}; add it"]
            )
        return dict(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationToken:
    """A token that GitHub gave an App. Nothing is to be assumed about its length or its form."""

    token: str = field(repr=False)
    minted_at: datetime
    expires_at: datetime
    """By this machine's clock, whatever GitHub's says."""


def app_of(extra: str | None, conn_id: str) -> GitHubApp | None:
    """Return the App in a connection's raw ``extra``, or ``None`` where there is none.

    The raw text, because decoding it by the connection would call Airflow's supervisor, inside an event
    loop too.

    :raises InvalidInputError: an App is there, but not all of it, or not as it should be.
    """
    try:
        values = json.loads(extra) if extra else {}
    except ValueError:
        raise InvalidInputError([f"connection {conn_id!r}: its extra is no JSON; correct it"]) from None
    if not isinstance(values, Mapping) or not any(values.get(key) for key in APP_EXTRAS):
        return None
    faults: list[str] = []
    app_id = values.get("app_id")
    if isinstance(app_id, bool) or not isinstance(app_id, str | int) or not str(app_id).strip():
        faults.append("app_id is missing: the App's number, or its client id, from the App's settings")
    installation_id = values.get("installation_id")
    if installation_id in (None, ""):
        installation_id = None
    elif isinstance(installation_id, bool) or not str(installation_id).isdecimal():
        faults.append("installation_id is no number; correct it, or leave it out to have it found")
    permissions = values.get("token_permissions")
    if permissions is not None and not (
        isinstance(permissions, Mapping) and all(level in LEVELS for level in permissions.values())
    ):
        faults.append(
            'token_permissions is no object of names to read, write or admin, like {"contents": "write"}'
        )
    key, fault = _key(values)
    faults += [fault] if fault else []
    if faults:
        raise InvalidInputError(
            [f"connection {conn_id!r} (GitHub App, in its extra): {fault}" for fault in faults]
        )
    return GitHubApp(
        conn_id=conn_id,
        app_id=str(app_id).strip(),
        private_key=key,
        installation_id=None if installation_id is None else int(str(installation_id)),
        token_permissions=permissions or None,
    )


async def mint(
    transport: GitHubTransport,
    app: GitHubApp,
    repositories: Sequence[str],
    permissions: Mapping[str, str],
    *,
    installation_id: int,
) -> InstallationToken:
    """Have GitHub make a token.

    :param transport: signed in as the App.
    :param repositories: ``owner/name`` of all that it may touch; empty: all of the installation.
    :param permissions: all that it may do there.
    :raises ForgeAccessError: the App may not; the message says what a person must change.
    :raises ForgeUnavailableError: GitHub did not answer; nothing is lost by trying again.
    """
    where = ", ".join(repositories) or "all repositories of the installation"
    operation = Operation(f"make a token of the App for {where}", _listed(permissions))
    body: dict[str, Any] = {"permissions": dict(permissions)}
    if repositories:
        body["repositories"] = sorted({name_of(repository) for repository in repositories})
    path = f"/app/installations/{installation_id}/access_tokens"
    sent_at = datetime.now(UTC)
    status, headers, answer = await transport.answer("POST", path, operation, body)
    if status == 201 and isinstance(answer, Mapping) and (token := answer.get("token")):
        lifetime = _moment(answer.get("expires_at")) - (sent_at + tolerable(transport.clock_ahead))
        return InstallationToken(token=str(token), minted_at=sent_at, expires_at=sent_at + lifetime)
    said = _said(answer)
    if status == 404 and not _app_unknown(said):
        raise ForgeAccessError(
            f"GitHub knows no installation {installation_id} of the App of connection {app.conn_id!r}. Correct "
            "installation_id in its extra, or leave it out to have it found"
        )
    if status == 422:
        raise ForgeAccessError(await _why_refused(transport, app, installation_id, where, permissions, said))
    raise _refused(app, operation, status, headers, answer)


async def find_installation(
    transport: GitHubTransport, app: GitHubApp, repository: str | None, owner: str = ""
) -> int:
    """Return the number of the App's installation.

    :param repository: ``owner/name`` that it is installed on; ``None``: the App must have only one, or ``owner`` is
        given.
    :param owner: organisation or user account that it is installed on.
    :raises ForgeAccessError: it is not installed there, or there are several.
    """
    if repository is None:
        return await (
            _installation_of(transport, app, owner) if owner else _only_installation(transport, app)
        )
    name_of(repository)
    operation = Operation(f"find the App's installation on {repository}", "none")
    status, headers, answer = await transport.answer("GET", f"/repos/{repository}/installation", operation)
    if status == 200 and isinstance(answer, Mapping) and isinstance(answer.get("id"), int):
        return int(answer["id"])
    if status == 404 and not _app_unknown(_said(answer)):
        raise ForgeAccessError(
            f"The GitHub App of connection {app.conn_id!r} (app_id {app.app_id}) is not installed on {repository}, "
            "or there is no such repository. Install it: the App's settings, Install App, and choose the repository"
        )
    raise _refused(app, operation, status, headers, answer)


async def _installation_of(transport: GitHubTransport, app: GitHubApp, owner: str) -> int:
    operation = Operation(f"find the App's installation on {owner}", "none")
    for kind in ("orgs", "users"):
        path = f"/{kind}/{quote(owner, safe='')}/installation"
        status, headers, answer = await transport.answer("GET", path, operation)
        if status == 200 and isinstance(answer, Mapping) and isinstance(answer.get("id"), int):
            return int(answer["id"])
        if status != 404 or _app_unknown(_said(answer)):
            raise _refused(app, operation, status, headers, answer)
    raise ForgeAccessError(
        f"The GitHub App of connection {app.conn_id!r} (app_id {app.app_id}) is not installed on {owner}, or there is "
        "no such account. Install it: the App's settings, Install App"
    )


async def _only_installation(transport: GitHubTransport, app: GitHubApp) -> int:
    operation = Operation("list the App's installations", "none")
    status, headers, answer = await transport.answer("GET", "/app/installations", operation)
    if status != 200 or not isinstance(answer, list):
        raise _refused(app, operation, status, headers, answer)
    found = [entry["id"] for entry in answer if isinstance(entry, Mapping) and "id" in entry]
    if len(found) != 1:
        raise ForgeAccessError(
            f"The GitHub App of connection {app.conn_id!r} has {len(found) or 'no'} installations. Put the number of "
            "the one to use into its extra as installation_id: it ends the address of the installation's settings page"
        )
    return int(found[0])


async def _why_refused(
    transport: GitHubTransport,
    app: GitHubApp,
    installation_id: int,
    where: str,
    permissions: Mapping[str, str],
    said: str,
) -> str:
    """Say which permission or repository the installation lacks; GitHub's refusal does not."""
    operation = Operation("read the App's installation", "none")
    status, _, answer = await transport.answer("GET", f"/app/installations/{installation_id}", operation)
    granted = answer.get("permissions") if status == 200 and isinstance(answer, Mapping) else None
    missing = _missing(permissions, granted) if isinstance(granted, Mapping) else ""
    place = answer.get("html_url", "") if isinstance(answer, Mapping) else ""
    of_app = f"the installation {installation_id} of the GitHub App of connection {app.conn_id!r}"
    if missing:
        return (
            f"{of_app} lacks the permission {missing}. Grant it in the App's settings (Permissions & events), then "
            f"accept the change in the installation's settings {place}".rstrip()
        )
    return (
        f"{of_app} may not make a token for {where}: HTTP 422, {said!r}. Check that it is installed on "
        f"these repositories, in its settings {place}".rstrip()
    )


def name_of(repository: str) -> str:
    """Return the name in ``owner/name``.

    :raises InvalidInputError: it is none.
    """
    match = _REPOSITORY.fullmatch(repository)
    if match is None:
        raise InvalidInputError([f"repository: must be owner/name, not {repository!r}"])
    return match[2]


def _refused(
    app: GitHubApp, operation: Operation, status: int, headers: Mapping[str, str], answer: object
) -> Exception:
    said = _said(answer)
    detail = f"HTTP {status}" + (f", {said!r}" if said else "")
    if status == 401:
        return ForgeAccessError(
            f"GitHub does not accept the signature of the App of connection {app.conn_id!r}: {detail}. Check that app_id "
            f"({app.app_id}) and private key in its extra belong together, that the key was not revoked in the App's "
            "settings, and that this machine's clock is right"
        )
    if status == 404:
        return ForgeAccessError(
            f"GitHub knows no App with app_id {app.app_id}: {detail}. Correct app_id in the extra of connection "
            f"{app.conn_id!r}, and its host if the App is one of a GitHub Enterprise Server"
        )
    if status == 403 and "suspended" in said.lower():
        return ForgeAccessError(
            f"The installation of the GitHub App of connection {app.conn_id!r} is suspended: {detail}. Its owner can "
            "unsuspend it in its settings"
        )
    if 200 <= status < 300:
        return ForgeUnavailableError(f"GitHub could not {operation.what}: its answer is incomplete")
    return response_error(operation, status, headers, answer, datetime.now(UTC))


def _said(answer: object) -> str:
    return str(answer.get("message") or "")[:300] if isinstance(answer, Mapping) else ""


def _app_unknown(said: str) -> bool:
    """Say whether a 404 means the App itself: GitHub calls it an integration there."""
    return "integration" in said.lower()


def tolerable(skew: timedelta) -> timedelta:
    """Return a difference of two clocks; one so small that the way of the answer explains it is none."""
    return skew if abs(skew) > TOLERATED_SKEW else timedelta()


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ForgeUnavailableError("GitHub's answer to a request for a token has no expiry") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _missing(wanted: Mapping[str, str], granted: Mapping[str, Any]) -> str:
    """Return what of ``wanted`` is not granted, for a person: ``contents: write``."""

    def level(value: object) -> int:
        return LEVELS.index(value) if value in LEVELS else -1

    return _listed({name: need for name, need in wanted.items() if level(granted.get(name)) < level(need)})


def _listed(permissions: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {level}" for name, level in sorted(permissions.items()))


def _key(values: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the private key, and what is wrong with how it is given."""
    if path := values.get("key_path"):
        try:
            with Path(str(path)).open("rb") as file:
                text = file.read(_MOST_KEY_BYTES).decode()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            return "", (
                f"key_path {str(path)!r} cannot be read: {reason}. The file must be there in the workers and in the "
                "triggerer; or put its text into private_key"
            )
    else:
        text = str(values.get("private_key") or "")
    # A connection that was written by hand has the two characters \n where the key has a line end.
    text = text.replace("\\n", "\n").strip()
    if not text:
        return (
            "",
            "private_key or key_path is missing: the .pem file that GitHub made for the App, or its path",
        )
    return text + "\n", None

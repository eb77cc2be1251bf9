"""The Airflow hook of Argo CD: readings of applications, for workers and for triggers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.exceptions import AgentsError, InvalidInputError
from airflow_provider_agents.hooks.argocd_credential import credential

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from airflow_provider_agents.domain.argocd_application import ApplicationReading, Workload
    from airflow_provider_agents.hooks.argocd_client import ArgoCdClient
    from airflow_provider_agents.hooks.argocd_credential import ArgoCdCredential

T = TypeVar("T")


class ArgoCdHook(BaseHook):
    """Argo CD over its REST interface, reading only.

    Connection type ``argocd``: ``host`` is the address, ``password`` a token of an account or of a project's role that
    has the right ``applications, get``; ``extra`` may have ``verify``, ``ca_file`` or ``ca_certificate``, ``namespace``
    (of the applications, where it is not Argo CD's own) and ``project``.

    :param argocd_conn_id: the connection.
    :param timeout_seconds: bound of each HTTP exchange.
    """

    conn_name_attr = "argocd_conn_id"
    default_conn_name = "argocd_default"
    conn_type = "argocd"
    hook_name = "Argo CD"

    def __init__(
        self, argocd_conn_id: str = default_conn_name, *, timeout_seconds: float = 10.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.argocd_conn_id = argocd_conn_id
        self.timeout_seconds = timeout_seconds

    def get_conn(self) -> ArgoCdCredential:
        """Return what the connection says; outside an event loop. Asks Argo CD nothing.

        :raises InvalidInputError: the connection is missing, has no token, no address, or a wrong extra.
        """
        try:
            return credential(self.get_connection(self.argocd_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.argocd_conn_id) from None

    async def aget_conn(self) -> ArgoCdCredential:
        """Return what the connection says; inside an event loop. Asks Argo CD nothing.

        :raises InvalidInputError: as :meth:`get_conn`.
        """
        try:
            return credential(await self.aget_connection(self.argocd_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.argocd_conn_id) from None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ArgoCdClient]:
        """Open a session with a freshly read connection and close it at the end; for triggers.

        :raises InvalidInputError: as :meth:`get_conn`.
        """
        from airflow_provider_agents.hooks.argocd_client import open_argocd

        async with open_argocd(await self.aget_conn(), timeout_seconds=self.timeout_seconds) as client:
            yield client

    def application(self, name: str, *, refresh: bool = False) -> ApplicationReading:
        """Return the reading of one application, as :meth:`applications`."""
        return self._run(lambda client: client.application(name, refresh=refresh))

    def applications(self, names: Iterable[str], *, refresh: bool = False) -> dict[str, ApplicationReading]:
        """Return a reading for each of ``names``; for workers.

        What Argo CD does not tell is a fault in that application's reading, whose health is ``Unknown``.

        :param refresh: have Argo CD look at git before it answers, instead of within its own interval.
        :raises InvalidInputError: the connection is wrong, see :meth:`get_conn`.
        :raises RuntimeError: when an event loop runs already; use :meth:`client` there.
        """
        return self._run(lambda client: client.applications(names, refresh=refresh))

    def workloads(self, name: str) -> tuple[Workload, ...]:
        """Return what an application runs in copies; for workers.

        :raises InvalidInputError: the connection is wrong.
        :raises ForgeError: it could not be read in whole; the message says why.
        """
        return self._run(lambda client: client.workloads(name))

    def test_connection(self) -> tuple[bool, str]:
        """Ask Argo CD who we are, for the button in Airflow's UI; return whether it works, and what it said."""
        try:
            return True, f"Argo CD accepts the token of {self._run(lambda client: client.user())!r}"
        except AgentsError as error:
            return False, str(error)

    def _run(self, work: Callable[[ArgoCdClient], Awaitable[T]]) -> T:
        # Airflow's synchronous calls to its supervisor must not be made inside an event loop.
        from airflow_provider_agents.hooks.argocd_client import open_argocd

        _no_loop()
        found = self.get_conn()

        async def session() -> T:
            async with open_argocd(found, timeout_seconds=self.timeout_seconds) as client:
                return await work(client)

        return asyncio.run(session())


def _no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("an event loop runs already: use `async with hook.client()` in it")


def _missing(conn_id: str) -> InvalidInputError:
    fault = (
        f"there is no connection {conn_id!r}; create it, type Argo CD, with a token as its password: "
        f"airflow connections add {conn_id} --conn-type argocd --conn-host https://argocd.example.com --conn-password TOKEN"
    )
    return InvalidInputError([fault])

"""The first and the last task of a run: its workspace is prepared, and released when nobody needs it more."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from airflow.sdk import BaseOperator

from airflow_provider_agents import settings
from airflow_provider_agents.domain import quantity
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_DAG_ID,
    ANNOTATION_RUN_ID,
    ANNOTATION_TASK_ID,
    GIVEN_BACK_KEY,
    LABEL_INSTALLATION,
    LABEL_RUN,
    LABEL_TICKET,
    Workspace,
    claim_name,
    ending,
)
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.kubernetes_objects import cluster_client
from airflow_provider_agents.operators.retry_policy import STEP_RETRIES, StepRetryPolicy
from airflow_provider_agents.operators.workspace_claim import (
    check_storage_class,
    ensure_claim,
    keep_claim,
    release_claim,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

WorkspaceKind = Literal["claim", "ephemeral"]

_KINDS = ("claim", "ephemeral")
_ABSENT = ("", "None", "null")
"""What a template makes of a parameter that is not set."""
_DID_NOT_RUN = ("skipped", "upstream_failed", "removed")


class PrepareWorkspaceOperator(BaseOperator):
    """Make the run's claim, or keep the one that is there for longer. The setup task of a pipeline.

    Safe to repeat: a clear finds the claim as the failed try left it, and one that was given back is made
    anew. Arguments that are not given, or are rendered to nothing, are those of the section ``[agents]``.

    :param kind: ``claim``, or ``ephemeral``: no claim, every pod starts from nothing. (templated)
    :param size: size of the claim, e.g. ``10Gi``. (templated)
    :param storage_class: storage class of the claim; empty: the cluster's default. (templated)
    :param expiry_hours: how long the claim is kept after it was last asked for.
    :param ticket: number or name of the ticket, for the claim's label. (templated)
    :param namespace: Kubernetes namespace. (templated)
    :param kubernetes_conn_id: Airflow connection of the cluster. (templated)
    :return: :class:`~airflow_provider_agents.domain.workspace.Workspace` as a dictionary, ``claim`` and
        ``namespace`` first; ``{"claim": None}`` where there is none.
    :raises InvalidInputError: if an argument is wrong, or a right is missing; the message says which.
    :raises StepInfrastructureError: if the cluster does not answer, or the quota is used up; retried.
    """

    template_fields: Sequence[str] = (
        "kind",
        "size",
        "storage_class",
        "ticket",
        "namespace",
        "kubernetes_conn_id",
    )
    ui_color = "#e6f2f8"

    def __init__(
        self,
        *,
        kind: WorkspaceKind | str | None = None,
        size: str | None = None,
        storage_class: str | None = None,
        expiry_hours: float | None = None,
        ticket: str | None = None,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", STEP_RETRIES)
        kwargs.setdefault("retry_delay", timedelta(seconds=15))
        kwargs.setdefault("retry_policy", StepRetryPolicy())
        super().__init__(**kwargs)
        self.kind = kind
        self.size = size
        self.storage_class = storage_class
        self.expiry_hours = expiry_hours
        self.ticket = ticket
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        with leaving_reason(context):
            kind = _given(self.kind) or settings.text("workspace", "claim")
            if kind not in _KINDS:
                raise InvalidInputError([f"[agents] workspace: {kind!r} is none of {', '.join(_KINDS)}"])
            if kind == "ephemeral":
                self.log.info("No claim: every pod of this run starts with a fresh checkout.")
                return {"claim": None}
            workspace = self.workspace(context)
            client = cluster_client(_connection(self.kubernetes_conn_id))
            if workspace.storage_class:
                check_storage_class(client, workspace.storage_class)
            made = ensure_claim(client, workspace)
        if not made:
            self.log.info("Claim %s is there; what earlier pods of the run left is used.", workspace.claim)
        self.log.info("It is kept for %g hours after it was last asked for.", workspace.expiry_hours)
        return workspace.to_dict()

    def workspace(self, context: Context) -> Workspace:
        """Return the claim that this run is to have.

        :raises InvalidInputError: with every fault of the arguments.
        """
        ti = context["ti"]
        size = _given(self.size) or settings.text("workspace_size", "10Gi")
        hours = self.expiry_hours
        if hours is None:
            hours = float(settings.number("workspace_expiry_hours", 168))
        if faults := _faults(size, hours):
            raise InvalidInputError(faults)
        installation = settings.text("installation", "default")
        labels = {
            LABEL_INSTALLATION: installation,
            LABEL_RUN: ti.run_id,
            LABEL_TICKET: _given(self.ticket),
        }
        group = ti.task_id.rpartition(".")[0]
        index = -1 if ti.map_index is None else ti.map_index
        return Workspace(
            claim=claim_name(installation, ti.dag_id, ti.run_id, group, index),
            namespace=_given(self.namespace) or settings.text("namespace", "agent-system"),
            size=size,
            storage_class=_given(self.storage_class) or settings.text("storage_class") or None,
            expiry_hours=hours,
            labels={name: make_safe_label_value(value) for name, value in labels.items() if value},
            annotations={
                ANNOTATION_DAG_ID: ti.dag_id,
                ANNOTATION_RUN_ID: ti.run_id,
                ANNOTATION_TASK_ID: ti.task_id,
            },
        )


class ReleaseWorkspaceOperator(BaseOperator):
    """Delete the run's claim if the run ended for good, else keep it for a while. The teardown of a pipeline.

    For good is: the pull request was merged, or closed, or the pipeline was stopped by decision. Any other
    end can be mended and resumed by clearing the failed task. Never fails the run: what cannot be deleted
    now is left to housekeeping. The run's ended pods go with its claim, which the cluster keeps as long as
    they are there.

    :param workspace: what :class:`PrepareWorkspaceOperator` returned. (templated)
    :param gates: task ids of the gates that decide about the pull request, in their order.
    :param kubernetes_conn_id: Airflow connection of the cluster. (templated)
    :return: ``{"claim": name, "released": bool, "kept_until": RFC 3339 or None}``.
    """

    template_fields: Sequence[str] = ("workspace", "kubernetes_conn_id")
    ui_color = "#e6f2f8"

    def __init__(
        self,
        *,
        workspace: Any,
        gates: Sequence[str] = (),
        kubernetes_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", 1)
        kwargs.setdefault("retry_delay", timedelta(seconds=15))
        super().__init__(**kwargs)
        self.workspace = workspace
        self.gates = list(gates)
        self.kubernetes_conn_id = kubernetes_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        claim = self.workspace.get("claim") if isinstance(self.workspace, dict) else None
        outcome: dict[str, Any] = {"claim": claim, "released": False, "kept_until": None}
        if not claim:
            self.log.info("This run has no claim.")
            return outcome
        try:
            outcome |= self._release(context)
        except Exception as error:
            # Whatever it is: the work of the run is done, and the claim has had an expiry from the start.
            self.log.warning("Claim %s cannot be released now; it expires: %s", claim, error)
        return outcome

    def _release(self, context: Context) -> dict[str, Any]:
        workspace = Workspace.from_dict(self.workspace)
        if workspace is None:
            return {}
        why = ending(self._decisions(context))
        if why:
            # First: where the cluster does not answer now, housekeeping finishes this.
            context["ti"].xcom_push(key=GIVEN_BACK_KEY, value=why)
        client = cluster_client(_connection(self.kubernetes_conn_id))
        if why:
            there = release_claim(client, workspace)
            text = "Claim %s is deleted: %s" if there else "Claim %s is gone already: %s"
            self.log.info(text, workspace.claim, why)
            return {"released": True}
        until = keep_claim(client, workspace)
        if until is None:
            self.log.warning(
                "Claim %s is gone; a cleared task starts from a fresh checkout.", workspace.claim
            )
            return {}
        self.log.info(
            "Claim %s is kept until %s (%g hours). To go on from where the run stopped: mend what its reason "
            "names, and clear the failed task with its downstream tasks before that time.",
            workspace.claim, until, workspace.expiry_hours,
        )  # fmt: skip
        return {"kept_until": until}

    def _decisions(self, context: Context) -> list[Any]:
        """Return what the gates decided in this go at the run; a clear leaves the XComs of the last one."""
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=self.gates, run_ids=[ti.run_id])
        state_of = states.get(ti.run_id, {})
        ran = [gate for gate in self.gates if state_of.get(gate) not in _DID_NOT_RUN]
        return [ti.xcom_pull(task_ids=gate, key="decision") for gate in ran]


def _given(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    return "" if text in _ABSENT else text


def _connection(given: str | None) -> str:
    return _given(given) or settings.text("kubernetes_conn_id", "kubernetes_default")


def _faults(size: str, hours: float) -> list[str]:
    faults = []
    try:
        enough = quantity.size(size) > 0
    except ValueError:
        enough = False
    if not enough:
        faults.append(f"workspace_size: {size!r} is not a size like 10Gi")
    if not (math.isfinite(hours) and 0 < hours <= 24 * 3650):
        faults.append(f"workspace_expiry_hours: {hours:g} is not a number above 0, at most ten years")
    return faults

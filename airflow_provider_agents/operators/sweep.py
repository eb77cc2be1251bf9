"""Deletes what runs left on the cluster and nobody comes back for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents import settings
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_DAG_ID,
    ANNOTATION_RUN_ID,
    LABEL_INSTALLATION,
    ClaimSeen,
    SweepDecision,
    sweep_claim,
    sweep_pod,
)
from airflow_provider_agents.exceptions import AgentsError, InvalidInputError, StepInfrastructureError
from airflow_provider_agents.operators.kubernetes_objects import (
    NOT_ENDED,
    claims,
    claims_of,
    cluster_client,
    delete_object,
    pods,
    refusal,
    request_errors,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context
    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

MOST_NAMES = 200
"""Names that the XCom lists of each kind; the counts are whole, and the log has every name."""


@dataclass(slots=True)
class Swept:
    """What a sweep did with the objects of one kind."""

    kept: int = 0
    deleted: int = 0
    names: list[str] = field(default_factory=list)
    """Of those that were deleted; in a dry run of those that would be."""
    faults: list[str] = field(default_factory=list)
    """Objects that could not be judged or deleted, each with the reason."""

    def add(self, name: str) -> None:
        """Count an object as deleted."""
        self.deleted += 1
        if len(self.names) < MOST_NAMES:
            self.names.append(name)

    def fail(self, text: str) -> None:
        """Note a fault."""
        if len(self.faults) < MOST_NAMES:
            self.faults.append(text)


class SweepOperator(BaseOperator):
    """Delete expired claims, ended pods that nobody read, and secrets whose pod never came.

    Only objects with this installation's label are looked at. A claim goes when its expiry has passed, no pod
    that runs mounts it and its DAG run has ended; a pod when it ended longer ago than claims are kept. One
    object that fails does not stop the rest.

    :param report_only: a dry run: say what would be deleted, and delete nothing. (templated: a text that reads ``true``)
    :param installation: value of the label; empty: ``[agents] installation``.
    :param expiry_hours: how long an ended pod is kept; empty: ``[agents] workspace_expiry_hours``.
    :param namespace: Kubernetes namespace. (templated)
    :param kubernetes_conn_id: Airflow connection of the cluster. (templated)
    :return: ``{"dry_run", "claims", "pods", "secrets"}``, of each kind the :class:`Swept`.
    :raises InvalidInputError: if the cluster refuses to list; the message names the right.
    :raises StepInfrastructureError: if the cluster does not answer, or, after all the rest was done, if an
        object could not be deleted.
    """

    template_fields: Sequence[str] = ("report_only", "namespace", "kubernetes_conn_id")
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        report_only: bool | str = False,
        installation: str | None = None,
        expiry_hours: float | None = None,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", 2)
        kwargs.setdefault("retry_delay", timedelta(seconds=60))
        super().__init__(**kwargs)
        self.report_only = report_only
        self.installation = installation
        self.expiry_hours = expiry_hours
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value

        dry_run = str(self.report_only).strip().lower() == "true"
        client = cluster_client(
            self.kubernetes_conn_id or settings.text("kubernetes_conn_id", "kubernetes_default")
        )
        sweep = _Sweep(
            client=client,
            namespace=self.namespace or settings.text("namespace", "agent-system"),
            installation=make_safe_label_value(self.installation or settings.text("installation", "default")),
            keep_pods=timedelta(hours=self._hours()),
            dry_run=dry_run,
            run_state=lambda dag_id, run_id: _run_state(context, dag_id, run_id),
            log=self.log,
        )
        # Pods first: a claim that is being deleted stays until no pod object mounts it.
        swept = {"pods": sweep.pods(), "claims": sweep.claims(), "secrets": sweep.secrets()}
        result = {"dry_run": dry_run, **{kind: asdict(each) for kind, each in swept.items()}}
        context["ti"].xcom_push(key="return_value", value=result)
        for kind, each in swept.items():
            verb = "would be deleted" if dry_run else "deleted"
            self.log.info(
                "%s: %d %s, %d kept, %d faults", kind, each.deleted, verb, each.kept, len(each.faults)
            )
        if faults := [fault for each in swept.values() for fault in each.faults]:
            raise StepInfrastructureError(
                "Not everything could be swept; the next run tries again:\n" + "\n".join(faults)
            )
        return result

    def _hours(self) -> float:
        if self.expiry_hours is not None:
            return self.expiry_hours
        return float(settings.number("workspace_expiry_hours", 168))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweep:
    """One sweep through a namespace."""

    client: CoreV1Api
    namespace: str
    installation: str
    keep_pods: timedelta
    dry_run: bool
    run_state: Callable[[str, str], str | None]
    log: Any

    def pods(self) -> Swept:
        """Delete ended pods that nobody has read for long."""
        swept = Swept()
        for pod in self._list("pods"):
            decision = sweep_pod(
                pod.to_dict(), now=_now(), keep=self.keep_pods, installation=self.installation
            )
            self._apply(swept, "pod", pod, decision, self.client.delete_namespaced_pod)
        return swept

    def claims(self) -> Swept:
        """Delete expired claims that nobody needs."""
        swept = Swept()
        mounted = self._mounted()
        for claim in self._list("persistentvolumeclaims"):
            metadata = claim.metadata
            seen = ClaimSeen(
                name=metadata.name,
                labels=metadata.labels or {},
                annotations=metadata.annotations or {},
                being_deleted=metadata.deletion_timestamp is not None,
            )
            try:
                decision = self._decide(seen, mounted.get(metadata.name, []))
            except Exception as error:  # one claim whose run cannot be asked for must not stop the sweep
                self._fault(swept, f"claim {metadata.name}: the state of its run cannot be read: {error}")
                continue
            self._apply(
                swept, "claim", claim, decision, self.client.delete_namespaced_persistent_volume_claim
            )
        return swept

    def secrets(self) -> Swept:
        """Delete the credentials of pods that were never made."""
        from airflow_provider_agents.operators.step_secrets import delete_leftovers

        swept = Swept()
        expected: tuple[type[Exception], ...] = (AgentsError, *request_errors())
        try:
            deleted = delete_leftovers(self.client, self.namespace, self.installation, dry_run=self.dry_run)
        except InvalidInputError as error:
            # Where the pods use the installation's own secret, Airflow needs no right on secrets.
            if settings.text("credentials", "secret") == "secret":
                self.log.info("Secrets are not looked at: %s", error)
            else:
                self._fault(swept, f"secrets: {error}")
            return swept
        except expected as error:
            self._fault(swept, f"secrets: {error}")
            return swept
        for name in deleted:
            self.log.info("%s secret %s: its pod was never made.", self._verb, name)
            swept.add(name)
        return swept

    @property
    def _verb(self) -> str:
        return "Would delete" if self.dry_run else "Deleted"

    def _decide(self, seen: ClaimSeen, living_pods: Sequence[str]) -> SweepDecision:
        def decide(run_state: str | None) -> SweepDecision:
            return sweep_claim(
                seen,
                living_pods=living_pods,
                run_state=run_state,
                now=_now(),
                installation=self.installation,
            )

        decision = decide(None)
        # Airflow is asked for the few that would go only.
        if decision.action == "delete" and (run := _run_of(seen.annotations)):
            return decide(self.run_state(*run))
        return decision

    def _mounted(self) -> dict[str, list[str]]:
        """Return the names of the pods that have not ended, by the claim that they mount."""
        mounted: dict[str, list[str]] = {}
        # Not by label: whoever mounts a claim keeps it.
        for pod in self._list("pods", field_selector=NOT_ENDED, label_selector=""):
            for claim in claims_of(pod):
                mounted.setdefault(claim, []).append(pod.metadata.name)
        return mounted

    def _list(self, resource: str, **selectors: str) -> list[Any]:
        read = pods if resource == "pods" else claims
        selectors = {"label_selector": f"{LABEL_INSTALLATION}={self.installation}", **selectors}
        try:
            return list(read(self.client, self.namespace, **selectors))
        except request_errors() as error:
            doing = f"{resource} cannot be listed"
            raise refusal(error, doing, verb="list", resource=resource, namespace=self.namespace) from error

    def _apply(
        self,
        swept: Swept,
        kind: str,
        item: k8s.V1Pod | k8s.V1PersistentVolumeClaim,
        decision: SweepDecision,
        delete: Callable[..., Any],
    ) -> None:
        name = item.metadata.name
        if decision.faulty:
            self.log.warning("Kept %s %s: %s", kind, name, decision.reason)
        if decision.action == "keep":
            swept.kept += 1
            return
        if self.dry_run:
            self.log.info("%s %s %s: %s", self._verb, kind, name, decision.reason)
            swept.add(name)
            return
        try:
            # As it was judged: a step that has asked for the claim since has moved its expiry.
            gone = delete_object(delete, item, unchanged=True)
        except request_errors() as error:
            self._fault(swept, f"{kind} {name}: {told(error)}")
            return
        if not gone:
            swept.kept += 1
            self.log.info("Kept %s %s: it has changed since it was judged.", kind, name)
            return
        self.log.info("%s %s %s: %s", self._verb, kind, name, decision.reason)
        swept.add(name)

    def _fault(self, swept: Swept, text: str) -> None:
        self.log.warning("%s", text)
        swept.fail(text)


def _run_of(annotations: Mapping[str, str]) -> tuple[str, str] | None:
    dag_id, run_id = annotations.get(ANNOTATION_DAG_ID), annotations.get(ANNOTATION_RUN_ID)
    return (dag_id, run_id) if dag_id and run_id else None


def _run_state(context: Context, dag_id: str, run_id: str) -> str | None:
    """Return the state of a DAG run, ``None`` if there is none; raises what Airflow does where it is away."""
    ti: Any = context["ti"]
    if not ti.get_dr_count(dag_id=dag_id, run_ids=[run_id]):
        return None
    state = ti.get_dagrun_state(dag_id=dag_id, run_id=run_id)
    return str(getattr(state, "value", state))  # Airflow's own class of states does not print as its value


def _now() -> datetime:
    return datetime.now(tz=UTC)

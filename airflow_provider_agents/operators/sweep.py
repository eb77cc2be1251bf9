"""Deletes what runs left on the cluster and nobody comes back for."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents import settings
from airflow_provider_agents.domain import quantity
from airflow_provider_agents.domain.housekeeping import (
    ClaimSeen,
    ClaimsGoing,
    PodKeep,
    SweepDecision,
    needs_run,
    sweep_claim,
    sweep_pod,
)
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_DAG_ID,
    ANNOTATION_RUN_ID,
    LABEL_INSTALLATION,
)
from airflow_provider_agents.exceptions import AgentsError, InvalidInputError, StepInfrastructureError
from airflow_provider_agents.operators.kept_pods import pod_keep
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
from airflow_provider_agents.operators.run_records import RunRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context
    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

    from airflow_provider_agents.domain.housekeeping import RunSeen

MOST_NAMES = 200
"""Names that the XCom lists of each kind; the counts are whole, and the log has every name."""

MOST_UNITS = 99_999
"""Hours, minutes or days that a number may be."""


@dataclass(slots=True)
class Swept:
    """What a sweep did with the objects of one kind."""

    kept: int = 0
    deleted: int = 0
    bytes: int = 0
    """Storage that the deleted claims had asked for; 0 of other kinds."""
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
    """Delete claims, ended pods and secrets that nobody needs any more.

    Only objects with this installation's label are looked at. A claim goes when its run ended for good, or its
    expiry has passed, and no pod that runs mounts it; a pod when it ended long enough ago, its claim cannot
    go before it, or it has not started for two days; a secret when its pod is gone or has ended. One object or kind that fails does not stop the
    rest.

    :param report_only: a dry run: say what would be deleted, and delete nothing. (templated: a text that reads ``true``)
    :param installation: value of the label; empty: ``[agents] installation``.
    :param pod_keep_hours: how long a succeeded pod is kept; empty: ``[agents] pod_keep_hours``. (templated)
    :param failed_pod_keep_hours: the same of a failed one; empty: ``[agents] failed_pod_keep_hours``. (templated)
    :param claim_keep_minutes: how long the claim of a run that ended for good is kept; empty: ``[agents]
        claim_keep_minutes``. (templated)
    :param namespace: Kubernetes namespace. (templated)
    :param kubernetes_conn_id: Airflow connection of the cluster. (templated)
    :return: ``{"dry_run", "pods", "claims", "secrets"}``, of each kind the :class:`Swept`; also after a fault.
    :raises InvalidInputError: after all the rest was done, if the cluster refuses to list a kind; the message
        names the right.
    :raises StepInfrastructureError: after all the rest was done, if the cluster did not answer, or an object
        could not be judged or deleted.
    """

    template_fields: Sequence[str] = (
        "report_only",
        "pod_keep_hours",
        "failed_pod_keep_hours",
        "claim_keep_minutes",
        "namespace",
        "kubernetes_conn_id",
    )
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        report_only: bool | str = False,
        installation: str | None = None,
        pod_keep_hours: float | str | None = None,
        failed_pod_keep_hours: float | str | None = None,
        claim_keep_minutes: float | str | None = None,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", 2)
        kwargs.setdefault("retry_delay", timedelta(seconds=60))
        super().__init__(**kwargs)
        self.report_only = report_only
        self.installation = installation
        self.pod_keep_hours = pod_keep_hours
        self.failed_pod_keep_hours = failed_pod_keep_hours
        self.claim_keep_minutes = claim_keep_minutes
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value

        dry_run = is_dry_run(self.report_only)
        client = cluster_client(
            self.kubernetes_conn_id or settings.text("kubernetes_conn_id", "kubernetes_default")
        )
        sweep = _Sweep(
            client=client,
            namespace=self.namespace or settings.text("namespace", "agent-system"),
            installation=make_safe_label_value(self.installation or settings.text("installation", "default")),
            keep_pods=self._pod_keep(),
            keep_claims=timedelta(minutes=self._claim_minutes()),
            dry_run=dry_run,
            run=RunRecords(context).run,
            log=self.log,
        )
        # Claims first: the pods that they cannot go before are known then.
        swept_claims, going = sweep.claims()
        swept = {"pods": sweep.pods(going), "claims": swept_claims, "secrets": sweep.secrets()}
        result = {"dry_run": dry_run, **{kind: asdict(each) for kind, each in swept.items()}}
        context["ti"].xcom_push(key="return_value", value=result)
        for kind, each in swept.items():
            verb = "would be deleted" if dry_run else "deleted"
            self.log.info(
                "%s: %d %s, %d kept, %d faults", kind, each.deleted, verb, each.kept, len(each.faults)
            )
        if faults := [fault for each in swept.values() for fault in each.faults]:
            if sweep.refusals:
                raise InvalidInputError(faults)
            raise StepInfrastructureError(
                "Not everything could be swept; the next run tries again:\n" + "\n".join(faults)
            )
        return result

    def _pod_keep(self) -> PodKeep:
        keep = pod_keep()
        if (hours := given_number("pod_keep_hours", self.pod_keep_hours)) is not None:
            keep = dataclasses.replace(keep, succeeded=timedelta(hours=hours))
        if (hours := given_number("failed_pod_keep_hours", self.failed_pod_keep_hours)) is not None:
            keep = dataclasses.replace(keep, failed=timedelta(hours=hours))
        return keep

    def _claim_minutes(self) -> float:
        minutes = given_number("claim_keep_minutes", self.claim_keep_minutes)
        if minutes is None:
            minutes = max(settings.amount("claim_keep_minutes", 10.0), 0.0)
        return minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweep:
    """One sweep through a namespace."""

    client: CoreV1Api
    namespace: str
    installation: str
    keep_pods: PodKeep
    keep_claims: timedelta
    dry_run: bool
    run: Callable[[str, str], RunSeen | None]
    log: Any
    refusals: list[InvalidInputError] = field(default_factory=list)
    """Kinds that may not be listed."""

    def pods(self, going: ClaimsGoing) -> Swept:
        """Delete ended pods that were kept long enough, or that a claim which goes is kept for."""
        swept = Swept()
        for pod in self._list(swept, "pods") or ():
            decision = sweep_pod(
                pod.to_dict(),
                now=_now(),
                keep=self.keep_pods,
                going=going,
                installation=self.installation,
            )
            self._apply(swept, "pod", pod, decision, self.client.delete_namespaced_pod)
        return swept

    def claims(self) -> tuple[Swept, ClaimsGoing]:
        """Delete claims that nobody needs; also return those that are on their way out."""
        swept = Swept()
        mounted = self._mounted(swept)
        found = self._list(swept, "persistentvolumeclaims") if mounted is not None else None
        going, by_others = set(), set()
        for claim in found or ():
            metadata = claim.metadata
            seen = ClaimSeen(
                name=metadata.name,
                labels=metadata.labels or {},
                annotations=metadata.annotations or {},
                being_deleted=metadata.deletion_timestamp is not None,
            )
            if seen.being_deleted:
                by_others.add(seen.name)
            try:
                decision = self._decide(seen, (mounted or {}).get(seen.name, []))
            except Exception as error:  # one claim whose run cannot be asked for must not stop the sweep
                self._fault(swept, f"claim {seen.name}: the state of its run cannot be read: {error}")
                continue
            delete = self.client.delete_namespaced_persistent_volume_claim
            if self._apply(swept, "claim", claim, decision, delete):
                swept.bytes += _bytes_of(claim)
                going.add(seen.name)
        return swept, ClaimsGoing(being_deleted=frozenset(by_others), swept=frozenset(going))

    def secrets(self) -> Swept:
        """Delete the credentials of pods that are gone or have ended."""
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
            self.log.info("%s secret %s: its pod is gone or has ended.", self._verb, name)
            swept.add(name)
        return swept

    @property
    def _verb(self) -> str:
        return "Would delete" if self.dry_run else "Deleted"

    def _decide(self, seen: ClaimSeen, living_pods: Sequence[str]) -> SweepDecision:
        run = None
        asked = needs_run(seen, living_pods=living_pods, installation=self.installation)
        if asked and (whose := _run_of(seen.annotations)):
            run = self.run(*whose)
        return sweep_claim(
            seen,
            living_pods=living_pods,
            run=run,
            now=_now(),
            keep=self.keep_claims,
            installation=self.installation,
        )

    def _mounted(self, swept: Swept) -> dict[str, list[str]] | None:
        """Return the names of the pods that have not ended, by the claim that they mount."""
        # Not by label: whoever mounts a claim keeps it.
        living = self._list(swept, "pods", field_selector=NOT_ENDED, label_selector="")
        if living is None:
            return None
        mounted: dict[str, list[str]] = {}
        for pod in living:
            for claim in claims_of(pod):
                mounted.setdefault(claim, []).append(pod.metadata.name)
        return mounted

    def _list(self, swept: Swept, resource: str, **selectors: str) -> list[Any] | None:
        """Return the objects; ``None``, with a fault, where they cannot be listed."""
        read = pods if resource == "pods" else claims
        selectors = {"label_selector": f"{LABEL_INSTALLATION}={self.installation}", **selectors}
        try:
            found = []
            for item in read(self.client, self.namespace, **selectors):
                if resource == "pods":
                    # The specification, a prompt each, of every pod that is kept; nobody judges by it.
                    item.metadata.annotations = None
                found.append(item)
            return found
        except request_errors() as error:
            doing = f"{resource} cannot be listed"
            refused = refusal(error, doing, verb="list", resource=resource, namespace=self.namespace)
            if isinstance(refused, InvalidInputError):
                self.refusals.append(refused)
            self._fault(swept, str(refused))
            return None

    def _apply(
        self,
        swept: Swept,
        kind: str,
        item: k8s.V1Pod | k8s.V1PersistentVolumeClaim,
        decision: SweepDecision,
        delete: Callable[..., Any],
    ) -> bool:
        """Carry a decision out; say whether the object goes, or would in a real run."""
        name = item.metadata.name
        if decision.faulty:
            self.log.warning("Kept %s %s: %s", kind, name, decision.reason)
        if decision.action == "keep":
            swept.kept += 1
            return False
        if not self.dry_run:
            try:
                # As it was judged: a step that has asked for the claim since has moved its expiry.
                gone = delete_object(delete, item, unchanged=True)
            except request_errors() as error:
                self._fault(swept, f"{kind} {name}: {told(error)}")
                return False
            if not gone:
                swept.kept += 1
                self.log.info("Kept %s %s: it has changed since it was judged.", kind, name)
                return False
        self.log.info("%s %s %s: %s", self._verb, kind, name, decision.reason)
        swept.add(name)
        return True

    def _fault(self, swept: Swept, text: str) -> None:
        self.log.warning("%s", text)
        swept.fail(text)


def is_dry_run(report_only: bool | str) -> bool:
    """Read the flag of a dry run, which may have gone through a template.

    :raises InvalidInputError: it is neither true nor false: then nothing may be deleted.
    """
    text = str(report_only).strip().lower()
    if text not in ("true", "false", "none", ""):
        raise InvalidInputError([f"report_only: {report_only!r} is neither true nor false"])
    return text == "true"


def given_number(name: str, value: float | str | None) -> float | None:
    """Read a number that may have gone through a template; ``None`` where none is given.

    :raises InvalidInputError: it is not a number from 0 on.
    """
    text = "" if value is None else str(value).strip()
    if text in ("", "None"):
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST_UNITS:
        raise InvalidInputError([f"{name}: {text!r} is not a number from 0 to {MOST_UNITS:,}"])
    return number


def _bytes_of(claim: k8s.V1PersistentVolumeClaim) -> int:
    """Return the storage that a claim asks for; 0 where it cannot be read."""
    wanted = (claim.spec.resources and claim.spec.resources.requests) or {}
    try:
        return int(quantity.size(str(wanted.get("storage", ""))))
    except ValueError:
        return 0


def _run_of(annotations: Mapping[str, str]) -> tuple[str, str] | None:
    dag_id, run_id = annotations.get(ANNOTATION_DAG_ID), annotations.get(ANNOTATION_RUN_ID)
    return (dag_id, run_id) if dag_id and run_id else None


def _now() -> datetime:
    return datetime.now(tz=UTC)

"""The cluster: its API, Airflow's rights in it, the namespace and the service account of the pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.cli.deployment import REQUEST_SECONDS
from airflow_provider_agents.cli.report import Finding, failed, ok, skipped, warning
from airflow_provider_agents.cli.rights import UNNEEDED, Right, needed
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.kubernetes_objects import request_errors, status_of, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment

ENFORCE = "pod-security.kubernetes.io/enforce"
_GRANT = (
    "Add it to the Role of Airflow's identity: deploy/base has the Role, deploy/components what is optional."
)


def unread(what: str, error: Exception, look: str) -> Finding:
    """Return the finding for an object that Airflow may not read, or that the cluster did not give.

    :param look: command with which a person can look.
    """
    if status_of(error) in (401, 403):
        return skipped(
            f"Airflow may not read {what}: {told(error)}",
            f"Look yourself: {look}; or let doctor look: deploy/components/doctor.",
        )
    return failed(
        f"{what} could not be read: {told(error)}", "Check that the cluster is healthy, then run again."
    )


def api(deployment: Deployment) -> Iterator[Finding]:
    """Check that the Kubernetes API answers and knows Airflow's identity."""
    from kubernetes.client import VersionApi

    client = deployment.core.api_client
    host = client.configuration.host
    try:
        found = VersionApi(client).get_code(_request_timeout=REQUEST_SECONDS)
        deployment.core.list_namespaced_pod(deployment.namespace, limit=1, _request_timeout=REQUEST_SECONDS)
    except request_errors() as error:
        if status_of(error) == 401:
            yield failed(
                f"{host} does not accept the credential of the connection: {told(error)}",
                "Replace token or certificate in the kubeconfig of the connection, or use in_cluster.",
            )
            return
        if status_of(error) is None:
            yield failed(
                f"{host} could not be reached: {error}",
                "Check the address in the connection, network and firewall between this machine and the cluster.",
            )
            return
        if status_of(error) not in (403, 404):
            yield failed(f"{host} answers with an error: {told(error)}", "Check that the cluster is healthy.")
            return
        # What is missing is the matter of the checks that follow.
        found = None
    version = f", Kubernetes {found.git_version}" if found else ""
    whose = _identity(deployment)
    yield ok(f"{host} answers{version}" + (f", as {whose}" if whose else ""))


def _identity(deployment: Deployment) -> str:
    """Return who Airflow is to the cluster; empty where it does not tell (before Kubernetes 1.28)."""
    from kubernetes.client import AuthenticationV1Api
    from kubernetes.client import models as k8s

    try:
        answer = AuthenticationV1Api(deployment.core.api_client).create_self_subject_review(
            k8s.V1SelfSubjectReview(), _request_timeout=REQUEST_SECONDS
        )
    except request_errors():
        return ""
    info = answer.status.user_info if answer.status else None
    return str(info.username or "") if info else ""


def permissions(deployment: Deployment) -> Iterator[Finding]:
    """Ask the cluster for each right that the operators use."""
    try:
        own_secrets = deployment.source == "connections" or deployment.github.app is not None
    except InvalidInputError:
        own_secrets = False
    granted = total = 0
    claims = settings.text("workspace", "claim") == "claim"
    for right, required in needed(claims=claims, own_secrets=own_secrets):
        missing = [verb for verb in right.verbs if not _may(deployment, right, verb)]
        total += len(right.verbs)
        granted += len(right.verbs) - len(missing)
        if not missing:
            continue
        where = f"in namespace {deployment.namespace}" if right.namespaced else "in the cluster"
        text = f"Airflow may not {', '.join(missing)} {right.resource} {where}"
        subject = f"{right.resource}: {', '.join(missing)}"
        if required:
            yield failed(f"{text}: needed for {right.purpose}", _GRANT, subject)
        else:
            yield warning(f"{text}; with it: {right.purpose}", f"Optional. {_GRANT}", subject)
    if _may(deployment, UNNEEDED, "create"):
        yield warning(
            "Airflow may exec into pods, which nothing here needs: whoever has its credential reads those of the gateway",
            "Take pods/exec out of its Role.",
            UNNEEDED.resource,
        )
    yield ok(f"{granted} of the {total} rights that this configuration uses are granted")


def _may(deployment: Deployment, right: Right, verb: str) -> bool:
    from kubernetes.client import AuthorizationV1Api
    from kubernetes.client import models as k8s

    resource, _, subresource = right.resource.partition("/")
    asked = k8s.V1ResourceAttributes(
        namespace=deployment.namespace if right.namespaced else None,
        name=deployment.secret_name if right.of_installation else None,
        verb=verb,
        group=right.group,
        resource=resource,
        subresource=subresource or None,
    )
    review = k8s.V1SelfSubjectAccessReview(spec=k8s.V1SelfSubjectAccessReviewSpec(resource_attributes=asked))
    answer = AuthorizationV1Api(deployment.core.api_client).create_self_subject_access_review(
        review, _request_timeout=REQUEST_SECONDS
    )
    return bool(answer.status and answer.status.allowed)


def namespace(deployment: Deployment) -> Iterator[Finding]:
    """Check that the namespace of the pods is there and enforces the standard ``restricted``."""
    name = deployment.namespace
    try:
        found = deployment.core.read_namespace(name, _request_timeout=REQUEST_SECONDS)
    except request_errors() as error:
        if status_of(error) == 404:
            yield failed(
                f"there is no namespace {name}",
                f"Apply deploy/ (docs/deploy.md), or: kubectl create namespace {name}; or correct [agents] namespace.",
            )
            return
        yield unread(f"namespace {name}", error, f"kubectl get namespace {name} --show-labels")
        return
    if found.status and found.status.phase == "Terminating":
        yield failed(f"namespace {name} is being deleted", "Wait until it is gone, and apply deploy/ again.")
        return
    level = (found.metadata.labels or {}).get(ENFORCE)
    if level == "restricted":
        yield ok(f"namespace {name} enforces the Pod Security Standard restricted")
        return
    yield warning(
        f"namespace {name} enforces {f'only {level}' if level else 'no Pod Security Standard'}: a pod with more rights "
        "than those of the agents would be let in",
        f"kubectl label namespace {name} {ENFORCE}=restricted --overwrite",
    )


def service_account(deployment: Deployment) -> Iterator[Finding]:
    """Check that the service account of the pods is there and gets no token."""
    name = settings.text("service_account", "agent-runner")
    look = f"kubectl get serviceaccount {name} --namespace {deployment.namespace} --output yaml"
    try:
        found = deployment.core.read_namespaced_service_account(
            name, deployment.namespace, _request_timeout=REQUEST_SECONDS
        )
    except request_errors() as error:
        if status_of(error) == 404:
            yield failed(
                f"there is no service account {name} in namespace {deployment.namespace}: no pod is let in",
                f"Apply deploy/, or: kubectl create serviceaccount {name} --namespace {deployment.namespace}; or correct "
                "[agents] service_account.",
            )
            return
        yield unread(f"service account {name}", error, look)
        return
    if found.automount_service_account_token is not False:
        patch = '{"automountServiceAccountToken": false}'
        yield warning(
            f"service account {name} hands its token to pods that do not refuse it; those of the agents do",
            f"kubectl patch serviceaccount {name} --namespace {deployment.namespace} --patch '{patch}'",
        )
        return
    yield ok(f"service account {name} is there and hands out no token")

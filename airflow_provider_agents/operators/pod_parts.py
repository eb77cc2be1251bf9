"""What a step adds to the pod that ``KubernetesPodOperator`` builds: gateway, volumes, restrictions.

The shape is the project's security boundary: the gateway container holds the credentials (a secret volume
that nobody else mounts) and serves on loopback; the agent's container holds none, and reads the gateway's
address from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from kubernetes.client import models as k8s

from agent_runner import contract
from airflow_provider_agents import settings
from airflow_provider_agents.domain.cache import CACHE_VOLUME
from airflow_provider_agents.domain.pod_status import BASE_CONTAINER, GATEWAY_CONTAINER
from airflow_provider_agents.domain.quantity import half
from airflow_provider_agents.domain.workspace import HOME_FOLDER, LEDGER_FOLDER, WORKSPACE_FOLDER
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.kubernetes_objects import workspace_mount, workspace_volumes

if TYPE_CHECKING:
    from agent_runner.contract import GatewayConfig, StepSpec
    from airflow_provider_agents.domain.cache import CachePlace

SPEC_ANNOTATION = "agents.airflow/spec"
LABEL_PREFIX = "agents.airflow/"

_HOME = "/agent/home"
_WORKSPACE = "/agent/workspace"
_SPEC = "/agent/spec"
_GATEWAY_URL = "/agent/gateway-url"
_LEDGER = "/agent/ledger"
_SCRATCH = "/agent/scratch"
_MIRROR = "/agent/mirror"
_CACHE = "/agent/cache"
_SECRETS = "/agent/secrets"
_TMP = "/tmp"
_TERMINATION_LOG = "/dev/termination-log"

START_SECONDS = 600
"""What image pulls and claims may take before the agent's container runs."""

GRACE_SECONDS = 60
"""Between two of the nested limits: the runner's, the pod's, the task's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodParts:
    """Everything about the pod that the step decides."""

    spec: StepSpec
    gateway: GatewayConfig
    image: str
    cpu: str
    memory: str
    service_account: str
    labels: dict[str, str]
    credentials: k8s.V1Volume
    """Mounted by the gateway alone."""
    claim: str | None = None
    """Claim of the run, which keeps checkout, session and ledgers; ``None``: they end with the pod."""
    cache: CachePlace | None = None
    """The repository's folders on the cache claim; ``None``: nothing is cached."""

    def add_to(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """Complete ``pod`` in place and return it. What the user set on the operator stays.

        :raises InvalidInputError: a container that the user set mounts a volume of the step's own, such as the
            credentials, which belong to the gateway alone.
        """
        self._refuse_own_volumes(pod.spec)
        pod.metadata.labels = {**(pod.metadata.labels or {}), **self.labels}
        # Set here, after the operator's templates were rendered: the specification is never a template.
        pod.metadata.annotations = {**(pod.metadata.annotations or {}), SPEC_ANNOTATION: self.spec.to_json()}
        body: k8s.V1PodSpec = pod.spec
        body.service_account_name = body.service_account_name or self.service_account
        body.automount_service_account_token = False
        body.enable_service_links = False
        limit = START_SECONDS + self.spec.limits.seconds + GRACE_SECONDS
        body.active_deadline_seconds = body.active_deadline_seconds or limit
        body.termination_grace_period_seconds = body.termination_grace_period_seconds or 30
        body.security_context = body.security_context or pod_security()
        body.volumes = [*(body.volumes or []), *self._volumes()]
        body.init_containers = [*(body.init_containers or []), self._gateway_container()]
        base = next(c for c in body.containers if c.name == BASE_CONTAINER)
        self._complete_base(base)
        return pod

    def _refuse_own_volumes(self, body: k8s.V1PodSpec) -> None:
        own = {volume.name for volume in self._volumes()}
        faults = [
            f"container {container.name}: it mounts {name!r}, a volume of the step's own"
            for container in (*body.containers, *(body.init_containers or []))
            for name in sorted({mount.name for mount in container.volume_mounts or []} & own)
        ]
        faults += [
            f"volumes: the step has a volume {volume.name!r} of its own; rename yours"
            for volume in body.volumes or []
            if volume.name in own
        ]
        if faults:
            where = "(in the operator's arguments or the pod template)"
            raise InvalidInputError([f"{fault} {where}" for fault in faults])

    def _complete_base(self, base: k8s.V1Container) -> None:
        base.image = base.image or self.image
        base.command = base.command or ["agent-runner"]
        base.args = base.args or ["run"]
        base.security_context = base.security_context or container_security()
        base.termination_message_path = _TERMINATION_LOG
        if not (base.resources and (base.resources.limits or base.resources.requests)):
            base.resources = k8s.V1ResourceRequirements(
                limits={"cpu": self.cpu, "memory": self.memory},
                requests={"cpu": half(self.cpu), "memory": half(self.memory)},
            )
        base.env = [
            *(base.env or []),
            *_env(
                {
                    contract.ENV_SPEC_FILE: f"{_SPEC}/spec.json",
                    contract.ENV_GATEWAY_URL_FILE: f"{_GATEWAY_URL}/url",
                    contract.ENV_WORKSPACE: _WORKSPACE,
                    contract.ENV_HOME: _HOME,
                    contract.ENV_TERMINATION_LOG: _TERMINATION_LOG,
                    "HOME": _HOME,
                    "TMPDIR": _TMP,
                }
            ),
        ]
        base.volume_mounts = [
            *(base.volume_mounts or []),
            workspace_mount(WORKSPACE_FOLDER, _WORKSPACE, self.claim),
            workspace_mount(HOME_FOLDER, _HOME, self.claim),
            k8s.V1VolumeMount(name="tmp", mount_path=_TMP),
            k8s.V1VolumeMount(name="spec", mount_path=_SPEC, read_only=True),
            k8s.V1VolumeMount(name="gateway-url", mount_path=_GATEWAY_URL, read_only=True),
        ]
        if self.cache is not None:
            # Read-only: an agent must not change what another run checks out.
            base.env += _env({contract.ENV_MIRROR_DIR: _MIRROR})
            base.volume_mounts += [_cache_mount(self.cache.mirror, _MIRROR, read_only=True)]
            # Not beside the head of a pull request, which may be a stranger's: later runs would use what it planted.
            if self.spec.pull_request is None:
                base.env += _env({contract.ENV_CACHE_DIR: _CACHE})
                base.volume_mounts += [_cache_mount(self.cache.packages, _CACHE)]

    def _gateway_container(self) -> k8s.V1Container:
        cache_env, cache_mounts = [], []
        if self.cache is not None:
            cache_env = _env({contract.ENV_MIRROR_DIR: _MIRROR})
            cache_mounts = [_cache_mount(self.cache.mirror, _MIRROR)]
        return k8s.V1Container(
            name=GATEWAY_CONTAINER,
            image=self.image,
            command=["agent-runner"],
            args=["gateway"],
            restart_policy="Always",  # a native sidecar: ends after the base container
            env=[
                _pod_name(),
                *_env(
                    {
                        contract.ENV_GATEWAY_CONFIG: self.gateway.to_json(),
                        contract.ENV_GATEWAY_URL_FILE: f"{_GATEWAY_URL}/url",
                        contract.ENV_SECRETS_DIR: _SECRETS,
                        contract.ENV_LEDGER_DIR: _LEDGER,
                        contract.ENV_SCRATCH_DIR: _SCRATCH,
                        contract.ENV_TERMINATION_LOG: _TERMINATION_LOG,
                        "HOME": _SCRATCH,
                        "TMPDIR": _SCRATCH,
                    }
                ),
                *cache_env,
            ],
            resources=k8s.V1ResourceRequirements(
                requests={"cpu": "50m", "memory": "64Mi"}, limits={"cpu": "1", "memory": "512Mi"}
            ),
            security_context=container_security(),
            # exec, because the gateway listens on loopback only and `restricted` refuses a probe with a host.
            startup_probe=k8s.V1Probe(
                # Waits by itself, for 4 s: a probe that failed would be repeated after a whole second only.
                _exec=k8s.V1ExecAction(command=["agent-runner", "gateway-ready"]),
                period_seconds=1,
                timeout_seconds=10,
                failure_threshold=12,
            ),
            termination_message_path=_TERMINATION_LOG,
            volume_mounts=[
                k8s.V1VolumeMount(name="gateway-url", mount_path=_GATEWAY_URL),
                workspace_mount(LEDGER_FOLDER, _LEDGER, self.claim),
                k8s.V1VolumeMount(name="scratch", mount_path=_SCRATCH),
                k8s.V1VolumeMount(name=self.credentials.name, mount_path=_SECRETS, read_only=True),
                *cache_mounts,
            ],
        )

    def _volumes(self) -> list[k8s.V1Volume]:
        def empty(name: str) -> k8s.V1Volume:
            return k8s.V1Volume(name=name, empty_dir=k8s.V1EmptyDirVolumeSource())

        return [
            *workspace_volumes(self.claim),
            *(empty(name) for name in ("tmp", "gateway-url", "scratch")),
            k8s.V1Volume(
                name="spec",
                downward_api=k8s.V1DownwardAPIVolumeSource(
                    items=[
                        k8s.V1DownwardAPIVolumeFile(
                            path="spec.json",
                            field_ref=k8s.V1ObjectFieldSelector(
                                field_path=f"metadata.annotations['{SPEC_ANNOTATION}']"
                            ),
                        )
                    ]
                ),
            ),
            self.credentials,
            *([_cache_volume(self.cache.claim)] if self.cache is not None else []),
        ]


def pod_labels(spec: StepSpec, *, run: str, ticket: str, generation: int) -> dict[str, str]:
    """Return the labels that tell whose a pod is, and what it works on.

    :param run: run id.
    :param ticket: number of the issue, or the task's short name.
    :param generation: moves on when the task is cleared.
    """
    values = {
        "installation": settings.text("installation", "default"),
        "run": run,
        "ticket": ticket,
        "step": spec.step,
        "generation": str(generation),
        "spec": spec.fingerprint()[:16],
    }
    return {f"{LABEL_PREFIX}{name}": make_safe_label_value(value) for name, value in values.items()}


def memory_of(pod: k8s.V1Pod) -> str | None:
    """Return the memory limit of the agent's container."""
    base = next((c for c in pod.spec.containers if c.name == BASE_CONTAINER), None)
    limits = base.resources.limits if base is not None and base.resources else None
    return (limits or {}).get("memory")


def _env(values: dict[str, str]) -> list[k8s.V1EnvVar]:
    return [k8s.V1EnvVar(name=name, value=value) for name, value in values.items()]


def _cache_volume(claim: str) -> k8s.V1Volume:
    source = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=claim)
    return k8s.V1Volume(name=CACHE_VOLUME, persistent_volume_claim=source)


def _cache_mount(folder: str, path: str, *, read_only: bool | None = None) -> k8s.V1VolumeMount:
    return k8s.V1VolumeMount(name=CACHE_VOLUME, sub_path=folder, mount_path=path, read_only=read_only)


def _pod_name() -> k8s.V1EnvVar:
    source = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="metadata.name"))
    return k8s.V1EnvVar(name=contract.ENV_POD_NAME, value_from=source)


def pod_security() -> k8s.V1PodSecurityContext:
    """Return what Pod Security ``restricted`` asks of a pod: user and group 1000, no root."""
    return k8s.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=1000,
        run_as_group=1000,
        fs_group=1000,
        # Else every pod would change the owner of each file of the checkout again.
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )


def container_security() -> k8s.V1SecurityContext:
    """Return what it asks of a container, and a root folder that nobody writes."""
    return k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
    )

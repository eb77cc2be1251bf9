"""The Pod Security Standard ``restricted``, as a namespace that enforces it checks a pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_agents.local.api_errors import Json

_BASELINE_CAPABILITIES = {"NET_BIND_SERVICE"}
_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
_PROFILES = ("RuntimeDefault", "Localhost")
_HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


@dataclass(frozen=True, slots=True)
class _Pod:
    spec: Json
    containers: list[Json]

    @property
    def context(self) -> Json:
        return self.spec.get("securityContext") or {}

    def failing(self, fails: Callable[[Json], bool]) -> list[str]:
        """Return the names of the containers of which ``fails`` holds for the security context."""
        return [each.get("name", "") for each in self.containers if fails(each.get("securityContext") or {})]


def violations(spec: Json) -> list[str]:
    """Return what violates ``restricted`` in the specification of a pod, one text for each rule."""
    pod = _Pod(spec, [*(spec.get("initContainers") or []), *spec["containers"]])
    rules = (
        _host_namespaces, _privileged, _capabilities, _volume_types, _host_ports, _host_probes, _mandatory_access,
        _proc_mount, _sysctls, _privilege_escalation, _run_as_non_root, _run_as_user, _seccomp,
    )  # fmt: skip
    return [text for rule in rules if (text := rule(pod))]


def _named(kind: str, items: list[str]) -> str:
    plural = "s" if len(items) > 1 else ""
    return f"{kind}{plural} " + ", ".join(f'"{item}"' for item in items)


def _host_namespaces(pod: _Pod) -> str | None:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(name)]
    return f"host namespaces ({', '.join(used)})" if used else None


def _privileged(pod: _Pod) -> str | None:
    bad = pod.failing(lambda context: bool(context.get("privileged")))
    return (
        f"privileged ({_named('container', bad)} must not set securityContext.privileged=true)"
        if bad
        else None
    )


def _capabilities(pod: _Pod) -> str | None:
    def names(context: Json, part: str) -> set[str]:
        return set((context.get("capabilities") or {}).get(part) or [])

    undropped = pod.failing(lambda context: "ALL" not in names(context, "drop"))
    adding = pod.failing(lambda context: bool(names(context, "add") - _BASELINE_CAPABILITIES))
    texts = []
    if undropped:
        texts.append(f'{_named("container", undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        bad = set().union(*(names(each.get("securityContext") or {}, "add") for each in pod.containers))
        listed = ", ".join(f'"{name}"' for name in sorted(bad - _BASELINE_CAPABILITIES))
        texts.append(
            f"{_named('container', adding)} must not include {listed} in securityContext.capabilities.add"
        )
    return f"unrestricted capabilities ({'; '.join(texts)})" if texts else None


def _volume_types(pod: _Pod) -> str | None:
    bad: dict[str, str] = {}
    for volume in pod.spec.get("volumes") or []:
        for kind, value in volume.items():
            if kind != "name" and value is not None and kind not in _VOLUMES:
                bad[volume.get("name", "")] = kind
    if not bad:
        return None
    kinds = ", ".join(f'"{kind}"' for kind in sorted(set(bad.values())))
    return f"restricted volume types ({_named('volume', list(bad))} use restricted volume type {kinds})"


def _host_ports(pod: _Pod) -> str | None:
    bad = [
        each["name"]
        for each in pod.containers
        if any(port.get("hostPort") for port in each.get("ports") or [])
    ]
    return f"hostPort ({_named('container', bad)} must not set hostPort)" if bad else None


def _host_probes(pod: _Pod) -> str | None:
    bad: dict[str, str] = {}
    for container in pod.containers:
        hooks = container.get("lifecycle") or {}
        handlers = [container.get(name) or {} for name in _HANDLERS]
        handlers += [hooks.get("postStart") or {}, hooks.get("preStop") or {}]
        for handler in handlers:
            for action in ("httpGet", "tcpSocket"):
                if host := (handler.get(action) or {}).get("host"):
                    bad[container.get("name", "")] = host
    if not bad:
        return None
    hosts = ", ".join(f'"{host}"' for host in sorted(set(bad.values())))
    return f"probe or lifecycle host ({_named('container', list(bad))} uses probe or lifecycle host {hosts})"


def _mandatory_access(pod: _Pod) -> str | None:
    for context in (pod.context, *((each.get("securityContext") or {}) for each in pod.containers)):
        options = context.get("seLinuxOptions") or {}
        if (options.get("type") or "") not in _SELINUX_TYPES or options.get("user") or options.get("role"):
            return "seLinuxOptions (pod or containers set a forbidden securityContext.seLinuxOptions)"
        if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
            return 'forbidden AppArmor profile (appArmorProfile.type must not be "Unconfined")'
    return None


def _proc_mount(pod: _Pod) -> str | None:
    bad = pod.failing(lambda context: context.get("procMount") not in (None, "Default"))
    return f"procMount ({_named('container', bad)} must not set securityContext.procMount)" if bad else None


def _sysctls(pod: _Pod) -> str | None:
    bad = [
        entry.get("name", "")
        for entry in pod.context.get("sysctls") or []
        if entry.get("name") not in _SYSCTLS
    ]
    return f"forbidden sysctls ({', '.join(bad)})" if bad else None


def _privilege_escalation(pod: _Pod) -> str | None:
    bad = pod.failing(lambda context: context.get("allowPrivilegeEscalation") is not False)
    if not bad:
        return None
    must = "must set securityContext.allowPrivilegeEscalation=false"
    return f"allowPrivilegeEscalation != false ({_named('container', bad)} {must})"


def _run_as_non_root(pod: _Pod) -> str | None:
    general = pod.context.get("runAsNonRoot")
    explicit = pod.failing(lambda context: context.get("runAsNonRoot") is False)
    unset = pod.failing(lambda context: context.get("runAsNonRoot") is None)
    if explicit:
        return f"runAsNonRoot != true ({_named('container', explicit)} must not set securityContext.runAsNonRoot=false)"
    if general or not unset:
        return None
    must = "must set securityContext.runAsNonRoot=true"
    return f"runAsNonRoot != true (pod or {_named('container', unset)} {must})"


def _run_as_user(pod: _Pod) -> str | None:
    bad = pod.failing(lambda context: context.get("runAsUser") == 0)
    if pod.context.get("runAsUser") == 0:
        return "runAsUser=0 (pod must not set runAsUser=0)"
    return f"runAsUser=0 ({_named('container', bad)} must not set runAsUser=0)" if bad else None


def _seccomp(pod: _Pod) -> str | None:
    def profile(context: Json) -> Any:
        return (context.get("seccompProfile") or {}).get("type")

    general = profile(pod.context)
    bad = pod.failing(lambda context: (profile(context) or general) not in _PROFILES)
    if not bad:
        return None
    must = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return f"seccompProfile (pod or {_named('container', bad)} {must})"

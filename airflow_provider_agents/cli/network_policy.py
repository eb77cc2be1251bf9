"""What the NetworkPolicies of a namespace let a pod reach, as Kubernetes reads them: pure functions of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

Policy = Mapping[str, Any]


def selecting(policies: Sequence[Policy], labels: Mapping[str, str], direction: str) -> list[Policy]:
    """Return the policies that limit one direction of a pod's traffic.

    :param labels: of the pod.
    :param direction: ``Ingress`` or ``Egress``.
    """
    return [
        policy
        for policy in policies
        if direction in _directions(policy["spec"])
        and matches(policy["spec"].get("podSelector") or {}, labels)
    ]


def egress_allowed(
    policies: Sequence[Policy], labels: Mapping[str, str], address: str, port: int, protocol: str = "TCP"
) -> bool:
    """Say whether a pod may open a connection to an address outside the cluster's pods."""
    limiting = selecting(policies, labels, "Egress")
    if not limiting:
        return True
    rules = [rule for policy in limiting for rule in policy["spec"].get("egress") or []]
    return any(_port_fits(rule, port, protocol) and _address_fits(rule, address) for rule in rules)


def ingress_rules(policies: Sequence[Policy], labels: Mapping[str, str]) -> list[Any] | None:
    """Return what may connect to a pod, as rules; ``None``: everything may."""
    limiting = selecting(policies, labels, "Ingress")
    if not limiting:
        return None
    return [rule for policy in limiting for rule in policy["spec"].get("ingress") or []]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a label selector fits; an empty one fits every pod."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression_fits(term, labels) for term in selector.get("matchExpressions") or [])


def _expression_fits(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = str(term.get("key")), term.get("values") or []
    match term.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _directions(spec: Mapping[str, Any]) -> Sequence[str]:
    """Return the directions that a policy is about; without any it is ingress, and egress where it has rules."""
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _port_fits(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    if not ports:
        return True
    for entry in ports:
        if (entry.get("protocol") or "TCP") != protocol:
            continue
        first = entry.get("port")
        if first is None:
            return True
        # A named port is one of a pod's, which an address outside has not.
        if isinstance(first, int) and first <= port <= int(entry.get("endPort") or first):
            return True
    return False


def _address_fits(rule: Mapping[str, Any], address: str) -> bool:
    peers = rule.get("to")
    if not peers:
        return True
    target = ip_address(address)
    for peer in peers:
        block = peer.get("ipBlock")
        if (
            block
            and target in ip_network(block["cidr"], strict=False)
            and not any(target in ip_network(cut, strict=False) for cut in block.get("except") or [])
        ):
            return True
    return False

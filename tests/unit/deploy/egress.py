"""Says what a NetworkPolicy lets out and in, from what it says. Policies add up; without any, all is open."""

from __future__ import annotations

import ipaddress
from typing import Any

Json = dict[str, Any]


def selects(policy: Json, labels: dict[str, str]) -> bool:
    """Say whether a policy is for a pod with these labels."""
    return matches(policy["spec"].get("podSelector") or {}, labels)


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """Evaluate a label selector."""
    for name, value in (selector.get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    for term in selector.get("matchExpressions") or []:
        value, wanted = labels.get(term["key"]), term.get("values") or []
        met = {
            "Exists": value is not None,
            "DoesNotExist": value is None,
            "In": value in wanted,
            "NotIn": value not in wanted,
        }[term["operator"]]
        if not met:
            return False
    return True


def _port_open(rule: Json, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    if not ports:
        return True
    return any(
        each.get("protocol", "TCP") == protocol
        and ("port" not in each or each["port"] <= port <= each.get("endPort", each["port"]))
        for each in ports
    )


def _block_has(block: Json, address: str) -> bool:
    ip = ipaddress.ip_address(address)

    def inside(cidr: str) -> bool:
        network = ipaddress.ip_network(cidr)
        return network.version == ip.version and ip in network

    return inside(block["cidr"]) and not any(inside(each) for each in block.get("except") or [])


class Network:
    """The policies of one namespace.

    :param policies: NetworkPolicy objects.
    """

    def __init__(self, policies: list[Json]) -> None:
        self._policies = policies

    def _rules(self, labels: dict[str, str], direction: str) -> list[Json] | None:
        """Return the rules for a pod; ``None`` where no policy is for it, so that all is open."""
        chosen = [
            policy["spec"]
            for policy in self._policies
            if selects(policy, labels) and direction.capitalize() in policy["spec"]["policyTypes"]
        ]
        return [rule for spec in chosen for rule in spec.get(direction) or []] if chosen else None

    def reaches_address(self, labels: dict[str, str], address: str, port: int, protocol: str = "TCP") -> bool:
        """Say whether a pod with these labels reaches an address outside of the cluster's pods."""
        rules = self._rules(labels, "egress")
        if rules is None:
            return True
        return any(
            _port_open(rule, port, protocol)
            and (
                not rule.get("to")
                or any("ipBlock" in peer and _block_has(peer["ipBlock"], address) for peer in rule["to"])
            )
            for rule in rules
        )

    def reaches_pod(
        self,
        labels: dict[str, str],
        namespace: dict[str, str],
        pod: dict[str, str],
        port: int,
        protocol: str = "TCP",
    ) -> bool:
        """Say whether a pod with these labels reaches another one, chosen by labels and not by its address."""
        rules = self._rules(labels, "egress")
        if rules is None:
            return True
        return any(
            _port_open(rule, port, protocol)
            and (not rule.get("to") or any(self._peer(peer, namespace, pod) for peer in rule["to"]))
            for rule in rules
        )

    @staticmethod
    def _peer(peer: Json, namespace: dict[str, str], pod: dict[str, str]) -> bool:
        if "ipBlock" in peer or "namespaceSelector" not in peer:  # a peer without one is in its own namespace
            return False
        return matches(peer["namespaceSelector"], namespace) and matches(peer.get("podSelector") or {}, pod)

    def is_reached(self, labels: dict[str, str]) -> bool:
        """Say whether anything at all may open a connection to a pod with these labels."""
        rules = self._rules(labels, "ingress")
        return rules is None or bool(rules)

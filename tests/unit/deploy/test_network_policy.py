"""What the network policies let through, as they say it, and that each part of them counts."""

from __future__ import annotations

import copy
import functools
import ipaddress
from typing import TYPE_CHECKING

import pytest
import yaml
from egress import Json, Network
from hypothesis import given
from hypothesis import strategies as st
from manifests import COMPONENTS, DEPLOY, base, one

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENT = {"agents.airflow/step": "implement", "team": "a"}
OTHER = {"app": "something"}
KUBE_SYSTEM = {"kubernetes.io/metadata.name": "kube-system"}
DNS = {"k8s-app": "kube-dns"}

FORGE, FORGE_6 = "140.82.121.4", "2606:50c0:8000::154"
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
]
"""Of the clouds: they hand out credentials of the node."""

PRIVATE = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
    "2002::/16", "3fff::/20", "fc00::/7", "fe80::/10", "ff00::/8",
]  # fmt: skip


def policies() -> list[Json]:
    return [item for item in base() if item["kind"] == "NetworkPolicy"]


@functools.cache
def network() -> Network:
    return Network(policies())


def addresses(cidr: str) -> Iterator[str]:
    """Yield the first, the last and some addresses of a range."""
    block = ipaddress.ip_network(cidr)
    for index in sorted({0, 1, block.num_addresses // 2, block.num_addresses - 1}):
        yield str(block[min(index, block.num_addresses - 1)])


@pytest.mark.parametrize("cidr", PRIVATE)
def test_no_private_range_is_reached(cidr: str) -> None:
    for address in addresses(cidr):
        for port in (22, 443):
            assert not network().reaches_address(AGENT, address, port), address


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("port", [80, 443, 53])
def test_no_metadata_service_is_reached(address: str, port: int) -> None:
    assert not network().reaches_address(AGENT, address, port)


@given(st.ip_addresses())
def test_what_is_reached_is_a_public_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if network().reaches_address(AGENT, str(address), 443):
        assert address.is_global, address
        assert not address.is_multicast


@pytest.mark.parametrize("address", [FORGE, FORGE_6])
def test_forge_and_model_are_reached_by_https_and_ssh_alone(address: str) -> None:
    assert network().reaches_address(AGENT, address, 443)
    assert network().reaches_address(AGENT, address, 22)
    for port in (21, 23, 25, 53, 80, 442, 444, 3306, 5432, 6379, 6443, 8080, 8443, 10250):
        assert not network().reaches_address(AGENT, address, port)
    for protocol in ("UDP", "SCTP"):
        assert not network().reaches_address(AGENT, address, 443, protocol)
        assert not network().reaches_address(AGENT, address, 53, protocol)


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_names_are_asked_of_the_clusters_dns_alone(protocol: str) -> None:
    reaches = network().reaches_pod
    assert reaches(AGENT, KUBE_SYSTEM, DNS, 53, protocol)
    assert not reaches(AGENT, KUBE_SYSTEM, {"k8s-app": "metrics-server"}, 53, protocol)
    assert not reaches(AGENT, {"kubernetes.io/metadata.name": "default"}, DNS, 53, protocol)
    assert not reaches(AGENT, {"kubernetes.io/metadata.name": "agent-system"}, AGENT, 53, protocol)
    assert not reaches(AGENT, KUBE_SYSTEM, DNS, 443, protocol)
    assert not network().reaches_address(AGENT, FORGE, 53, protocol)


def test_nothing_reaches_a_pod_and_other_pods_reach_nothing() -> None:
    for labels in (AGENT, OTHER, {}):
        assert not network().is_reached(labels)
    for labels in (OTHER, {}):
        assert not network().reaches_address(labels, FORGE, 443)
        assert not network().reaches_pod(labels, KUBE_SYSTEM, DNS, 53, "UDP")


def egress(changed: list[Json]) -> list[Json]:
    rules: list[Json] = one(changed, "NetworkPolicy", "agents")["spec"]["egress"]
    return rules


def exceptions() -> list[tuple[int, str]]:
    blocks = [peer["ipBlock"] for peer in egress(policies())[1]["to"]]
    return [(index, cidr) for index, block in enumerate(blocks) for cidr in block["except"]]


@pytest.mark.parametrize(("index", "cidr"), exceptions())
def test_every_exception_counts(index: int, cidr: str) -> None:
    """Without it, something that is not public is reached: none is there for show, none may be dropped."""
    changed = copy.deepcopy(policies())
    egress(changed)[1]["to"][index]["ipBlock"]["except"].remove(cidr)
    opened = [address for address in addresses(cidr) if Network(changed).reaches_address(AGENT, address, 443)]
    assert opened
    assert cidr in PRIVATE or set(opened) & set(METADATA)


def test_the_evaluation_notices_a_policy_that_is_loosened() -> None:
    loose = copy.deepcopy(policies())
    del egress(loose)[1]["ports"]
    assert Network(loose).reaches_address(AGENT, FORGE, 80)
    loose = copy.deepcopy(policies())
    del egress(loose)[1]["to"]
    assert Network(loose).reaches_address(AGENT, "10.0.0.1", 443)
    loose = copy.deepcopy(policies())
    del egress(loose)[0]["to"][0]["podSelector"]
    assert Network(loose).reaches_pod(AGENT, KUBE_SYSTEM, {"k8s-app": "metrics-server"}, 53)
    loose = copy.deepcopy(policies())
    one(loose, "NetworkPolicy", "agents")["spec"]["ingress"] = [{}]
    assert Network(loose).is_reached(AGENT)
    loose = [policy for policy in policies() if policy["metadata"]["name"] != "nothing"]
    assert Network(loose).is_reached(OTHER)
    assert Network(loose).reaches_address(OTHER, "10.0.0.1", 443)


def patched(file: str) -> Network:
    """Return the policies with a patch of JSON operations, as kustomize applies them."""
    changed = copy.deepcopy(policies())
    for patch in yaml.safe_load((DEPLOY / file / "kustomization.yaml").read_text())["patches"]:
        target = one(changed, patch["target"]["kind"], patch["target"]["name"])
        for operation in yaml.safe_load(patch["patch"]):
            *path, last = operation["path"].strip("/").split("/")
            place = target
            for part in path:
                place = place[int(part)] if isinstance(place, list) else place[part]
            if isinstance(place, list) and last == "-":
                place.append(operation["value"])
            else:
                place[int(last) if isinstance(place, list) else last] = operation["value"]
    return Network(changed)


def test_with_node_local_dns_its_address_is_reached_for_names_alone() -> None:
    assert COMPONENTS.joinpath("node-local-dns").is_dir()
    opened = patched("components/node-local-dns")
    assert opened.reaches_address(AGENT, "169.254.20.10", 53, "UDP")
    assert not opened.reaches_address(AGENT, "169.254.20.10", 443)
    assert not opened.reaches_address(AGENT, "169.254.169.254", 53, "UDP")


def test_the_overlay_for_services_inside_closes_the_public_addresses() -> None:
    inside = patched("overlays/inside")
    assert inside.reaches_address(AGENT, "10.20.30.40", 443)
    assert not inside.reaches_address(AGENT, "10.20.30.40", 22)
    assert not inside.reaches_address(AGENT, "10.20.30.43", 443)
    assert not inside.reaches_address(AGENT, FORGE, 443)
    assert inside.reaches_pod(AGENT, KUBE_SYSTEM, DNS, 53, "UDP")


def test_the_policy_of_cilium_names_what_it_lets_out() -> None:
    kustomization = yaml.safe_load((DEPLOY / "overlays/cilium/kustomization.yaml").read_text())
    # Policies add up: the one by addresses has to go.
    deleted = [yaml.safe_load(patch["patch"]) for patch in kustomization["patches"]]
    assert [(each["$patch"], each["kind"], each["metadata"]["name"]) for each in deleted] == [
        ("delete", "NetworkPolicy", "agents")
    ]
    policy = yaml.safe_load((DEPLOY / "overlays/cilium/allowed-names.yaml").read_text())
    assert policy["spec"]["endpointSelector"] == {
        "matchExpressions": [{"key": "agents.airflow/step", "operator": "Exists"}]
    }
    assert "ingress" not in policy["spec"]  # the base's `nothing`, which stays, closes it
    names, web = policy["spec"]["egress"]
    assert names["toEndpoints"] == [
        {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"}}
    ]
    assert [port["port"] for part in names["toPorts"] for port in part["ports"]] == ["53"]
    assert [port for part in web["toPorts"] for port in part["ports"]] == [{"port": "443", "protocol": "TCP"}]
    assert set(web) == {"toFQDNs", "toPorts"}
    allowed = [value for entry in web["toFQDNs"] for value in entry.values()]
    assert {"github.com", "api.anthropic.com", "api.openai.com"} <= set(allowed)
    assert all(name.lstrip("*.").count(".") >= 1 and "*" not in name[1:] for name in allowed)

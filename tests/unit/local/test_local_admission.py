"""No body whatever makes admission fail otherwise than by refusing it."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.client import models

from airflow_provider_agents.local.admission import Admission
from airflow_provider_agents.local.api_errors import ApiError
from airflow_provider_agents.local.schema import type_fault

GOOD = {
    "metadata": {"name": "a", "labels": {"a": "b"}, "annotations": {"c": "d"}, "ownerReferences": []},
    "spec": {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 5,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsUser": 1},
        "initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always"}],
        "containers": [
            {
                "name": "base", "image": "x", "command": ["a"], "args": ["b"], "workingDir": "/w",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "envFrom": [{"secretRef": {"name": "s"}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}],
                "startupProbe": {"exec": {"command": ["x"]}, "periodSeconds": 1},
                "resources": {"limits": {"cpu": "1", "memory": 1024}},
                "ports": [{"containerPort": 1, "name": "http"}],
                "securityContext": {"capabilities": {"drop": ["ALL"]}},
            }
        ],
        "volumes": [
            {"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "p"}]}},
            {"name": "w", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "x", "projected": {"sources": [{"configMap": {"name": "c"}}]}},
        ],
    },
}  # fmt: skip

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "exec", "items", "x"]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def places(value, path=()):
    yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield from places(entry, (*path, key))


def refusal(level, resource, body):
    try:
        Admission(level).create(resource, "test", body)
    except ApiError as error:
        return error.code
    return None


PLACES = [path for path in places(GOOD) if path]


def test_the_pod_that_the_others_are_made_from_is_good():
    stored = Admission("none").create("pods", "test", GOOD)
    assert stored["spec"]["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    assert stored["spec"]["containers"][0]["imagePullPolicy"] == "Always"


@pytest.mark.parametrize("level", ["none", "restricted"])
@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=junk)
def test_one_field_of_any_kind(level, place, value):
    body = copy.deepcopy(GOOD)
    target = body
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    assert refusal(level, "pods", body) in (None, 400, 403, 422)


@settings(deadline=None)
@given(
    resource=st.sampled_from(["pods", "secrets", "configmaps", "persistentvolumeclaims", "events"]), body=junk
)
def test_any_body(resource, body):
    assert refusal("restricted", resource, body) in (None, 400, 403, 422)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("spec", "containers"), {}, "spec.containers: dict where a list is expected"),
        (("spec", "containers", 0, "args"), [1], "spec.containers[0].args[0]: int where str"),
        (("spec", "containers", 0, "env"), [None], "spec.containers[0].env[0] is null"),
        (("spec", "activeDeadlineSeconds"), True, "spec.activeDeadlineSeconds: bool where int"),
        (("metadata", "labels", "a"), 1, "metadata.labels.a: int where str"),
    ],
)
def test_the_field_of_the_wrong_type_is_named(place, value, says):
    body = copy.deepcopy(GOOD)
    target = body
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    assert says in str(type_fault("pods", body))


def test_a_model_of_the_client_stands_for_every_resource():
    for kind in ("V1Pod", "V1Secret", "V1ConfigMap", "V1PersistentVolumeClaim", "CoreV1Event"):
        assert hasattr(models, kind)

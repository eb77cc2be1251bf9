"""The API: what is refused and how, patches, watches."""

from __future__ import annotations

import asyncio
import base64
import copy
import json

import pytest

from airflow_provider_agents.local.api_errors import ApiError
from airflow_provider_agents.local.patching import apply_patch
from airflow_provider_agents.local.runtime import LocalKubernetes

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def base(**more):
    return {"name": "base", "image": "shell", "command": ["sleep", "60"], **more}


def spec(*containers, **more):
    return {"restartPolicy": "Never", "containers": list(containers) or [base()], **more}


@pytest.mark.parametrize(
    ("metadata", "pod_spec", "field", "reason"),
    [
        ({"name": "Upper"}, spec(), "metadata.name", "FieldValueInvalid"),
        ({"name": "a" * 254}, spec(), "metadata.name", "FieldValueInvalid"),
        ({}, spec(), "metadata.name", "FieldValueRequired"),
        ({"name": "a", "labels": {"k": "not valid"}}, spec(), "metadata.labels", "FieldValueInvalid"),
        ({"name": "a", "labels": {"-k": "v"}}, spec(), "metadata.labels", "FieldValueInvalid"),
        ({"name": "a", "annotations": {"k": "x" * 262_144}}, spec(), "metadata.annotations", "FieldValueTooLong"),
        ({"name": "a"}, {"restartPolicy": "Never"}, "spec.containers", "FieldValueRequired"),
        ({"name": "a"}, spec() | {"restartPolicy": "OnFailure"}, "spec.restartPolicy", "FieldValueNotSupported"),
        ({"name": "a"}, {"containers": [base()]}, "spec.restartPolicy", "FieldValueNotSupported"),
        ({"name": "a"}, spec(base(), base()), "spec.containers[1].name", "FieldValueDuplicate"),
        ({"name": "a"}, spec(initContainers=[base()]), "spec.initContainers[0].name", "FieldValueDuplicate"),
        ({"name": "a"}, spec(base(name="A_b")), "spec.containers[0].name", "FieldValueInvalid"),
        ({"name": "a"}, spec({"name": "b"}), "spec.containers[0].image", "FieldValueRequired"),
        (
            {"name": "a"}, spec(base(volumeMounts=[{"name": "v", "mountPath": "/v"}])),
            "spec.containers[0].volumeMounts[0].name", "FieldValueNotFound",
        ),
        (
            {"name": "a"},
            spec(base(volumeMounts=[{"name": "v", "mountPath": "v"}]), volumes=[{"name": "v", "emptyDir": {}}]),
            "spec.containers[0].volumeMounts[0].mountPath", "FieldValueInvalid",
        ),
        (
            {"name": "a"}, spec(volumes=[{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
            "spec.volumes[1].name", "FieldValueDuplicate",
        ),
        (
            {"name": "a"}, spec(volumes=[{"name": "v", "hostPath": {"path": "/etc"}}]),
            "spec.volumes[0].hostPath", "FieldValueForbidden",
        ),
        ({"name": "a"}, spec(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds", "FieldValueInvalid"),
        ({"name": "a"}, spec(base(lifecycle={"preStop": {}})), "spec.containers[0].lifecycle", "FieldValueForbidden"),
        ({"name": "a"}, spec(base(env=[{"name": "A=B", "value": "1"}])), "spec.containers[0].env[0].name", "FieldValueInvalid"),
        (
            {"name": "a"}, spec(base(startupProbe={"grpc": {"port": 1}})),
            "spec.containers[0].startupProbe.grpc", "FieldValueForbidden",
        ),
        (
            {"name": "a"}, spec(base(resources={"limits": {"cpu": "lots"}})),
            "spec.containers[0].resources.limits[cpu]", "FieldValueInvalid",
        ),
    ],
)  # fmt: skip
async def test_a_pod_that_is_not_valid(api, metadata, pod_spec, field, reason):
    status, answer = await api.call("POST", "pods", {"metadata": metadata, "spec": pod_spec})
    assert (status, answer["kind"], answer["reason"], answer["code"]) == (422, "Status", "Invalid", 422)
    causes = [(cause["field"], cause["reason"]) for cause in answer["details"]["causes"]]
    assert causes == [(field, reason)]
    assert field in answer["message"]


async def test_every_fault_is_named_at_once(api):
    pod = {"metadata": {"name": "A"}, "spec": spec(base(name="B"), restartPolicy="Always")}
    _, answer = await api.call("POST", "pods", pod)
    assert len(answer["details"]["causes"]) == 3
    assert answer["message"].startswith('Pod "A" is invalid: [')


async def test_262144_bytes_of_annotations_are_accepted(api):
    annotations = {"k": "x" * 262_143}
    await api.ok("POST", "pods", {"metadata": {"name": "a", "annotations": annotations}, "spec": spec()})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}, 400),
        ({"metadata": {"name": "a", "namespace": "other"}, "spec": spec()}, 400),
        ([1], 400),
        (None, 400),
    ],
)
async def test_a_body_that_is_no_such_object(api, body, code):
    status, answer = await api.call("POST", "pods", body)
    assert (status, answer["status"]) == (code, "Failure")


async def test_not_found_conflict_and_unknown_paths(api):
    status, answer = await api.call("GET", "pods/absent")
    assert (status, answer["reason"], answer["message"]) == (404, "NotFound", 'pods "absent" not found')
    for method in ("DELETE", "PATCH"):
        assert (await api.call(method, "pods/absent", {}, content_type=MERGE))[0] == 404
    await api.ok("POST", "secrets", {"metadata": {"name": "s"}})
    status, answer = await api.call("POST", "secrets", {"metadata": {"name": "s"}})
    assert (status, answer["reason"], answer["message"]) == (
        409,
        "AlreadyExists",
        'secrets "s" already exists',
    )
    for path in (
        "/nothing",
        "/api/v1/namespaces/test/deployments",
        "/apis/apps/v1/namespaces/test/deployments",
    ):
        status, answer = await api.call("GET", path)
        assert (status, answer["kind"], answer["reason"]) == (404, "Status", "NotFound")
    status, answer = await api.call("PUT", "pods")
    assert (status, answer["reason"]) == (405, "MethodNotAllowed")


async def test_a_body_that_is_no_json_or_too_large(api):
    url = f"{api.url}/api/v1/namespaces/test/pods"
    async with api.session.post(url, data=b"{", headers={"Content-Type": "application/json"}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (400, "BadRequest")
    async with api.session.post(url, data=b"x" * (3 * 1024 * 1024 + 1)) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize("headers", [{"Origin": "https://example.org"}, {"Host": "example.org"}])
async def test_web_pages_are_refused_even_with_the_token(api, headers):
    async with api.session.get(f"{api.url}/api/v1/namespaces/test/pods", headers=headers) as answer:
        assert answer.status == 403


async def test_dry_run_is_refused_rather_than_ignored(api):
    status, _ = await api.call("POST", "secrets", {"metadata": {"name": "s"}}, dryRun="All")
    assert status == 400
    assert (await api.call("GET", "secrets/s"))[0] == 404


async def test_list_with_selectors_over_one_and_all_namespaces(api):
    for number in range(3):
        metadata = {"name": f"s{number}", "labels": {"n": str(number), "all": "1"}}
        await api.ok("POST", "secrets", {"metadata": metadata})
    await api.ok(
        "POST", "/api/v1/namespaces/other/secrets", {"metadata": {"name": "s9", "labels": {"all": "1"}}}
    )

    async def names(path="secrets", **query):
        return [item["metadata"]["name"] for item in (await api.ok("GET", path, **query))["items"]]

    assert await names(labelSelector="all") == ["s0", "s1", "s2"]
    assert await names(labelSelector="n in (0,2)") == ["s0", "s2"]
    assert await names(fieldSelector="metadata.name=s1") == ["s1"]
    assert await names("/api/v1/secrets", labelSelector="all") == ["s9", "s0", "s1", "s2"]
    assert (await api.call("GET", "secrets", labelSelector="a=b=c"))[0] == 400
    removed = await api.ok("DELETE", "secrets", labelSelector="n notin (1)")
    assert len(removed["items"]) == 2
    assert await names() == ["s1"]


@pytest.mark.parametrize("kind", [STRATEGIC, MERGE])
async def test_patching_labels_of_a_pod(api, kind):
    metadata = {"name": "a", "labels": {"a": "1", "b": "2"}}
    created = await api.ok("POST", "pods", {"metadata": metadata, "spec": spec()})
    patch = {"metadata": {"labels": {"already_checked": "True", "b": None}}}
    status, patched = await api.call("PATCH", "pods/a", patch, content_type=kind)
    assert status == 200
    assert patched["metadata"]["labels"] == {"a": "1", "already_checked": "True"}
    assert int(patched["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    assert patched["metadata"]["uid"] == created["metadata"]["uid"]


@pytest.mark.parametrize(
    ("patch", "kind", "code"),
    [
        ({"spec": {"containers": [{"name": "base", "image": "other"}]}}, STRATEGIC, 422),
        ({"spec": {"activeDeadlineSeconds": 601}}, MERGE, 422),
        ({"spec": {"activeDeadlineSeconds": None}}, MERGE, 422),
        ({"metadata": {"labels": {"a": "no good"}}}, MERGE, 422),
        ({"metadata": {"resourceVersion": "1"}}, MERGE, 409),
        ([{"op": "test", "path": "/metadata/name", "value": "x"}], JSON_PATCH, 422),
        ({}, JSON_PATCH, 400),
        ({}, "application/json", 415),
        ({"metadata": {"name": "b"}}, MERGE, 400),
        ({"metadata": {"finalizers": ["a/b"]}}, STRATEGIC, 422),
    ],
)
async def test_patches_that_are_refused(api, patch, kind, code):
    await api.ok("POST", "pods", {"metadata": {"name": "a"}, "spec": spec(activeDeadlineSeconds=600)})
    status, answer = await api.call("PATCH", "pods/a", patch, content_type=kind)
    assert (status, answer["kind"]) == (code, "Status")
    assert (await api.pod("a"))["spec"]["activeDeadlineSeconds"] == 600


async def test_the_status_of_a_pod_is_not_changed_by_requests(api):
    await api.ok("POST", "pods", {"metadata": {"name": "a"}, "spec": spec()})
    await api.phase("Running", "a")
    await api.call("PATCH", "pods/a", {"status": {"phase": "Failed"}}, content_type=MERGE)
    assert (await api.pod("a"))["status"]["phase"] == "Running"


async def test_replacing_and_immutable_secrets(api):
    created = await api.ok(
        "POST", "secrets", {"metadata": {"name": "s"}, "stringData": {"a": "1"}, "immutable": True}
    )
    changed = copy.deepcopy(created) | {"stringData": {"a": "2"}}
    assert (await api.call("PUT", "secrets/s", changed))[0] == 422
    plain = await api.ok("POST", "secrets", {"metadata": {"name": "t"}, "stringData": {"a": "1"}})
    changed = copy.deepcopy(plain) | {"data": {"b": base64.b64encode(b"2").decode()}}
    replaced = await api.ok("PUT", "secrets/t", changed)
    assert set(replaced["data"]) == {"b"}
    assert (await api.call("PUT", "secrets/t", changed))[0] == 409


@pytest.mark.parametrize("data", [{"bad key": "eA=="}, {"k": "not base64!"}, {"..": "eA=="}])
async def test_a_secret_that_is_not_valid(api, data):
    assert (await api.call("POST", "secrets", {"metadata": {"name": "s"}, "data": data}))[0] == 422


async def test_generated_names(api):
    first = await api.ok("POST", "configmaps", {"metadata": {"generateName": "made-"}})
    second = await api.ok("POST", "configmaps", {"metadata": {"generateName": "made-"}})
    assert first["metadata"]["name"].startswith("made-")
    assert first["metadata"]["name"] != second["metadata"]["name"]


async def test_preconditions_of_a_deletion(api):
    created = await api.ok("POST", "secrets", {"metadata": {"name": "s"}})
    assert (await api.call("DELETE", "secrets/s", {"preconditions": {"uid": "other"}}))[0] == 409
    answer = await api.ok("DELETE", "secrets/s", {"preconditions": {"uid": created["metadata"]["uid"]}})
    assert answer["status"] == "Success"


async def test_a_watch_shows_what_enters_and_leaves_the_selection(api):
    await api.ok("POST", "secrets", {"metadata": {"name": "a", "labels": {"x": "1"}}})
    start = (await api.ok("GET", "secrets"))["metadata"]["resourceVersion"]
    await api.ok("POST", "secrets", {"metadata": {"name": "b"}})
    watching = asyncio.create_task(
        api.call("GET", "secrets", watch="True", timeoutSeconds=1, labelSelector="x", resourceVersion=start)
    )
    for name, label in (("b", "1"), ("b", "2"), ("a", None)):
        await api.call("PATCH", f"secrets/{name}", {"metadata": {"labels": {"x": label}}}, content_type=MERGE)
    await api.ok("DELETE", "secrets/b")
    status, text = await watching
    seen = [json.loads(line) for line in text.splitlines()]
    assert status == 200
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in seen] == [
        ("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a"), ("DELETED", "b"),
    ]  # fmt: skip


async def test_a_watch_without_a_version_starts_with_what_exists(api):
    await api.ok("POST", "secrets", {"metadata": {"name": "a"}})
    _, text = await api.call("GET", "secrets", watch="true", timeoutSeconds=1)
    assert [json.loads(line)["type"] for line in text.splitlines()] == ["ADDED"]
    _, text = await api.call("GET", "secrets", watch="1", timeoutSeconds=1, resourceVersion=1)
    (line,) = text.splitlines()
    assert json.loads(line)["object"]["code"] == 410


async def test_discovery(api):
    assert (await api.ok("GET", "/version"))["major"] == "1"
    assert {each["name"] for each in (await api.ok("GET", "/api/v1"))["resources"]} >= {
        "pods",
        "pods/log",
        "secrets",
    }
    assert (await api.ok("GET", "/api/v1/namespaces/any"))["status"]["phase"] == "Active"
    assert (await api.call("GET", "/readyz"))[0] == 200


RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"securityContext": {}}, "allowPrivilegeEscalation != false"),
        (
            {"securityContext": RESTRICTED | {"allowPrivilegeEscalation": None}},
            "allowPrivilegeEscalation=false",
        ),
        ({"securityContext": RESTRICTED | {"capabilities": {}}}, 'capabilities.drop=["ALL"]'),
        (
            {"securityContext": RESTRICTED | {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}},
            '"SYS_ADMIN"',
        ),
        ({"securityContext": RESTRICTED | {"runAsNonRoot": False}}, "runAsNonRoot != true"),
        ({"securityContext": RESTRICTED | {"runAsUser": 0}}, "runAsUser=0"),
        ({"securityContext": RESTRICTED | {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile"),
        ({"securityContext": RESTRICTED | {"privileged": True}}, "privileged"),
        ({"securityContext": RESTRICTED | {"procMount": "Unmasked"}}, "procMount"),
        (
            {"startupProbe": {"httpGet": {"host": "127.0.0.1", "port": 1}}},
            'probe or lifecycle host "127.0.0.1"',
        ),
        ({"ports": [{"containerPort": 1, "hostPort": 1}]}, "hostPort"),
    ],
)
async def test_the_restricted_pod_security_standard(tmp_path, connect, change, says):
    async with LocalKubernetes(tmp_path, {"shell": "sh"}) as runtime:
        api = connect(runtime)
        good = {"metadata": {"name": "good"}, "spec": spec(base(securityContext=RESTRICTED))}
        assert (await api.call("POST", "pods", good))[0] == 201
        bad = {"metadata": {"name": "bad"}, "spec": spec(base(**({"securityContext": RESTRICTED} | change)))}
        status, answer = await api.call("POST", "pods", bad)
        assert (status, answer["reason"]) == (403, "Forbidden")
        assert answer["message"].startswith(
            'pods "bad" is forbidden: violates PodSecurity "restricted:latest": '
        )
        assert says in answer["message"]
        await api.ok("DELETE", "pods/good", gracePeriodSeconds=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, "hostPath"),
    ],
)
async def test_the_restricted_standard_on_the_pod(tmp_path, connect, change, says):
    async with LocalKubernetes(tmp_path) as runtime:
        bad = {"metadata": {"name": "bad"}, "spec": spec(base(securityContext=RESTRICTED), **change)}
        status, answer = await connect(runtime).call("POST", "pods", bad)
        assert status == 403
        assert says in answer["message"]


ITEM = {
    "metadata": {
        "labels": {"a": "1"}, "finalizers": ["x"],
        "ownerReferences": [{"uid": "1", "name": "one"}, {"uid": "2", "name": "two"}],
    },
    "list": [1, 2],
}  # fmt: skip


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"list": [3]}, {"list": [3]}),
        ({"list": None}, {}),
        ({"metadata": {"ownerReferences": [{"uid": "3"}]}}, {"owners": ["1", "2", "3"]}),
        ({"metadata": {"ownerReferences": [{"uid": "1", "name": "x"}]}}, {"owners": ["1", "2"]}),
        ({"metadata": {"ownerReferences": [{"uid": "1", "$patch": "delete"}]}}, {"owners": ["2"]}),
        ({"metadata": {"ownerReferences": [{"uid": "9"}, {"$patch": "replace"}]}}, {"owners": ["9"]}),
        ({"metadata": {"finalizers": ["y"]}}, {"finalizers": ["x", "y"]}),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}, {"finalizers": []}),
        ({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, {"labels": {"b": "2"}}),
    ],
)
def test_strategic_merge(patch, expected):
    before = copy.deepcopy(ITEM)
    result = apply_patch(ITEM, patch, STRATEGIC)
    assert before == ITEM
    metadata = result["metadata"]
    found = {
        "owners": [owner["uid"] for owner in metadata["ownerReferences"]],
        "finalizers": metadata["finalizers"], "labels": metadata["labels"], "list": result.get("list"),
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert ("list" in result) is (patch.get("list", 1) is not None)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/list/0", "value": 0}, [0, 1, 2]),
        ({"op": "add", "path": "/list/-", "value": 3}, [1, 2, 3]),
        ({"op": "remove", "path": "/list/0"}, [2]),
        ({"op": "replace", "path": "/list/1", "value": 9}, [1, 9]),
        ({"op": "copy", "from": "/list/0", "path": "/list/-"}, [1, 2, 1]),
        ({"op": "move", "from": "/list/0", "path": "/list/-"}, [2, 1]),
        ({"op": "test", "path": "/list", "value": [1, 2]}, [1, 2]),
    ],
)
def test_json_patch(operation, expected):
    assert apply_patch(ITEM, [operation], JSON_PATCH)["list"] == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/absent", "value": 1}, {"op": "remove", "path": "/list/7"},
        {"op": "add", "path": "/list/7", "value": 1}, {"op": "what", "path": "/list"}, {"path": "/list"},
        {"op": "add", "path": "list", "value": 1},
    ],
)  # fmt: skip
def test_json_patches_that_do_not_fit(operation):
    with pytest.raises(ApiError) as caught:
        apply_patch(ITEM, [operation], JSON_PATCH)
    assert caught.value.code == 422


def test_json_patch_escapes():
    patch = [{"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "1"}]
    assert apply_patch(ITEM, patch, JSON_PATCH)["metadata"]["labels"] == {"a": "1", "a/b~c": "1"}

"""Volumes, claims, and objects that belong to a pod."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.local import volumes

if TYPE_CHECKING:
    from pathlib import Path

MERGE = "application/merge-patch+json"


def secret(name="keys", **data):
    return {"metadata": {"name": name}, "stringData": data}


def mounted(make, script, volume, *, path="/v", mount=None, **more):
    base = make.shell(
        script,
        volumeMounts=[{"name": "v", "mountPath": path, **(mount or {})}],
        env=[{"name": "V", "value": path}],
        **more,
    )
    return make.pod(base, volumes=[{"name": "v", **volume}])


async def test_a_secret_volume(api, make):
    created = await api.ok("POST", "secrets", secret(token="s3cret", other="x"))
    assert created["data"]["token"] == base64.b64encode(b"s3cret").decode()
    assert "stringData" not in created
    volume = {
        "secret": {"secretName": "keys", "defaultMode": 0o440, "items": [{"key": "token", "path": "a/t"}]}
    }
    await api.ok("POST", "pods", mounted(make, "cat $V/a/t; stat -L -c ' %a' $V/a/t; ls $V", volume))
    await api.phase("Succeeded")
    assert await api.log() == "s3cret 440\na\n"


async def test_a_missing_secret_volume_is_waited_for(api, make, status_of):
    await api.ok("POST", "pods", mounted(make, "cat $V/token", {"secret": {"secretName": "keys"}}))
    for _ in range(200):
        if events := await api.events("FailedMount"):
            break
        await asyncio.sleep(0.02)
    assert 'secret "keys" not found' in events[0]["message"]
    assert events[0]["type"] == "Warning"
    pod = await api.pod()
    assert pod["status"]["phase"] == "Pending"
    assert status_of(pod)["state"]["waiting"]["reason"] == "ContainerCreating"
    await api.ok("POST", "secrets", secret(token="late"))
    await api.phase("Succeeded")
    assert await api.log() == "late"


async def test_a_volume_that_nobody_mounts_is_never_looked_at(api, make):
    pod = make.pod(make.shell("true"), volumes=[{"name": "v", "secret": {"secretName": "absent"}}])
    await api.ok("POST", "pods", pod)
    await api.phase("Succeeded")


async def test_an_optional_secret_may_be_missing(api, make):
    volume = {"secret": {"secretName": "absent", "optional": True}}
    await api.ok("POST", "pods", mounted(make, "ls $V", volume))
    await api.phase("Succeeded")
    assert await api.log() == ""


async def test_a_changed_secret_reaches_the_file(api, make):
    await api.ok("POST", "secrets", secret(token="old", gone="x"))
    script = "cat $V/token; echo; while [ $(cat $V/token) = old ]; do sleep 0.02; done; cat $V/token; ls $V"
    await api.ok("POST", "pods", mounted(make, script, {"secret": {"secretName": "keys"}}))
    await api.phase("Running")
    for _ in range(200):
        if await api.log():
            break
        await asyncio.sleep(0.02)
    patch = {"data": {"token": base64.b64encode(b"new").decode(), "gone": None, "more": ""}}
    assert (await api.call("PATCH", "secrets/keys", patch, content_type=MERGE))[0] == 200
    await api.phase("Succeeded")
    assert await api.log() == "old\nnewmore\ntoken\n"


async def test_an_optional_secret_that_appears_reaches_the_volume(api, make):
    volume = {"secret": {"secretName": "keys", "optional": True}}
    await api.ok(
        "POST", "pods", mounted(make, "while [ ! -f $V/token ]; do sleep 0.02; done; cat $V/token", volume)
    )
    await api.phase("Running")
    await api.ok("POST", "secrets", secret(token="here"))
    await api.phase("Succeeded")
    assert await api.log() == "here"


async def test_a_missing_secret_in_the_environment_is_waited_for(api, make, status_of):
    env = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "x", "optional": True}}},
    ]
    await api.ok("POST", "pods", make.pod(make.shell('echo "$TOKEN ${NONE-unset}"', env=env)))

    def waiting(reason):
        def check(pod):
            state = status_of(pod)["state"] if pod["status"].get("containerStatuses") else {}
            return state.get("waiting", {}).get("message") == reason

        return check

    pod = await api.until(waiting('secret "keys" not found'))
    assert status_of(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    await api.ok("POST", "secrets", secret(other="x"))
    await api.until(waiting("couldn't find key token in Secret test/keys"))
    patch = {"stringData": {"token": "/v/now"}}
    await api.call("PATCH", "secrets/keys", patch, content_type=MERGE)
    await api.phase("Succeeded")
    assert await api.log() == "/v/now unset\n"


async def test_env_from_and_fields(api, make):
    await api.ok("POST", "secrets", secret(TOKEN="t", FILE="/v/x"))
    await api.ok("POST", "configmaps", {"metadata": {"name": "settings"}, "data": {"B": "2"}})
    field = {"fieldRef": {"fieldPath": "metadata.annotations['a/b']"}}
    env = [
        {"name": "ANNOTATION", "valueFrom": field},
        {"name": "UID_", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "COMBINED", "value": "$(TOKEN)-$(P_B)"},
    ]
    base = make.shell(
        'echo "$TOKEN $P_B $ANNOTATION $UID_ $CPU $MEM $COMBINED $FILE"',
        env=env, envFrom=[{"secretRef": {"name": "keys"}}, {"configMapRef": {"name": "settings"}, "prefix": "P_"}],
        resources={"limits": {"cpu": "1500m"}, "requests": {"memory": "2Gi"}},
    )  # fmt: skip
    pod = make.pod(base)
    pod["metadata"]["annotations"] = {"a/b": "{{ 7*7 }} /v"}
    created = await api.ok("POST", "pods", pod)
    assert created["status"]["qosClass"] == "Burstable"
    await api.phase("Succeeded")
    uid = created["metadata"]["uid"]
    assert await api.log() == f"t 2 {{{{ 7*7 }}}} /v {uid} 2 2048 t-2 /v/x\n"


async def test_the_downward_api_is_written_and_updated(api, make):
    items = [
        {"path": "spec.json", "fieldRef": {"fieldPath": "metadata.annotations['agents.airflow/spec']"}},
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
    ]
    script = "wc -c < $V/spec.json; cat $V/labels; while [ -s $V/spec.json ]; do sleep 0.02; done"
    pod = mounted(make, script, {"downwardAPI": {"items": items}})
    pod["metadata"]["annotations"] = {"agents.airflow/spec": "ä" * 95_000}
    pod["metadata"]["labels"] = {"b": "2", "a": "1"}
    await api.ok("POST", "pods", pod)
    await api.phase("Running")
    patch = {"metadata": {"annotations": {"agents.airflow/spec": None}}}
    await api.call("PATCH", "pods/pod", patch, content_type=MERGE)
    await api.phase("Succeeded")
    assert await api.log() == '190000\na="1"\nb="2"'


async def test_projected_and_config_map(api, make):
    await api.ok("POST", "configmaps", {"metadata": {"name": "settings"}, "data": {"b": "2"}})
    await api.ok("POST", "secrets", secret(a="1"))
    sources = [
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    await api.ok("POST", "pods", mounted(make, "cat $V/a $V/b $V/n", {"projected": {"sources": sources}}))
    await api.phase("Succeeded")
    assert await api.log() == "12pod"


async def test_sub_paths_and_working_directory(api, make):
    base = make.shell(
        "pwd; echo x > $V/file; ls ..",
        volumeMounts=[
            {"name": "v", "mountPath": "/v", "subPath": "in/side"},
            {"name": "v", "mountPath": "/all", "subPathExpr": "in"},
        ],
        env=[{"name": "V", "value": "/v"}],
        workingDir="/all/side/deeper",
    )
    await api.ok("POST", "pods", make.pod(base, volumes=[{"name": "v", "emptyDir": {}}]))
    await api.phase("Succeeded")
    first, *rest = (await api.log()).splitlines()
    assert first.endswith("/in/side/deeper")
    assert rest == ["deeper", "file"]


async def test_a_sub_path_cannot_leave_its_volume_by_a_link(api, make, status_of, tmp_path):
    mount = [{"name": "v", "mountPath": "/v"}]
    init = make.shell(
        f"ln -s {tmp_path} $V/out", "link", volumeMounts=mount, env=[{"name": "V", "value": "/v"}]
    )
    base = make.shell("true", volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "out/x"}])
    await api.ok("POST", "pods", make.pod(base, init=(init,), volumes=[{"name": "v", "emptyDir": {}}]))
    pod = await api.until(
        lambda pod: (
            pod["status"].get("containerStatuses")
            and status_of(pod)["state"].get("waiting", {}).get("reason") == "CreateContainerConfigError"
        )
    )
    assert "leads out" in status_of(pod)["state"]["waiting"]["message"]
    assert not (tmp_path / "x").exists()


async def test_objects_go_with_the_pod_that_owns_them(api, make):
    await api.ok("POST", "secrets", secret(token="x"))
    pod = await api.ok("POST", "pods", make.pod(make.shell("sleep 60")))
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "pod", "uid": pod["metadata"]["uid"]}
    patch = {"metadata": {"ownerReferences": [owner]}}
    strategic = "application/strategic-merge-patch+json"
    assert (await api.call("PATCH", "secrets/keys", patch, content_type=strategic))[0] == 200
    await api.phase("Running")
    assert (await api.call("GET", "secrets/keys"))[0] == 200
    await api.ok("DELETE", "pods/pod", gracePeriodSeconds=0)
    await api.gone("secrets/keys")


@pytest.mark.parametrize("resource", ["secrets", "configmaps"])
async def test_an_object_whose_owner_never_existed_goes(api, resource):
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "pod", "uid": "0"}
    await api.ok("POST", resource, {"metadata": {"name": "keys", "ownerReferences": [owner]}})
    await api.gone(f"{resource}/keys")


async def test_nothing_of_a_pod_is_left_when_it_is_gone(api, make, tmp_path):
    await api.ok("POST", "secrets", secret(token="x"))
    await api.ok(
        "POST", "pods", mounted(make, "mkdir $V/../d; chmod 0 $V/../d", {"secret": {"secretName": "keys"}})
    )
    await api.phase("Succeeded")
    uid = (await api.pod())["metadata"]["uid"]
    folder = tmp_path / "data" / "pods" / uid
    for _ in range(200):
        if not (folder / "volumes").exists():
            break
        await asyncio.sleep(0.02)
    assert not (folder / "volumes").exists()
    assert (folder / "logs").exists()
    await api.ok("DELETE", "pods/pod")
    for _ in range(200):
        if not folder.exists():
            break
        await asyncio.sleep(0.02)
    assert not folder.exists()


def test_two_removals_of_one_folder_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    real = os.open

    def vanishing(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path) == "inner":
            (folder / "inner").rmdir()  # the other removal was quicker
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", vanishing)
    volumes.remove_tree(folder)
    assert not (folder / "inner").exists()

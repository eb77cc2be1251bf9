"""Persistent volume claims: sharing, protection, storage classes, growth, and what a restart finds."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from test_local_bubblewrap import needs_bubblewrap, wrapped

from airflow_provider_agents.local.images import Image
from airflow_provider_agents.local.runtime import LocalKubernetes

MERGE = "application/merge-patch+json"
VOLUME = {"name": "run", "persistentVolumeClaim": {"claimName": "work"}}
PLACE = "/_local/persistentvolumeclaims/test/work"

__all__ = ["wrapped"]  # a fixture


def claim(size="1Gi", **spec):
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": "work"}, "spec": wanted | spec}


def mount(folder, **more):
    """Mount a folder of the claim at a path of its name, and tell the path in a variable of its name."""
    return {"name": "run", "mountPath": f"/agent/{folder}", "subPath": folder, **more}


def shell(make, script, *folders, read_only=False, **more):
    mounts = [mount(folder, **({"readOnly": True} if read_only else {})) for folder in folders]
    env = [{"name": folder.upper(), "value": f"/agent/{folder}"} for folder in folders]
    return make.shell(script, volumeMounts=mounts, env=env, **more)


def pod(make, script, *folders, name="pod", **more):
    return make.pod(shell(make, script, *folders), name=name, volumes=[VOLUME], **more)


def unschedulable(words):
    def check(found):
        conditions = found["status"].get("conditions") or [{}]
        return conditions[0].get("reason") == "Unschedulable" and words in conditions[0]["message"]

    return check


async def resize(api, size):
    patch = {"spec": {"resources": {"requests": {"storage": size}}}}
    return await api.call("PATCH", "persistentvolumeclaims/work", patch, content_type=MERGE)


async def test_consecutive_pods_share_the_folders_of_a_claim(api, make):
    await api.ok(
        "POST", "pods", pod(make, "echo one > $WORKSPACE/f; echo two > $HOME_/f", "workspace", "home_")
    )
    await api.until(unschedulable('persistentvolumeclaim "work" not found'))
    bound = await api.ok("POST", "persistentvolumeclaims", claim())
    assert bound["status"]["phase"] == "Bound"
    assert bound["status"]["capacity"] == {"storage": "1Gi"}
    assert bound["spec"]["storageClassName"] == "local"
    await api.phase("Succeeded")
    await api.ok("POST", "pods", pod(make, "cat $WORKSPACE/f $HOME_/f", "workspace", "home_", name="second"))
    await api.phase("Succeeded", "second")
    assert await api.log(name="second") == "one\ntwo\n"


async def test_two_containers_of_a_pod_mount_different_folders(api, make):
    await api.ok("POST", "persistentvolumeclaims", claim())
    side = shell(
        make,
        "echo spent > $LEDGER/pod.jsonl; trap 'exit 0' TERM; while true; do sleep 0.05; done",
        "ledger",
        name="side",
        restartPolicy="Always",
        startupProbe=make.started_by("/agent/ledger/pod.jsonl"),
    )
    base = shell(make, "ls -A $WORKSPACE | wc -l; echo x > $WORKSPACE/x", "workspace")
    await api.ok("POST", "pods", make.pod(base, init=(side,), volumes=[VOLUME]))
    await api.phase("Succeeded")
    assert (await api.log()).strip() == "0"


@needs_bubblewrap
async def test_a_container_sees_only_the_folders_that_it_mounts(wrapped, make, tmp_path):
    await wrapped.ok("POST", "persistentvolumeclaims", claim())
    side = shell(
        make,
        "echo spent > $LEDGER/pod.jsonl; trap 'exit 0' TERM; while true; do sleep 0.05; done",
        "ledger",
        name="side",
        restartPolicy="Always",
        startupProbe=make.started_by("/agent/ledger/pod.jsonl"),
    )
    script = f"""
    ls /agent
    ls -d /agent/workspace/../ledger $WORKSPACE/../ledger 2> /dev/null || echo no ledger
    find / -name pod.jsonl 2> /dev/null | grep . || echo no file
    ls {tmp_path}/data/claims 2> /dev/null || echo no claims
    (echo x > /agent/spec/f) 2> /dev/null || echo read-only
    ln -s ../ledger $WORKSPACE/link && cat $WORKSPACE/link/pod.jsonl 2> /dev/null || echo no way by a link
    """
    mounts = [mount("workspace"), mount("spec", readOnly=True)]
    base = make.shell(script, volumeMounts=mounts, env=[{"name": "WORKSPACE", "value": "/agent/workspace"}])
    await wrapped.ok("POST", "pods", make.pod(base, init=(side,), volumes=[VOLUME]))
    await wrapped.phase("Succeeded")
    assert (await wrapped.log()).splitlines() == [
        "spec", "workspace", "no ledger", "no file", "no claims", "read-only", "no way by a link",
    ]  # fmt: skip
    # The control: whoever mounts it sees it.
    await wrapped.ok("POST", "pods", pod(make, "cat /agent/ledger/pod.jsonl", "ledger", name="second"))
    await wrapped.phase("Succeeded", "second")
    assert await wrapped.log(name="second") == "spent\n"


async def test_a_deleted_claim_is_held_by_pods_until_they_are_gone_ended_or_not(api, make, tmp_path):
    await api.ok("POST", "persistentvolumeclaims", claim())
    await api.ok("POST", "pods", pod(make, "while [ ! -f $WORKSPACE/end ]; do sleep 0.02; done", "workspace"))
    await api.phase("Running")
    answer = await api.ok("DELETE", "persistentvolumeclaims/work")
    assert answer["metadata"]["deletionTimestamp"]
    await api.ok("POST", "pods", pod(make, "true", "workspace", name="second"))
    await api.until(unschedulable('"work" is being deleted'), "second")
    (folder,) = (tmp_path / "data" / "claims").iterdir()
    (folder / "workspace" / "end").touch()
    await api.phase("Succeeded")
    assert (await api.call("GET", "persistentvolumeclaims/work"))[0] == 200
    await api.ok("DELETE", "pods/pod")
    await api.gone("persistentvolumeclaims/work")
    # A pod that no node has taken does not hold a claim, and goes on with the next one of that name.
    await api.ok("POST", "persistentvolumeclaims", claim())
    await api.phase("Succeeded", "second")
    for _ in range(200):
        if not folder.exists():
            break
        await asyncio.sleep(0.02)
    assert not folder.exists()


async def test_a_claim_of_an_unknown_storage_class_stays_pending(api, make):
    made = await api.ok("POST", "persistentvolumeclaims", claim(storageClassName="fast"))
    assert made["status"] == {"phase": "Pending"}
    (event,) = await api.events("ProvisioningFailed")
    assert event["message"] == 'storageclass.storage.k8s.io "fast" not found'
    assert event["involvedObject"]["kind"] == "PersistentVolumeClaim"
    assert event["source"]["component"] == "persistentvolume-controller"
    await api.ok("POST", "pods", pod(make, "true", "workspace"))
    await api.until(unschedulable("unbound immediate PersistentVolumeClaims"))


async def test_storage_classes_are_served(api):
    (only,) = (await api.ok("GET", "/apis/storage.k8s.io/v1/storageclasses"))["items"]
    assert only["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert await api.ok("GET", "/apis/storage.k8s.io/v1/storageclasses/local") == only
    status, answer = await api.call("GET", "/apis/storage.k8s.io/v1/storageclasses/fast")
    assert (status, answer["reason"]) == (404, "NotFound")


async def test_a_claim_can_be_held_pending_and_bound_again_with_what_was_in_it(api, make):
    await api.ok("POST", "persistentvolumeclaims", claim())
    await api.ok("POST", "pods", pod(make, "echo kept > $WORKSPACE/f", "workspace"))
    await api.phase("Succeeded")
    assert (await api.ok("POST", f"{PLACE}/unbind"))["status"] == {"phase": "Pending"}
    assert await api.events("ProvisioningFailed")
    await api.ok("POST", "pods", pod(make, "cat $WORKSPACE/f", "workspace", name="second"))
    await api.until(unschedulable("unbound immediate"), "second")
    await api.ok("POST", f"{PLACE}/bind")
    await api.phase("Succeeded", "second")
    assert await api.log(name="second") == "kept\n"
    status, _ = await api.call("POST", f"{PLACE}s/bind")
    assert status == 404


async def test_a_bound_claim_grows_and_changes_in_no_other_way(api):
    await api.ok("POST", "persistentvolumeclaims", claim("1Gi"))
    assert (await resize(api, "2Gi"))[0] == 200
    grown = await api.ok("GET", "persistentvolumeclaims/work")
    assert grown["status"]["capacity"] == {"storage": "2Gi"}
    for body, words in (
        ({"resources": {"requests": {"storage": "1Gi"}}}, "can not be less"),
        ({"resources": {"requests": {"storage": "much"}}}, "not a resource quantity"),
        ({"storageClassName": "fast"}, "immutable"),
    ):
        status, answer = await api.call(
            "PATCH", "persistentvolumeclaims/work", {"spec": body}, content_type=MERGE
        )
        assert status == 422
        assert words in answer["message"]


async def test_a_pending_claim_does_not_grow(api):
    await api.ok("POST", "persistentvolumeclaims", claim(storageClassName="fast"))
    status, answer = await resize(api, "2Gi")
    assert status == 422
    assert "immutable" in answer["message"]


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_restart_finishes_what_was_begun(tmp_path, connect, quick, make, deleted):
    data = tmp_path / "data"
    images = {"shell": Image(("sh",), ())}
    async with LocalKubernetes(data, images, pod_security="none", timing=quick) as runtime:
        api = connect(runtime)
        made = await api.ok("POST", "persistentvolumeclaims", claim())
        await api.ok("POST", "pods", pod(make, "echo x > $WORKSPACE/f; sleep 60", "workspace"))
        await api.phase("Running")
        if deleted:
            await api.ok("DELETE", "persistentvolumeclaims/work")
    folder = data / "claims" / made["metadata"]["uid"]
    assert (folder / "workspace" / "f").exists()
    # The server died after the pod was gone and before the claim was; and one claim's folder was left over.
    for path in (data / "objects" / "pods").iterdir():
        path.unlink()
    shutil.copytree(folder, data / "claims" / "left-over")
    async with LocalKubernetes(data, images, pod_security="none", timing=quick) as runtime:
        status, _ = await connect(runtime).call("GET", "/api/v1/namespaces/test/persistentvolumeclaims/work")
        assert status == (404 if deleted else 200)
    assert folder.exists() is not deleted
    assert [path.name for path in (data / "claims").iterdir()] == ([] if deleted else [folder.name])

"""The life of pods, with real processes."""

from __future__ import annotations

import asyncio
import time

import psutil
import pytest


def vanished(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_container_that_ends_well(api, make, status_of):
    script = "echo hello; echo from-file > /dev/termination-log"
    created = await api.ok("POST", "pods", make.pod(make.shell(script.replace("/dev", "$D"), env=[])))
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    await api.ok("DELETE", "pods/pod", gracePeriodSeconds=0)
    base = make.shell(
        'echo hello; echo done > "$LOG"', env=[{"name": "LOG", "value": "/dev/termination-log"}]
    )
    await api.ok("POST", "pods", make.pod(base))
    pod = await api.phase("Succeeded")
    ended = status_of(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", "done\n")
    assert ended["startedAt"] <= ended["finishedAt"]
    assert pod["status"]["hostIP"] == pod["status"]["podIP"] == "127.0.0.1"
    ready = next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    assert await api.log() == "hello\n"
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        assert await api.events(reason), reason


async def test_a_container_that_fails(api, make, status_of):
    await api.ok("POST", "pods", make.pod(make.shell("echo broken >&2; exit 7")))
    pod = await api.phase("Failed")
    ended = status_of(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (7, "Error")
    assert "message" not in ended
    assert await api.log() == "broken\n"


async def test_the_entrypoint_of_the_image_runs_without_a_command(api, make):
    await api.ok("POST", "pods", make.pod({"name": "base", "image": "shell"}))
    await api.phase("Succeeded")
    assert await api.log() == "entrypoint\n"


async def test_a_program_that_does_not_exist(api, make, status_of):
    await api.ok("POST", "pods", make.pod({"name": "base", "image": "shell", "command": ["no-such-program"]}))
    ended = status_of(await api.phase("Failed"))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no-such-program" in ended["message"]


async def test_an_unknown_image_is_backed_off(api, make, status_of):
    await api.ok("POST", "pods", make.pod({"name": "base", "image": "unknown:1", "command": ["true"]}))
    seen = set()

    def backed_off(pod):
        reason = (
            status_of(pod)["state"]["waiting"]["reason"] if pod["status"].get("containerStatuses") else ""
        )
        seen.add(reason)
        return reason == "ImagePullBackOff"

    pod = await api.until(backed_off)
    assert pod["status"]["phase"] == "Pending"
    assert "ErrImagePull" in seen
    assert "--image" in status_of(pod)["state"]["waiting"]["message"]
    status, answer = await api.call("GET", "pods/pod/log")
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert "waiting to start" in answer["message"]
    assert await api.events("BackOff")
    await api.ok("DELETE", "pods/pod")
    await api.gone()


async def test_init_containers_run_one_after_another(api, make, status_of):
    shared = [{"name": "shared", "mountPath": "/shared"}]
    env = [{"name": "FILE", "value": "/shared/order"}]

    def step(name, script):
        return make.shell(script, name, volumeMounts=shared, env=env)

    pod = make.pod(
        step("base", "echo base >> $FILE; cat $FILE"),
        init=(
            step("first", "sleep 0.2; echo first >> $FILE"),
            step("second", "echo second >> $FILE"),
        ),
        volumes=[{"name": "shared", "emptyDir": {"medium": "Memory"}}],
    )
    await api.ok("POST", "pods", pod)
    ended = await api.phase("Succeeded")
    assert await api.log() == "first\nsecond\nbase\n"
    assert status_of(ended, "first")["ready"]
    initialized = next(each for each in ended["status"]["conditions"] if each["type"] == "Initialized")
    assert initialized["status"] == "True"


async def test_a_failing_init_container_fails_the_pod(api, make, status_of):
    await api.ok("POST", "pods", make.pod(make.shell("echo never"), init=(make.shell("exit 3", "prepare"),)))
    pod = await api.phase("Failed")
    assert status_of(pod, "prepare")["state"]["terminated"]["exitCode"] == 3
    assert status_of(pod)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert (await api.call("GET", "pods/pod/log", container="base"))[0] == 400


SIDECAR = """
trap 'echo side stopping >> $SHARED/order; echo totals > $LOG; exit 0' TERM
sleep 0.3; echo side up >> $SHARED/order; touch $SHARED/ready
while true; do sleep 0.05; done
"""


def with_sidecar(make, base, sidecar=SIDECAR, **spec):
    mounts = {
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
        "env": [{"name": "SHARED", "value": "/shared"}, {"name": "LOG", "value": "/dev/termination-log"}],
    }
    probe = make.started_by("/shared/ready")
    return make.pod(
        make.shell(base, **mounts),
        init=(make.sidecar(sidecar, startupProbe=probe, **mounts),),
        volumes=[{"name": "shared", "emptyDir": {}}],
        **spec,
    )


async def test_a_sidecar_starts_before_and_ends_after_the_base_container(api, make, status_of):
    base = "echo base up >> $SHARED/order; sleep 0.2; echo base done >> $SHARED/order; echo gone > $LOG; cat $SHARED/order"
    await api.ok("POST", "pods", with_sidecar(make, base))
    running = await api.until(
        lambda pod: "running" in status_of(pod)["state"] if pod["status"].get("containerStatuses") else False
    )
    assert status_of(running, "side")["started"] is True
    pod = await api.phase("Succeeded")
    assert await api.log() == "side up\nbase up\nbase done\n"
    assert status_of(pod)["state"]["terminated"]["message"] == "gone\n"
    side = status_of(pod, "side")["state"]["terminated"]
    assert (side["exitCode"], side["message"]) == (0, "totals\n")


async def test_the_phase_ignores_how_a_sidecar_ends(api, make, status_of):
    await api.ok("POST", "pods", with_sidecar(make, "true", SIDECAR.replace("exit 0", "exit 9")))
    pod = await api.phase("Succeeded")
    assert status_of(pod, "side")["state"]["terminated"]["exitCode"] == 9


async def test_a_sidecar_that_never_starts_keeps_the_base_container_from_starting(api, make, status_of):
    probe = make.started_by("/no/such/file")
    await api.ok(
        "POST", "pods", make.pod(make.shell("true"), init=(make.sidecar("exit 5", startupProbe=probe),))
    )
    pod = await api.until(
        lambda pod: pod["status"].get("initContainerStatuses") and status_of(pod, "side")["restartCount"] >= 2
    )
    assert pod["status"]["phase"] == "Pending"
    assert status_of(pod, "side")["lastState"]["terminated"]["exitCode"] == 5
    assert status_of(pod)["state"]["waiting"]["reason"] == "PodInitializing"
    assert (await api.events("BackOff"))[0]["count"] >= 2


async def test_a_failing_startup_probe_restarts_the_sidecar(api, make, status_of):
    probe = make.started_by("/no/such/file", failureThreshold=1)
    await api.ok(
        "POST", "pods", make.pod(make.shell("true"), init=(make.sidecar("sleep 60", startupProbe=probe),))
    )
    pod = await api.until(
        lambda pod: pod["status"].get("initContainerStatuses") and status_of(pod, "side")["restartCount"] >= 1
    )
    assert pod["status"]["phase"] == "Pending"
    assert await api.events("Unhealthy")


async def test_a_crashed_sidecar_is_restarted_while_the_base_container_goes_on(api, make, status_of):
    await api.ok(
        "POST", "pods", with_sidecar(make, "while [ ! -f $SHARED/end ]; do sleep 0.05; done; echo ok")
    )
    running = await api.phase("Running")
    await api.ok("POST", "/_local/pods/test/pod/kill", container="side")
    pod = await api.until(lambda pod: status_of(pod, "side")["restartCount"] == 1)
    last = status_of(pod, "side")["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (137, "Error")
    assert pod["status"]["phase"] == "Running"
    assert status_of(pod)["restartCount"] == 0
    assert status_of(pod)["containerID"] == status_of(running)["containerID"]
    assert await api.log("side", previous="True") == ""
    await api.ok("DELETE", "pods/pod", gracePeriodSeconds=1)
    await api.gone()


async def test_the_deadline_ends_a_pod_with_grace(api, make, status_of):
    script = "trap 'echo stopped > $LOG; exit 4' TERM; while true; do sleep 0.05; done"
    await api.ok("POST", "pods", with_sidecar(make, script, activeDeadlineSeconds=600))
    await api.phase("Running")
    await asyncio.sleep(0.2)
    patch = {"spec": {"activeDeadlineSeconds": 1}}
    status, _ = await api.call(
        "PATCH", "pods/pod", patch, content_type="application/strategic-merge-patch+json"
    )
    assert status == 200
    pod = await api.phase("Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert status_of(pod)["state"]["terminated"]["message"] == "stopped\n"
    assert status_of(pod, "side")["state"]["terminated"]["message"] == "totals\n"


async def test_deleting_waits_for_the_base_container_and_then_stops_the_sidecar(api, make, status_of):
    script = (
        "trap 'sleep 0.3; echo base stopping >> $SHARED/order; exit 0' TERM; while true; do sleep 0.05; done"
    )
    await api.ok("POST", "pods", with_sidecar(make, script))
    await api.phase("Running")
    await asyncio.sleep(0.2)
    states = []

    async def watch():
        async with api.session.get(f"{api.url}/api/v1/namespaces/test/pods", params={"watch": "1"}) as answer:
            async for line in answer.content:
                states.append(line)
                if b'"DELETED"' in line:
                    return

    watching = asyncio.create_task(watch())
    answer = await api.ok("DELETE", "pods/pod", {"gracePeriodSeconds": 20})
    assert answer["metadata"]["deletionTimestamp"]
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 20
    assert (await api.pod())["status"]["phase"] == "Running"
    await api.gone()
    await asyncio.wait_for(watching, 5)
    assert b"totals" in states[-1]
    assert b"Succeeded" in states[-1]


async def test_a_process_that_ignores_sigterm_is_killed_and_the_sidecar_still_gets_its_own(
    api, make, status_of
):
    await api.ok("POST", "pods", with_sidecar(make, "trap '' TERM; while true; do sleep 0.05; done"))
    await api.phase("Running")
    await asyncio.sleep(0.2)
    last = {}
    began = time.monotonic()
    await api.ok("DELETE", "pods/pod", gracePeriodSeconds=1)
    while (answer := await api.call("GET", "pods/pod"))[0] == 200:
        last = answer[1]
        await asyncio.sleep(0.01)
    assert 0.9 <= time.monotonic() - began < 6
    assert status_of(last)["state"]["terminated"]["exitCode"] == 137
    killing = await api.events("Killing")
    assert {event["involvedObject"]["fieldPath"] for event in killing} == {
        "spec.containers{base}", "spec.initContainers{side}",
    }  # fmt: skip


async def test_deleting_without_grace_is_immediate_and_shortens_a_deletion_under_way(api, make):
    await api.ok("POST", "pods", make.pod(make.shell("trap '' TERM; while true; do sleep 0.05; done")))
    await api.phase("Running")
    (process,) = (await api.ok("GET", "/_local/processes"))["processes"]
    await api.ok("DELETE", "pods/pod")
    assert (await api.pod())["metadata"]["deletionGracePeriodSeconds"] == 30
    await api.ok("DELETE", "pods/pod", gracePeriodSeconds=0)
    assert (await api.call("GET", "pods/pod"))[0] == 404
    for _ in range(200):
        if vanished(process["pid"]):
            break
        await asyncio.sleep(0.02)
    assert vanished(process["pid"])


async def test_eviction(api, make):
    await api.ok("POST", "pods", make.pod(make.shell("sleep 60")))
    await api.phase("Running")
    await api.ok("POST", "/_local/pods/test/pod/evict")
    pod = await api.phase("Failed")
    assert pod["status"]["reason"] == "Evicted"
    assert any(each["type"] == "DisruptionTarget" for each in pod["status"]["conditions"])
    assert (await api.events("Evicted"))[0]["type"] == "Warning"
    # The phase is known a moment before all is tidied up.
    async with asyncio.timeout(10):
        while (await api.call("POST", "/_local/pods/test/pod/evict"))[0] != 409:
            await asyncio.sleep(0.02)


async def test_out_of_memory(api, make, status_of):
    await api.ok("POST", "pods", make.pod(make.shell("sleep 60")))
    await api.phase("Running")
    await api.ok("POST", "/_local/pods/test/pod/oom", container="base")
    ended = status_of(await api.phase("Failed"))["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.parametrize("query", [{}, {"container": "other"}])
async def test_a_fault_names_the_container(api, make, query):
    await api.ok("POST", "pods", make.pod(make.shell("sleep 60")))
    await api.phase("Running")
    status, answer = await api.call("POST", "/_local/pods/test/pod/kill", **query)
    assert status == 400
    assert "base" in answer["message"]


DAEMON = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); open({!r}, 'w').write(str(os.getpid())); time.sleep(60)"


async def test_descendants_end_with_the_container(api, make, tmp_path):
    """Also one that left session and parent, as a daemon does; it carries the marker."""
    file = tmp_path / "daemon"
    script = f'python3 -c "{DAEMON.format(str(file))}"; while [ ! -s {file} ]; do sleep 0.02; done; exec >&- 2>&-; exit 0'
    await api.ok("POST", "pods", make.pod(make.shell(script)))
    await api.phase("Succeeded")
    assert vanished(int(file.read_text()))


async def test_the_environment_is_the_containers_own(api, make, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    base = make.shell("env", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(C)-$$(A)"}])
    await api.ok("POST", "pods", make.pod(base))
    await api.phase("Succeeded")
    lines = dict(line.split("=", 1) for line in (await api.log()).splitlines())
    lines.pop("PWD")
    uid = (await api.pod())["metadata"]["uid"]
    assert lines.pop("PATH").startswith("/usr/local/sbin")
    assert lines == {
        "A": "1", "B": "1-$(C)-$(A)", "HOSTNAME": "pod", "LANG": "C.UTF-8", "LOCAL_CONTAINER_ID": f"{uid}/base",
    }  # fmt: skip


async def test_termination_messages_are_cut_and_fall_back_to_the_log(api, make, status_of):
    env = [{"name": "LOG", "value": "/dev/termination-log"}]
    long = make.shell("head -c 5000 /dev/zero | tr '\\0' a > $LOG; printf end >> $LOG", "long", env=env)
    fallback = make.shell(
        "echo first; echo last >&2; exit 1", "fallback", terminationMessagePolicy="FallbackToLogsOnError"
    )
    fine = make.shell("echo nothing", "fine", terminationMessagePolicy="FallbackToLogsOnError")
    await api.ok("POST", "pods", make.pod(long, fallback, fine))
    pod = await api.phase("Failed")
    message = status_of(pod, "long")["state"]["terminated"]["message"]
    assert len(message) == 4096
    assert message.endswith("end")
    assert set(status_of(pod, "fallback")["state"]["terminated"]["message"].split()) == {"first", "last"}
    assert "message" not in status_of(pod, "fine")["state"]["terminated"]


async def test_readiness_and_liveness_probes(api, make, status_of):
    ready = {"exec": {"command": ["test", "-f", "/v/ready"]}, "periodSeconds": 1}
    alive = {"exec": {"command": ["test", "!", "-f", "/v/dead"]}, "periodSeconds": 1, "failureThreshold": 1}
    mount = [{"name": "v", "mountPath": "/v"}]
    base = make.shell(
        "touch $V/ready; sleep 1.2; touch $V/dead; sleep 60",
        env=[{"name": "V", "value": "/v"}], volumeMounts=mount, readinessProbe=ready, livenessProbe=alive,
    )  # fmt: skip
    spec = {"volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 1}
    await api.ok("POST", "pods", make.pod(base, **spec))
    await api.until(lambda pod: pod["status"].get("containerStatuses") and status_of(pod)["ready"])
    pod = await api.phase("Failed")
    assert status_of(pod)["state"]["terminated"]["exitCode"] in (137, 143)


async def test_stopping_the_runtime_ends_its_pods(tmp_path, connect, make, quick):
    from airflow_provider_agents.local.runtime import LocalKubernetes

    images = {"shell": "sh"}
    async with LocalKubernetes(tmp_path, images, pod_security="none", timing=quick) as runtime:
        api = connect(runtime)
        await api.ok("POST", "pods", make.pod(make.shell("sleep 60")))
        await api.phase("Running")
        (process,) = (await api.ok("GET", "/_local/processes"))["processes"]
        assert not vanished(process["pid"])
    assert vanished(process["pid"])
    async with LocalKubernetes(tmp_path, images, pod_security="none", timing=quick) as runtime:
        pod = await connect(runtime).pod()
        assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "Terminated")


async def test_a_fault_of_the_runtime_itself_fails_the_pod_and_is_named(api, make, monkeypatch):
    from airflow_provider_agents.local.container import Container

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Container, "_new_log", full)
    for name, pod in (
        ("base-fails", make.pod(make.shell("true"))),
        ("side-fails", make.pod(make.shell("true"), init=(make.sidecar("true"),))),
    ):
        pod["metadata"]["name"] = name
        await api.ok("POST", "pods", pod)
        ended = await api.phase("Failed", name)
        assert ended["status"]["reason"] == "LocalRuntimeError"
        assert "No space left" in ended["status"]["message"]
        await api.ok("DELETE", f"pods/{name}")
        await api.gone(f"pods/{name}")

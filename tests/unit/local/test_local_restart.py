"""The server as a program: start, stop, and what is left when it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from airflow_provider_agents.local.images import Image, parse_images
from airflow_provider_agents.local.processes import Identity, creation_time, members
from airflow_provider_agents.local.runtime import AlreadyRunningError, LocalKubernetes

ROOT = Path(__file__).parents[3]


class Server:
    """The program in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        ready = folder / "ready.json"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_agents.local", "--data", str(folder / "data"),
             "--ready-file", str(ready), "--image", "shell=sh", "--pod-security", "none", *arguments],
            cwd=ROOT, stderr=subprocess.PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not ready.exists() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.url = self.token = ""
        if ready.exists():
            self.ready = json.loads(ready.read_text())
            self.url = self.ready["url"]
            kubeconfig = json.loads(Path(self.ready["kubeconfig"]).read_text())
            self.token = kubeconfig["users"][0]["user"]["token"]

    def end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture
def server(tmp_path):
    servers = []

    def start(*arguments):
        servers.append(Server(tmp_path, *arguments))
        return servers[-1]

    yield start
    for each in servers:
        each.end(signal.SIGKILL)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_gone(*pids):
    for _ in range(500):
        if not any(map(alive, pids)):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"still alive: {[pid for pid in pids if alive(pid)]}")


async def test_sigterm_ends_pods_and_program(server, connect, make):
    running = server()
    api = connect(running)
    await api.ok("POST", "pods", make.pod(make.shell("sleep 60")))
    await api.phase("Running")
    (entry,) = (await api.ok("GET", "/_local/processes"))["processes"]
    assert entry | {"pid": 0} == {"namespace": "test", "pod": "pod", "container": "base", "pid": 0}
    assert await asyncio.to_thread(running.end, signal.SIGTERM) == 0
    assert not alive(entry["pid"])


async def test_a_killed_server_leaves_no_orphans_and_its_pods_are_known_as_lost(
    server, connect, make, status_of
):
    first = server()
    api = connect(first)
    await api.ok("POST", "secrets", {"metadata": {"name": "kept"}, "stringData": {"a": "1"}})
    await api.ok("POST", "pods", make.pod(make.shell("echo done"), name="done"))
    await api.phase("Succeeded", "done")
    await api.ok("POST", "pods", make.pod({"name": "base", "image": "unknown"}, name="waiting"))
    script = "echo started; setsid sleep 61 & exec sleep 60"
    await api.ok("POST", "pods", make.pod(make.shell(script), init=(make.sidecar("sleep 62"),)))
    await api.phase("Running")
    for _ in range(200):
        if await api.log():
            break
        await asyncio.sleep(0.02)
    uid = (await api.pod())["metadata"]["uid"]
    pids = [entry["pid"] for entry in (await api.ok("GET", "/_local/processes"))["processes"]]
    pids += [process.pid for process in members(Identity(f"{uid}/base", None, 0.0))]
    assert len(set(pids)) == 3
    first.end(signal.SIGKILL)
    assert all(map(alive, pids))

    api = connect(server())
    await until_gone(*pids)
    pod = await api.pod()
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "ContainerStatusUnknown")
    for name in ("base", "side"):
        ended = status_of(pod, name)["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
    assert await api.log() == "started\n"
    assert (await api.pod("done"))["status"]["phase"] == "Succeeded"
    assert await api.log(name="done") == "done\n"
    assert (await api.pod("waiting"))["status"]["phase"] == "Pending"
    assert (await api.ok("GET", "secrets/kept"))["metadata"]["uid"]
    await api.ok("DELETE", "pods/pod")
    await api.gone()


async def test_a_pod_that_was_being_deleted_is_gone_after_a_restart(server, connect, make):
    first = server()
    api = connect(first)
    await api.ok("POST", "pods", make.pod(make.shell("trap '' TERM; while true; do sleep 0.1; done")))
    await api.phase("Running")
    (entry,) = (await api.ok("GET", "/_local/processes"))["processes"]
    await api.ok("DELETE", "pods/pod")
    first.end(signal.SIGKILL)
    api = connect(server())
    assert (await api.call("GET", "pods/pod"))[0] == 404
    await until_gone(entry["pid"])


async def test_versions_keep_rising_over_a_restart(tmp_path, connect):
    async with LocalKubernetes(tmp_path) as runtime:
        api = connect(runtime)
        await api.ok("POST", "secrets", {"metadata": {"name": "a"}})
        before = int((await api.ok("DELETE", "secrets/a"))["kind"] == "Status") + int(
            (await api.ok("GET", "secrets"))["metadata"]["resourceVersion"]
        )
    async with LocalKubernetes(tmp_path) as runtime:
        created = await connect(runtime).ok("POST", "secrets", {"metadata": {"name": "a"}})
        assert int(created["metadata"]["resourceVersion"]) >= before


async def test_an_object_file_that_is_broken_is_set_aside(tmp_path, connect):
    folder = tmp_path / "objects" / "secrets"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text("{")
    async with LocalKubernetes(tmp_path) as runtime:
        assert (await connect(runtime).ok("GET", "secrets"))["items"] == []
    assert (folder / "x.broken").exists()


async def test_one_data_folder_has_one_server(tmp_path):
    async with LocalKubernetes(tmp_path):
        with pytest.raises(AlreadyRunningError, match="--data"):
            await LocalKubernetes(tmp_path).start()


async def test_what_is_stored_is_for_this_user_only(tmp_path, connect):
    async with LocalKubernetes(tmp_path / "data") as runtime:
        await connect(runtime).ok("POST", "secrets", {"metadata": {"name": "a"}, "stringData": {"k": "v"}})
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    (file,) = (tmp_path / "data" / "objects" / "secrets").glob("*.json")
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--image", "noequals"], "IMAGE=COMMAND"),
        (["--image-path", "x=/no/such/folder"], "not a folder"),
        (["--image", "x='"], "closing quotation"),
    ],
)
def test_a_wrong_command_line(server, arguments, says):
    failed = server(*arguments)
    _, error = failed.process.communicate(timeout=20)
    assert failed.process.returncode == 1
    assert says in error.decode()


def test_images(tmp_path):
    images = parse_images(["a:1=sh -c 'x y'", "*=b"], [f"a:1={tmp_path}", f"c={tmp_path}:{tmp_path}"])
    assert images == {
        "a:1": Image(("sh", "-c", "x y"), (tmp_path,)),
        "*": Image(("b",)),
        "c": Image((), (tmp_path, tmp_path)),
    }
    assert images["a:1"].search_path("/own") == f"{tmp_path}:/own"


def test_a_process_that_took_over_the_pid_is_not_the_containers():
    child = subprocess.Popen(["sleep", "30"], start_new_session=True)
    try:
        created = creation_time(child.pid)
        assert [each.pid for each in members(Identity("none/none", child.pid, created))] == [child.pid]
        assert members(Identity("none/none", child.pid, created - 100)) == []
        assert members(Identity("none/none", None, 0.0)) == []
    finally:
        child.kill()
        child.wait()
    assert creation_time(child.pid) == 0.0
    assert os.getpid() not in [each.pid for each in members(Identity("none/none", os.getpid(), 0.0))]

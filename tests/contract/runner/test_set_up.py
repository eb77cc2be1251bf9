"""The repository's set-up script, in a pod: with and without a cache claim, for every step."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pod import make_pod, wait_for

from agent_runner.cache_locks import take
from agent_runner.contract import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pod import Pod, Ran

TOOL = """\
echo "setting up in $PWD"
echo run >> "$AGENTS_SETUP_PREFIX/../../../runs"
mkdir -p "$AGENTS_SETUP_PREFIX/venv/bin"
printf '#!/bin/sh\\necho tool %s\\n' "$(cat requirements.txt 2>/dev/null)" > "$AGENTS_SETUP_PREFIX/bin/tool"
chmod +x "$AGENTS_SETUP_PREFIX/bin/tool"
"""
KEYED = f"# agents: key requirements.txt\n{TOOL}"


@pytest.fixture
def cache(pod: Pod, tmp_path: Path) -> Iterator[Path]:
    """The repository's folder of a cache claim."""
    folder = tmp_path / "cache"
    folder.mkdir()
    pod.variables["AGENT_CACHE_DIR"] = str(folder)
    yield folder
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o755)


def give(pod: Pod, script: str, **files: str) -> str:
    return pod.commit("main", {"README.md": "Shop\n", ".agents/setup.sh": script, **files})


def run_tests(pod: Pod, command: str = "tool", **changes: Any) -> Ran:
    return pod.run(pod.spec("test", test_command=command, **changes))


def tail(ran: Ran) -> str:
    assert ran.result.test is not None, ran.log
    return ran.result.test.tail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def runs(folder: Path) -> int:
    """How often the script was run for results below a folder."""
    file = folder / "runs"
    return len(file.read_text().split()) if file.exists() else 0


def result_of(cache: Path) -> Path:
    (folder,) = (cache / "setup").glob("*/")
    return folder


def test_without_a_script_nothing_changes(pod: Pod, cache: Path) -> None:
    ran = run_tests(pod, "echo ${AGENTS_SETUP_PREFIX-none}")
    assert tail(ran) == "none\n"
    assert "set-up: " not in ran.log
    assert names(cache / "setup") == []


def test_it_can_be_turned_off(pod: Pod) -> None:
    give(pod, "touch made\n")
    ran = run_tests(pod, "test ! -e made", run_setup=False)
    assert ran.result.outcome == "succeeded", ran.log
    assert "set-up:" not in ran.log


def test_the_tests_find_what_it_made(pod: Pod) -> None:
    give(pod, TOOL)
    ran = run_tests(pod, 'tool; echo "$VIRTUAL_ENV"; echo "$PATH"')
    tool, venv, path = tail(ran).splitlines()
    root = str(pod.root / "workspace/setup")
    assert tool == "tool"
    assert venv.startswith(root)
    assert [part for part in path.split(":") if part.startswith(root)] == path.split(":")[:2]
    assert path.startswith(f"{venv}/bin:")
    assert f"setting up in {pod.checkout}" in ran.log


def test_the_agent_finds_it_too_and_the_scripts_programs_are_not_the_runners(pod: Pod) -> None:
    """What the repository puts on the PATH is for the agent: git and the agent's program are the image's."""
    give(
        pod,
        TOOL
        + 'for name in git claude; do printf "#!/bin/sh\\nexit 9\\n" > "$AGENTS_SETUP_PREFIX/bin/$name"; '
        'chmod +x "$AGENTS_SETUP_PREFIX/bin/$name"; done\n',
    )
    program = pod.root / "bin/claude"
    program.parent.mkdir()
    pod.claude(
        f"""
        said = subprocess.run("tool", shell=True, capture_output=True, text=True).stdout
        write({str(pod.root / "seen")!r}, said)
        write("new.txt", "new")
        result()
        """
    )
    (pod.root / "claude").rename(program)
    pod.variables["AGENT_CLAUDE_PROGRAM"] = "claude"
    pod.variables["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    ran = pod.run(pod.spec())
    assert ran.failure is None, ran.log
    assert (pod.root / "seen").read_text() == "tool\n"
    assert pod.calls()[0]["env"]["AGENTS_SETUP_PREFIX"]


def test_a_later_step_of_the_run_uses_the_result(pod: Pod) -> None:
    give(pod, TOOL)
    run_tests(pod)
    ran = run_tests(pod)
    assert tail(ran) == "tool\n"
    assert "from an earlier step" in ran.log
    assert runs(pod.root / "workspace") == 1


def test_another_run_takes_it_from_the_cache(pod: Pod, cache: Path) -> None:
    give(pod, KEYED, **{"requirements.txt": "one"})
    assert tail(run_tests(pod)) == "tool one\n"
    shutil.rmtree(pod.root / "workspace")
    ran = run_tests(pod)
    assert tail(ran) == "tool one\n"
    assert runs(cache) == 1
    assert f"set-up: {result_of(cache).name[:12]}, from the cache" in ran.log
    assert not (pod.root / "workspace/setup").exists()


@pytest.mark.parametrize("change", ["script", "declared file"])
def test_what_it_depends_on_has_changed(pod: Pod, cache: Path, change: str) -> None:
    give(pod, KEYED, **{"requirements.txt": "one", "other": "x"})
    run_tests(pod)
    give(pod, KEYED, **{"requirements.txt": "one", "other": "y"})
    run_tests(pod)
    assert runs(cache) == 1
    if change == "script":
        give(pod, KEYED + "# more\n", **{"requirements.txt": "one"})
    else:
        give(pod, KEYED, **{"requirements.txt": "two"})
    assert tail(run_tests(pod)) == ("tool one\n" if change == "script" else "tool two\n")
    assert runs(cache) == 2


def test_the_result_in_the_cache_is_read_only(pod: Pod, cache: Path) -> None:
    give(pod, TOOL)
    run_tests(pod)
    prefix = result_of(cache) / "prefix"
    folders = [prefix, prefix / "bin", prefix / "venv/bin"]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o555] * 3


def test_a_killed_set_up_is_made_anew(pod: Pod, cache: Path) -> None:
    give(pod, 'echo half > "$AGENTS_SETUP_PREFIX/bin/half"\ntouch "$TMPDIR/started"\nsleep 60\n')
    process = pod.start(pod.spec("test", test_command="true"))
    wait_for((pod.root / "tmp/started").exists)
    process.kill()
    process.communicate()
    assert not (result_of(cache) / "complete").exists()
    # Its script outlived it, as nothing does in a pod.
    give(pod, "sleep 0\n")
    folder = result_of(cache)
    ran = run_tests(pod, 'ls "$AGENTS_SETUP_PREFIX/bin" | wc -l')
    assert tail(ran).strip() == "0"
    assert folder.exists()


def test_what_an_interrupted_one_left_is_not_in_the_result(pod: Pod, cache: Path) -> None:
    give(pod, TOOL)
    run_tests(pod)
    folder = result_of(cache)
    (folder / "complete").unlink()
    (folder / "prefix/bin").chmod(0o755)
    (folder / "prefix/bin/half").touch()
    ran = run_tests(pod, 'ls "$AGENTS_SETUP_PREFIX/bin"')
    assert tail(ran) == "tool\n"
    assert runs(cache) == 2


def test_a_stop_during_the_set_up(pod: Pod, cache: Path) -> None:
    give(pod, 'touch "$TMPDIR/started"\nsleep 60\n')
    process = pod.start(pod.spec("test", test_command="true"))
    pod.signal_when(process, pod.root / "tmp/started", signal.SIGTERM)
    assert pod.finish(process).result.outcome == "cancelled"
    assert not (result_of(cache) / "complete").exists()


def test_two_steps_at_once_run_it_once(pod: Pod, cache: Path, forge: Path, tmp_path: Path) -> None:
    give(pod, 'touch "$TMPDIR/started"\nsleep 1.5\n' + TOOL)
    other = make_pod(tmp_path / "other", forge)
    try:
        give(other, 'touch "$TMPDIR/started"\nsleep 1.5\n' + TOOL)
        other.variables["AGENT_CACHE_DIR"] = str(cache)
        first = pod.start(pod.spec("test", test_command="tool"))
        wait_for((pod.root / "tmp/started").exists)
        second = other.start(other.spec("test", test_command="tool"))
        rans = [pod.finish(first), other.finish(second)]
    finally:
        other.git_server.shutdown()
        other.git_server.server_close()
    assert [tail(ran) for ran in rans] == ["tool\n", "tool\n"]
    assert "waiting for it" in rans[1].log
    assert "from the cache" in rans[1].log
    assert runs(cache) == 1


def test_a_lock_that_is_held_for_long(pod: Pod, cache: Path) -> None:
    """The step makes a result of its own then."""
    give(pod, TOOL)
    run_tests(pod)
    folder = result_of(cache)
    (folder / "complete").unlink()
    held = take(cache / f"locks/setup-{folder.name}", exclusive=True)
    assert held is not None
    with held:
        ran = run_tests(pod, limits=Limits(seconds=6))
    assert tail(ran) == "tool\n"
    assert "takes too long" in ran.log
    assert not (folder / "complete").exists()


def test_a_lock_file_that_was_left_behind(pod: Pod, cache: Path) -> None:
    give(pod, TOOL)
    run_tests(pod)
    for name in ("lock", *(f"locks/{file}" for file in names(cache / "locks"))):
        assert (cache / name).is_file()
    (result_of(cache) / "complete").unlink()
    assert tail(run_tests(pod)) == "tool\n"
    assert runs(cache) == 2


def test_the_step_holds_what_it_uses(pod: Pod, cache: Path) -> None:
    """No sweep can take it away under the tests."""
    give(pod, TOOL)
    run_tests(pod)
    process = pod.start(pod.spec("test", test_command='touch "$TMPDIR/testing"; sleep 60'))
    wait_for((pod.root / "tmp/testing").exists)
    locks = [cache / "lock", cache / f"locks/setup-{result_of(cache).name}"]
    assert [take(lock, exclusive=True) for lock in locks] == [None, None]
    process.send_signal(signal.SIGTERM)
    pod.finish(process)
    for lock in locks:
        taken = take(lock, exclusive=True)
        assert taken is not None
        taken.close()


def test_a_failing_script(pod: Pod, cache: Path) -> None:
    give(pod, "echo installing\necho 'no such package: frobnicate' >&2\nexit 3\n")
    ran = run_tests(pod)
    assert ran.failure == ("config", "setup_failed")
    failure = ran.result.failure
    assert failure is not None
    assert failure.message == (
        ".agents/setup.sh ended with exit code 3. The end of its output: installing\nno such package: frobnicate"
    )
    assert ".agents/setup.sh" in failure.remedy
    assert not failure.retryable
    assert "no such package" in ran.log
    assert not (result_of(cache) / "complete").exists()


def test_a_script_that_takes_too_long(pod: Pod) -> None:
    give(pod, "echo waiting\nsleep 60\n")
    ran = run_tests(pod, limits=Limits(seconds=5))
    assert ran.failure == ("timeout", "setup_timeout")
    assert ran.result.failure is not None
    assert "waiting" in ran.result.failure.message
    assert not ran.result.failure.retryable


def test_no_credential_and_the_same_environment_as_the_tests(pod: Pod) -> None:
    pod.variables |= {"GITHUB_TOKEN": "canary", "PIP_INDEX_URL": "index"}
    give(pod, 'env > "$TMPDIR/env"; echo $$ > /dev/null\n')
    ran = run_tests(pod, 'env > "$TMPDIR/env-of-tests"')
    assert ran.failure is None
    seen, of_tests = (
        dict(line.split("=", 1) for line in (pod.root / f"tmp/{name}").read_text().splitlines())
        for name in ("env", "env-of-tests")
    )
    assert "canary" not in seen.values()
    assert seen["PIP_INDEX_URL"] == "index"
    for name in ("_", "SHLVL", "OLDPWD"):
        seen.pop(name, None)
        of_tests.pop(name, None)
    assert seen == of_tests


def test_kept_paths_are_there_in_the_next_step_and_are_not_committed(pod: Pod, cache: Path) -> None:
    script = (
        "# agents: keep node_modules src/gen\n"
        "mkdir -p node_modules src/gen\n"
        'echo x >> node_modules/a; echo x >> src/gen/b; echo run >> "$TMPDIR/runs"\n'
    )
    give(pod, script, **{".gitignore": "node_modules\ngen\n*.log\n", "src/app.py": "x"})
    look = "wc -l < node_modules/a; wc -l < src/gen/b; ls *.log 2>/dev/null; touch some.log"
    assert tail(run_tests(pod, look)).split() == ["1", "1"]
    assert tail(run_tests(pod, look)).split() == ["1", "1"]
    assert (pod.root / "tmp/runs").read_text() == "run\n"
    # Its result is of this workspace: there is none in the cache.
    assert names(cache / "setup") == []
    pod.claude("write('new.txt', 'new'); result()")
    ran = pod.run(pod.spec())
    assert ran.failure is None, ran.log
    assert "node_modules" not in pod.forge("ls-tree", "-r", "--name-only", "agent/t-1")
    assert (pod.checkout / "node_modules/a").read_text() == "x\n"


def test_a_kept_path_that_is_gone_is_made_again(pod: Pod) -> None:
    give(
        pod,
        "# agents: keep node_modules\nmkdir node_modules; touch node_modules/a\n",
        **{".gitignore": "node_modules\n"},
    )
    run_tests(pod, "ls node_modules")
    shutil.rmtree(pod.checkout / "node_modules")
    assert tail(run_tests(pod, "ls node_modules")) == "a\n"


def test_a_kept_path_that_git_does_not_ignore_is_cleaned(pod: Pod) -> None:
    """Else it would be taken for work of the agent."""
    give(pod, "# agents: keep made\nmkdir -p made; echo x >> made/a\n")
    run_tests(pod, "true")
    assert tail(run_tests(pod, "wc -l < made/a")).strip() == "1"


def test_reading_steps_leave_kept_paths_too(pod: Pod) -> None:
    give(pod, "# agents: keep deps\nmkdir deps; echo x >> deps/a\n", **{".gitignore": "deps\n"})
    pod.claude("write('deps/b', 'y'); write('stray', 'z'); result()")
    ran = pod.run(pod.spec("plan"))
    assert ran.failure is None, ran.log
    assert (names(pod.checkout / "deps")) == ["a", "b"]
    assert not (pod.checkout / "stray").exists()


@pytest.mark.parametrize(
    "line", ["keep ../other", "key /etc/passwd", "keep .git", "keep *", "cache x", "key .git/config"]
)
def test_declarations_that_lead_out(pod: Pod, line: str) -> None:
    give(pod, f"# agents: {line}\ntouch $TMPDIR/ran\n")
    ran = run_tests(pod, "true")
    assert ran.failure == ("config", "setup_failed")
    assert not (pod.root / "tmp/ran").exists()


def fork(pod: Pod, script: str) -> str:
    head = pod.commit("of-a-fork", {"README.md": "Shop\n", ".agents/setup.sh": script}, pod.head("main"))
    pod.forge("update-ref", "refs/pull/7/head", head)
    pod.forge("update-ref", "-d", "refs/heads/of-a-fork")
    return head


def test_a_review_runs_the_base_branchs_script_and_leaves_the_cache_alone(pod: Pod, cache: Path) -> None:
    give(pod, 'touch "$TMPDIR/of-the-base"\n' + TOOL)
    head = fork(pod, 'touch "$TMPDIR/of-the-fork"\n')
    pod.claude("result(structured_output=dict(verdict='approve'))")
    schema = {"type": "object", "properties": {"verdict": {"type": "string"}}}
    ran = pod.run(
        pod.spec(
            "review", pull_request=7, expected_head=head, work_branch="pull/7/head", output_schema=schema
        )
    )
    assert ran.failure is None, ran.log
    assert (pod.root / "tmp/of-the-base").exists()
    assert not (pod.root / "tmp/of-the-fork").exists()
    assert names(cache) == []
    assert "PIP_CACHE_DIR" not in pod.calls()[0]["env"]


@pytest.mark.parametrize("fault", ["file", "read-only", "full"])
def test_a_cache_that_cannot_be_used_costs_a_line(
    pod: Pod, tmp_path: Path, fault: str, request: pytest.FixtureRequest
) -> None:
    give(pod, TOOL)
    folder = tmp_path / "unusable"
    if fault == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        options = "ro" if fault == "read-only" else "size=1m"
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        if subprocess.run(command, capture_output=True, timeout=10).returncode:
            pytest.skip("mount: only root of the machine may")
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10))
    pod.variables["AGENT_CACHE_DIR"] = str(folder)
    ran = run_tests(pod, "tool; echo ${PIP_CACHE_DIR-none}")
    assert tail(ran) == "tool\nnone\n"
    assert ran.log.count("caches: not used") == 1


def test_a_cache_that_gets_full_during_the_set_up(
    pod: Pod, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(folder)]
    if subprocess.run(command, capture_output=True, timeout=10).returncode:
        pytest.skip("mount: only root of the machine may")
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10))
    pod.variables["AGENT_CACHE_DIR"] = str(folder)
    give(pod, 'set -e\nhead -c 90000000 /dev/zero > "$AGENTS_SETUP_PREFIX/big"\n' + TOOL)
    ran = run_tests(pod, "tool; echo ${PIP_CACHE_DIR-none}")
    assert tail(ran) == "tool\nnone\n"
    assert "the result is for this run only" in ran.log
    assert list((folder / "setup").iterdir()) == []


def test_a_sweep_that_is_clearing_the_folder_is_waited_for(pod: Pod, cache: Path) -> None:
    give(pod, TOOL)
    held = take(cache / "lock", exclusive=True)
    assert held is not None
    process = pod.start(pod.spec("test", test_command="tool"))
    release = threading.Timer(1.5, held.close)
    release.start()
    ran = pod.finish(process)
    release.join()
    assert tail(ran) == "tool\n"
    assert runs(cache) == 1

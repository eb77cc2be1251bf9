"""Parts are real processes here: small Python programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from demo import keeper
from demo.processes import Part, PartFailedError, Parts, free_port, wait_for

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"

# Starts a task in a process group of its own, as Airflow does, then ignores SIGTERM.
STUBBORN = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def parts(tmp_path: Path):
    made = Parts(tmp_path)
    yield made
    made.stop(0.2)


def add(parts: Parts, program: str, name: str = "part", **more) -> Part:
    return parts.add(name, [sys.executable, "-c", textwrap.dedent(program)], dict(os.environ), **more)


def first_line(part: Part) -> str:
    return wait_for(lambda: part.tail(1) or None, what="output", seconds=20)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_wait_for_gives_up_and_says_on_what():
    with pytest.raises(TimeoutError, match="the answer: not there after 0 s"):
        wait_for(lambda: None, what="the answer", seconds=0.02, interval=0.01)


def test_a_falsy_answer_is_an_answer():
    assert wait_for(lambda: 0, what="zero", seconds=0) == 0


def test_the_ready_file_is_waited_for_and_read(parts: Parts, tmp_path: Path):
    ready = tmp_path / "ready.json"
    ready.write_text('{"url": "of an earlier start"}')
    program = f"""
        import pathlib, time
        path = pathlib.Path({str(ready)!r})
        assert not path.exists()
        path.write_text('{{"url":')
        time.sleep(0.3)
        path.write_text('{{"url": "http://127.0.0.1:1"}}')
        time.sleep(60)
    """
    part = add(parts, program, ready_file=ready)
    part.start()
    assert part.wait_ready(20) == {"url": "http://127.0.0.1:1"}


def test_a_part_that_ends_before_it_is_ready_is_named_with_its_last_lines(parts: Parts, tmp_path: Path):
    program = "import sys; [print('line', n, flush=True) for n in range(30)]; sys.exit('no such port')"
    part = add(parts, program, name="stand-in", ready_file=tmp_path / "ready")
    part.start()
    with pytest.raises(PartFailedError) as caught:
        part.wait_ready(20)
    message = str(caught.value)
    assert message.startswith("stand-in: ended with exit code 1")
    assert "no such port" in message
    assert "line 29" in message
    assert "line 10\n" not in message  # 20 lines only
    assert str(part.log) in message


def test_a_part_that_does_not_get_ready_is_given_up(parts: Parts, tmp_path: Path):
    part = add(parts, SLEEPER, ready_file=tmp_path / "ready")
    part.start()
    first_line(part)
    with pytest.raises(PartFailedError, match=r"(?s)no sign of its ready file within 0 s.*up"):
        part.wait_ready(0.2)


def test_waiting_for_the_end_tells_failure_from_success(parts: Parts):
    good, bad, slow = (
        add(parts, "", "good"),
        add(parts, "raise SystemExit(3)", "bad"),
        add(parts, SLEEPER, "slow"),
    )
    for part in (good, bad, slow):
        part.start()
    good.wait_exit(20)
    with pytest.raises(PartFailedError, match="bad: ended with exit code 3"):
        bad.wait_exit(20)
    with pytest.raises(PartFailedError, match="slow: did not end within 0 s"):
        slow.wait_exit(0.1)


def test_kill_takes_everything_that_the_part_started(parts: Parts):
    part = add(parts, STUBBORN)
    part.start()
    child = int(first_line(part))
    assert os.getpgid(child) != os.getpgid(part.pid)
    part.kill()
    assert not alive(child)
    assert not part.running
    assert part.exit_code == -signal.SIGKILL


def test_a_killed_part_can_be_restarted_and_its_log_goes_on(parts: Parts):
    part = add(parts, SLEEPER)
    part.start()
    first_line(part)
    before = part.pid
    part.kill()
    part.restart()
    wait_for(lambda: part.tail().count("up") == 2 or None, what="second start", seconds=20)
    assert part.pid != before
    assert part.running


def test_a_running_part_is_not_started_twice(parts: Parts):
    part = add(parts, SLEEPER)
    part.start()
    with pytest.raises(RuntimeError, match="running already"):
        part.start()


def test_stop_is_gentle_first_and_then_not(parts: Parts):
    gentle = add(
        parts,
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (print("cleaned up", flush=True), sys.exit(0)))
        print("up", flush=True)
        time.sleep(60)
        """,
        "gentle",
    )
    stubborn = add(parts, STUBBORN, "stubborn")
    for part in (gentle, stubborn):
        part.start()
    first_line(gentle)
    child = int(first_line(stubborn))
    began = time.monotonic()
    parts.stop(1.0)
    assert time.monotonic() - began < 8
    assert gentle.tail(1) == "cleaned up"
    assert gentle.exit_code == 0
    assert stubborn.exit_code == -signal.SIGKILL
    assert not alive(child)
    parts.stop()  # a second time is nothing


def test_check_finds_a_part_that_failed_and_lets_a_finished_one_be(parts: Parts):
    done, broken = add(parts, "", "done"), add(parts, "raise SystemExit(9)", "broken")
    done.start()
    done.wait_exit(20)
    parts.check()
    broken.start()
    wait_for(lambda: broken.exit_code, what="its end", seconds=20)
    with pytest.raises(PartFailedError, match="broken: ended with exit code 9"):
        parts.check()


def test_a_killed_owner_takes_all_parts_with_it(tmp_path: Path):
    owner_program = f"""
        import os, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(keeper.__file__).parent.parent)!r})
        from demo.processes import Parts
        parts = Parts(Path({str(tmp_path)!r}))
        part = parts.add("part", [sys.executable, "-c", {textwrap.dedent(STUBBORN)!r}], dict(os.environ))
        part.start()
        print(part.pid, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(owner_program)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        part = int(owner.stdout.readline())
        log = tmp_path / "logs" / "part.log"
        child = int(wait_for(lambda: log.read_text().strip() or None, what="child", seconds=20))
        assert alive(part)
        assert alive(child)
        owner.kill()
    seconds = keeper.GRACE_SECONDS + 20
    wait_for(lambda: not (alive(part) or alive(child)) or None, what="their end", seconds=seconds)


def test_the_keeper_lets_go_of_what_was_taken_back():
    with subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True) as process:
        done = subprocess.run(
            [sys.executable, "-I", keeper.__file__],
            input=f"+{process.pid}\n-{process.pid}\n".encode(),
            timeout=20,
            check=False,
        )
        assert done.returncode == 0
        assert process.poll() is None
        process.kill()


def test_free_ports_can_be_bound():
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))

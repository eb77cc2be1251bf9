"""Steps that end early, each way they can: the outcome, its reason, and what became of the work so far."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_runner.agent_step import closing_seconds
from agent_runner.contract import AgentSettings, Limits

if TYPE_CHECKING:
    from pod import Pod

WORK = "agent/t-1"
HALF_DONE = "commit('done', '1'); write('begun', '2')\n"
ASKED = """
asked = dict(questions=[dict(question="Which price is meant?")])
result(permission_denials=[dict(tool_name="AskUserQuestion", tool_input=asked)])
"""
READY = "write('../ready', str(os.getpid())); time.sleep(600)\n"


@dataclass(frozen=True)
class End:
    """One way to end early."""

    body: str
    code: str
    category: str = "agent"
    published: bool = True
    limits: Limits = Limits()  # noqa: RUF009 - immutable


def api_error(status: int | None, words: str) -> str:
    return f"result(is_error=True, terminal_reason='api_error', api_error_status={status}, result={words!r})"


ENDS = {
    "killed": End("os.kill(os.getpid(), 9)", "agent_crashed"),
    "without a result": End("sys.exit(0)", "agent_crashed"),
    "malformed events": End(
        "print('{\"type\": \"result\"'); print('[' * 9999); sys.exit(1)", "agent_crashed"
    ),
    "first well, then not": End("result(); result(is_error=True, result='no')", "agent_error"),
    "out of turns": End("result(is_error=True, terminal_reason='max_turns')", "max_turns"),
    "out of budget": End(api_error(402, "over budget"), "budget_exhausted", "budget"),
    "out of credit": End(api_error(400, "Credit balance is too low"), "model_quota", "quota"),
    "model overloaded": End(api_error(529, "Overloaded"), "model_overloaded", "rate_limit"),
    "model down for ever": End(api_error(500, "Internal"), "model_unavailable", "network"),
    "model not reached": End(api_error(None, "Connection refused"), "model_unavailable", "network"),
    "credential refused": End(api_error(401, "Invalid API key"), "model_credential", "auth"),
    "context full": End(
        "result(is_error=True, terminal_reason='prompt_too_long')", "prompt_too_long", "context"
    ),
    "model refuses": End("result(stop_reason='refusal', result='I will not')", "model_refused"),
    "time is up": End("time.sleep(600)", "step_timeout", "timeout", limits=Limits(seconds=4)),
    "silent twice": End("time.sleep(600)", "agent_stalled", "timeout", limits=Limits(stall_seconds=1)),
    "repeats itself": End(
        "for _ in range(9): tool('Bash', '2 failed', command='make test')\ntime.sleep(600)", "agent_stuck"
    ),
    "disk full": End("sys.exit('write: ENOSPC: no space left on device')", "disk_full", "storage"),
    "forge gone": End(
        "open(os.environ['GATE'], 'w').close()\n" + api_error(None, "Connection refused"),
        "model_unavailable",
        "network",
        published=False,
        limits=Limits(seconds=5),
    ),
    "push refused": End(
        "write(os.environ['GATE'] + '/../refuse', '')\nsys.exit(1)", "agent_crashed", published=False
    ),
    "conflict markers": End(
        "write('begun', '<<<<<<< HEAD\\n1\\n=======\\n2\\n>>>>>>> x\\n'); sys.exit(1)",
        "agent_crashed",
        published=False,
    ),
    "in a merge": End(
        "git('branch', 'other', 'HEAD~1'); git('checkout', '-f', 'other'); commit('done', '3')\n"
        "subprocess.run(['git', 'merge', '-q', 'agent/t-1']); sys.exit(1)",
        "agent_crashed",
        published=False,
    ),
    "without .git": End(
        "import shutil; shutil.rmtree('.git'); sys.exit(1)", "agent_crashed", published=False
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_matrix(pod: Pod, name: str) -> None:
    end = ENDS[name]
    start = pod.commit(
        WORK, {"README.md": "Shop\n", "src/app.py": "price = 1\n", "old": "1"}, pod.head("main")
    )
    hook = pod.bare / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n! test -e {pod.root}/refuse || {{ echo protected >&2; exit 1; }}\n")
    hook.chmod(0o755)
    gate = pod.root / "gate"
    pod.git_server.closed_by = gate
    pod.claude(
        "first = not option('--resume')\n"
        f"os.environ['GATE'] = {str(gate)!r}\n"
        "if first:\n"
        "    commit('done', '1'); write('begun', '2')\n"
        "    tool('Bash', '', command='true')\n"
        + end.body.replace("os.environ['GATE'] + '/..", f"'{pod.root}' + '")
    )
    ran = pod.run(pod.spec("fix", expected_head=start, limits=end.limits, commit_message="Mend it"), 60)
    assert ran.result.outcome == "failed", ran.log
    assert ran.failure == (end.category, end.code), ran.log
    assert ran.result.failure
    assert ran.result.failure.message
    assert ran.result.failure.remedy
    if end.published:
        assert ran.result.head_sha == pod.head(WORK) != start, ran.log
        assert ran.result.files_changed == ("begun", "done", "old")
        assert pod.forge("log", "--format=%s", f"{start}..{WORK}").splitlines() == [
            "WIP: Mend it",
            "Change done",
        ]
    else:
        assert pod.head(WORK) == ran.result.head_sha == start
        assert (ran.result.commits, ran.result.files_changed) == (0, ())
        assert "was not published" in ran.result.summary
        assert "was not published" in ran.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_the_agent_works(pod: Pod, number: signal.Signals) -> None:
    pod.claude(HALF_DONE + READY)
    process = pod.start(pod.spec(commit_message="Make it"))
    pod.signal_when(process, pod.root / "workspace/ready", number)
    ran = pod.finish(process)
    assert (ran.result.outcome, ran.failure) == ("cancelled", ("evicted", "terminated"))
    assert ran.result.head_sha == pod.head(WORK)
    assert (ran.result.commits, ran.result.files_changed) == (2, ("begun", "done"))
    assert pod.forge("log", "-1", "--format=%s", WORK) == "WIP: Make it"


def test_stopped_in_checkout(pod: Pod) -> None:
    pod.claude()
    pod.git_server.hold = pod.root / "held"
    process = pod.start(pod.spec())
    pod.signal_when(process, pod.git_server.hold, signal.SIGTERM)
    ran = pod.finish(process, 10)
    assert (ran.result.outcome, ran.failure) == ("cancelled", ("evicted", "terminated"))
    assert pod.calls() == []


def test_stopped_while_publishing(pod: Pod) -> None:
    """The push that was cut off is made again, in what is left of the pod's grace."""
    hold = pod.root / "held"
    pod.git_server.hold_for = "receive-pack"
    pod.git_server.hold = hold
    pod.claude(HALF_DONE + "result()")
    process = pod.start(pod.spec(commit_message="Make it"))
    pod.signal_when(process, hold, signal.SIGTERM)
    ran = pod.finish(process, 20)
    assert (ran.result.outcome, ran.failure) == ("cancelled", ("evicted", "terminated"))
    assert ran.result.head_sha == pod.head(WORK)
    assert ran.result.files_changed == ("begun", "done")


def test_stopped_twice(pod: Pod) -> None:
    """A second signal does not cut short the saving of the work."""
    hold = pod.root / "held"
    pod.git_server.hold_for = "receive-pack"
    pod.claude(HALF_DONE + READY)
    process = pod.start(pod.spec())
    pod.git_server.hold = hold
    pod.signal_when(process, pod.root / "workspace/ready", signal.SIGTERM)
    pod.signal_when(process, hold, signal.SIGTERM)
    pod.git_server.release.set()
    ran = pod.finish(process, 20)
    assert ran.result.outcome == "cancelled"
    assert ran.result.head_sha == pod.head(WORK)


def test_time_is_up_while_publishing(pod: Pod) -> None:
    pod.git_server.hold_for = "receive-pack"
    pod.git_server.hold = pod.root / "held"
    pod.claude(HALF_DONE + "result()")
    ran = pod.run(pod.spec(limits=Limits(seconds=3)))
    assert ran.result.outcome == "failed"
    assert ran.failure == ("timeout", "step_timeout")
    assert ran.result.head_sha == pod.head("main")
    assert ran.result.commits == 0


def test_locks_of_killed_git_processes_do_not_matter(pod: Pod) -> None:
    pod.claude(
        HALF_DONE + "write('.git/index.lock', ''); write('.git/HEAD.lock', ''); os.kill(os.getpid(), 9)"
    )
    ran = pod.run(pod.spec())
    assert ran.failure == ("agent", "agent_crashed")
    assert ran.result.head_sha == pod.head(WORK)


def test_a_fault_of_the_runner_itself(pod: Pod) -> None:
    """Here the agent put a file in the place of its home, so that its program cannot be started again."""
    home = str(pod.home)
    pod.claude(HALF_DONE + f"import shutil; shutil.rmtree({home!r}); write({home!r}, ''); time.sleep(600)")
    ran = pod.run(pod.spec(limits=Limits(stall_seconds=1)))
    assert ran.failure == ("unknown", "runner_error"), ran.log
    assert "Traceback" in ran.log
    assert ran.result.head_sha == pod.head(WORK)


def test_agent_that_pushed_before_it_died(pod: Pod) -> None:
    pod.claude("commit('a', '1'); git('push', 'origin', 'HEAD'); os.kill(os.getpid(), 9)")
    ran = pod.run(pod.spec())
    assert ran.failure == ("agent", "agent_crashed")
    assert (ran.result.head_sha, ran.result.commits) == (pod.head(WORK), 1)
    assert ran.result.summary == ""


def test_nothing_done_nothing_pushed(pod: Pod) -> None:
    pod.claude("sys.exit(1)")
    ran = pod.run(pod.spec())
    assert ran.failure == ("agent", "agent_crashed")
    assert ran.result.head_sha == pod.head("main")
    assert pod.forge("branch", "--list", WORK) == ""
    assert "not published" not in ran.result.summary


def test_a_plan_is_never_pushed(pod: Pod) -> None:
    pod.claude(HALF_DONE + "sys.exit(1)")
    ran = pod.run(pod.spec("plan"))
    assert ran.failure == ("agent", "agent_crashed")
    assert pod.forge("branch", "--list", WORK) == ""


def test_a_step_that_never_began_pushes_nothing(pod: Pod) -> None:
    pod.variables["AGENT_CLAUDE_PROGRAM"] = "/nonexistent/claude"
    assert pod.run(pod.spec()).failure == ("image", "agent_missing")
    assert not any("receive-pack" in request for request in pod.git_server.requests)


def test_work_of_a_person_is_not_overwritten(pod: Pod) -> None:
    start = pod.commit(WORK, {"a": "1"}, pod.head("main"))
    person = pod.commit("elsewhere", {"a": "person"}, start)
    move = f"git('-C', {str(pod.bare)!r}, 'update-ref', 'refs/heads/{WORK}', {person!r})\n"
    pod.claude(HALF_DONE + move + "sys.exit(1)")
    ran = pod.run(pod.spec("fix", expected_head=start))
    assert ran.failure == ("agent", "agent_crashed")
    assert pod.head(WORK) == person
    assert "somebody else changed the branch" in ran.result.summary


def test_silence_is_answered_once_and_the_session_goes_on(pod: Pod) -> None:
    pod.claude(
        """
        if option("--resume"):
            commit("a", "1"); result(total_cost_usd=0.25)
        else:
            time.sleep(600)
        """
    )
    ran = pod.run(pod.spec(limits=Limits(stall_seconds=1), agent=AgentSettings(max_turns=9)))
    assert ran.result.outcome == "succeeded", ran.log
    first, second = pod.calls()
    assert second["argv"][second["argv"].index("--resume") + 1] == ran.result.session_id
    assert "no sign of life" in second["stdin"]
    assert (first["argv"][first["argv"].index("--max-turns") + 1], ran.result.turns) == ("9", 4)
    assert second["argv"][second["argv"].index("--max-turns") + 1] == "7"
    assert ran.result.cost_usd == 0.75
    assert not ran.result.resumed


def test_a_silent_agent_without_a_session_begins_anew(pod: Pod) -> None:
    pod.claude(
        """
        import shutil
        if os.path.exists("../again"):
            commit("a", "1"); result()
        else:
            write("../again", ""); shutil.rmtree(os.environ["CLAUDE_CONFIG_DIR"]); time.sleep(600)
        """
    )
    ran = pod.run(pod.spec(limits=Limits(stall_seconds=1)))
    assert ran.result.outcome == "succeeded", ran.log
    assert [call["stdin"] for call in pod.calls()] == ["Do the task.", "Do the task."]


def test_a_running_tool_may_be_silent_for_longer(pod: Pod) -> None:
    pod.claude(
        """
        emit(type="assistant", message=dict(content=[dict(type="tool_use", id="1", name="Bash", input={})]))
        time.sleep(1.5)
        result()
        """
    )
    assert pod.run(pod.spec(limits=Limits(stall_seconds=1))).result.outcome == "no_changes"
    assert len(pod.calls()) == 1


def test_repetition_is_told_once_and_the_session_goes_on(pod: Pod) -> None:
    pod.claude(
        """
        if option("--resume"):
            tool("Bash", "2 failed in 9.1s", command="make test")
            commit("a", "1"); result()
        else:
            for seconds in range(3):
                tool("Bash", f"2 failed in {seconds}.5s", command="make test")
            time.sleep(600)
        """
    )
    ran = pod.run(pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    _, second = pod.calls()
    assert "make test" in second["stdin"]
    assert "3 times in a row" in second["stdin"]


def test_stuck_in_spite_of_the_remark(pod: Pod) -> None:
    pod.claude(
        """
        for _ in range(2 if option("--resume") else 3):
            tool("Bash", "2 failed", command="make test")
        time.sleep(600)
        """
    )
    ran = pod.run(pod.spec())
    assert ran.failure == ("agent", "agent_stuck")
    assert ran.result.failure
    assert "5 times" in ran.result.failure.message
    assert "make test" in ran.result.failure.message
    assert len(pod.calls()) == 2


def test_program_that_has_ended_but_stays(pod: Pod) -> None:
    """Its result counts; silence after it is no stall."""
    pod.claude("commit('a', '1'); result(); time.sleep(600)")
    ran = pod.run(pod.spec(limits=Limits(stall_seconds=1)))
    assert (ran.result.outcome, ran.result.turns) == ("succeeded", 2)
    assert len(pod.calls()) == 1


@pytest.mark.parametrize(
    ("step", "result", "code"),
    [
        ("implement", "result(result='Two are there.\\n\\nWhich price is meant?')", "agent_question"),
        (
            "implement",
            ASKED,
            "agent_question",
        ),
        ("implement", "result(result='It is there already.')", None),
        ("fix", "result(result='Which price is meant?')", None),
    ],
)
def test_questions(pod: Pod, step: str, result: str, code: str | None) -> None:
    start = pod.commit(WORK, {"a": "1"}, pod.head("main"))
    pod.claude(result)
    ran = pod.run(pod.spec(step, expected_head=start))
    if code is None:
        assert (ran.result.outcome, ran.failure) == ("no_changes", None)
        return
    assert ran.failure == ("agent", code)
    assert ran.result.failure
    assert ran.result.failure.message.endswith("Which price is meant?")


def test_a_question_after_work_is_no_failure(pod: Pod) -> None:
    pod.claude("commit('a', '1'); result(result='Done. Shall I also do the other one?')")
    assert pod.run(pod.spec()).result.outcome == "succeeded"


def test_orphans_with_children_in_sessions_of_their_own_are_gone_before_the_work_is_saved(pod: Pod) -> None:
    script = "import os, subprocess, time; os.setsid(); p = subprocess.Popen(['sleep', '600'],"
    script += (
        " start_new_session=True); open('../pids', 'a').write(f'{os.getpid()} {p.pid} '); time.sleep(600)"
    )
    pod.claude(
        HALF_DONE + f"subprocess.Popen([sys.executable, '-IS', '-c', {script!r}])\n"
        "while not os.path.exists('../pids'): time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9)"
    )
    ran = pod.run(pod.spec())
    assert ran.failure == ("agent", "agent_crashed")
    pids = (pod.root / "workspace/pids").read_text().split()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_standard_input_ends_after_the_prompt(pod: Pod) -> None:
    pod.claude("assert sys.stdin.read() == ''; assert not os.isatty(0); commit('a', stdin); result()")
    assert pod.run(pod.spec()).result.outcome == "succeeded"
    assert pod.forge("show", f"{WORK}:a") == "Do the task."


@pytest.mark.parametrize(("limit", "kept"), [(1, 0.5), (8, 4), (40, 5), (100, 10), (300, 30), (86_400, 30)])
def test_time_that_is_kept_for_publishing(limit: int, kept: float) -> None:
    assert closing_seconds(limit) == kept


def test_a_stop_leaves_time_for_the_result(pod: Pod) -> None:
    """The pod has 30 seconds of grace; an agent that ignores everything and a dead forge take less."""
    pod.git_server.closed_by = pod.root / "gate"
    pod.claude(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        + HALF_DONE
        + f"write({str(pod.root / 'gate')!r}, '')\n"
        + READY
    )
    process = pod.start(pod.spec())
    pod.signal_when(process, pod.root / "workspace/ready", signal.SIGTERM)
    started = time.monotonic()
    ran = pod.finish(process, 30)
    assert time.monotonic() - started < 24
    assert (ran.result.outcome, os.path.exists(pod.root / "gate")) == ("cancelled", True)  # noqa: PTH110
    assert "was not published" in ran.result.summary

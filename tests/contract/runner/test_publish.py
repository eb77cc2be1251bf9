"""Implement and fix, from the checkout to the branch on the forge, with a scripted agent program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pod import NONCE

from agent_runner.contract import Limits

if TYPE_CHECKING:
    from pod import Pod

WORK = "agent/t-1"


def test_uncommitted_work_is_committed_and_pushed(pod: Pod) -> None:
    pod.claude("write('src/new file.py', 'x = 1\\n'); write('src/app.py', 'price = 2\\n'); result()")
    ran = pod.run(pod.spec(commit_message="Raise the price"))
    assert (ran.result.outcome, ran.result.commits) == ("succeeded", 1)
    assert ran.result.files_changed == ("src/app.py", "src/new file.py")
    assert ran.result.head_sha == pod.head(WORK)
    assert ran.result.base_sha == pod.head("main")
    assert pod.forge("log", "-1", "--format=%an|%ae|%s", WORK) == (
        "airflow-agents[bot]|airflow-agents[bot]@users.noreply.github.com|Raise the price"
    )
    assert (ran.result.cost_usd, ran.result.turns, ran.result.tokens.input) == (0.5, 2, 10)
    assert (ran.result.model, ran.result.agent_version) == ("claude-test", "9.9")
    assert ran.result.summary == "All done."


def test_own_commits_keep_their_messages_and_identity(pod: Pod) -> None:
    pod.variables |= {"AGENT_GIT_NAME": 'Robo "R" Coder', "AGENT_GIT_EMAIL": "robo@example.org"}
    pod.claude("commit('a', '1'); commit('b', '2'); result()")
    ran = pod.run(pod.spec())
    assert ran.result.commits == 2
    assert pod.forge("log", "-2", "--format=%an|%s", WORK).splitlines() == [
        'Robo "R" Coder|Change b',
        'Robo "R" Coder|Change a',
    ]


@pytest.mark.parametrize(
    ("result", "subject"),
    [
        ("result(structured_output={'title': 'Title of it'})", "Title of it"),
        ("result(result='First line\\nSecond')", "First line"),
        ("result(result='')", "Change agent/t-1"),
    ],
)
def test_commit_message_falls_back(pod: Pod, result: str, subject: str) -> None:
    pod.claude(f"write('a', '1'); {result}")
    pod.run(pod.spec())
    assert pod.forge("log", "-1", "--format=%s", WORK) == subject


@pytest.mark.parametrize("body", ["", "git('commit', '--allow-empty', '-m', 'nothing')"])
def test_no_changes(pod: Pod, body: str) -> None:
    pod.claude(f"{body}\nresult()")
    ran = pod.run(pod.spec())
    assert (ran.result.outcome, ran.result.failure) == ("no_changes", None)
    assert pod.forge("branch", "--list", WORK) == ""


def test_a_rebase_without_own_work_is_no_change(pod: Pod) -> None:
    newer = pod.commit("newer", {"b": "2"}, pod.head("main"))
    pod.claude(
        f"""
        git("-C", {str(pod.bare)!r}, "update-ref", "refs/heads/main", {newer!r})
        git("fetch", "origin"); git("rebase", "origin/main"); result()
        """
    )
    assert pod.run(pod.spec()).result.outcome == "no_changes"
    assert pod.forge("branch", "--list", WORK) == ""


def test_nothing_done_for_want_of_a_tool_is_a_failure(pod: Pod) -> None:
    pod.claude("result(permission_denials=[{'tool_name': 'Bash'}])")
    assert pod.run(pod.spec()).failure == ("agent", "permission_denied")


def test_fix_continues_the_branch(pod: Pod) -> None:
    start = pod.commit(WORK, {"README.md": "Shop\n", "src/app.py": "price = 2\n"}, pod.head("main"))
    pod.claude("assert open('src/app.py').read() == 'price = 2\\n'; commit('fix', '1'); result()")
    ran = pod.run(pod.spec("fix", expected_head=start))
    assert ran.result.outcome == "succeeded"
    assert ran.result.commits == 2
    assert pod.forge("rev-parse", f"{WORK}~1") == start


def test_head_moved_before_the_step(pod: Pod) -> None:
    pod.commit(WORK, {"person": "work"}, pod.head("main"))
    pod.claude()
    ran = pod.run(pod.spec("fix", expected_head="0" * 40))
    assert ran.failure == ("git", "head_moved")
    assert ran.result.failure
    assert "0" * 40 in ran.result.failure.message
    assert pod.head(WORK) in ran.result.failure.message
    assert not ran.result.failure.retryable
    assert pod.calls() == []


def test_branch_that_should_not_exist_yet(pod: Pod) -> None:
    pod.commit(WORK, {"person": "work"}, pod.head("main"))
    pod.claude()
    assert pod.run(pod.spec()).failure == ("git", "head_moved")


def test_branch_that_vanished(pod: Pod) -> None:
    pod.claude()
    assert pod.run(pod.spec("fix", expected_head=pod.head("main"))).failure == ("git", "head_moved")


def test_head_moved_while_the_agent_worked(pod: Pod) -> None:
    """A person's commit that the agent never saw is not overwritten."""
    start = pod.commit(WORK, {"a": "1"}, pod.head("main"))
    person = pod.commit("elsewhere", {"a": "person"}, start)
    pod.claude(
        f"""
        git("-C", {str(pod.bare)!r}, "update-ref", "refs/heads/{WORK}", {person!r})
        commit("b", "2"); result()
        """
    )
    assert pod.run(pod.spec("fix", expected_head=start)).failure == ("git", "head_moved")
    assert pod.head(WORK) == person


def test_base_branch_missing(pod: Pod) -> None:
    pod.claude()
    assert pod.run(pod.spec(base_branch="develop")).failure == ("git", "base_branch_missing")


def test_repository_missing(pod: Pod) -> None:
    pod.claude()
    assert pod.run(pod.spec(repository="acme/none")).failure == ("config", "repository_not_found")


def test_push_refused_gives_the_reason(pod: Pod) -> None:
    hook = pod.bare / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'workflows are protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    pod.claude("commit('a', '1'); result()")
    ran = pod.run(pod.spec())
    assert ran.failure == ("git", "push_refused")
    assert ran.result.failure
    assert "hook declined" in ran.result.failure.message
    assert "workflows are protected" in ran.result.failure.message
    assert ran.result.head_sha == pod.head("main")
    assert ran.result.cost_usd == 0.5


def test_rebase_onto_a_newer_base_is_force_pushed(pod: Pod) -> None:
    old = pod.head("main")
    start = pod.commit(WORK, {"README.md": "Shop\n", "src/app.py": "price = 1\n", "mine": "1"}, old)
    pod.commit("main", {"README.md": "Shop 2\n", "src/app.py": "price = 1\n"}, old)
    pod.claude("git('fetch', 'origin'); git('rebase', 'origin/main'); result()")
    ran = pod.run(pod.spec("fix", expected_head=start))
    assert ran.result.outcome == "succeeded", ran.log
    assert (ran.result.commits, ran.result.files_changed) == (1, ("mine",))
    assert pod.forge("rev-parse", f"{WORK}~1") == pod.head("main")
    assert pod.head(WORK) == ran.result.head_sha


def test_merge_of_the_base_counts_only_the_branchs_own_files(pod: Pod) -> None:
    old = pod.head("main")
    start = pod.commit(WORK, {"README.md": "Shop\n", "src/app.py": "price = 1\n", "mine": "1"}, old)
    pod.commit("main", {"README.md": "Shop 2\n", "src/app.py": "price = 1\n"}, old)
    pod.claude("git('pull', '--no-rebase', '--no-edit', 'origin', 'main'); result()")
    ran = pod.run(pod.spec("fix", expected_head=start))
    assert (ran.result.outcome, ran.result.files_changed) == ("succeeded", ("mine",)), ran.log


def _conflict(pod: Pod) -> str:
    old = pod.head("main")
    start = pod.commit(WORK, {"README.md": "Shop\n", "src/app.py": "price = 2\n"}, old)
    pod.commit("main", {"README.md": "Shop\n", "src/app.py": "price = 3\n"}, old)
    return start


@pytest.mark.parametrize(("command", "word"), [("rebase", "rebase"), ("merge", "merge")])
def test_unfinished_operation(pod: Pod, command: str, word: str) -> None:
    start = _conflict(pod)
    pod.claude(
        f"git('fetch', 'origin')\ntry: git('{command}', 'origin/main')\nexcept Exception: pass\nresult()"
    )
    ran = pod.run(pod.spec("fix", expected_head=start))
    assert ran.failure == ("conflict", "unfinished_rebase")
    assert ran.result.failure
    assert word in ran.result.failure.message
    assert pod.head(WORK) == start

    pod.claude("assert open('src/app.py').read() == 'price = 2\\n'; commit('b', '1'); result()")
    assert pod.run(pod.spec("fix", expected_head=start)).result.outcome == "succeeded"


def test_conflict_markers(pod: Pod) -> None:
    pod.claude("commit('odd \" name', 'a\\n<<<<<<< HEAD\\n1\\n=======\\n2\\n>>>>>>> x\\n'); result()")
    ran = pod.run(pod.spec())
    assert ran.failure == ("conflict", "conflict_markers")
    assert ran.result.failure
    assert 'odd " name' in ran.result.failure.message
    assert pod.forge("branch", "--list", WORK) == ""


def test_underlined_heading_is_no_conflict_marker(pod: Pod) -> None:
    pod.claude("commit('a.rst', 'Heading\\n=======\\n\\nArrows <<<<<<< here\\n'); result()")
    assert pod.run(pod.spec()).result.outcome == "succeeded"


def test_agent_that_pushed_itself(pod: Pod) -> None:
    pod.claude("commit('a', '1'); git('push', 'origin', 'HEAD'); result()")
    ran = pod.run(pod.spec())
    assert (ran.result.outcome, ran.result.head_sha) == ("succeeded", pod.head(WORK))
    assert "already" in ran.log


def test_agent_that_pushed_and_went_on(pod: Pod) -> None:
    pod.claude("commit('a', '1'); git('push', 'origin', 'HEAD'); commit('b', '2'); result()")
    ran = pod.run(pod.spec())
    assert (ran.result.outcome, ran.result.commits) == ("succeeded", 2)
    assert pod.head(WORK) == ran.result.head_sha


@pytest.mark.parametrize(
    "body",
    [
        "git('checkout', '-b', 'mine'); commit('a', '1')",
        "commit('a', '1'); git('checkout', '--detach')",
        "commit('a', '1'); git('checkout', 'origin/main')",
    ],
)
def test_work_on_another_branch_is_found(pod: Pod, body: str) -> None:
    pod.claude(f"{body}\nresult()")
    ran = pod.run(pod.spec())
    assert (ran.result.outcome, ran.result.files_changed) == ("succeeded", ("a",))
    assert pod.head(WORK) == ran.result.head_sha


def test_unrelated_history(pod: Pod) -> None:
    pod.claude("git('checkout', '--orphan', 'new'); commit('a', '1'); result()")
    assert pod.run(pod.spec()).failure == ("agent", "unrelated_history")


def test_discarded_work(pod: Pod) -> None:
    start = pod.commit(WORK, {"a": "1"}, pod.head("main"))
    pod.claude("git('reset', '--hard', 'origin/main'); result()")
    assert pod.run(pod.spec("fix", expected_head=start)).failure == ("agent", "work_discarded")
    assert pod.head(WORK) == start


def test_all_files_removed(pod: Pod) -> None:
    pod.claude("import shutil; shutil.rmtree('src'); os.unlink('README.md'); result()")
    ran = pod.run(pod.spec())
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("README.md", "src/app.py")


def test_a_repository_inside_the_checkout_is_left_out(pod: Pod) -> None:
    pod.claude(
        "write('a', '1'); git('init', 'nested')\n"
        "git('-C', 'nested', 'commit', '--allow-empty', '-m', 'x'); result()"
    )
    ran = pod.run(pod.spec())
    assert ran.result.files_changed == ("a",)


def test_removed_git_folder(pod: Pod) -> None:
    pod.claude("import shutil; shutil.rmtree('.git'); result()")
    assert pod.run(pod.spec()).failure == ("agent", "checkout_broken")


def test_passing_failures_of_the_forge_are_retried(pod: Pod) -> None:
    pod.git_server.fail_next = 1
    pod.claude("write('a', '1'); result()")
    assert pod.run(pod.spec()).result.outcome == "succeeded"


def test_no_retry_beyond_the_step(pod: Pod) -> None:
    """A gateway that is gone ends as a failure of the network that may be tried again."""
    pod.git_server.fail_next = 1_000
    pod.claude()
    ran = pod.run(pod.spec(limits=Limits(seconds=1)))
    assert ran.failure == ("network", "gateway_unreachable")
    assert ran.result.failure
    assert ran.result.failure.retryable
    assert NONCE not in ran.log

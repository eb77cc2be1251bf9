from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import GatewayConfig
from agent_runner.gateway.push_policy import judge, protected_paths_verdict, refusal_text
from agent_runner.gateway.push_request import ZERO_ID, Command, PushRequest
from agent_runner.gateway.pushed_changes import Violation

A, B, C, D = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)
WORK = "refs/heads/agents/1"
FRESH = GatewayConfig(repository="o/n", work_branch="agents/1")
KNOWN = dataclasses.replace(FRESH, expected_head=A)


def request(
    *commands: tuple[str, str, str], capabilities: tuple[str, ...] = ("report-status",)
) -> PushRequest:
    return PushRequest(tuple(Command(*command) for command in commands), frozenset(capabilities), b"")


@pytest.mark.parametrize(
    ("config", "own", "command"),
    [
        pytest.param(FRESH, [], (ZERO_ID, B, WORK), id="creates the branch"),
        pytest.param(FRESH, [B], (B, C, WORK), id="moves on from its own commit"),
        pytest.param(KNOWN, [], (A, B, WORK), id="moves on from the expected head"),
        pytest.param(KNOWN, [B], (B, C, WORK), id="own commit after the expected head"),
        pytest.param(KNOWN, [B], (A, C, WORK), id="back at the expected head"),
        pytest.param(KNOWN, [], (A, A, WORK), id="no change"),
    ],
)
def test_allowed(config: GatewayConfig, own: list[str], command: tuple[str, str, str]) -> None:
    assert judge(request(command), config, own) is None


@pytest.mark.parametrize(
    ("config", "own", "command", "reason"),
    [
        (KNOWN, [], (A, B, "refs/heads/main"), "only refs/heads/agents/1 may be pushed"),
        (KNOWN, [], (A, B, "refs/heads/agents/10"), "only"),
        (KNOWN, [], (A, B, "refs/heads/agents"), "only"),
        (KNOWN, [], (A, B, "REFS/heads/agents/1"), "only"),
        (KNOWN, [], (A, B, "agents/1"), "only"),
        (KNOWN, [], (ZERO_ID, B, "refs/tags/agents/1"), "only"),
        (KNOWN, [], (A, ZERO_ID, WORK), "may not be deleted"),
        (FRESH, [B], (B, ZERO_ID, WORK), "may not be deleted"),
        (KNOWN, [], (B, C, WORK), "stale: the branch is at bbbbbbbbbbbb, which this step did not push"),
        (KNOWN, [C], (B, D, WORK), "expected aaaaaaaaaaaa"),
        (KNOWN, [], (ZERO_ID, B, WORK), "stale: the branch is gone from the forge"),
        (FRESH, [], (A, B, WORK), "it did not exist"),
        (dataclasses.replace(KNOWN, push=False), [], (A, B, WORK), "this step may not push"),
    ],
)
def test_refused(config: GatewayConfig, own: list[str], command: tuple[str, str, str], reason: str) -> None:
    verdict = judge(request(command), config, own)
    assert verdict is not None
    assert reason in verdict.reasons[0]
    assert verdict.advice
    assert reason in refusal_text(request(command), verdict)


def test_one_bad_command_refuses_all() -> None:
    wanted = request((A, B, WORK), (A, B, "refs/heads/main"))
    verdict = judge(wanted, KNOWN, [])
    assert verdict is not None
    assert verdict.reasons == (
        "not pushed: another ref of this push was refused",
        "only refs/heads/agents/1 may be pushed",
    )


def test_push_options_are_refused() -> None:
    verdict = judge(request((A, B, WORK), capabilities=("push-options",)), KNOWN, [])
    assert verdict is not None
    assert verdict.reasons == ("push options are not allowed",)


def test_protected_paths_are_named_and_counted() -> None:
    one = protected_paths_verdict([Violation("a\nb", A), Violation("a\nb", B)])
    assert one.reasons == ("protected paths: a?b",)
    assert f"They are changed by {A[:12]}, {B[:12]}." in one.advice
    many = protected_paths_verdict([Violation(f"{n}/{'x' * 100}", f"{n}" * 40) for n in range(9)])
    assert many.reasons[0].endswith(" (+6 more)")
    assert len(many.reasons[0]) < 300
    assert "222222222222 and others." in many.advice
    assert many.advice.isascii()


IDS = st.sampled_from([A, B, C, D, ZERO_ID])
REFS = st.sampled_from([WORK, "refs/heads/main", "refs/tags/v1", "refs/heads/agents/1/x", WORK + "\udcff"])


@given(
    st.lists(st.tuples(IDS, IDS, REFS), min_size=1, max_size=3, unique_by=lambda c: c[2]),
    st.sets(st.sampled_from([B, C])),
    st.sampled_from([None, A]),
    st.booleans(),
)
def test_whatever_passes_is_one_update_of_the_work_branch_from_a_known_commit(
    commands: list[tuple[str, str, str]], own: set[str], expected: str | None, push: bool
) -> None:
    wanted = request(*commands)
    verdict = judge(wanted, dataclasses.replace(FRESH, expected_head=expected, push=push), own)
    if verdict is None:
        ((old, new, ref),) = commands
        assert push
        assert ref == WORK
        assert new != ZERO_ID
        assert old in {expected or ZERO_ID, *own}
    else:
        assert len(verdict.reasons) == len(commands)
        assert refusal_text(wanted, verdict).isascii()

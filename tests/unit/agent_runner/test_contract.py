"""What the two sides tell each other: every message comes back as it was sent, or is refused by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import (
    MAX_SPEC_BYTES,
    MAX_TERMINATION_MESSAGE_BYTES,
    RESULT_MARKER,
    AgentSettings,
    Budget,
    ContractError,
    Failure,
    GatewayConfig,
    Ledger,
    Limits,
    ModelUse,
    Push,
    Reserve,
    Settled,
    StepResult,
    StepSpec,
    TerminationMessage,
    TestRun,
    TokenPrice,
    Tokens,
    branch_fault,
)

SHA = "0123456789abcdef" * 2 + "01234567"

texts = st.text(max_size=60)
counts = st.integers(min_value=0, max_value=10**9)
amounts = st.floats(min_value=0, max_value=1e6, allow_nan=False)
shas = st.none() | st.just(SHA)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
tokens = st.builds(Tokens, input=counts, output=counts, cache_read=counts, cache_write=counts)
failures = st.builds(
    Failure,
    category=st.sampled_from(["tests", "agent", "unknown"]),
    code=texts,
    message=texts,
    remedy=texts,
    retryable=st.booleans(),
)
results = st.builds(
    StepResult,
    outcome=st.sampled_from(["succeeded", "failed", "no_changes", "cancelled"]),
    failure=st.none() | failures,
    summary=texts,
    session_id=st.none() | texts,
    session_key=st.none() | texts,
    resumed=st.booleans(),
    head_sha=shas,
    commits=counts,
    files_changed=st.lists(texts, max_size=3).map(tuple),
    cost_usd=amounts,
    tokens=tokens,
    seconds=amounts,
    test=st.none() | st.builds(TestRun, command=texts, exit_code=counts, tail=texts),
    output=st.none() | objects,
)
specs = st.builds(
    StepSpec,
    step=st.sampled_from(["plan", "implement", "test", "fix"]),
    repository=st.just("acme/shop"),
    base_branch=st.just("main"),
    work_branch=st.just("ai/issue-3"),
    expected_head=shas,
    prompt=texts.map(lambda text: f"Do {text}"),
    instructions=texts,
    agent=st.builds(
        AgentSettings,
        program=st.from_regex(r"[a-z][a-z0-9_-]{0,40}", fullmatch=True),
        model=st.none() | texts,
        max_turns=st.none() | counts,
    ),
    limits=st.builds(Limits, seconds=st.integers(1, 10**6), stall_seconds=st.integers(1, 10**6)),
    output_schema=st.none() | objects,
    resume_prompt=texts,
    session_key=st.none() | st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True),
    submodules=st.booleans(),
    lfs=st.booleans(),
)
ledgers = st.builds(
    Ledger,
    usd=amounts,
    tokens=tokens,
    model_calls=counts,
    unpriced_models=st.lists(texts, max_size=2).map(tuple),
    pushes=st.lists(st.builds(Push, ref=texts, old=texts, new=texts), max_size=2).map(tuple),
    refusals=st.lists(texts, max_size=2).map(tuple),
    models=st.lists(
        st.builds(ModelUse, model=texts, calls=counts, usd=amounts, tokens=tokens, unpriced=st.booleans()),
        max_size=2,
    ).map(tuple),
    budget_refusals=counts,
    settled=st.lists(
        st.builds(Settled, pod=texts, usd=amounts, tokens=counts, known=st.booleans()), max_size=2
    ).map(tuple),
)
configs = st.builds(
    GatewayConfig,
    repository=texts,
    work_branch=texts,
    expected_head=shas,
    push=st.booleans(),
    forge_url=texts,
    openai_url=texts,
    read_repositories=st.lists(texts, max_size=2).map(tuple),
    protected_paths=st.lists(texts, max_size=2).map(tuple),
    budget=st.builds(
        Budget,
        usd=st.none() | amounts,
        tokens=st.none() | counts,
        unsettled=st.lists(st.builds(Reserve, pod=texts, usd=amounts, tokens=counts), max_size=2).map(tuple),
    ),
    prices=st.dictionaries(
        texts,
        st.builds(
            TokenPrice,
            input=amounts,
            output=amounts,
            cache_read=st.none() | amounts,
            cache_write=st.none() | amounts,
        ),
        max_size=2,
    ),
)

hard_texts = st.text(
    alphabet=st.sampled_from(
        ['"', "\\", "\n", "\x01", "\x1b", "\0", "é", "漢", "👩", "\u2028", "\ud800", "x"]
    ),
    max_size=3_000,
)


def spec(**changes: Any) -> StepSpec:
    facts: dict[str, Any] = {
        "step": "implement",
        "repository": "acme/shop",
        "base_branch": "main",
        "work_branch": "ai/issue-3",
        "prompt": "Mend the basket",
    }
    return StepSpec(**facts | changes)


@given(specs)
def test_spec_comes_back_as_it_was_sent(sent: StepSpec) -> None:
    assert StepSpec.from_json(sent.to_json()) == sent


@given(results)
def test_result_comes_back_as_it_was_sent(sent: StepResult) -> None:
    assert StepResult.from_json(sent.to_json()) == sent


@given(ledgers)
def test_ledger_comes_back_as_it_was_sent(sent: Ledger) -> None:
    assert Ledger.from_json(sent.to_json()) == sent


@given(configs)
def test_gateway_configuration_comes_back_as_it_was_sent(sent: GatewayConfig) -> None:
    assert GatewayConfig.from_json(sent.to_json()) == sent


@given(results)
def test_whole_result_is_found_in_its_marked_log_line(sent: StepResult) -> None:
    message = TerminationMessage.from_json(TerminationMessage.of(sent).to_json())
    assert message.whole(f"{RESULT_MARKER}{sent.to_json()}\n") == sent
    assert message.whole(f"2026-01-01T00:00:00Z {RESULT_MARKER}{sent.to_json()}") == sent


def test_every_fault_of_a_specification_is_named() -> None:
    with pytest.raises(ContractError) as caught:
        spec(
            step="dance",
            repository="acme",
            base_branch="a b",
            work_branch="x..y",
            expected_head="abc",
            limits=Limits(seconds=0),
            prompt=" \n",
            version=9,
        )
    for name in (
        "version",
        "step",
        "repository",
        "base_branch",
        "work_branch",
        "expected_head",
        "seconds",
        "prompt",
    ):
        assert f"{name}: " in str(caught.value), name


def test_a_test_step_needs_no_prompt() -> None:
    assert spec(step="test", prompt="").prompt == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"agent": {"surprise": 1}}, "agent: unknown key 'surprise'"),
        ({"step": ["plan"]}, "step: ['plan'] is none of"),
        ({"repository": 7}, "repository: str is needed, not 7"),
        ({"limits": []}, "limits: an object is needed, not list"),
        ({"limits": {"seconds": True}}, "limits.seconds: int is needed, not True"),
        ({"limits": {"seconds": -1}}, "limits.seconds: -1 is not a finite number of zero or more"),
        ({"limits": {"seconds": 10**400}}, "is not a finite number of zero or more"),
        ({"limits": {"budget_usd": 5}}, "limits: unknown key 'budget_usd'"),
        ({"limits": {"stall_seconds": 0}}, "limits.stall_seconds: 0 is not positive"),
        ({"agent": {"program": "../claude"}}, "'../claude' is not a name of an agent program"),
        ({"session_key": "a/b"}, "session_key: 'a/b' is not letters, digits and -"),
        ({"submodules": 1}, "submodules: bool is needed, not 1"),
        ({"output_schema": "{}"}, "output_schema: dict is needed, not '{}'"),
        ({"version": 2}, "this image reads version 1, not 2"),
    ],
)
def test_a_specification_that_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    sent = json.loads(spec().to_json()) | change
    with pytest.raises(ContractError) as caught:
        StepSpec.from_json(json.dumps(sent))
    assert words in str(caught.value)


def test_every_missing_and_wrong_key_is_named_at_once() -> None:
    with pytest.raises(ContractError) as caught:
        StepSpec.from_json('{"step": 1, "repository": null, "oops": 1}')
    for words in (
        "unknown key 'oops'",
        "base_branch is missing",
        "work_branch is missing",
        "step",
        "repository",
    ):
        assert words in str(caught.value)


def test_a_specification_is_refused_for_its_values_when_it_is_read_too() -> None:
    with pytest.raises(ContractError, match="work_branch"):
        StepSpec.from_json(spec().to_json().replace("ai/issue-3", "../main"))


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '"x"', "[" * 100_000, '{"outcome": "succeeded", "cost_usd": NaN}']
)
@pytest.mark.parametrize("kind", [StepSpec, StepResult, TerminationMessage, Ledger, GatewayConfig])
def test_what_is_no_message_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ContractError):
        kind.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_wherever_it_stands(number: str) -> None:
    with pytest.raises(ContractError, match="not a finite number"):
        StepResult.from_json(f'{{"outcome": "succeeded", "output": {{"x": [{number}]}}}}')


def test_an_output_that_nobody_could_store_is_refused() -> None:
    def nested(levels: int) -> str:
        return f'{{"outcome": "succeeded", "output": {{"x": {"[" * levels}{"]" * levels}}}}}'

    assert StepResult.from_json(nested(90)).to_json()
    with pytest.raises(ContractError, match="nested deeper than 100 levels"):
        StepResult.from_json(nested(900))


def test_a_newer_result_is_read() -> None:
    sent = json.loads(StepResult(outcome="succeeded", head_sha=SHA).to_json()) | {
        "mood": "good",
        "version": 2,
    }
    assert StepResult.from_json(json.dumps(sent)).head_sha == SHA


def test_too_large_a_specification_is_refused() -> None:
    spec(prompt="x" * (MAX_SPEC_BYTES - 1_000)).to_json()
    with pytest.raises(ContractError, match="at most 200,000"):
        spec(prompt="é" * (MAX_SPEC_BYTES // 2)).to_json()


@given(hard_texts, hard_texts, hard_texts)
def test_termination_message_fits_whatever_the_texts_are(one: str, two: str, three: str) -> None:
    sent = StepResult(
        outcome="failed",
        failure=Failure(category="tests", code="tests_failed", message=one, remedy=two, retryable=True),
        summary=three,
        session_id="s-1",
        head_sha=SHA,
        base_sha=SHA,
        files_changed=tuple(f"{index}{one[:50]}" for index in range(200)),
        output={"plan": one},
        test=TestRun(command=two, exit_code=2, tail=three),
    )
    text = TerminationMessage.of(sent).to_json()
    assert len(text.encode()) <= MAX_TERMINATION_MESSAGE_BYTES
    read = TerminationMessage.from_json(text)
    assert read.result.failure is not None
    assert (read.result.failure.category, read.result.failure.retryable) == ("tests", True)
    assert read.result.test is not None
    assert read.result.test.exit_code == 2
    assert (read.result.head_sha, read.result.session_id) == (SHA, "s-1")
    assert read.result.output is None
    assert len(sent.to_json().splitlines()) == 1


def test_control_characters_everywhere_still_leave_words_of_each_text() -> None:
    noise = "\x01" * 5_000
    sent = StepResult(
        outcome="failed",
        failure=Failure(category="agent", code="crashed", message=noise, remedy=noise),
        summary=noise,
        test=TestRun(command=noise, exit_code=1, tail=noise),
    )
    message = TerminationMessage.of(sent)
    assert len(message.to_json().encode()) <= MAX_TERMINATION_MESSAGE_BYTES
    assert message.result.failure is not None
    assert message.result.failure.message
    assert message.result.test is not None
    assert message.result.test.command


def test_short_texts_are_not_cut() -> None:
    sent = StepResult(
        outcome="succeeded", summary="all well", test=TestRun(command="make", exit_code=0, tail="ok")
    )
    assert TerminationMessage.of(sent).result == sent


def test_the_end_of_the_output_and_the_start_of_the_words_are_kept() -> None:
    sent = StepResult(
        outcome="failed",
        summary="first " + "s" * 9_000 + " last",
        test=TestRun(command="make", exit_code=1, tail="first " + "t" * 9_000 + " last"),
    )
    cut = TerminationMessage.of(sent).result
    assert cut.summary.startswith("first ")
    assert cut.test is not None
    assert cut.test.tail.endswith(" last")
    assert len(cut.test.tail) > 1_000


def test_lone_surrogates_are_replaced_so_that_a_result_can_be_sent() -> None:
    sent = StepResult(outcome="succeeded", files_changed=("caf\udce9.txt",), output={"\ud83d": "\ude00"})
    assert StepResult.from_json(sent.to_json().encode().decode()).files_changed == ("caf?.txt",)


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e", "\r", "\n"])
def test_a_result_is_one_line_to_every_reader(end: str) -> None:
    sent = StepResult(outcome="succeeded", summary=f"one{end}two")
    assert len(sent.to_json().splitlines()) == 1
    assert StepResult.from_json(sent.to_json()) == sent


def test_a_forged_log_line_is_refused() -> None:
    real = StepResult(outcome="failed", summary="real words")
    message = TerminationMessage.of(real)
    forged = dataclasses.replace(real, outcome="succeeded", summary="forged text")
    same_size = real.to_json().replace("real", "fake")
    assert len(same_size) == len(real.to_json())
    for line in (
        f"{RESULT_MARKER}{forged.to_json()}",
        f"{RESULT_MARKER}{same_size}",
        f"{RESULT_MARKER}{real.to_json()[:-1]}",
        f"{RESULT_MARKER}",
        real.to_json(),
    ):
        assert message.whole(line) is None, line
    assert message.whole(f"{RESULT_MARKER}{real.to_json()}") == real


def test_a_line_that_has_the_size_and_digest_of_no_result_is_an_error() -> None:
    text = '{"outcome": "glorious"}'
    digest = hashlib.sha256(text.encode()).hexdigest()
    message = TerminationMessage(
        result=StepResult(outcome="failed"), result_bytes=len(text), result_sha256=digest
    )
    with pytest.raises(ContractError, match="glorious"):
        message.whole(f"{RESULT_MARKER}{text}")


def test_fingerprint_is_of_what_was_asked_not_of_where_the_branch_was() -> None:
    asked = spec()
    assert spec(expected_head=SHA).fingerprint() == asked.fingerprint()
    for change in (
        {"prompt": "Other"},
        {"step": "fix"},
        {"limits": Limits(seconds=9)},
        {"test_command": "make"},
    ):
        assert spec(**change).fingerprint() != asked.fingerprint(), change


@pytest.mark.parametrize(
    "name", ["main", "ai/issue-3", "release/1.2.x", "a", "x" * 200, "a-b_c.d", "UPPER/case"]
)
def test_safe_branch_names(name: str) -> None:
    assert branch_fault(name) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "empty"),
        (None, "empty"),
        ("x" * 201, "longer than 200 bytes"),
        ("a b", "characters other than"),
        ("ai/ünï", "characters other than"),
        ("a\nb", "characters other than"),
        ("main\n", "characters other than"),
        ("$(id)", "characters other than"),
        ("a:b", "characters other than"),
        ("@", "characters other than"),
        ("a..b", "not a valid git branch name"),
        ("a//b", "not a valid git branch name"),
        ("/a", "not a valid git branch name"),
        ("-a", "not a valid git branch name"),
        (".a", "not a valid git branch name"),
        ("a/", "not a valid git branch name"),
        ("a.", "not a valid git branch name"),
        ("a/.b", "not a valid git branch name"),
        ("a.lock", "not a valid git branch name"),
        ("a.lock/b", "not a valid git branch name"),
        (SHA, "would be taken for a commit"),
        ("HEAD", "would be taken for a commit"),
    ],
)
def test_branch_names_that_are_not_safe(name: Any, words: str) -> None:
    assert words in (branch_fault(name) or "")


@given(tokens, tokens)
def test_tokens_add_up(one: Tokens, two: Tokens) -> None:
    both = one + two
    assert both == two + one
    assert both.input == one.input + two.input
    assert both.cache_write == one.cache_write + two.cache_write

"""What counts for a run, from which place: the order of the layers, and that the later ones only tighten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.authority_rules import WRITERS, Who
from airflow_provider_agents.domain.merge_rules import (
    EFFORT_OF_STEPS,
    LIMITS,
    MEANINGS,
    NEVER,
    RULES,
    UNLIMITED,
    tighter,
)
from airflow_provider_agents.domain.quantity import size
from airflow_provider_agents.domain.repository_settings import AgentsFile, RepositorySettings
from airflow_provider_agents.domain.run_settings import RunSettings
from airflow_provider_agents.domain.settings_layers import (
    Effective,
    Installed,
    OwnFile,
    effective,
    explicit,
    read_own,
    read_repositories,
)
from airflow_provider_agents.domain.yaml_source import load_yaml

FILE = """\
defaults:
  agent: claude
  plan_turns: 20
  max_rounds: 4
repositories:
  acme/shop:
    plan_turns: 7
    test_command: make test
  Acme/*:
    plan_turns: 9
    fix_turns: 9
  "*/*":
    fix_turns: 8
    lfs: no
"""


def installed(text: str = FILE) -> Installed:
    found, faults = read_repositories(load_yaml(text, "repositories.yaml"))
    assert found is not None, faults
    return found


def own(text: str) -> OwnFile:
    found, faults = read_own(load_yaml(text, ".agents.yaml"))
    assert found is not None, faults
    return found


def merged(text: str = FILE, own_text: str | None = None, **asked: Any) -> Effective:
    return effective(
        installed(text), "acme/shop", own=None if own_text is None else own(own_text), asked=asked
    )


def faults(text: str) -> list[str]:
    found, said = read_repositories(load_yaml(text, "repositories.yaml"))
    assert found is None
    return said


# The order of the layers


def test_every_setting_has_a_rule_and_every_rule_a_meaning() -> None:
    assert list(RULES) == list(RepositorySettings.model_fields)
    assert set(RULES.values()) == set(MEANINGS)


def test_a_name_counts_more_than_patterns_and_these_in_their_order() -> None:
    found = merged()
    shown = {key: (found.values[key], origin) for key, origin in found.origins.items() if origin != "default"}
    assert shown == {
        "agent": ("claude", "repositories.yaml:2"),
        "plan_turns": (7, "repositories.yaml:7"),
        "max_rounds": (4, "repositories.yaml:4"),
        "test_command": ("make test", "repositories.yaml:8"),
        "fix_turns": (8, "repositories.yaml:13"),
        "lfs": (False, "repositories.yaml:14"),
    }
    assert set(found.origins) == set(RULES) - {"limits"}


@pytest.mark.parametrize("name", ["ACME/Shop", "acme/shop"])
def test_names_of_repositories_have_no_case(name: str) -> None:
    assert effective(installed(), name).values["plan_turns"] == 7


@pytest.mark.parametrize(("name", "turns"), [("acme/other", 9), ("else/where", 20)])
def test_patterns(name: str, turns: int) -> None:
    assert effective(installed(), name).values["plan_turns"] == turns


def test_a_pattern_does_not_reach_over_the_slash() -> None:
    found = effective(
        installed("repositories:\n  acme*/shop: {lfs: false}\n  a*: {}\n".replace("  a*: {}\n", "")), "a/b"
    )
    assert found.values["lfs"] is True
    assert faults("repositories:\n  a*: {}\n") == [
        "repositories.yaml:1: repositories: a*: neither owner/name nor a pattern"
    ]


def test_what_a_run_sets_counts_more_than_the_files() -> None:
    found = merged(own_text="plan_turns: 3\n", plan_turns=50)
    assert (found.values["plan_turns"], found.origins["plan_turns"]) == (50, "run")


def test_a_run_sets_no_platform_settings() -> None:
    found = merged("defaults:\n  paused: true\n", paused=False, protected_paths=())
    assert found.values["paused"] is True


def test_nothing_read_leaves_the_defaults() -> None:
    found = effective(Installed(), "acme/shop")
    assert set(found.origins.values()) == {"default"}
    assert found.run == RunSettings().model_dump()
    assert found.notes == ()


def test_actions_of_authority_and_steps_of_prompts_are_set_one_by_one() -> None:
    found = merged(
        "defaults:\n  authority: {start: {users: [mona]}, merge: {permission: admin}}\n  prompts: {plan: a}\n"
        "repositories:\n  acme/shop:\n    authority: {merge: {permission: maintain}}\n    prompts: {fix: b}\n"
    )
    rules = found.authority
    assert (rules.start, rules.merge, rules.steer) == (
        Who(users=("mona",)),
        Who(permission="maintain"),
        WRITERS,
    )
    assert (found.platform.prompts.plan, found.platform.prompts.fix) == ("a", "b")


# What a run sets


def test_a_value_of_the_form_is_not_set_by_the_run() -> None:
    form = {"plan_turns": 20, "freeze": [], "agent": None, "prompt": None, "lfs": True}
    given_values = {
        "plan_turns": 20,
        "freeze": (),
        "agent": "  ",
        "prompt": "p",
        "lfs": False,
        "effort": "low",
    }
    assert explicit(given_values, form) == {"prompt": "p", "lfs": False, "effort": "low"}


@pytest.mark.parametrize(("given_value", "form"), [(None, []), ([], None), ([""], []), (["a", " "], ["a"])])
def test_a_list_that_says_the_same_is_not_set_by_the_run(given_value: Any, form: Any) -> None:
    assert explicit({"freeze": given_value}, {"freeze": form}) == {}
    assert explicit({"freeze": given_value}, {"freeze": ["b"]}) == {"freeze": given_value}


# .agents.yaml


@pytest.mark.parametrize("key", NEVER)
def test_what_the_repository_may_not_set_is_refused_with_its_line(key: str) -> None:
    found, said = read_own(load_yaml(f"lfs: false\n{key}: 1\n", ".agents.yaml"))
    assert found is None
    assert said[0].startswith(f".agents.yaml:2: {key}: is not set by the repository; the operators")


def test_what_somebody_set_is_not_filled_in() -> None:
    found = merged(own_text="test_command: 'true'\nmerge_method: rebase\neffort:\nlfs: true\n")
    assert found.values["test_command"] == "make test"
    assert (found.values["merge_method"], found.origins["merge_method"]) == ("rebase", ".agents.yaml:2")
    assert found.values["lfs"] is False
    assert found.notes == (
        ".agents.yaml:4: lfs does not count in full: False is tighter (repositories.yaml:14)",
        ".agents.yaml:1: test_command does not count: repositories.yaml:8 sets it",
    )


def test_lists_grow_or_shrink() -> None:
    text = (
        "defaults:\n  protected_paths: [ci/**]\n  freeze: [2026-12-20/2027-01-04]\n"
        "  read_repositories: [acme/lib, acme/x]\n  mcp_servers: [docs]\nmcp_servers: {docs: {url: https://d}}\n"
    )
    found = merged(
        text, "protected_paths: [db/**]\nfreeze: []\nread_repositories: [Acme/Lib, evil/x]\nmcp_servers: []\n"
    )
    assert found.values["protected_paths"] == ("ci/**", "db/**")
    assert found.values["freeze"] == ("2026-12-20/2027-01-04",)
    assert found.values["read_repositories"] == ("acme/lib",)
    assert found.values["mcp_servers"] == ()
    assert merged("", "read_repositories: [evil/x]\n").values["read_repositories"] is None


def test_an_empty_setting_means_the_value_of_the_installation() -> None:
    options = {"budget_usd": 20.0, "workspace_size": "10Gi", "max_runs": 2}

    def found(text: str) -> Effective:
        return effective(Installed(), "acme/shop", own=own(text), options=options)

    assert found("budget_usd: 100\nworkspace_size: 1Ti\nmax_runs: 3\n").origins["budget_usd"] == "default"
    assert found("budget_usd: 100\nworkspace_size: 1Ti\nmax_runs: 3\n").values["workspace_size"] is None
    assert found("budget_usd: 5\n").values["budget_usd"] == 5
    assert found("max_runs: 0\n").values["max_runs"] == 0


@pytest.mark.parametrize(
    ("key", "value", "counts"),
    [
        ("effort", "low", True), ("effort", "medium", False), ("thinking", "off", True),
        ("thinking", 4000, False), ("thinking", "on", False), ("context_window", "200k", True),
        ("context_window", "1m", False),
    ],
)  # fmt: skip
def test_of_an_unknown_default_only_the_least_is_known_to_be_tighter(
    key: str, value: Any, counts: bool
) -> None:
    found = merged("", f"{key}: {value}\n")
    assert (found.values[key] is not None) == counts
    assert bool(found.notes) != counts


def test_less_effort_is_less_at_every_step() -> None:
    found = merged("defaults:\n  effort: high\n  fix_effort: max\n", "effort: medium\nplan_effort: high\n")
    assert [found.values[key] for key in ("effort", "plan_effort", "fix_effort")] == [
        "medium",
        None,
        "medium",
    ]
    assert merged("defaults:\n  effort: high\n", "plan_effort: max\n").values["plan_effort"] is None
    assert merged("defaults:\n  effort: high\n", "plan_effort: medium\n").values["plan_effort"] == "medium"
    limited = merged("defaults:\n  effort: low\n  limits: {plan_effort: high}\n")
    assert (limited.values["plan_effort"], limited.values["effort"]) == (None, "low")


def test_a_rule_of_both_is_the_same_where_the_repository_may_set_it() -> None:
    assert {key: LIMITS[key] for key in OWN} == {key: RULES[key] for key in OWN}
    assert set(LIMITS) - set(OWN) == {"review_effort", "review_turns", "review_budget_usd"}


@pytest.mark.parametrize("key", ["labels", "review_effort", "review_turns", "review_budget_usd"])
def test_no_repository_weakens_its_review_or_labels_for_other_automation(key: str) -> None:
    assert key in NEVER


def test_the_review_agent_is_given_no_less_by_the_repository() -> None:
    text = "effort: low\nthinking: off\ncontext_window: 200k\nfix_effort: low\n"
    found = merged("defaults: {review: on_checks_passed}\n", text)
    assert [found.values[key] for key in ("effort", "thinking", "context_window", "fix_effort")] == [
        None,
        None,
        None,
        "low",
    ]
    assert found.notes[0] == ".agents.yaml:1: effort does not count: the review agent would be given it, too"
    by_run = effective(Installed(), "acme/shop", own=own(text), asked={"review": "on_open"})
    assert by_run.values["effort"] is None
    with_its_own = merged("defaults: {review: on_open, review_effort: high}\n", text)
    assert (with_its_own.values["effort"], with_its_own.values["review_effort"]) == ("low", "high")
    assert merged("", text).values["effort"] == "low"


@pytest.mark.parametrize("pattern", ["/", "//", "a,b"])
def test_a_protected_path_that_protects_nothing_is_refused(pattern: str) -> None:
    assert faults(f"defaults:\n  protected_paths: ['{pattern}']\n")[0].startswith("repositories.yaml:2: ")


# Limits


def test_limits_hold_what_anybody_sets() -> None:
    text = (
        "defaults:\n  budget_usd: 10\n  limits:\n    budget_usd: 50\n    auto_merge: false\n    effort: medium\n"
        "    plan_approval: true\n    plan_turns: 30\nrepositories:\n  acme/shop:\n    limits: {budget_usd: 60}\n"
    )
    found = merged(text, budget_usd=100, fix_effort="max", plan_turns=10)
    assert (found.values["budget_usd"], found.origins["budget_usd"]) == (60, "repositories.yaml:11")
    assert (found.values["auto_merge"], found.origins["auto_merge"]) == (False, "repositories.yaml:5")
    assert found.values["plan_approval"] is True
    assert (found.values["effort"], found.values["fix_effort"]) == ("medium", "medium")
    assert (found.values["plan_turns"], found.origins["plan_turns"]) == (10, "run")
    assert found.notes == ("budget_usd: 100 (run) is over the limit 60.0 (repositories.yaml:11)",)


def test_an_unlimited_run_gets_the_limit() -> None:
    found = merged("defaults:\n  limits: {budget_tokens: 1000, thinking: 5000}\n")
    assert (found.values["budget_tokens"], found.values["thinking"]) == (1000, "5000")


@pytest.mark.parametrize("key", [key for key in UNLIMITED if key in RunSettings.model_fields])
def test_what_has_no_order_has_no_limit(key: str) -> None:
    assert faults(f"defaults:\n  limits:\n    {key}: x\n")[0].startswith(
        f"repositories.yaml:3: defaults.limits.{key}: has no limit; set it beside `limits`"
    )


def test_names_must_be_declared() -> None:
    assert faults(
        "repositories:\n  acme/shop:\n    skills:\n      - a\n      - b\nskills: {a: {}, c: {}}\n"
    ) == ["repositories.yaml:5: b is not declared: the top of the file has no skills.b; it has a, c"]


def test_one_name_in_two_cases_is_refused() -> None:
    assert (
        "acme/shop and Acme/Shop are the same"
        in faults("repositories:\n  acme/shop: {}\n  Acme/Shop: {}\n")[0]
    )


# Properties, for every key

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_WORDS = st.sampled_from(["a", "b", "c", "d"])
_LISTS = st.lists(_WORDS, max_size=4, unique=True).map(tuple)
_FREEZES = st.lists(
    st.sampled_from(["2026-12-20/2027-01-04", "2027-01-20/2027-02-04", "Fri 16:00 - Mon 08:00"]), unique=True
).map(tuple)
_MEMORY = st.sampled_from(["512Mi", "1Gi", "1024Mi", "1G", "8Gi", "0.5Ti".replace("0.5Ti", "2Ti")])
_WHOLE = st.integers(1, 400)


def values_of(key: str) -> st.SearchStrategy[Any]:
    """Return values that may stand in a file, drawn by a table of their own."""
    if LIMITS[key] in ("and", "or"):
        return st.booleans()
    table: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("effort", *EFFORT_OF_STEPS), st.sampled_from(_EFFORTS)),
        **dict.fromkeys(("freeze", "off_peak"), _FREEZES),
        **dict.fromkeys(("hold_labels", "protected_paths", "labels", "mcp_servers", "skills"), _LISTS),
        **dict.fromkeys(("memory", "workspace_size"), _MEMORY),
        "read_repositories": st.lists(
            st.sampled_from(["acme/a", "acme/b", "Acme/B", "x/y"]), unique_by=str.lower
        ).map(tuple),
        "context_window": st.sampled_from(["200k", "1m"]),
        "thinking": st.sampled_from(["on", "off", "1024", "20000"]),
        "resolve_threads": st.sampled_from(["never", "answered"]),
        "no_checks": st.sampled_from(["wait", "escalate", "merge"]),
        "cpu": st.sampled_from(["500m", "1", "1.5", "4", "2000m"]),
        "plan_rounds": st.integers(1, 3),
        "auto_merge_max_risk": st.integers(0, 100),
    }
    return table.get(key, _WHOLE)


def looseness(key: str, value: Any) -> Any:
    """Return what a value allows, as a number or a set, independent of the code under test."""
    unknown = {"effort": 0, "context_window": 0, "thinking": 0, **dict.fromkeys(EFFORT_OF_STEPS, 0)}
    if value is None:
        return unknown.get(key, frozenset() if LIMITS[key] == "intersection" else float("inf"))
    kinds: dict[str, Any] = {
        **dict.fromkeys(("effort", *EFFORT_OF_STEPS), lambda: _EFFORTS.index(value)),
        "context_window": lambda: {"200k": 0, "1m": 1}[value],
        "thinking": lambda: {"off": 0, "1024": 1024, "20000": 20_000, "on": 10**9}[value],
        "resolve_threads": lambda: int(value == "answered"),
        "no_checks": lambda: {"wait": 0, "escalate": 1, "merge": 2}[value],
        "cpu": lambda: {"500m": 0.5, "1": 1, "1.5": 1.5, "4": 4, "2000m": 2}[value],
        "memory": lambda: size(value),
        "workspace_size": lambda: size(value),
    }
    if key in kinds:
        return kinds[key]()
    if LIMITS[key] in ("union", "intersection"):
        return frozenset(item.lower() for item in value)
    return value


def is_no_looser(key: str, after: Any, before: Any) -> bool:
    now, then = looseness(key, after), looseness(key, before)
    match LIMITS[key]:
        case "min" | "and" | "intersection":
            return bool(now <= then)
        case "max" | "or" | "union":
            return bool(now >= then)
    raise AssertionError(key)


ORDERED = list(LIMITS)
OWN = [key for key in ORDERED if RULES[key] != "never"]


@pytest.mark.parametrize("key", ORDERED)
@given(data=st.data())
def test_no_file_of_a_repository_loosens_anything(key: str, data: st.DataObject) -> None:
    values = values_of(key)
    before = data.draw(values if key in _NEVER_EMPTY else st.none() | values, label="before")
    wanted = data.draw(values, label="wanted")
    after = tighter(key, before, wanted)
    assert is_no_looser(key, after, before)
    # And it takes what is tighter.
    if LIMITS[key] in ("min", "max", "and", "or") and is_no_looser(key, wanted, before):
        assert looseness(key, after) == looseness(key, wanted)
    assert tighter(key, after, wanted) == after


_NEVER_EMPTY = {
    key for key in ORDERED if LIMITS[key] in ("and", "or", "union", "max")
}  # their fields take no empty value


@pytest.mark.parametrize("key", ORDERED)
@given(data=st.data())
def test_a_limit_holds_whatever_is_asked_for(key: str, data: st.DataObject) -> None:
    values = values_of(key)
    asked = data.draw(values if key in _NEVER_EMPTY else st.none() | values)
    limit = data.draw(values)
    after = tighter(key, asked, limit, default_is_most=True)
    if key != "read_repositories" or after is not None:
        assert is_no_looser(key, after, limit)


@given(st.data())
def test_whole_files_together_only_tighten(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(OWN), max_size=8, unique=True))
    wanted = {key: data.draw(values_of(key)) for key in chosen}
    if "freeze" in wanted:
        wanted["freeze"] = wanted["freeze"][:1]
    base = {
        key: data.draw(values_of(key)) for key in data.draw(st.lists(st.sampled_from(ORDERED), unique=True))
    }
    place = load_yaml("", ".agents.yaml")
    repositories = installed("").repositories
    settings = type(repositories.defaults).model_construct(_fields_set=set(base), **base)
    platform = Installed(repositories=repositories.model_copy(update={"defaults": settings}))
    before = effective(platform, "acme/shop")
    file = OwnFile(settings=AgentsFile.model_construct(_fields_set=set(wanted), **wanted), document=place)
    after = effective(platform, "acme/shop", own=file)
    for key in RULES:
        if key == "limits":
            continue
        if RULES[key] in ("set", "never"):
            assert after.values[key] == before.values[key]
        elif key in EFFORT_OF_STEPS:
            then = before.values[key] or before.values["effort"]
            assert is_no_looser(key, after.values[key] or after.values["effort"], then)
        else:
            assert is_no_looser(key, after.values[key], before.values[key])

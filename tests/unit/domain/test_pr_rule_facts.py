"""The facts that a rule sees, when nobody is asked yet, and what makes two states of them differ."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pr_rule_prompt_cases import HEAD, NOW, facts, prompt, rule, snapshot

from airflow_provider_agents.domain.argocd_application import ApplicationReading
from airflow_provider_agents.domain.pr_rule_decision import WaitFor
from airflow_provider_agents.domain.pr_rule_facts import (
    context_hash,
    environment_of,
    facts_of,
    name_of,
    part_hashes,
    unsettled,
)
from airflow_provider_agents.domain.pull_request import Check, CheckState, Comment, Review, ReviewThread

ARGO = {"argocd": {"enabled": True}}


def check(state: CheckState, name: str = "tests", conclusion: str = "", **fields: Any) -> Check:
    return Check(name=name, state=state, kind="check_run", conclusion=conclusion, **fields)


def reading(**fields: Any) -> ApplicationReading:
    return ApplicationReading(name="shop-staging", observed_at=NOW, **fields)


def test_the_names_of_the_older_system_stay() -> None:
    found = facts()
    assert {
        name: found["pr"][name] for name in ("number", "title", "author", "labels", "ciStatus", "mergeable")
    } == {
        "number": 7,
        "title": "Bump urllib3 from 2.2.1 to 2.2.2",
        "author": "dependabot[bot]",
        "labels": ["auto-merge", "staging"],
        "ciStatus": "SUCCESS",
        "mergeable": "MERGEABLE",
    }
    assert [(each["author"], each["state"]) for each in found["pr"]["reviews"]] == [
        ("mona", "APPROVED"),
        ("guest", "COMMENTED"),
    ]
    assert (found["repository"], found["environment"]) == ("acme/shop", "staging")
    assert found["argocd"] == {"enabled": False, "health": "Unknown"}


def test_facts_are_json() -> None:
    hostile = "\ud800\x00 \u202e" + "x" * 300
    found = facts(rule(context=["body", "comments", "age"]), title=hostile, body=hostile, labels=(hostile,))
    assert json.loads(json.dumps(found)) == found
    assert "\\u0000" not in json.dumps(found), "PostgreSQL's jsonb refuses it"
    assert "\\ud800" not in json.dumps(found)


@pytest.mark.parametrize(
    ("checks", "changes", "word"),
    [
        ((check("passed"), check("passed", "lint")), {}, "SUCCESS"),
        ((check("passed", conclusion="NEUTRAL"),), {}, "SUCCESS"),
        ((check("passed"), check("failed", "lint", "FAILURE")), {}, "FAILURE"),
        ((check("passed"), check("failed", "lint", "TIMED_OUT", required=False)), {}, "FAILURE"),
        ((check("pending"), check("failed", "lint", "FAILURE")), {}, "FAILURE"),
        ((check("passed"), check("failed", "deploy", "ERROR")), {}, "ERROR"),
        ((check("failed", conclusion="FAILURE"), check("failed", "deploy", "ERROR")), {}, "FAILURE"),
        ((check("passed"), check("pending", "lint")), {}, "PENDING"),
        ((check("passed", "lint"),), {}, "PENDING"),  # `tests` is required and has not begun
        ((), {"required_checks": None}, "UNKNOWN"),
        ((), {"required_checks": frozenset()}, "UNKNOWN"),
        ((check("passed"),), {"missing": ("checks: cut",)}, "UNKNOWN"),
        ((check("passed"),), {"refused": ("checks: no right",)}, "UNKNOWN"),
        ((check("passed"),), {"missing": ("reviews: cut",)}, "SUCCESS"),
    ],
)
def test_ci_status(checks: tuple[Check, ...], changes: dict[str, Any], word: str) -> None:
    assert facts(checks=checks, **changes)["pr"]["ciStatus"] == word


def test_checks_come_with_what_decides_first_and_are_bounded() -> None:
    many = tuple(check("passed", f"c{number:03}") for number in range(100))
    found = facts(checks=(*many, check("failed", "z"), check("passed", "y", required=True)))["pr"]
    assert [each["name"] for each in found["checks"][:3]] == ["z", "tests", "y"]
    assert found["checks"][1] == {"name": "tests", "state": "expected", "required": True}
    assert (len(found["checks"]), found["moreChecks"]) == (60, 43)


@pytest.mark.parametrize(
    ("author", "bot", "shown", "known"),
    [
        ("mona", False, "mona", True),
        ("dependabot", True, "dependabot[bot]", True),
        ("renovate[bot]", True, "renovate[bot]", True),
        ("dependabot", False, "dependabot", True),
        ("", False, "ghost", False),
    ],
)
def test_authors(author: str, bot: bool, shown: str, known: bool) -> None:
    found = facts(author=author, author_is_bot=bot)["pr"]
    assert (found["author"], found["authorKnown"]) == (shown, known)


@pytest.mark.parametrize(
    ("labels", "of_rule", "environment"),
    [
        (("production", "staging"), None, "staging"),
        (("Production", "x"), None, "production"),
        (("development",), None, "development"),
        (("stagings",), None, "unknown"),
        ((), None, "unknown"),
        (("staging",), "production", "production"),
        (("staging",), "unknown", "unknown"),
    ],
)
def test_environments(labels: tuple[str, ...], of_rule: str | None, environment: str) -> None:
    assert environment_of(labels, rule(environment=of_rule)) == environment


def test_reviews_of_people_with_write_access_are_not_pushed_out_by_others() -> None:
    crowd = tuple(Review(author=f"a{number:03}", state="APPROVED") for number in range(200))
    writer = Review(author="zoe", state="CHANGES_REQUESTED", can_write=True, head_sha=HEAD)
    found = facts(reviews=(*crowd, writer, Review(author="me", state="PENDING", can_write=True)))["pr"][
        "reviews"
    ]
    assert found[0] == {"author": "zoe", "state": "CHANGES_REQUESTED", "canWrite": True, "current": True}
    assert len(found) == 50


def test_argo_cd_where_it_is_asked() -> None:
    application = reading(health="Degraded", sync="OutOfSync", revisions=("abc",), images=("b:1", "a:2"))
    of = rule(**ARGO)
    assert facts_of(snapshot(), of, application=application, now=NOW)["argocd"] == {
        "enabled": True,
        "health": "Degraded",
    }
    named = rule("{{argocd.sync}} {{argocd.revision}} {{argocd.images}}", **ARGO)
    assert facts_of(snapshot(), named, application=application, now=NOW)["argocd"] == {
        "enabled": True,
        "health": "Degraded",
        "sync": "OutOfSync",
        "revision": "abc",
        "images": ["a:2", "b:1"],
    }
    broken = reading(fault="Argo CD does not answer.", fault_kind="unavailable")
    assert facts_of(snapshot(), of, application=broken, now=NOW)["argocd"]["fault"] == "unavailable"
    assert facts_of(snapshot(), rule(), application=application, now=NOW)["argocd"]["health"] == "Unknown"


def test_body_and_ages_only_where_they_are_asked_for() -> None:
    plain = facts()["pr"]
    assert not {"body", "ageDays", "idleDays", "commentsDigest"} & set(plain)
    asked = facts(rule(context=["body", "age", "comments"]))["pr"]
    assert (asked["body"], asked["ageDays"], asked["idleDays"]) == ("Bumps urllib3.", 2, 1)
    named = facts(rule("{% if pr.idleDays > 30 %}{{ pr.body }}{% else %}a{% endif %}"))["pr"]
    assert (named["body"], named["idleDays"], "ageDays" in named) == ("Bumps urllib3.", 1, False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"mergeable": "CONFLICTING"}, ""),
        ({"mergeable": "UNKNOWN"}, "whether it can be merged"),
        ({"checks": (check("pending"),)}, "Checks run: tests"),
        ({"checks": (check("failed", "lint"), check("pending"))}, "Checks run: tests"),
        ({"checks": ()}, "Checks run: tests"),
        ({"checks": (), "required_checks": None}, ""),
        ({"checks": tuple(check("pending", f"c{n}") for n in range(9))}, "tests, c0, c1, c2, c3 …"),
        ({"missing": ("threads: cut", "checks: cut")}, "did not give: checks, threads"),
        ({"refused": ("checks: no right",)}, ""),
    ],
)
def test_when_nobody_is_asked_yet(changes: dict[str, Any], words: str) -> None:
    found = unsettled(facts(**changes))
    assert words in found
    assert bool(found) == bool(words)


def test_a_rule_that_asks_while_checks_run_waits_for_all_else() -> None:
    of = rule(ask_while_checks_run=True)
    running = {"checks": (check("pending"),)}
    assert unsettled(facts(of, **running), checks=False) == ""
    assert "merged" in unsettled(facts(of, **running, mergeable="UNKNOWN"), checks=False)
    assert "did not give" in unsettled(facts(of, **running, missing=("threads: cut",)), checks=False)


def test_checks_that_are_not_listed_are_waited_for() -> None:
    failed = tuple(check("failed", f"c{number:03}") for number in range(61))
    assert unsettled(facts(checks=failed, required_checks=None)) == ""
    assert "Checks run" in unsettled(facts(checks=(*failed, check("pending", "z")), required_checks=None))


# What makes the model be asked again

SHOWN: dict[str, dict[str, Any]] = {
    "title": {"title": "Bump urllib3 from 2.2.1 to 3.0.0"},
    "author": {"author": "mallory"},
    "bot": {"author_is_bot": False},
    "label": {"labels": ("staging", "auto-merge", "breaking-change")},
    "check fails": {"checks": (check("failed"), check("passed", "lint"))},
    "check is named": {"checks": (check("passed"), check("passed", "lint2"))},
    "check is required": {"checks": (check("passed", required=True), check("passed", "lint", required=True))},
    "mergeable": {"mergeable": "CONFLICTING"},
    "review": {"reviews": (Review(author="mona", state="CHANGES_REQUESTED", can_write=True, head_sha=HEAD),)},
    "write access": {"reviews": (Review(author="mona", state="APPROVED", head_sha=HEAD),)},
    "decision": {"review_decision": "REVIEW_REQUIRED"},
    "draft": {"draft": True},
    "base": {"base_branch": "release"},
    "head's name": {"head_branch": "other"},
    "head": {"head_sha": "c" * 40},
    "threads": {"threads": (ReviewThread(node_id="t", path="a.py", line=1, comments=()),)},
    "fork": {"fork": True},
    "additions": {"additions": 4},
    "deletions": {"deletions": 4},
    "files": {"changed_files": 2},
    "refused": {"refused": ("threads: no right",)},
    "number": {"number": 8},
    "repository": {"repository": "acme/till"},
}
UNSEEN: dict[str, dict[str, Any]] = {
    "body": {"body": "other"},
    "comments": {"comments": (Comment(author="eve", body="hi"),)},
    "updated": {"updated_at": NOW},
    "created": {"created_at": NOW},
    "read": {"read_at": NOW + timedelta(hours=1)},
    "merge state": {"merge_state": "BEHIND"},
    "base moved": {"base_sha": "d" * 40},
    "check's address": {
        "checks": (
            check("passed", required=True, url="x", title="y"),
            check("passed", "lint", required=False),
        )
    },
    "review's words": {
        "reviews": (
            Review(author="mona", state="APPROVED", can_write=True, head_sha=HEAD, body="yes"),
            Review(author="guest", state="COMMENTED", head_sha="e" * 40),
        )
    },
    "closing issues": {"closing_issues": (3,)},
    "methods": {"allowed_methods": ("merge",)},
}


@pytest.mark.parametrize("changes", SHOWN.values(), ids=SHOWN)
def test_what_the_model_would_see_differently_changes_the_hash(changes: dict[str, Any]) -> None:
    of = rule()
    assert context_hash(of, facts(of, **changes)) != context_hash(of, facts(of))
    assert prompt(of, **changes).facts != prompt(of).facts


@pytest.mark.parametrize("changes", UNSEEN.values(), ids=UNSEEN)
def test_what_the_model_would_not_see_does_not(changes: dict[str, Any]) -> None:
    of = rule()
    assert context_hash(of, facts(of, **changes)) == context_hash(of, facts(of))
    assert prompt(of, **changes).facts == prompt(of).facts


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("body", {"body": "other"}),
        ("age", {"created_at": NOW - timedelta(days=9)}),
        ("age", {"updated_at": NOW - timedelta(days=9)}),
        ("comments", {"comments": (Comment(author="eve", body="hi"),)}),
        ("comments", {"comments": (Comment(author="mona", body="Looks bad.", can_write=True),)}),
    ],
)
def test_what_the_rule_asks_for_beside_them_counts(part: str, changes: dict[str, Any]) -> None:
    of = rule(context=[part])
    assert context_hash(of, facts(of, **changes)) != context_hash(of, facts(of))


def test_our_own_comments_ask_nobody_again() -> None:
    of = rule(context=["comments"])
    ours = (*snapshot().comments, Comment(author="agents", body="It waits for a person.", own=True))
    assert context_hash(of, facts(of, comments=ours)) == context_hash(of, facts(of))


def test_another_wording_of_the_rule_asks_again() -> None:
    one, other = rule("Merge what is green."), rule("Merge what is green!")
    assert context_hash(one, facts(one)) != context_hash(other, facts(other))


def test_an_age_that_nobody_names_asks_nobody_again() -> None:
    of, later = rule(), NOW + timedelta(days=9)
    now, then = (facts_of(snapshot(), of, application=None, now=at) for at in (NOW, later))
    assert context_hash(of, now) == context_hash(of, then)


def running(*states: str) -> dict[str, Any]:
    return {"checks": tuple(check(state, f"c{number}") for number, state in enumerate(states))}


def test_while_checks_run_each_that_passes_asks_nobody_again() -> None:
    of = rule(ask_while_checks_run=True)

    def seen(*states: str) -> str:
        return context_hash(of, facts(of, **running(*states), required_checks=None))

    first = seen("pending", "pending", "pending")
    assert seen("passed", "pending", "pending") == first
    assert seen("passed", "pending") == first
    assert len({first, seen("failed", "pending", "passed"), seen("passed", "passed", "passed")}) == 3


def test_while_checks_run_each_counts_for_a_text_that_goes_over_them() -> None:
    of = rule("{% for c in pr.checks %}{{ c.name }}: {{ c.state }}{% else %}none{% endfor %}")
    one, other = (facts(of, **running(*states)) for states in (("pending", "pending"), ("passed", "pending")))
    assert context_hash(of, one) != context_hash(of, other)


@given(st.data())
def test_order_does_not_matter(data: st.DataObject) -> None:
    base = snapshot(
        labels=tuple("abcdE"),
        checks=tuple(check("passed", f"c{number}") for number in range(5)),
        reviews=tuple(Review(author=f"p{number}", state="APPROVED") for number in range(5)),
    )
    shuffled = dataclasses.replace(
        base,
        labels=tuple(data.draw(st.permutations(base.labels))),
        checks=tuple(data.draw(st.permutations(base.checks))),
        reviews=tuple(data.draw(st.permutations(base.reviews))),
    )
    of = rule()
    assert facts_of(shuffled, of, application=None, now=NOW) == facts_of(base, of, application=None, now=NOW)


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_titles_that_are_shown_differently_differ(one: str, other: str) -> None:
    of = rule()
    first, second = facts(of, title=one), facts(of, title=other)
    same = first["pr"]["title"] == second["pr"]["title"]
    assert (context_hash(of, first) == context_hash(of, second)) == same


# What an answer waits for


def test_each_thing_that_can_be_waited_for_is_a_part() -> None:
    assert set(part_hashes(facts())) == set(get_args(WaitFor)) - {"anything"}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"checks": (check("failed"), check("passed", "lint"))}, {"checks"}),
        ({"review_decision": "REVIEW_REQUIRED"}, {"review"}),
        ({"draft": True}, {"review"}),
        ({"labels": ("staging",)}, {"labels"}),
        ({"labels": ("auto-merge",)}, {"labels"}),
        ({"mergeable": "CONFLICTING"}, {"push"}),
        ({"head_sha": "c" * 40, "reviews": ()}, {"push", "checks", "review"}),
        ({"title": "other"}, set()),
        ({"additions": 9}, set()),
    ],
)
def test_a_change_is_of_its_parts(changes: dict[str, Any], parts: set[str]) -> None:
    before, after = part_hashes(facts()), part_hashes(facts(**changes))
    assert {name for name in before if before[name] != after[name]} == parts


def test_a_change_of_the_deployment_is_one() -> None:
    of = rule(**ARGO)
    before, after = (
        part_hashes(facts_of(snapshot(), of, application=reading(health=health), now=NOW))
        for health in ("Healthy", "Degraded")
    )
    assert {name for name in before if before[name] != after[name]} == {"deployment"}


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\U000e0041", "\x00", "\ufe01", "\u3164", "\ud800"])
def test_a_name_with_what_nobody_sees_equals_none_without(hidden: str) -> None:
    assert name_of(f"auto{hidden}-merge") == "auto\ufffd-merge"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("good first issue", "good first issue"),
        ("a\n b\t", "a b"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("<!-- a -->", "<!-- a -->"),
    ],
)
def test_names_stay_as_they_are_read(text: str, name: str) -> None:
    assert name_of(text) == name

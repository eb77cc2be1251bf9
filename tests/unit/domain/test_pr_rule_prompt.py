"""The question: what stands where, what it is cut to, that the same input gives the same bytes."""

from __future__ import annotations

import json
import re
from datetime import timedelta, timezone
from typing import Any

import pytest
from pr_rule_prompt_cases import DIFF, FILES, MATERIAL, NOW, facts, prompt, rule, snapshot

from airflow_provider_agents.domain.argocd_application import ApplicationReading
from airflow_provider_agents.domain.pr_rule_answer import answer_schema
from airflow_provider_agents.domain.pr_rule_facts import facts_of
from airflow_provider_agents.domain.pr_rule_language import RuleTextError
from airflow_provider_agents.domain.pr_rule_prompt import (
    CONTRACT,
    MAX_DIFF_BYTES,
    MAX_FILE_DIFF_BYTES,
    Material,
    build_prompt,
    diff_excerpt,
)
from airflow_provider_agents.domain.pull_request import Comment
from airflow_provider_agents.domain.risk import ChangedFile

ALL = ["body", "comments", "files", "diff", "age"]
FENCE = re.compile(
    r'<untrusted id="([0-9a-f]{12})" source="([^"<>\n]*)">\n(.*?)\n</untrusted id="\1">', re.DOTALL
)


def test_the_whole_question() -> None:
    found = prompt()
    assert found.contract == CONTRACT
    assert found.schema == answer_schema(rule())
    assert found.rule == (
        "# The rule\n\n"
        "Pull request ⟦pr.number⟧: ⟦pr.title⟧ by ⟦pr.author⟧, labels ⟦pr.labels⟧, CI ⟦pr.ciStatus⟧,\n"
        "mergeable ⟦pr.mergeable⟧, reviews ⟦pr.reviews⟧, ⟦repository⟧ for ⟦environment⟧, Argo CD ⟦argocd.health⟧.\n\n"
        "Merge it if CI is green. Else wait.\n\n"
        "# What it allows\n\n"
        "Actions: close, escalate, merge, wait.\n"
    )
    known, names = found.facts.split("<untrusted", 1)
    assert known == (
        "# The pull request\n\n"
        "Now: 2026-03-02 12:00 UTC\n\n"
        "⟦repository⟧ acme/shop\n"
        "⟦environment⟧ staging\n"
        "⟦pr.number⟧ 7\n"
        "⟦pr.ciStatus⟧ SUCCESS\n"
        "⟦pr.mergeable⟧ MERGEABLE\n"
        "⟦pr.draft⟧ no\n"
        "⟦pr.fork⟧ no\n"
        "⟦pr.reviewDecision⟧ APPROVED\n"
        "⟦pr.unresolvedThreads⟧ 0\n"
        "⟦pr.additions⟧ 3\n"
        "⟦pr.deletions⟧ 2\n"
        "⟦pr.changedFiles⟧ 1\n"
        f"Head commit: {'a' * 40}\n"
        "⟦pr.url⟧ https://github.com/acme/shop/pull/7\n"
        "⟦argocd.enabled⟧ no\n"
        "⟦argocd.health⟧ Unknown\n\n"
    )
    assert names.split("\n")[1:-2] == [
        '⟦pr.title⟧ "Bump urllib3 from 2.2.1 to 2.2.2"',
        '⟦pr.author⟧ "dependabot[bot]"',
        '⟦pr.base⟧ "main"',
        '⟦pr.head⟧ "dependabot/pip/urllib3-2.2.2"',
        '⟦pr.labels⟧ ["auto-merge", "staging"]',
        "⟦pr.reviews⟧ 2",
        '⟦pr.reviews[1]⟧ state APPROVED, canWrite yes, current yes, author "mona"',
        '⟦pr.reviews[2]⟧ state COMMENTED, canWrite no, current no, author "guest"',
        "⟦pr.checks⟧ 2",
        '⟦pr.checks[1]⟧ state passed, required yes, name "tests"',
        '⟦pr.checks[2]⟧ state passed, required no, name "lint"',
    ]


def test_the_same_input_gives_the_same_bytes() -> None:
    of = rule(context=ALL)
    assert prompt(of) == prompt(of)


def test_every_mark_of_a_rule_is_among_the_facts() -> None:
    text = (
        "{{pr.number}}{{pr.title}}{{pr.author}}{{pr.labels}}{{pr.ciStatus}}{{pr.mergeable}}{{pr.reviews}}{{pr.body}}"
        "{{pr.draft}}{{pr.base}}{{pr.head}}{{pr.url}}{{pr.reviewDecision}}{{pr.checks}}{{pr.unresolvedThreads}}"
        "{{pr.fork}}{{pr.additions}}{{pr.deletions}}{{pr.changedFiles}}{{pr.ageDays}}{{pr.idleDays}}{{repository}}"
        "{{environment}}{{argocd.health}}{{argocd.enabled}}{{argocd.sync}}{{argocd.revision}}{{argocd.images}}"
        "{{pr.title|upper}}{{ pr.labels|join }}{% for r in pr.reviews %}{{ r.author|upper }}{% endfor %}"
    )
    application = ApplicationReading(
        name="a", observed_at=NOW, health="Healthy", sync="Synced", revisions=("r",)
    )
    for enabled in (True, False):
        of = rule(text, argocd={"enabled": enabled})
        found = build_prompt(of, facts_of(snapshot(), of, application=application, now=NOW), Material(), NOW)
        marks = re.findall(r"⟦[^⟧]+⟧", found.rule)
        assert len(marks) == 32
        assert [each for each in marks if each not in found.facts] == []


def test_material_is_shown_where_the_rule_asks_for_it() -> None:
    assert len(FENCE.findall(prompt().facts)) == 1
    found = prompt(rule(context=ALL)).facts
    assert [source for _, source, _ in FENCE.findall(found)] == [
        "names that people and programs outside chose",
        "description of the pull request",
        "comment 1 of 2, by somebody who may write to the repository",
        "comment 2 of 2, by somebody who may not write to the repository",
        "names of the changed files",
        "diff of the pull request",
    ]
    texts = [text for *_, text in FENCE.findall(found)][1:]
    assert texts == [
        "Bumps urllib3.",
        'author "mona"\n\nLooks good.',
        'author "guest"\n\n+1',
        'modified +3 -2 "requirements.txt"',
        DIFF.strip(),
    ]
    assert "⟦pr.ageDays⟧ 2\n⟦pr.idleDays⟧ 1\n" in found


def test_material_that_could_not_be_read_is_said_to_be_missing() -> None:
    found = prompt(rule(context=["comments", "files", "diff"]), Material()).facts
    for words in ("The comments", "The changed files", "The diff"):
        assert f"{words} could not be read." in found
    empty = prompt(
        rule(context=["comments", "files", "diff"]), Material(files=(), diff="", comments=())
    ).facts
    assert "There are no comments." in empty
    assert "could not be read" not in empty


def test_our_own_comments_are_not_shown() -> None:
    comments = (
        Comment(author="agents", body="OURS", own=True),
        Comment(author="eve", body="theirs", edited_by="mona"),
    )
    found = prompt(rule(context=["comments"]), Material(comments=comments)).facts
    assert "OURS" not in found
    assert "comment 1 of 1, by somebody who may not write to the repository, edited by somebody else" in found


def test_the_newest_comments_are_shown_while_there_is_room() -> None:
    comments = tuple(Comment(author="a", body=f"c{number} " + "x" * 5_000) for number in range(12))
    found = prompt(rule(context=["comments"]), Material(comments=comments)).facts
    shown = re.findall(r'author "a"\n\n(c\d+) ', found)
    assert shown == ["c8", "c9", "c10", "c11"]
    assert "oldest first; 6 older ones are left out:" in found
    assert len(found.encode()) < 12_000


def test_files_that_were_not_read_are_counted_too() -> None:
    (read,) = (ChangedFile(path="a.py", status="modified", additions=1, deletions=0),)
    question = prompt(rule(context=["files"]), Material(files=(read,)), changed_files=7)
    assert "The changed files, 6 of them left out:" in question.facts


def test_many_files_are_counted() -> None:
    files = tuple(
        ChangedFile(
            path=f"f{number:04}", status="renamed", additions=1, deletions=0, previous_path="old\nname"
        )
        for number in range(3_000)
    )
    found = prompt(rule(context=["files"]), Material(files=files)).facts
    assert "The changed files, 2800 of them left out:" in found
    assert found.count('from "old name"') == 200


@pytest.mark.parametrize("broken", ["diff --git a/b b/b\n+x", "", "no header", "\fdiff --git a b"])
def test_a_short_diff_is_shown_as_it_is(broken: str) -> None:
    assert diff_excerpt(broken) == broken


def test_a_long_diff_is_cut_by_file() -> None:
    big = "diff --git a/lock b/lock\n" + "+x\n" * 50_000
    small = "diff --git a/app.py b/app.py\n+print(1)\n"
    found = diff_excerpt(big + small)
    assert len(found.encode()) < MAX_FILE_DIFF_BYTES + 200
    assert "bytes left out]" in found
    assert "+print(1)" in found, "one big file does not push out the others"
    many = "".join(f"diff --git a/{n} b/{n}\n" + "+x\n" * 5_000 for n in range(10))
    found = diff_excerpt(many)
    assert len(found.encode()) < MAX_DIFF_BYTES + 200
    assert "[8 of 10 files left out, for want of room]" in found


def test_the_whole_question_is_bounded() -> None:
    of = rule(context=ALL)
    long = "ü" * 100_000
    material = Material(
        files=tuple(
            ChangedFile(path=f"{number}{long}", status="added", additions=1, deletions=1)
            for number in range(500)
        ),
        diff=f"diff --git a b\n+{long}" * 50,
        comments=tuple(Comment(author=long, body=long) for _ in range(50)),
    )
    found = prompt(of, material, title=long, body=long, head_branch=long, labels=(long,))
    assert len(found.facts.encode()) < 200_000
    assert len(json.dumps(facts(of, title=long, body=long, head_branch=long))) < 60_000


def test_what_is_allowed_stands_with_the_rule() -> None:
    of = rule(actions=["label", "request_review"], labels=["stale", "ready"], reviewers=["acme/platform"])
    assert prompt(of).rule.endswith(
        'Actions: label, request_review, wait.\nLabels: ["stale", "ready"].\nReviewers: ["acme/platform"].\n'
    )


def test_parts_that_could_not_be_read_are_said() -> None:
    found = prompt(missing=("threads: cut",), refused=("checks: no right",), author="").facts
    assert "Parts that could not be read this time: threads.\n" in found
    assert "Parts that may not be read: checks.\n" in found
    assert "The account of its author is deleted.\n" in found


def test_the_time_is_told_in_utc() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert build_prompt(rule(), facts(), MATERIAL, there) == prompt()


def test_a_rule_that_does_not_fit_the_facts_names_its_line() -> None:
    of = rule("Go.\n{% if pr.additions < 5 %}small{% endif %}")
    with pytest.raises(RuleTextError, match=r"line 2 of the instruction: '<' not supported"):
        prompt(of, additions=None)


def test_checks_beyond_the_listed_ones_are_counted() -> None:
    from airflow_provider_agents.domain.pull_request import Check

    def check(number: int, state: Any) -> Check:
        return Check(name=f"c{number}", state=state, kind="check_run")

    found = prompt(checks=(*(check(number, "failed") for number in range(70)), check(71, "pending"))).facts
    assert "2 checks run, or have not begun.\n" in found  # `tests` is required
    assert "12 more checks are not listed.\n" in found


def test_files_are_sorted() -> None:
    assert prompt(rule(context=["files"]), Material(files=FILES)) == prompt(
        rule(context=["files"]), Material(files=tuple(reversed(FILES)))
    )

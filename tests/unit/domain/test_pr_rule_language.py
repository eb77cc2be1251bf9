"""The language of rules: what it allows, how a fault is named, and that it writes marks, never values."""

from __future__ import annotations

import re
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.pr_rule_language import (
    MOST_BYTES,
    MOST_MADE_LENGTH,
    MadeText,
    RuleTextError,
    instruction_faults,
    render,
    used_fields,
)
from airflow_provider_agents.domain.pr_rule_variables import (
    VARIABLES,
    VOCABULARY,
    sample_facts,
    variables_table,
)
from airflow_provider_agents.domain.prompt_vocabulary import FILTERS


def facts(**pr: Any) -> dict[str, Any]:
    base = sample_facts()
    return {**base, "pr": {**base["pr"], **pr}}


PATHS = [
    f"{variable.name}.{field}" if field else variable.name
    for variable in VARIABLES
    for field, _ in variable.fields or (("", ""),)
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", ["{{%s}}", "{{ %s }}", "{{- %s -}}"])
def test_each_value_is_written_as_its_mark(path: str, form: str) -> None:
    text = f"Look: {form % path}"
    assert instruction_faults(text) == []
    assert render(text, facts()).text.split(":")[1].strip() == f"⟦{path}⟧"


@pytest.mark.parametrize(
    ("source", "text", "made"),
    [
        ("{{ pr.title|upper }}", "⟦text 1⟧", [("BUMP URLLIB3 FROM 2.2.1 TO 2.2.2", "pr.title")]),
        ("{{ pr.labels|join(', ') }}", "⟦text 1⟧", [("auto-merge, staging", "pr.labels")]),
        ("{{ pr.labels|sort }}", "⟦text 1⟧", [("auto-merge, staging", "pr.labels")]),
        ("{{ pr.labels|first if pr.labels else 'none' }}", "⟦pr.labels[1]⟧", []),
        ("{{ pr.reviews|length }}", "⟦text 1⟧", [("1", "pr.reviews")]),
        ("{{ pr.number + 1 }}", "⟦text 1⟧", [("8", "pr.number")]),
        ("{{ pr.title ~ repository }}", "⟦text 1⟧", [(None, "pr.title, repository")]),
        ("{{ pr.draft and pr.fork }}", "⟦text 1⟧", [("false", "pr.draft, pr.fork")]),
        ("{{ pr.title == 'x' }}", "⟦text 1⟧", [("false", "pr.title")]),
        ("{{ pr.reviewDecision or 'none' }}", "⟦text 1⟧", [("APPROVED", "pr.reviewDecision")]),
        ("{{ 'yes' if pr.draft else 'no' }}", "no", []),
        ("{{ 'own' ~ ' words' }}", "own words", []),
        ("{% print pr.title %}", "⟦pr.title⟧", []),
        ("{% raw %}{{ pr.title }}{% endraw %}", "{{ pr.title }}", []),
        ("{{ ['a', 'b']|join(', ') }}", "a, b", []),
        ("{{ pr.title if pr.draft else 'no' }}", "⟦text 1⟧", [("no", "pr.title")]),
        (
            "{% for r in pr.reviews %}{{ loop.index }} {{ r.author }}{% endfor %}",
            "1 ⟦pr.reviews[1].author⟧",
            [],
        ),
        ("{% for r in pr.reviews %}{{ r.author|upper }}{% endfor %}", "⟦text 1⟧", [("MONA", "pr.reviews")]),
        ("{% for l in pr.labels %}{{ l }};{% endfor %}", "⟦pr.labels[1]⟧;⟦pr.labels[2]⟧;", []),
        ("{% for w in ['a', 'b'] %}{{ w }};{% endfor %}", "a;b;", []),
        (
            "{% for w in ['a'] %}{% for l in pr.labels if l == 'staging' %}{{ w }}{{ l }}{% else %}-{% endfor %}{% endfor %}",
            "a⟦pr.labels[2]⟧",
            [],
        ),
        ("{% for c in pr.checks if c.required %}{{ c.name }} {{ c.state }}{% endfor %}", None, []),
        (
            "{% if pr.draft %}a{% elif pr.ciStatus == 'SUCCESS' %}{{ pr.base }}{% else %}c{% endif %}",
            "⟦pr.base⟧",
            [],
        ),
    ],
)
def test_what_is_written_out(source: str, text: str | None, made: list[tuple[str | None, str]]) -> None:
    assert instruction_faults(f"Go. {source}") == []
    found = render(f"Go. {source}", facts())
    assert found.text == f"Go. {text or '⟦pr.checks[1].name⟧ ⟦pr.checks[1].state⟧'}"
    assert [each.mark for each in found.made] == [f"text {n}" for n in range(1, len(made) + 1)]
    for each, (value, of) in zip(found.made, made, strict=True):
        assert value is None or each.value == value
        assert each.of == of


def test_conditions_see_the_values_themselves() -> None:
    text = "{% if 'staging' in pr.labels and pr.idleDays < 3 and not pr.draft %}in{% else %}out{% endif %}"
    assert render(text, facts()).text == "in"
    assert render(text, facts(labels=["production"])).text == "out"
    assert render(text, facts(idleDays=3)).text == "out"
    assert render(text, facts(draft=True)).text == "out"


def test_the_staging_rule_of_the_older_system_renders_without_argo_cd() -> None:
    text = (
        "#{{pr.number}}: {{pr.title}}\n{{pr.author}} {{pr.labels}} {{pr.ciStatus}} {{pr.mergeable}} {{pr.reviews}}\n"
        "{{argocd.health}} {{environment}} {{repository}}\n"
        "{% if argocd.health == 'Unknown' %}nothing known{% endif %}"
    )
    assert instruction_faults(text) == []
    assert render(text, {**sample_facts(), "argocd": {"enabled": False, "health": "Unknown"}}).text == (
        "#⟦pr.number⟧: ⟦pr.title⟧\n⟦pr.author⟧ ⟦pr.labels⟧ ⟦pr.ciStatus⟧ ⟦pr.mergeable⟧ ⟦pr.reviews⟧\n"
        "⟦argocd.health⟧ ⟦environment⟧ ⟦repository⟧\nnothing known"
    )


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        (
            "a\n\n{{ pr.titel }}",
            3,
            "`pr.titel` is not there; did you mean `pr.title`? There are: `pr.number`",
        ),
        ("{{ pr.titel }}", 1, "did you mean `pr.title`?"),
        ("{{ pr.ci_status }}", 1, "did you mean `pr.ciStatus`?"),
        ("{{ title }}", 1, "`title` is a field of `pr`; write `pr.title`"),
        ("{{ CISTATUS }}", 1, "`CISTATUS` is a field of `pr`; write `pr.ciStatus`"),
        ("{{ enviroment }}", 1, "did you mean `environment`?"),
        ("{{ nothing_like_it }}", 1, "is unknown. There are: argocd, environment, pr, repository"),
        ("{{ pull.title }}", 1, "nothing here has attributes but `pr`, `argocd` and `loop`"),
        ("{{ pr }}", 1, "`pr` is no text; write `pr.number`"),
        ("{% for r in pr.reviews %}\n{{ r }}{% endfor %}", 2, "`r` is no text; write `r.author`"),
        ("{% for r in pr.reviews %}\n{{ r.stat }}{% endfor %}", 2, "did you mean `r.state`?"),
        ("{% for l in pr.labels %}{{ l.name }}{% endfor %}", 1, "nothing here has attributes"),
        ("{{ pr.reviews|join }}", 1, "filter `join` is not for records"),
        ("{{ pr.reviews|first }}", 1, "filter `first` is not for records"),
        ("{{ pr.title|replace('a', 'b') }}", 1, "filter `replace` is not part of it"),
        ("{{ pr['title'] }}", 1, "`[…]` is not part"),
        ("{{ pr.title.upper() }}", 1, "a call is not part"),
        ("{% set a = 1 %}", 1, "`{% set %}` is not part"),
        ('{% include "_task.md.j2" %}', 1, "nothing may be included here"),
        ('{% extends "plan.md.j2" %}', 1, "no template may be extended here"),
        ("{% block a %}x{% endblock %}", 1, "`{% block %}` is not part"),
        (
            "{% for a in pr.title %}x{% endfor %}",
            1,
            "loops go over pr.labels, pr.reviews, pr.checks, argocd.images",
        ),
        ("{% for a in pr %}x{% endfor %}", 1, "loops go over"),
        ("ok\n{% if pr.title > 3 %}x{% endif %}", 2, "not supported between instances of 'str' and 'int'"),
        ("ok\n\n{{ pr.number|length }}", 3, "has no len"),
        ("ok\n{% if pr.fork %}\n{{ pr.number|length }}{% endif %}", 3, "has no len"),
        ("{% if pr.draft %}x{% endif %}", 1, "is empty for some pull requests"),
        ("   \n ", 1, "is empty"),
        ("a\nb ⟦pr.title⟧", 2, "kept for the marks"),
        ("{{#if A}}x{{/if}}", 1, "Handlebars"),
        ("a\n{{ pr.title", 2, "unexpected"),
        ("{{ 'x' if pr.draft }}", 1, "is empty for some pull requests"),
        ("{{ pr.labels|first }}", 1, "sequence was empty"),
    ],
)
def test_a_fault_is_named_with_its_line(source: str, line: int, words: str) -> None:
    faults = instruction_faults(source)
    assert any(found == line and words in text for found, text in faults), faults


def test_a_faulty_text_is_not_rendered() -> None:
    with pytest.raises(RuleTextError, match=r"line 2 of the instruction: `pr\.titel` is not there"):
        render("a\n{{ pr.titel }}", facts())


def test_a_text_that_would_be_too_long_is_a_fault() -> None:
    text = "a{% for c in pr.checks %}" + "x" * 2_000 + "{% endfor %}"
    assert instruction_faults(text) == [(1, f"becomes longer than {MOST_BYTES:,} bytes; repeat less")]


def test_too_many_made_texts_are_a_fault() -> None:
    text = "a{% for r in pr.reviews %}" + "{{ r.author ~ '.' }}" * 5 + "{% endfor %}"
    assert "makes more than 200 texts" in instruction_faults(text)[0][1]


def test_a_made_text_is_cut() -> None:
    (made,) = render("{{ pr.body|lower }}", facts(body="X" * 8_000)).made
    assert made == MadeText(mark="text 1", value="x" * (MOST_MADE_LENGTH - 1) + "…", of="pr.body")


def test_what_a_pull_request_lacks_is_empty() -> None:
    text = "{{ pr.ageDays }}{% if pr.body %}a{% endif %}{% for r in pr.reviews %}b{% endfor %}c"
    assert render(text, {"pr": {"number": 7}}).text == "⟦pr.ageDays⟧c"


def test_the_fields_that_a_text_names() -> None:
    text = "{{ pr.title }}{% if pr.body %}{% for c in pr.checks %}{{ c.name }}{% endfor %}{% endif %}{{ repository }}"
    assert used_fields(text) == {"pr.title", "pr.body", "pr.checks"}
    assert used_fields("plain") == frozenset()


OUTSIDERS = st.text(max_size=60)


@given(OUTSIDERS, st.lists(OUTSIDERS, min_size=2, max_size=2), OUTSIDERS)
def test_the_rendered_text_is_the_same_whatever_outsiders_write(
    title: str, labels: list[str], author: str
) -> None:
    text = (
        "{{ pr.title }} {{ pr.title|upper }} {{ pr.labels|join(', ') }} {{ pr.labels }} {{ pr.title ~ pr.head }}"
        "{% for l in pr.labels|sort %}{{ loop.index }}{% endfor %}{% for r in pr.reviews %}{{ r.author }}{% endfor %}"
    )
    review = {"author": author, "state": "APPROVED", "canWrite": False, "current": True}
    plain = render(text, facts(labels=["a", "b"]))
    assert render(text, facts(title=title, labels=labels, reviews=[review])).text == plain.text


def test_a_hundred_rules_are_checked_within_a_second_or_two() -> None:
    text = (
        "{% if 'staging' in pr.labels %}{% for r in pr.reviews %}{{ r.author }}{% endfor %}{% endif %}\n"
        "{{ pr.title }}\n" * 5
    )
    started = time.process_time()
    for number in range(100):
        assert instruction_faults(f"{text}{number}") == []
    assert time.process_time() - started < 3


def test_the_vocabulary_knows_its_lists() -> None:
    assert VOCABULARY.lists == ("pr.labels", "pr.reviews", "pr.checks", "argocd.images")


PAGE = Path(__file__).parents[3] / "docs" / "rules-prompt.md"


def test_the_page_names_every_value() -> None:
    page = PAGE.read_text(encoding="utf-8")
    _, _, rest = page.partition("<!-- generated: rule variables -->\n")
    assert rest.partition("<!-- end of generated -->")[0].strip() == variables_table()


def test_the_page_names_every_filter() -> None:
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    named = re.findall(r"`(\w+)`", page.partition("and the filters ")[2].partition(". No calls")[0])
    assert named == sorted(FILTERS - {"d"})


def test_the_example_of_the_page_is_what_the_model_reads() -> None:
    page = PAGE.read_text(encoding="utf-8")
    text = textwrap.dedent(page.partition("instruction: |\n")[2].partition("```")[0])
    shown = textwrap.dedent(page.partition("is, for the model,\n\n")[2].partition("\nand among")[0])
    assert instruction_faults(text) == []
    assert render(text, facts(labels=["dependencies"])).text == shown.strip()


def test_the_faults_of_the_page_are_those_that_are_found() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = [
        instruction_faults(text)[0][1]
        for text in (
            "{{ pr.ci_status }}",
            "{% if pr.title > 3 %}x{% endif %}",
            "{% if pr.draft %}x{% endif %}",
        )
    ]
    assert found[0].startswith(
        "`pr.ci_status` is not there; did you mean `pr.ciStatus`? There are: `pr.number`, "
    )
    assert found[0][:60] in page
    for each in found[1:]:
        assert f": {each}\n" in page

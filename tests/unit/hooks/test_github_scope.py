"""Which repositories a rule is for."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_scope import RuleScope
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.github_scope import scope_of


def scope(organization: str = "", repositories: tuple[str, ...] = (), **values: Any) -> RuleScope:
    """Return a rule's scope.

    :param organization: of the installation; as ``repositories``.
    """
    rule = PullRequestRule(instruction="Merge.", **values)
    return scope_of(rule, connection="github_default", organization=organization, repositories=repositories)


def test_names_and_patterns_are_told_apart_and_stand_once() -> None:
    found = scope(repositories=("Acme/Shop", "acme/shop", "acme/web-*", "ACME/WEB-*"))
    assert (found.names, found.patterns) == (("Acme/Shop",), ("acme/web-*",))


def test_names_without_an_owner_are_the_organisations() -> None:
    found = scope(organization="acme", repositories=("shop", "web-?", "globex/site"))
    assert (found.names, found.patterns) == (("acme/shop", "globex/site"), ("acme/web-?",))


def test_an_organisation_alone_is_all_of_it() -> None:
    assert scope(organization="acme").patterns == ("acme/*",)


def test_the_rule_goes_before_the_installation() -> None:
    rule = PullRequestRule(instruction="x", organization="globex", repositories=("site",), connection="mine")
    found = scope_of(rule, connection="theirs", organization="acme", repositories=("shop",))
    assert found == RuleScope(connection="mine", organization="globex", names=("globex/site",))


def test_no_repository_at_all_names_every_remedy() -> None:
    with pytest.raises(InvalidInputError) as caught:
        scope()
    for word in ("`repositories`", "`organization`", "rules_organization", "rules_repositories"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("shop", "has no owner"), ("web-*", "has no owner"), ("ac*/shop", "the owner of a pattern is named")],
)
def test_a_name_that_cannot_be_asked_for_is_a_fault(name: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        scope(repositories=(name,))


def test_every_fault_is_told() -> None:
    with pytest.raises(InvalidInputError) as caught:
        scope(repositories=("shop", "a*/b", "acme/fine"))
    assert len(caught.value.faults) == 2


def test_what_is_chosen_of_an_owners_repositories() -> None:
    found = RuleScope(connection="c", names=("acme/Docs",), patterns=("Acme/web-*", "globex/*"))
    assert found.owners == ("acme", "globex")
    listed = ("acme/docs", "acme/Web-One", "acme/webs", "globex/site", "initech/web-1", "Acme/web-one")
    assert found.chosen(listed) == ("acme/Docs", "acme/Web-One", "globex/site")

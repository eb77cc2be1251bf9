"""The repositories that a rule is for, as they are now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from airflow_provider_agents import settings
from airflow_provider_agents.domain.pr_rule_scope import RuleScope
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError, InvalidInputError
from airflow_provider_agents.hooks.github_names import owner_and_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_agents.domain.pr_rule import PullRequestRule

_WILDCARDS = frozenset("*?[")


class Lister(Protocol):
    """What lists the repositories of an owner: a client, or :class:`~.github_owners.OwnersClient`."""

    async def organization_repositories(self, organization: str) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """The repositories of a scope.

    :param repositories: ``owner/name`` of each, once.
    :param faults: why an owner's repositories could not be listed, by its login in small letters, and which names are
        none; all else is there all the same.
    """

    repositories: tuple[str, ...]
    faults: dict[str, ForgeError]


def rule_scope(rule: PullRequestRule) -> RuleScope:
    """Return a rule's scope, with what it leaves out filled in from the section ``[agents]``.

    The options are ``github_conn_id``, ``rules_organization`` and ``rules_repositories``, the last one names and
    patterns with commas or white space between.

    :raises InvalidInputError: it is for no repository.
    """
    return scope_of(
        rule,
        connection=settings.text("github_conn_id", "github_default"),
        organization=settings.text("rules_organization"),
        repositories=settings.text("rules_repositories").replace(",", " ").split(),
    )


def scope_of(
    rule: PullRequestRule, *, connection: str, organization: str = "", repositories: Iterable[str] = ()
) -> RuleScope:
    """Return the scope of a rule.

    :param connection: the installation's connection, where the rule names none.
    :param organization: the installation's, where the rule names none.
    :param repositories: the installation's, names and patterns, where the rule names none.
    :raises InvalidInputError: there is no repository, or a name lacks its owner; names the options that help.
    """
    owner = rule.organization or organization
    wanted = [text for each in (rule.repositories or tuple(repositories)) if (text := each.strip())]
    if not wanted and not owner:
        raise InvalidInputError(
            [
                (
                    "repositories: the rule is for no repository; name some as owner/name in its `repositories`, or an "
                    "`organization`, or set [agents] rules_organization or rules_repositories for all rules"
                )
            ]
        )
    names: dict[str, str] = {}
    patterns: dict[str, str] = {}
    faults = []
    for text in wanted or ["*"]:
        whole = text if "/" in text else f"{owner}/{text}"
        its_owner, _, name = whole.partition("/")
        if not its_owner:
            faults.append(
                f"repositories: {text!r} has no owner; write owner/{text}, or set the rule's `organization` or "
                "[agents] rules_organization"
            )
        elif _WILDCARDS & set(its_owner):
            faults.append(f"repositories: {text!r}: the owner of a pattern is named, e.g. acme/{name}")
        elif _WILDCARDS & set(name):
            patterns.setdefault(whole.casefold(), whole)
        else:
            names.setdefault(whole.casefold(), whole)
    if faults:
        raise InvalidInputError(faults)
    return RuleScope(
        connection=rule.connection or connection,
        organization=owner,
        names=tuple(names.values()),
        patterns=tuple(patterns.values()),
    )


async def resolve(client: Lister, scope: RuleScope) -> Resolved:
    """Return the repositories of a scope; owners are asked for theirs only where there are patterns.

    An owner that cannot be listed is a fault of that one.
    """
    listed: list[str] = []
    faults: dict[str, ForgeError] = {}
    for owner in scope.owners:
        try:
            listed += await client.organization_repositories(owner)
        except ForgeError as error:
            faults[owner] = error
    found = []
    for name in scope.chosen(listed):
        try:
            owner_and_name(name)
        except InvalidInputError as error:
            faults[name.casefold()] = ForgeAccessError("; ".join(error.faults))
        else:
            found.append(name)
    return Resolved(tuple(found), faults)

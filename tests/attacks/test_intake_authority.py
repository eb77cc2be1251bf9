"""Every way to move the pipeline, tried by everybody: who may starts, approves, steers, merges, and nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.authority import named_teams, objects
from airflow_provider_agents.domain.authority_rules import Association, AuthorityRules, Standing, Who
from airflow_provider_agents.domain.commands import COMMANDS, pending_commands
from airflow_provider_agents.domain.escalation import read_command
from airflow_provider_agents.domain.intake import (
    Intake,
    RunFacts,
    Terms,
    decide,
    people_needed,
    runs_needed,
    verify_start,
)
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.plan_reply import Thumb, read_plan_replies
from airflow_provider_agents.domain.pull_request import Comment, PullRequestSnapshot, Review
from airflow_provider_agents.domain.source_definition import AskRules
from airflow_provider_agents.domain.tickets import Ask, Edit, TicketEntry, TicketReading
from airflow_provider_agents.hooks.github_conversation import Conversation, Said, approving_thumbs, replies

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CORE = "acme/core"


@dataclass(frozen=True)
class Role:
    """Somebody, as GitHub tells of them."""

    login: str
    permission: Any = None
    teams: frozenset[str] = frozenset()
    association: Association | None = None
    bot: bool = False
    own: bool = False

    @property
    def standing(self) -> Standing:
        return Standing(
            login=self.login, permission=self.permission, teams=self.teams, association=self.association,
            is_bot=self.bot, own=self.own,
        )  # fmt: skip


ROLES = {
    "nobody": Role("eve"),
    "reader": Role("rita", "read"),
    "triage": Role("tria", "triage"),
    "writer": Role("wanda", "write"),
    "maintainer": Role("manu", "maintain"),
    "admin": Role("ada", "admin"),
    "team member": Role("tom", "read", teams=frozenset({CORE})),
    "member": Role("mia", association="member"),
    "contributor": Role("carl", association="contributor"),
    "listed user": Role("lena"),
    "listed bot": Role("helper[bot]", "admin", bot=True),
    "unlisted bot": Role("renovate[bot]", "admin", teams=frozenset({CORE}), association="member", bot=True),
    "former member": Role("fred", association="contributor"),
    "ghost": Role("ghost", "admin"),
    "ourselves": Role("agents[bot]", "admin", bot=True, own=True),
}

WRITERS = {"writer", "maintainer", "admin"}
RULES: dict[str, tuple[AuthorityRules, dict[str, set[str]]]] = {
    "default": (AuthorityRules(), dict.fromkeys(("start", "approve", "steer", "merge"), WRITERS)),
    "each another": (
        AuthorityRules(
            start=Who(teams=("Acme/Core",), users=("lena", "helper[bot]")),
            approve=Who(permission="maintain"),
            steer=Who(association=("member",), users=("helper[bot]", "ghost")),
            merge=Who(permission="admin", users=("Lena",)),
        ),
        {
            "start": {"team member", "listed user", "listed bot"},
            "approve": {"maintainer", "admin"},
            "steer": {"member", "listed bot"},
            "merge": {"admin", "listed user"},
        },
    ),
    "nobody": (
        AuthorityRules(start=Who(), approve=Who(), steer=Who(), merge=Who()),
        {key: set[str]() for key in ("start", "approve", "steer", "merge")},
    ),
}

CASES = [(rules, role) for rules in RULES for role in ROLES]


def allowed(rules: str, action: str, role: str) -> bool:
    return role in RULES[rules][1][action]


# The ticket


def terms(rules: str) -> Terms:
    return Terms(kind="github", ask=AskRules(assignees=("agents",)), authority=RULES[rules][0])


def ticket(*asks: Ask, edits: Sequence[Edit] = (), labels: Sequence[str] = ("agent",)) -> TicketReading:
    entry = TicketEntry(
        id="I_7", key="acme/shop#7", title="Add a discount", url="", created_at=NOW - HOUR, updated_at=NOW,
        actionable=True, labels=tuple(labels),
    )  # fmt: skip
    return TicketReading(entry=entry, asks=asks, edits=tuple(edits))


def looked_at(reading: TicketReading, rules: str, *people: Role) -> Intake:
    standings = {each.login: each.standing for each in people}
    assert set(people_needed(reading)) <= set(standings)
    runs = {run_id: RunFacts(known=False) for run_id in runs_needed(reading, terms(rules))}
    return decide(reading, standings, terms(rules), runs, now=NOW)


def asked(kind: Any, by: str, *, minutes: int = 10, key: str = "E1") -> Ask:
    label = "agent" if kind == "label" else ""
    return Ask(key=key, kind=kind, by=by, at=NOW - timedelta(minutes=minutes), label=label)


@pytest.mark.parametrize(("rules", "name"), CASES)
@pytest.mark.parametrize("kind", ["label", "assignee", "state", "command"])
def test_asking(kind: str, rules: str, name: str) -> None:
    role = ROLES[name]
    found = looked_at(ticket(asked(kind, role.login)), rules, role)
    assert found.starts is allowed(rules, "start", name)
    if not found.starts:
        # What we do ourselves is nobody's ask; everybody else is told, once.
        silent = role.own and kind in ("command", "state")
        assert found.verdict == ("nothing" if silent else "refuse")


@pytest.mark.parametrize("kind", ["label", "assignee", "state", "command"])
def test_asking_with_a_token_of_ones_own(kind: str) -> None:
    """Who runs it with their own account may put the label on; what we write ourselves asks for nothing."""
    mona = Role("mona", "write", own=True)
    assert looked_at(ticket(asked(kind, "mona")), "default", mona).starts is (kind in ("label", "assignee"))


@pytest.mark.parametrize(("rules", "name"), CASES)
def test_editing_after_somebody_asked(rules: str, name: str) -> None:
    asker = Role("asker", "admin", teams=frozenset({CORE}), association="member")
    if rules == "nobody":
        return
    role = ROLES[name]
    reading = ticket(asked("label", "asker"), edits=[Edit(by=role.login, at=NOW - timedelta(minutes=5))])
    found = looked_at(reading, rules, asker, role)
    assert found.starts is allowed(rules, "start", name)
    begins = verify_start(
        reading,
        {each.login: each.standing for each in (asker, role)},
        terms(rules),
        run_id="run",
        asks=["E1"],
        digest="another",
    )
    assert (begins.verdict == "go") is allowed(rules, "start", name)


@pytest.mark.parametrize(("rules", "name"), CASES)
def test_asking_again_after_an_edit(rules: str, name: str) -> None:
    """A stranger changed the text; whoever asks anew vouches for it, if they may."""
    role, eve = ROLES[name], Role("mallory")
    edit = Edit(by="mallory", at=NOW - timedelta(minutes=5))
    reading = ticket(
        asked("label", role.login), asked("label", role.login, minutes=1, key="E2"), edits=[edit]
    )
    found = looked_at(reading, rules, eve, role)
    assert found.starts is allowed(rules, "start", name)
    if found.run is not None:
        assert found.run.asks == ("E2",)


@pytest.mark.parametrize("rules", RULES)
def test_a_webhook_only_wakes(rules: str) -> None:
    """It makes a look happen, whoever it says did whatever: what counts is what the ticket itself says."""
    found = looked_at(ticket(), rules)
    assert (found.verdict, found.run) == ("nothing", None)


# The pull request


def pull(*comments: Comment) -> PullRequestSnapshot:
    return PullRequestSnapshot(
        repository="acme/shop", number=7, node_id="PR_7", url="", title="", state="OPEN", head_sha="a" * 40,
        head_branch="ai/x", base_branch="main", read_at=NOW, comments=comments,
    )  # fmt: skip


def comment(role: Role, body: str, **more: Any) -> Comment:
    return Comment(
        author=role.login, body=body, node_id="C_1", created_at=NOW - HOUR, own=role.own,
        standing=role.standing, can_write=role.permission in ("write", "maintain", "admin"), **more,
    )  # fmt: skip


@pytest.mark.parametrize(("rules", "name"), CASES)
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, rules: str, name: str) -> None:
    history = LandingHistory(authority=RULES[rules][0])
    snapshot = pull(comment(ROLES[name], f"/{command} do it"))
    found = pending_commands(snapshot, LandingHistory.from_dict(history.to_dict()))
    action = "merge" if command == "merge" else "steer"
    assert bool(found) is allowed(rules, action, name)
    answers = {"retry": "round", "tell": "round", "merge": "merge", "stop": "leave"}
    chosen = [answer.choice for each in found if (answer := read_command(each, snapshot, NOW))]
    assert chosen == ([answers[command]] if found and command in answers else [])


@pytest.mark.parametrize(("rules", "name"), CASES)
def test_words_that_somebody_else_edited(rules: str, name: str) -> None:
    snapshot = pull(*(comment(ROLES[name], f"/{each} x", edited_by="wanda") for each in COMMANDS))
    assert pending_commands(snapshot, LandingHistory(authority=RULES[rules][0])) == ()


@pytest.mark.parametrize("name", ROLES)
def test_reviews_are_the_forges_own_right(name: str) -> None:
    role = ROLES[name]
    may_push = role.permission in ("write", "maintain", "admin")
    review = Review(author=role.login, state="CHANGES_REQUESTED", can_write=may_push, own=role.own)
    assert objects(review) is (may_push and not role.own)


# The plan


class Client:
    """Says what GitHub says of one person."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._transport = self

    async def permission(self, repository: str, login: str) -> str | None:
        return self.role.permission.upper() if self.role.permission else None

    async def answer(self, method: str, path: str, operation: Any) -> tuple[int, dict[str, str], Any]:
        assert path == f"/orgs/Acme/teams/Core/memberships/{self.role.login}"
        return (200, {}, {"state": "active"}) if self.role.teams else (404, {}, {})


def said(role: Role, body: str, thumbs: Sequence[Thumb] = ()) -> Said:
    return Said(
        node_id="C_1", author=role.login.removesuffix("[bot]"), body=body, created_at=NOW - HOUR,
        updated_at=NOW - HOUR, own=role.own, bot=role.bot, association=role.association, thumbs=tuple(thumbs),
    )  # fmt: skip


async def heard(role: Role, rules: str, body: str) -> str | None:
    """Return what a plan's reply comes to."""
    client: Any = Client(role)
    authority = RULES[rules][0]
    assert named_teams(authority) <= {"Acme/Core"}
    talk = Conversation(state="OPEN", comments=(said(role, body),))
    found = await replies(client, "acme/shop", talk, NOW - 2 * HOUR, {}, authority)
    reply = read_plan_replies(found, [], shown_at=NOW - 2 * HOUR, now=NOW)
    return reply.verdict if reply else None


@pytest.mark.parametrize(("rules", "name"), CASES)
async def test_a_plans_comments(rules: str, name: str) -> None:
    role = ROLES[name]
    approves = allowed(rules, "approve", name)
    speaks = approves or allowed(rules, "steer", name)
    assert await heard(role, rules, "/approve") == ("approved" if approves else None)
    assert await heard(role, rules, "/stop") == ("stopped" if speaks else None)
    assert await heard(role, rules, "/reject") == ("stopped" if speaks else None)
    assert await heard(role, rules, "Do it otherwise.") == ("replan" if speaks else None)


@pytest.mark.parametrize(("rules", "name"), CASES)
async def test_a_plans_thumb(rules: str, name: str) -> None:
    role = ROLES[name]
    client: Any = Client(role)
    plan = said(Role("agents", own=True), "The plan", [Thumb(login=role.login, at=NOW)])
    found = await approving_thumbs(client, "acme/shop", [plan], NOW - HOUR, {}, RULES[rules][0])
    # GitHub tells of no association with a thumb; no rule here gives the approval by it.
    assert bool(found) is allowed(rules, "approve", name)

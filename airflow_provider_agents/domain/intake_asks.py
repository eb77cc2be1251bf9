"""Which of a ticket's asks count: who asked, whether it still holds, and whether the text is still that text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_agents.domain.authority import may, who_may
from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.domain.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from airflow_provider_agents.domain.source_definition import AskRules, SourceDefinition
    from airflow_provider_agents.domain.tickets import Ask, Claim, Edit, SourceKind, TicketReading

MOST_PEOPLE = 40
"""People who are asked about for one ticket at a time. A crowd of strangers is dealt with in portions."""

_MOST_NAMED = 3

AskState = Literal["valid", "withdrawn", "unknown", "not_allowed", "edited"]
"""``withdrawn``: the label is off again, or the ticket closed; ``unknown``: nobody said what its author is;
``not_allowed``: its author may not start a run; ``edited``: somebody who may not changed the text since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a source's tickets are judged by."""

    kind: SourceKind
    host: str = ""
    """See :func:`.tickets.run_id_of`."""
    ask: AskRules
    authority: AuthorityRules

    @classmethod
    def of(
        cls, definition: SourceDefinition, host: str = "", authority: AuthorityRules | None = None
    ) -> Terms:
        """Return the terms of a definition.

        :param authority: the rules of the installation, where the definition has none of its own.
        """
        rules = definition.authority
        if authority is not None and "authority" not in definition.model_fields_set:
            rules = authority
        return cls(kind=definition.kind, host=host, ask=definition.ask, authority=rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAsk:
    """An ask, and what it is worth now."""

    ask: Ask
    state: AskState
    editor: str = ""
    """Who changed the text, with ``edited``."""


def people_needed(reading: TicketReading, asks: Collection[str] = ()) -> tuple[str, ...]:
    """Return the people whose standing a decision about the ticket needs, at most :data:`MOST_PEOPLE`.

    Those come first who used what outsiders cannot (labels, assignments, states), then the newest commands; the
    others' turn comes when these are answered.

    :param asks: keys of asks that are judged although they are answered: those of a run that begins.
    """
    claim = reading.claim
    wanted = [ask for ask in reading.asks if ask.key in asks or not _is_answered(ask.key, claim)]
    if not wanted:
        return ()
    first = min(ask.at for ask in wanted)
    refused_before = people_refused(reading)
    firmly = [ask.by for ask in wanted if ask.kind != "command"]
    told = [ask.by for ask in reversed(wanted) if ask.kind == "command"]
    told.sort(key=lambda login: login in refused_before)
    editors = [edit.by for edit in reversed(reading.edits) if edit.at >= first]
    return tuple(dict.fromkeys(login for login in (*firmly, *editors, *told) if login))[:MOST_PEOPLE]


def judge_ask(ask: Ask, reading: TicketReading, standings: Mapping[str, Standing], terms: Terms) -> JudgedAsk:
    """Return what an ask is worth now; whether it is answered already is not its business."""
    if not reading.entry.actionable or not _still_holds(ask, reading, terms):
        return JudgedAsk(ask=ask, state="withdrawn")
    if (standing := _standing(ask.by, standings)) is None:
        return JudgedAsk(ask=ask, state="unknown")
    # Such acts are ours too: a comment that quotes a command, a move to a state that asks.
    if standing.own and ask.kind in ("command", "state"):
        return JudgedAsk(ask=ask, state="withdrawn")
    if not may(standing, "start", terms.authority):
        return JudgedAsk(ask=ask, state="not_allowed")
    # Sources tell whole seconds: an edit in the second of the ask may be the later of the two.
    for edit in reversed([edit for edit in reading.edits if edit.at >= ask.at]):
        editor = _standing(edit.by, standings)
        if editor is None:
            return JudgedAsk(ask=ask, state="unknown")
        if not may(editor, "start", terms.authority):
            return JudgedAsk(ask=ask, state="edited", editor=edit.by)
    return JudgedAsk(ask=ask, state="valid")


def people_refused(reading: TicketReading) -> frozenset[str]:
    """Return who was told before that an ask of theirs on this ticket does not count."""
    refused = reading.claim.refused if reading.claim else ()
    return frozenset(ask.by for ask in reading.asks if ask.key in refused)


def is_held(reading: TicketReading, terms: Terms) -> str:
    """Return the label that keeps the ticket from being worked on; empty: none does."""
    held = {label.casefold() for label in terms.ask.unless}
    return next((label for label in reading.entry.labels if label.casefold() in held), "")


def refusal(judged: Sequence[JudgedAsk], standings: Mapping[str, Standing], rules: AuthorityRules) -> str:
    """Return why asks are refused: one sentence a reason, which calls nobody."""
    sentences = []
    if strangers := [each.ask.by for each in judged if each.state == "not_allowed"]:
        who = _names(strangers, standings)
        sentences.append(
            f"{who} may not start an agent here: that is for {outbound(who_may('start', rules))}."
        )
    if edited := [each for each in judged if each.state == "edited"]:
        editors = _names([each.editor for each in edited], standings)
        askers = _names([each.ask.by for each in edited], standings)
        sentences.append(
            f"{editors} changed the title or the text after {askers} had asked for an agent: if it is to be worked "
            "on as it stands now, ask again, by the label or by `/agent again`."
        )
    return " ".join(sentences)


def editors_without_authority(
    edits: Iterable[Edit], standings: Mapping[str, Standing], rules: AuthorityRules
) -> tuple[str, ...]:
    """Return who of the editors may not start a run; whoever is not known may not."""
    found = []
    for edit in edits:
        standing = _standing(edit.by, standings)
        if standing is None or not may(standing, "start", rules):
            found.append(edit.by)
    return tuple(dict.fromkeys(found))


def _is_answered(key: str, claim: Claim | None) -> bool:
    """Tell whether a refusal, or a run that was triggered, answered an ask: one that is only claimed is open."""
    if claim is None:
        return False
    return key in claim.refused or any(key in run.asks for run in claim.runs if run.state != "claimed")


def _still_holds(ask: Ask, reading: TicketReading, terms: Terms) -> bool:
    if ask.withdrawn or ask.kind != "label":
        return not ask.withdrawn
    label = ask.label.casefold()
    asking = {name.casefold() for name in terms.ask.labels}
    return label in asking and label in {name.casefold() for name in reading.entry.labels}


def _standing(login: str, standings: Mapping[str, Standing]) -> Standing | None:
    """Return what somebody is; who is not known by name is nobody, and needs no looking up."""
    return standings.get(login) if login else Standing(login="")


def _names(logins: Iterable[str], standings: Mapping[str, Standing]) -> str:
    shown = []
    for login in dict.fromkeys(logins):
        standing = _standing(login, standings)
        shown.append(outbound(one_line(standing.login if standing else login, 60)) or "somebody unknown")
    if len(shown) > _MOST_NAMED:
        shown = [*shown[:_MOST_NAMED], f"{len(shown) - _MOST_NAMED} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]

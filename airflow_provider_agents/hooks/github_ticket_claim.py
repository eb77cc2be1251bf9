"""Our one comment on an issue: text for people, and the claim in a hidden marker behind it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.tickets import Claim
from airflow_provider_agents.exceptions import ForgeError

if TYPE_CHECKING:
    from collections.abc import Iterable

BODY_LIMIT = 65_536
"""Characters of a comment, at GitHub."""
NOTICE = "\n\n*Cut: a comment on GitHub holds no more.*"

_BEGIN = "<!-- agents ticket-status "
# Base64 for URLs, with `.` for `-`: two of those would not be allowed within an HTML comment.
_MARKER = re.compile(r"<!-- agents ticket-status (?P<claim>[A-Za-z0-9._=]*) -->")
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)", re.MULTILINE)


class DamagedClaimError(ValueError):
    """The marker is there, and what it holds is no claim: somebody edited the comment."""


def is_status(body: str) -> bool:
    """Tell whether a comment of ours is the one with the claim, whole or damaged."""
    return _BEGIN in body


def marker(claim: Claim) -> str:
    """Return the claim as a hidden HTML comment."""
    packed = base64.urlsafe_b64encode(claim.to_text().encode()).decode().replace("-", ".")
    return f"{_BEGIN}{packed} -->"


def claim_in(body: str) -> Claim:
    """Return the claim in our comment; of several markers the last, since we write ours behind all text.

    :raises DamagedClaimError: there is none that can be read.
    """
    found = list(_MARKER.finditer(body))
    if not found or body.rfind(_BEGIN) != found[-1].start():
        raise DamagedClaimError("its marker was cut or changed")
    packed = found[-1]["claim"].replace(".", "-")
    try:
        return Claim.from_text(base64.urlsafe_b64decode(packed).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise DamagedClaimError(str(error)) from None


def status_body(text: str, claim: Claim) -> str:
    """Return the body of the comment: the text, cut where it is too long, and the whole claim.

    :raises ForgeError: the claim alone is too long for a comment.
    """
    hidden = "\n\n" + marker(claim)
    # What looks like a marker in the text is none of ours.
    text = text.replace("\r\n", "\n").replace(_BEGIN, "<!-- ")
    room = BODY_LIMIT - len(hidden)
    if room < len(NOTICE):
        raise ForgeError(
            f"the claim of this ticket is {len(hidden):,} characters long and does not fit into a comment: "
            "too many people asked too often. Close the issue and open another one"
        )
    if len(text) <= room:
        return text + hidden
    cut = text[: room - len(NOTICE) - 8]
    cut = cut[: cut.rfind("\n")] if "\n" in cut[-2_000:] else cut
    return cut + _closing(cut) + NOTICE + hidden


def joined(claims: Iterable[Claim]) -> Claim:
    """Return what all the claims say together: no run and no refusal is lost, and no state goes back."""
    whole = Claim()
    for claim in claims:
        for run in claim.runs:
            whole = whole.with_run(run)
        whole = whole.with_refusals(*claim.refused)
    return whole


def rebased(wanted: Claim, read: Claim | None, present: Claim) -> Claim:
    """Return ``wanted`` with what somebody else wrote between our reading and now.

    :param read: what the claim was when ``wanted`` was made of it.
    :param present: what it is now.
    """
    before = {run.run_id: run for run in read.runs} if read else {}
    known = read.refused if read else ()
    for run in present.runs:
        if run != before.get(run.run_id):
            wanted = wanted.with_run(run)
    return wanted.with_refusals(*(key for key in present.refused if key not in known))


def _closing(text: str) -> str:
    """Return what ends the code block that a cut left open: the marker would be shown in it."""
    opened = ""
    for fence in _FENCE.finditer(text):
        if not opened:
            opened = fence[1]
        elif fence[1].startswith(opened):
            opened = ""
    return f"\n{opened[:7]}" if opened else ""

"""Writes to Airflow's database what a delivery tells of, once, whichever API server it came to."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.webhook_marks import is_seen, mark, remember

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.models import Variable
    from sqlalchemy.orm import Session

TRY_SECONDS = 3.0
"""How long others that write the same Variable are waited for."""
PAUSE_SECONDS = 0.05
_DESCRIPTIONS = {
    "": "What changed, by webhooks: who waits for it looks at once. May be deleted at any time.",
    "_seen": "Webhook deliveries that were taken, so that none counts twice. May be deleted at any time.",
}


def wake(variable: str, names: Sequence[str], ids: Sequence[str]) -> bool:
    """Mark the names in the wake Variable, unless the delivery was taken before; it blocks.

    :param variable: the marks; the deliveries are in ``<variable>_seen``.
    :param ids: what the delivery is known by.
    :return: whether it was marked.
    :raises sqlalchemy.exc.SQLAlchemyError: the database does not take it.
    """
    from sqlalchemy.exc import IntegrityError, OperationalError

    end = time.monotonic() + TRY_SECONDS
    while True:
        try:
            return _once(variable, names, ids)
        except (OperationalError, IntegrityError):  # locked, or made by another one at the same moment
            if time.monotonic() > end:
                raise
            time.sleep(random.uniform(PAUSE_SECONDS / 5, PAUSE_SECONDS))  # noqa: S311


def _once(variable: str, names: Sequence[str], ids: Sequence[str]) -> bool:
    from airflow.utils.session import create_session

    now = time.time()
    with create_session(scoped=False) as session:
        marks = _locked(session, variable, "")
        seen = _locked(session, variable, "_seen")
        if is_seen(seen.val, ids):
            return False
        seen.val = remember(seen.val, ids, now)
        marks.val = mark(marks.val, names, now)
        return True


def _locked(session: Session, variable: str, suffix: str) -> Variable:
    """Return the Variable, which nobody else can write before this transaction ends."""
    from airflow.models import Variable
    from sqlalchemy import select, update

    key = variable + suffix
    if session.get_bind().dialect.name == "sqlite":
        # It has no locks of rows: the first write of a transaction locks all.
        session.execute(update(Variable).where(Variable.key == key).values(key=key))
    # Not waiting for the lock here bounds the wait on every database alike.
    found = session.scalar(select(Variable).where(Variable.key == key).with_for_update(nowait=True))
    if found is None:
        found = Variable(key=key, val="{}", description=_DESCRIPTIONS[suffix])  # type: ignore[no-untyped-call]
        session.add(found)
        session.flush()
    return found

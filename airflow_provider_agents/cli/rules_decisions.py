"""``airflow agents rules decisions``: what rules decided, when, why, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.command import UsageError
from airflow_provider_agents.cli.output import as_table, show
from airflow_provider_agents.cli.retry import span_of
from airflow_provider_agents.domain.pr_rule_audit import ASSET_PREFIX, decisions_asset_name, records_of

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from airflow_provider_agents.cli.api_client import AirflowApi

DAYS = "90d"
"""How far back, and how long decisions are to be kept."""
LIMIT = 50
_PULL_REQUEST = re.compile(r"(?:(?P<repository>[^/\s#]+/[^/\s#]+))?#?(?P<number>[0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which decisions are shown."""

    rule: str = ""
    repository: str = ""
    number: int | None = None
    action: str = ""

    def fits(self, record: dict[str, Any]) -> bool:
        """Return whether a record is one of them."""
        return (
            (not self.rule or record.get("rule") == self.rule)
            and (
                not self.repository or str(record.get("repository")).casefold() == self.repository.casefold()
            )
            and (self.number is None or record.get("number") == self.number)
            and (not self.action or record.get("action") == self.action)
        )


def show_decisions(api: AirflowApi, name: str, args: Namespace) -> int:
    """Show decisions, the newest first."""
    limit = LIMIT if args.limit is None else args.limit
    if limit < 1:
        raise UsageError(f"--limit {limit}: from 1")
    begin = datetime.now(UTC) - span_of(args.since or DAYS)
    records = list(islice(_records(api, _wanted(name, args), begin), limit))
    headings = (
        "AT", "RULE", "PULL REQUEST", "HEAD", "ANSWER", "ACTION", "GUARD", "OUTCOME", "BY", "USD", "WHY",
    )  # fmt: skip
    rows = [_row(each) for each in records]
    show(records, as_table(headings, rows) if rows else "No decision is kept that fits.\n", args.output)
    return 0


def _wanted(name: str, args: Namespace) -> Wanted:
    repository, number = args.repository or "", None
    if args.pull_request is not None:
        found = _PULL_REQUEST.fullmatch(args.pull_request)
        if found is None:
            raise UsageError(f"--pull-request {args.pull_request}: write it as 7, or acme/shop#7")
        if found["repository"]:
            if repository and repository.casefold() != found["repository"].casefold():
                raise UsageError("--repository and --pull-request name two repositories")
            repository = found["repository"]
        number = int(found["number"])
    return Wanted(rule=name, repository=repository, number=number, action=args.action or "")


def _records(api: AirflowApi, wanted: Wanted, begin: datetime) -> Iterator[dict[str, Any]]:
    prefix = decisions_asset_name(wanted.rule) if wanted.rule else ASSET_PREFIX
    events = api.pages(
        "/assets/events",
        "asset_events",
        name_prefix_pattern=prefix,
        timestamp_gte=begin.isoformat(),
        order_by="-timestamp",
    )
    for event in events:
        source = {name: event.get(f"source_{name}") for name in ("dag_id", "run_id")}
        for record in records_of(event.get("extra")):
            if wanted.fits(record):
                yield {"recorded_at": event.get("timestamp"), **record, **source}


def _row(record: dict[str, Any]) -> tuple[Any, ...]:
    answer = record.get("answer") or {}
    moment = datetime.fromisoformat(str(record["decided_at"])).astimezone(UTC)
    who = record.get("person") if record.get("by") == "person" else record.get("model")
    return (
        f"{moment:%Y-%m-%d %H:%M:%S}",
        record.get("rule"),
        f"{record.get('repository')}#{record.get('number')}",
        str(record.get("head_sha"))[:12],
        answer.get("action") or record.get("fault"),
        record.get("action"),
        record.get("guard"),
        record.get("outcome"),
        who,
        f"{record.get('usd') or 0:.4f}",
        _why(record, answer),
    )


def _why(record: dict[str, Any], answer: dict[str, Any]) -> str:
    """Return the model's reason, and what a guard or GitHub said where the answer was not simply carried out."""
    reason = str(answer.get("reason") or record.get("detail") or "")
    message = str(record.get("message") or "")
    if not message or (not record.get("guard") and record.get("outcome") == "done"):
        return reason or message
    return message if reason in message else f"{message} [{reason}]"

"""``airflow agents rules check``: what is wrong with rules, what their model would be told, and what that costs."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.cli.command import EXIT_USAGE, UsageError
from airflow_provider_agents.cli.output import as_table, clean, say, show

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_files import RuleFile
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

USUAL_BYTES_PER_TOKEN = 4
USUAL_ANSWER_TOKENS = 150
"""Of a decision with two sentences of reason."""


def check_rules(names: list[str], output: str) -> int:
    """Check rules; neither a database nor Airflow's API nor a connection is needed, and no model is called.

    :param names: files, or folders of them; none: those of ``[agents] config_path``.
    :return: 0, or the code of a faulty file.
    """
    files = _named(names) if names else _installed()
    documents = [_document(file) for file in files]
    faults = [fault for document in documents for fault in document["faults"]]
    show(documents, _table(documents, alone=bool(names)), output)
    if output == "table":
        for fault in faults:
            say(fault)
    if not files:
        say("There is no rule: put one into rules/ below `[agents] config_path`")
    return EXIT_USAGE if faults else 0


def _named(names: list[str]) -> list[RuleFile]:
    from airflow_provider_agents.domain.pr_rule_files import read_rules

    paths: list[Path] = []
    for name in names:
        path = Path(name)
        paths += sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
    found = [_as_named(file) for path in paths for file in read_rules(path)]
    for file in found:
        if file.rule is not None and (fault := _without_repository(file.rule)):
            say(f"{file.place}: where it is to work, not here: {fault}")
    return found


def _as_named(file: RuleFile) -> RuleFile:
    """Return a rule under the path that was given, so that an editor finds its faults."""
    path = str(file.path)
    faults = (
        path + fault.removeprefix(file.file) if fault.startswith(file.file) else fault
        for fault in file.faults
    )
    return replace(file, file=path, faults=tuple(faults))


def _installed() -> list[RuleFile]:
    from airflow_provider_agents.operators.pr_rule_sources import rule_files

    if settings.config_folder() is None:
        raise UsageError(
            "`[agents] config_path` is not set: name files, or set it (AIRFLOW__AGENTS__CONFIG_PATH)"
        )
    return rule_files()


def _without_repository(rule: PullRequestRule) -> str:
    """Return why the options of this machine leave a rule without a repository."""
    from airflow_provider_agents.exceptions import InvalidInputError
    from airflow_provider_agents.hooks.github_scope import rule_scope

    try:
        rule_scope(rule)
    except InvalidInputError as error:
        return "; ".join(error.faults)
    return ""


def _document(file: RuleFile) -> dict[str, Any]:
    document: dict[str, Any] = {"rule": file.name, "file": file.place, "faults": list(file.faults)}
    if file.rule is None:
        return document
    prompt = sample_prompt(file.rule)
    cost = _cost(file.rule, prompt)
    parts = {"contract": prompt.contract, "rule": prompt.rule, "facts": prompt.facts}
    return {
        **document,
        "version": file.rule.version,
        "dry_run": file.rule.dry_run,
        "actions": sorted(file.rule.allowed),
        "tokens": sum(_tokens(text) for text in parts.values()),
        **cost,
        "usd_per_day": file.rule.limits.usd_per_day,
        "prompt": parts,
    }


def sample_prompt(rule: PullRequestRule) -> RulePrompt:
    """Return what the model would be asked about a pull request for which everything is well."""
    from airflow_provider_agents.domain.pr_rule_facts import facts_of
    from airflow_provider_agents.domain.pr_rule_prompt import Material, build_prompt
    from airflow_provider_agents.domain.risk import ChangedFile

    now = datetime.now(UTC)
    snapshot = _sample(rule, now)
    file = ChangedFile(path="requirements.txt", status="modified", additions=3, deletions=3)
    material = Material(files=(file,), diff=_DIFF, comments=())
    return build_prompt(rule, facts_of(snapshot, rule, application=None, now=now), material, now)


_DIFF = """\
diff --git a/requirements.txt b/requirements.txt
--- a/requirements.txt
+++ b/requirements.txt
@@ -1 +1 @@
-urllib3==2.2.1
+urllib3==2.2.2
"""


def _sample(rule: PullRequestRule, now: datetime) -> PullRequestSnapshot:
    from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot, Review

    author = next(iter(rule.selector.authors), "mona")
    head = "0123456789abcdef0123456789abcdef01234567"
    return PullRequestSnapshot(
        repository="acme/shop",
        number=7,
        node_id="sample",
        url="https://github.com/acme/shop/pull/7",
        title="Bump urllib3 from 2.2.1 to 2.2.2",
        state="OPEN",
        head_sha=head,
        head_branch="bump-urllib3",
        base_branch=rule.selector.base_branch or "main",
        read_at=now,
        mergeable="MERGEABLE",
        merge_state="CLEAN",
        checks=(Check(name="tests", state="passed", kind="check_run", conclusion="SUCCESS", required=True),),
        reviews=(Review(author="ada", state="APPROVED", can_write=True, head_sha=head),),
        labels=rule.selector.labels.include,
        author=author.removesuffix("[bot]"),
        author_is_bot=author.endswith("[bot]"),
        fork=False,
        body="Bumps urllib3.",
        created_at=now - timedelta(days=2),
        updated_at=now - timedelta(days=1),
        additions=3,
        deletions=3,
        changed_files=1,
    )


def _cost(rule: PullRequestRule, prompt: RulePrompt) -> dict[str, Any]:
    """Return what a question about the sample costs: as a rule, and at the most."""
    from agent_runner.contract import Tokens
    from airflow_provider_agents.hooks.pr_rule_prices import QuestionPrices

    # The table says which prices are not known.
    logging.getLogger("agent_runner.gateway.pricing").setLevel(logging.ERROR)
    prices = QuestionPrices()
    named = rule.model.name or settings.text("rules_model")
    model = named or _usual_model()
    size = sum(_tokens(text) for text in (prompt.contract, prompt.rule, prompt.facts))
    usual, known = prices.cost(model, Tokens(input=size, output=USUAL_ANSWER_TOKENS))
    return {
        "model": model,
        "model_assumed": not named,
        "price_known": known,
        "usd_usual": round(usual, 6),
        "usd_most": round(prices.most(model, prompt, rule.model.max_tokens), 6),
    }


def _usual_model() -> str:
    """Return the model of a connection of type `anthropic` that names none."""
    from airflow.providers.anthropic.hooks.anthropic import DEFAULT_MODEL

    return str(DEFAULT_MODEL)


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // USUAL_BYTES_PER_TOKEN)


def _table(documents: list[dict[str, Any]], *, alone: bool) -> str:
    if not documents:
        return ""
    headings = (
        "RULE",
        "FILE",
        "VERSION",
        "DRY RUN",
        "TOKENS",
        "USD A QUESTION",
        "AT MOST",
        "A DAY",
        "MODEL",
        "FAULTS",
    )
    rows = [_row(document) for document in documents]
    good = [document for document in documents if not document["faults"]]
    table = as_table(headings, rows)
    if any(not document["price_known"] for document in good):
        table += "* No price is known for it: priced as the dearest one; see [agents] prices.\n"
    if any(document["model_assumed"] for document in good):
        table += "? Named neither by the rule nor by [agents] rules_model: that of the connection counts.\n"
    if alone and len(good) == 1:
        prompt = good[0]["prompt"]
        table += "\nWhat the model is told about a sample, after the part that is the same for all rules:\n\n"
        table += clean(f"{prompt['rule']}\n{prompt['facts']}")
    return table


def _row(document: dict[str, Any]) -> tuple[Any, ...]:
    faults = len(document["faults"])
    if faults:
        return (document["rule"], document["file"], *[""] * 7, faults)
    return (
        document["rule"],
        document["file"],
        document["version"],
        "yes" if document["dry_run"] else "no",
        document["tokens"],
        f"{document['usd_usual']:.4f}{'' if document['price_known'] else ' *'}",
        f"{document['usd_most']:.4f}",
        f"{document['usd_per_day']:g}",
        f"{document['model']}{' ?' if document['model_assumed'] else ''}",
        0,
    )

"""Rules as ai-devops-operator keeps them: ``PRReconciliationRule`` manifests (``aioperator.io/v1alpha1``).

Their fields and defaults are taken as they are; what a manifest says nothing about has this project's defaults, the
guards above all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_agents.domain.model_faults import fault_lines
from airflow_provider_agents.domain.pr_rule import KNOWN_BOTS, NAME_PATTERN, PullRequestRule
from airflow_provider_agents.domain.yaml_source import validate

if TYPE_CHECKING:
    from airflow_provider_agents.domain.model_faults import Path
    from airflow_provider_agents.domain.yaml_source import Document

API_VERSION = "aioperator.io/v1alpha1"
KIND = "PRReconciliationRule"
BOT = "[bot]"

_PLACES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("instruction",): ("spec", "instruction"),
    ("interval",): ("spec", "reconciliationInterval"),
    ("merge_method",): ("spec", "mergeMethod"),
    ("dry_run",): ("spec", "dryRun"),
    ("max_pull_requests",): ("spec", "maxPRsPerCycle"),
    ("argocd", "enabled"): ("spec", "argocdEnabled"),
    ("argocd", "application"): ("spec", "argocdAppNamePattern"),
    ("selector", "labels", "include"): ("spec", "selector", "labels", "include"),
    ("selector", "labels", "exclude"): ("spec", "selector", "labels", "exclude"),
    ("selector", "title_pattern"): ("spec", "selector", "titlePattern"),
    ("selector", "base_branch"): ("spec", "selector", "baseBranch"),
    ("selector", "authors"): ("spec", "selector", "author"),
}
"""Key of a rule: where a manifest has it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metadata(BaseModel):
    """What a cluster keeps about an object; only the name counts."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1)


class Labels(_Part):
    """Labels of the selector."""

    include: list[str] | None = None
    exclude: list[str] | None = None


class Selector(_Part):
    """Which pull requests a rule is for."""

    labels: Labels | None = None
    title_pattern: str | None = Field(default=None, alias="titlePattern")
    base_branch: str | None = Field(default=None, alias="baseBranch")
    author: str | None = None


class Spec(_Part):
    """What a rule says."""

    selector: Selector | None = None
    instruction: str
    reconciliation_interval: float | None = Field(default=None, alias="reconciliationInterval")
    merge_method: Literal["SQUASH", "MERGE", "REBASE"] | None = Field(default=None, alias="mergeMethod")
    argocd_enabled: bool | None = Field(default=None, alias="argocdEnabled")
    argocd_app_name_pattern: str | None = Field(default=None, alias="argocdAppNamePattern")
    dry_run: bool | None = Field(default=None, alias="dryRun")
    max_prs_per_cycle: int | None = Field(default=None, alias="maxPRsPerCycle")


class RuleManifest(_Part):
    """A whole manifest; its status is what their operator wrote, and is not read."""

    api_version: Literal["aioperator.io/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["PRReconciliationRule"]
    metadata: Metadata
    spec: Spec
    status: Any = None


def is_manifest(document: Document) -> bool:
    """Return whether a document is meant as a manifest of Kubernetes."""
    return "kind" in document.value or "apiVersion" in document.value


def unpacked(document: Document) -> list[Document]:
    """Return the objects of a list as ``kubectl get -o yaml`` prints it; of anything else the document itself."""
    items = document.value.get("items")
    if document.value.get("kind") != "List" or not isinstance(items, list):
        return [document]
    return [document.part("items", number) for number in range(len(items))]


def read_rule_manifest(document: Document) -> tuple[str, PullRequestRule | None, list[str]]:
    """Return a manifest's name (empty where it has none that can be used), its rule, and every fault."""
    name, fault = _name(document)
    kind, version = document.value.get("kind"), document.value.get("apiVersion")
    if kind != KIND:
        return (
            "",
            None,
            [f"{document.place(('kind',))}: kind: is {kind!r}; {KIND} of {API_VERSION} is taken"],
        )
    if version != API_VERSION:
        return (
            name,
            None,
            [f"{document.place(('apiVersion',))}: apiVersion: is {version!r}; {API_VERSION} is taken"],
        )
    manifest, faults = validate(RuleManifest, document)
    if fault:
        faults.append(fault)
    if manifest is None or fault:
        return name, None, faults
    values = _values(manifest.spec)
    try:
        return name, PullRequestRule.model_validate(values), []
    except ValidationError as error:
        found = [_placed(path, text) for path, text in fault_lines(PullRequestRule, values, error)]
        placed = sorted((document.line(path), text) for path, text in found)
        return name, None, [f"{document.file}:{line}: {text}" for line, text in placed]


def _name(document: Document) -> tuple[str, str]:
    """Return the name, and what is wrong with it; a missing one is found with the other fields."""
    metadata = document.value.get("metadata")
    given = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(given, str) or not given:
        return "", ""
    # A name of Kubernetes may have dots, an asset's or a key's part better not.
    name = given.replace(".", "_")
    if re.fullmatch(NAME_PATTERN, name):
        return name, ""
    where = ("metadata", "name")
    return "", (
        f"{document.place(where)}: metadata.name: should be small letters, digits, `-` and `.`, 63 at the most "
        f"(given: {given[:80]!r})"
    )


def _values(spec: Spec) -> dict[str, Any]:
    """Return what a manifest says, under the names of a rule; what it leaves out is left out."""
    selector = spec.selector or Selector()
    labels = selector.labels or Labels()
    return _given(
        instruction=spec.instruction,
        interval=spec.reconciliation_interval,
        merge_method=spec.merge_method.lower() if spec.merge_method else None,
        dry_run=spec.dry_run,
        max_pull_requests=spec.max_prs_per_cycle,
        argocd=_given(enabled=spec.argocd_enabled, application=spec.argocd_app_name_pattern),
        selector=_given(
            labels=_given(include=labels.include, exclude=labels.exclude),
            title_pattern=selector.title_pattern,
            base_branch=selector.base_branch,
            authors=_authors(selector.author),
        ),
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _authors(author: str | None) -> list[str] | None:
    """Return who is meant: their operator compares with a login that lacks a bot's ``[bot]``."""
    if not author:
        return None
    plain = author.removesuffix(BOT)
    if author.endswith(BOT) or plain.casefold() in KNOWN_BOTS:
        return [f"{plain}{BOT}"]
    return [author, f"{author}{BOT}"]


def _placed(path: Path, text: str) -> tuple[Path, str]:
    """Return a fault of a rule as one of the manifest that it was made from."""
    for own, theirs in _PLACES.items():
        if path[: len(own)] == own:
            # A list of authors stands for one value.
            rest = () if own[-1] == "authors" else path[len(own) :]
            where = (*theirs, *rest)
            return where, f"{'.'.join(map(str, where))}: {text.partition(': ')[2]}"
    return ("spec",), text

"""GraphQL fields of the rules that a branch has: as a protection rule, or as a rule of a ruleset.

The protection rule itself is for administrators; what it means for a push or a merge stands in
``refUpdateRule``, which everybody who may push can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.github.graphql_nodes import Connection, RefNode, virtual_id
from demo.github.graphql_registry import answers

if TYPE_CHECKING:
    from demo.github.state import BranchRules, Repository


@dataclass
class ProtectionRuleNode:
    repository: Repository
    pattern: str
    rules: BranchRules

    @property
    def id(self) -> str:
        return virtual_id("BPR", self.repository.database_id, self.pattern)

    database_id = None

    @property
    def dismisses_stale_reviews(self) -> bool:
        return self.rules.dismiss_stale_reviews

    @property
    def required_approving_review_count(self) -> int | None:
        return self.rules.required_approvals or None

    @property
    def requires_approving_reviews(self) -> bool:
        return self.rules.required_approvals > 0

    @property
    def required_status_check_contexts(self) -> list[str]:
        return list(self.rules.required_checks)

    @property
    def requires_status_checks(self) -> bool:
        return bool(self.rules.required_checks)

    @property
    def requires_strict_status_checks(self) -> bool:
        return self.rules.strict_checks


@dataclass
class RepositoryRuleNode:
    repository: Repository
    branch: str
    type: str
    parameters: RequiredStatusChecksParametersNode | None

    @property
    def id(self) -> str:
        return virtual_id("RRU", self.repository.database_id, self.branch, self.type)


@dataclass
class RequiredStatusChecksParametersNode:
    rules: BranchRules

    do_not_enforce_on_create = False

    @property
    def required_status_checks(self) -> list[dict[str, Any]]:
        return [{"context": name, "integration_id": None} for name in self.rules.required_checks]

    @property
    def strict_required_status_checks_policy(self) -> bool:
        return self.rules.strict_checks


def _protection(ref: RefNode) -> ProtectionRuleNode | None:
    rules = ref.repository.rules.get(ref.name)
    if rules is None or rules.in_ruleset:
        return None
    return ProtectionRuleNode(ref.repository, ref.name, rules)


@answers("Ref", "branchProtectionRule")
def branch_protection_rule(ref: RefNode, info: Any) -> ProtectionRuleNode | None:
    return _protection(ref) if ref.repository.allows(info.context.viewer, "admin") else None


@answers("Ref", "refUpdateRule")
def ref_update_rule(ref: RefNode, info: Any) -> ProtectionRuleNode | None:
    return _protection(ref) if ref.repository.allows(info.context.viewer, "write") else None


@answers("RefUpdateRule", "viewerCanPush")
def viewer_can_push(rule: ProtectionRuleNode, info: Any) -> bool:
    return rule.repository.allows(info.context.viewer, "write")


@answers("Ref", "rules")
def rules_of(ref: RefNode, info: Any, **arguments: Any) -> Connection:
    rules = ref.repository.rules.get(ref.name)
    found = []
    if rules is not None and rules.in_ruleset:
        kinds = {
            "REQUIRED_STATUS_CHECKS": RequiredStatusChecksParametersNode(rules)
            if rules.required_checks
            else None,
            "PULL_REQUEST": None,
            "MERGE_QUEUE": None,
        }
        wanted = {
            "REQUIRED_STATUS_CHECKS": bool(rules.required_checks),
            "PULL_REQUEST": rules.required_approvals > 0,
            "MERGE_QUEUE": rules.merge_queue,
        }
        found = [
            RepositoryRuleNode(ref.repository, ref.name, kind, parameters)
            for kind, parameters in kinds.items()
            if wanted[kind]
        ]
    return Connection("rules", found, arguments)

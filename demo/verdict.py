"""Whether the demo did what it promises: asked at the forge, not at Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from demo.forge_client import ForgeClient

_PASSING = frozenset({"SUCCESS", "NEUTRAL", "SKIPPED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the forge says about the issue."""

    faults: tuple[str, ...]
    """What is not as promised, a sentence each; empty: the issue was closed by a merged pull request."""
    pull: Mapping[str, Any] | None
    """The pull request, where there is one."""
    mutations: tuple[Mapping[str, Any], ...]
    """Every change of the repository, in order."""

    @property
    def ok(self) -> bool:
        return not self.faults


def ask_forge(forge: ForgeClient, repository: str, issue_number: int) -> Verdict:
    """Read the state of the issue, the pull requests and the log of changes, and judge.

    :raise HttpError, OSError: the forge does not answer.
    """
    mutations = [entry for entry in forge.mutations() if entry["repository"] == repository]
    return judge(
        issue=forge.issue(repository, issue_number),
        pulls=forge.pull_requests(repository),
        mutations=mutations,
        default_branch_head=str(forge.get(f"/repos/{repository}/git/ref/heads/main")["object"]["sha"]),
    )


def judge(
    *,
    issue: Mapping[str, Any],
    pulls: Sequence[Mapping[str, Any]],
    mutations: Sequence[Mapping[str, Any]],
    default_branch_head: str,
) -> Verdict:
    """Hold the facts against the promise: one pull request, one merge of the head that passed, one close.

    :param issue: the issue, as GitHub's REST API gives it.
    :param pulls: all pull requests of the repository.
    :param mutations: the stand-in's log of changes of this repository.
    :param default_branch_head: commit that the default branch is at.
    """
    opened = [entry for entry in mutations if entry["kind"] == "pull_request.opened"]
    merges = [entry for entry in mutations if entry["kind"] == "pull_request.merged"]
    closes = [
        entry for entry in mutations if entry["kind"] == "issue.closed" and entry["number"] == issue["number"]
    ]
    faults = []
    if issue["state"] != "closed":
        faults.append(f"Issue #{issue['number']} is still {issue['state']}.")
    for things, what in (
        (opened, "pull requests were opened"),
        (merges, "merges"),
        (closes, "closes of the issue"),
    ):
        if len(things) != 1:
            faults.append(f"{what[0].upper()}{what[1:]}: {len(things)}, not exactly 1.")
    if merges and closes and closes[0]["seq"] < merges[0]["seq"]:
        faults.append("The issue was closed before the pull request was merged.")
    pull = next((pull for pull in pulls if pull.get("merged")), pulls[0] if pulls else None)
    if merges and pull:
        faults += _merge_faults(pull, merges[0], mutations, default_branch_head)
    return Verdict(faults=tuple(faults), pull=pull, mutations=tuple(mutations))


def _merge_faults(
    pull: Mapping[str, Any],
    merge: Mapping[str, Any],
    mutations: Sequence[Mapping[str, Any]],
    default_branch_head: str,
) -> list[str]:
    faults = []
    if merge["details"].get("sha") != default_branch_head:
        faults.append("The default branch is not at the commit that the merge made.")
    head = merge["details"].get("head_sha")
    # The last conclusion of each check counts: a check may have been run again.
    conclusions = {
        entry["details"].get("name"): entry["details"]["conclusion"]
        for entry in mutations
        if entry["kind"] == "check.completed"
        and entry["details"].get("sha") == head
        and entry["seq"] < merge["seq"]
    }
    if not conclusions:
        faults.append(f"Pull request #{pull['number']} was merged at a head on which no check had passed.")
    for name, conclusion in conclusions.items():
        if conclusion not in _PASSING:
            faults.append(
                f"Pull request #{pull['number']} was merged although {name} ended with {conclusion}."
            )
    return faults

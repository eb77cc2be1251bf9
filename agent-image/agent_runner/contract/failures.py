"""Every way a step can fail: code → category, remedy, and whether the same step may succeed unchanged.

The one place where these are decided. Who finds a failure gives its code and says what happened; the
remedy here is what a person can do about it, in one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_runner.contract.step import Failure, FailureCategory


@dataclass(frozen=True, slots=True)
class FailureKind:
    """What is always so about failures of one code."""

    category: FailureCategory
    remedy: str
    retryable: bool = False


FAILURES: dict[str, FailureKind] = {
    # The image and what is in it
    "image_pull": FailureKind("image", "Check `image` and the image pull secrets."),
    "registry_unavailable": FailureKind(
        "image", "Look whether the image registry answers, and at its rate limit.", True
    ),
    "agent_missing": FailureKind(
        "image", "Use an image made from agent-image/Dockerfile, or add the program to yours."
    ),
    "agent_incompatible": FailureKind(
        "image", "Use the version of the agent program that agent-image/Dockerfile pins."
    ),
    "git_missing": FailureKind("image", "Add git to the image."),
    # Credentials
    "forge_refused": FailureKind(
        "auth", "Check that the forge credential may read and write this repository."
    ),
    "model_credential": FailureKind(
        "auth", "Replace the model's credential in the secret of the installation."
    ),
    "model_forbidden": FailureKind("auth", "Check what the model's credential may use."),
    "kubernetes_refused": FailureKind(
        "auth",
        "Give Airflow's Kubernetes identity these rights in the namespace of the pods: on pods get, list, create, "
        "patch and delete; on pods/log get.",
    ),
    # Network and the model's API
    "kubernetes_unavailable": FailureKind(
        "network", "Look whether the Kubernetes API answers; the step goes on when it does.", True
    ),
    "gateway_missing": FailureKind("network", "Read the log of the pod's gateway container.", True),
    "gateway_unreachable": FailureKind("network", "Read the log of the pod's gateway container.", True),
    "forge_unavailable": FailureKind("network", "Run the step again when the forge answers.", True),
    "model_unavailable": FailureKind("network", "Run the step again when the model's API answers.", True),
    "model_rate_limited": FailureKind(
        "rate_limit", "Run fewer steps at once, or raise the limit of the model's credential.", True
    ),
    "model_overloaded": FailureKind("rate_limit", "Run the step again later.", True),
    "model_quota": FailureKind("quota", "Add credit to the account of the model's credential."),
    "budget_exhausted": FailureKind(
        "budget", "Raise budget_usd or budget_tokens of the task, or make the task smaller."
    ),
    # Time
    "step_timeout": FailureKind("timeout", "Raise step_timeout, or make the task smaller."),
    "test_timeout": FailureKind("timeout", "Raise step_timeout, or give a test command that is quicker."),
    "setup_timeout": FailureKind(
        "timeout",
        "Make .agents/setup.sh quicker, raise step_timeout, or put what it installs into the image.",
    ),
    "git_timeout": FailureKind("timeout", "Look why the forge is slow, and run the step again.", True),
    "pod_deadline": FailureKind("timeout", "Raise step_timeout, or make the task smaller."),
    "terminated": FailureKind(
        "evicted",
        "Run the step again, unless it was stopped on purpose: the pod was deleted, its node drained, or its "
        "deadline passed.",
        True,
    ),
    "agent_stalled": FailureKind("timeout", "Run the step again; its session goes on.", True),
    # The agent
    "agent_stuck": FailureKind("agent", "Say in the ticket how to get past the command that is repeated."),
    "agent_question": FailureKind("agent", "Answer the question in the ticket, and run the step again."),
    "agent_aborted": FailureKind("agent", "Run the step again.", True),
    "agent_crashed": FailureKind("agent", "Run the step again.", True),
    "agent_error": FailureKind("agent", "Read the task log."),
    "checkout_broken": FailureKind(
        "agent", "Run the step again; if it comes back, tell the agent in the ticket to leave .git alone."
    ),
    "malformed_result": FailureKind("agent", "Use an image and a provider of the same version."),
    "max_turns": FailureKind("agent", "Allow more turns, or make the task smaller."),
    "model_refused": FailureKind("agent", "Word the task differently."),
    "model_request_refused": FailureKind("agent", "Read the message: the model's API refused the request."),
    "no_changes": FailureKind("agent", "Say in the ticket what is to be changed, or use another model."),
    "no_structured_output": FailureKind("agent", "Run the step again, or make its schema simpler."),
    "permission_denied": FailureKind(
        "agent", "Allow the tools, or word the task so that they are not needed."
    ),
    "runner_crashed": FailureKind("agent", "Read the end of the task log.", True),
    "session_lost": FailureKind("agent", "Start a new session."),
    "unrelated_history": FailureKind(
        "agent", "Run the step again; if it comes back, tell the agent not to rewrite history."
    ),
    "work_discarded": FailureKind(
        "agent", "Run the step again; if the work is to be dropped, close the pull request."
    ),
    "prompt_too_long": FailureKind("context", "Make the task smaller."),
    # Tests
    "tests_failed": FailureKind("tests", "Read the end of their output."),
    # Git
    "base_branch_missing": FailureKind("git", "Correct the base branch of the task."),
    "git_failed": FailureKind("git", "Read the task log."),
    "head_moved": FailureKind("git", "Start from the branch as it is now."),
    "push_refused": FailureKind(
        "git", "Do what the reason asks for: it comes from the gateway, or from the rules of the branch."
    ),
    "protected_paths": FailureKind(
        "git", "Leave the named files alone, or take them out of protected_paths of the installation."
    ),
    "unverified_head": FailureKind("git", "Look at the log of the step and at the branch."),
    "conflict_markers": FailureKind("conflict", "Let the agent try again, or resolve the conflict by hand."),
    "unfinished_rebase": FailureKind("conflict", "Let the agent try again, or resolve the conflict by hand."),
    # Kubernetes
    "out_of_memory": FailureKind("resource", "Raise `memory`, or make the work need less.", True),
    "gateway_memory": FailureKind(
        "resource",
        "Run the step again; if it comes back, push less at once, or report what was pushed.",
        True,
    ),
    "evicted": FailureKind("evicted", "Give the step more memory or the node less load.", True),
    "preempted": FailureKind(
        "evicted", "Give the step's pods a higher priority class, or the cluster more room.", True
    ),
    "drained": FailureKind(
        "evicted", "Nothing, where the node was drained; the step starts elsewhere.", True
    ),
    "node_gone": FailureKind(
        "evicted", "Look at the state of the node; the step starts again elsewhere.", True
    ),
    "pod_gone": FailureKind("evicted", "Look who deleted the pod; the step starts again.", True),
    "not_ended": FailureKind("evicted", "Look at the state of the node.", True),
    "unschedulable": FailureKind(
        "scheduling", "Give the cluster a node that fits, or ask for less `cpu` and `memory`.", True
    ),
    "not_started": FailureKind(
        "scheduling", "See the pod's events: node resources, claims, image, secrets.", True
    ),
    "claim_pending": FailureKind(
        "storage", "Look at the claim's events: its storage class must exist and have room.", True
    ),
    "claim_held": FailureKind(
        "storage", "Wait until the pods that the message names have ended, or delete them.", True
    ),
    "claim_unsettled": FailureKind("storage", "Look at the claim: something keeps changing it.", True),
    "storage_quota": FailureKind(
        "storage", "Wait for other runs to end, delete claims that nobody needs, or raise the quota.", True
    ),
    "volume_mount": FailureKind("storage", "Look at the pod's events, and correct what they name.", True),
    "cache_unusable": FailureKind(
        "storage",
        "Look at the claim of `[agents] cache_claim`: it has to be writable and to have room.",
        True,
    ),
    "disk_full": FailureKind("storage", "Raise `workspace_size`, or make the work need less room.", True),
    # Configuration
    "container_config": FailureKind(
        "config", "Correct what the message names: a secret, a config map or a mount."
    ),
    "pod_refused": FailureKind(
        "config", "Correct what the message names: an argument of the operator, or a policy of the cluster."
    ),
    "secret_missing": FailureKind("config", "Create the secret that the message names."),
    "gateway_crashed": FailureKind(
        "config", "See the log of the container `gateway`; the image may be older than the provider."
    ),
    "environment": FailureKind(
        "config", "Start the runner through the step operator, or set these variables."
    ),
    "agent_unknown": FailureKind("config", "Correct `agent`, or use an image that has the program."),
    "model_not_found": FailureKind("config", "Correct the model's name."),
    "no_test_command": FailureKind(
        "config", "Set the test command of the task, or add a Makefile with a target `test`."
    ),
    "test_command_not_found": FailureKind(
        "config", "Correct the test command, or use an image that has the programs it needs."
    ),
    "repository_not_found": FailureKind(
        "config", "Check the repository's name and that the forge credential may see it."
    ),
    "schema_too_large": FailureKind("config", "Use a smaller schema."),
    "setup_failed": FailureKind(
        "config",
        "Correct .agents/setup.sh; the end of its output is in the message, all of it in the task log.",
    ),
    "spec_invalid": FailureKind("config", "Use an image and a provider of the same version."),
    "spec_unreadable": FailureKind("config", "Report a bug."),
    # What nobody foresaw
    "no_container_status": FailureKind("unknown", "Look at the pod's events.", True),
    "runner_error": FailureKind("unknown", "Read the traceback in the task log."),
    "no_reason": FailureKind("unknown", "Read the task log."),
}
"""Public: a test holds ``docs/failures.md`` to it."""


def failure(code: str, message: str, *, remedy: str | None = None) -> Failure:
    """Return the failure of ``code``.

    :param message: what happened, for a person.
    :param remedy: in place of the usual one, where more is known.
    :raises KeyError: if :data:`FAILURES` does not have the code.
    """
    kind = FAILURES[code]
    return Failure(
        category=kind.category,
        code=code,
        message=message,
        remedy=kind.remedy if remedy is None else remedy,
        retryable=kind.retryable,
    )

"""What can happen on the way to a merge, each as a short play: ``make demo SCENARIO=review`` and so on.

Every scenario is the demo's own story with one more turn in it: rules of the branch, other people's deeds on
cue, and scenes of the model beside those of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from demo.scenario import REPOSITORY, SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

SCENES = SAMPLE / "scenarios"
"""One YAML file a scenario that needs scenes of its own; they are tried before the sample's."""

PERSON = "mona"
"""Who plays the other people. May write."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a cue may look at: the forge's log of changes, and Airflow's task instances by id."""

    mutations: Sequence[Mapping[str, Any]]
    tasks: Mapping[str, Mapping[str, Any]]

    def last(self, kind: str) -> Mapping[str, Any] | None:
        """Return the last change of a kind."""
        return next((entry for entry in reversed(self.mutations) if entry["kind"] == kind), None)

    def state(self, task_id: str) -> str | None:
        """Return the state of a task."""
        return self.tasks.get(task_id, {}).get("state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that a person does, once, when the time has come."""

    what: str
    """Said to whoever watches."""
    when: Callable[[Seen], bool]
    act: str | None = None
    """A deed of the stand-in GitHub, by :data:`PERSON`."""
    values: Callable[[Seen], dict[str, Any]] = lambda seen: {}
    answer: tuple[str, str, dict[str, Any]] | None = None
    """Task, option and fields of an answer on Airflow's page of required actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A play."""

    name: str
    title: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Branch → its rules at the stand-in GitHub."""
    deeds: tuple[Deed, ...] = ()
    needs: tuple[str, ...] = ()
    """Kinds of changes that must be in the forge's log at the end, in this order."""

    @property
    def scenes(self) -> Path | None:
        """File with its own scenes."""
        file = SCENES / f"{self.name}.yaml"
        return file if file.is_file() else None

    def faults(self, mutations: Sequence[Mapping[str, Any]]) -> list[str]:
        """Say what did not happen that should have, a sentence each."""
        kinds = iter(entry["kind"] for entry in mutations)
        return [f"There was no {kind} at its place." for kind in self.needs if kind not in kinds]


def _opened(seen: Seen) -> bool:
    return seen.last("pull_request.opened") is not None


def _theirs(seen: Seen) -> dict[str, Any]:
    """Return a change of the base branch in the lines that the agent changes too."""
    text = (REPOSITORY / "letters" / "template.py").read_text()
    loop = "    for name in names:\n"
    assert loop in text
    files = {"letters/template.py": text.replace(loop, "    for name in sorted(names):\n")}
    return {"branch": "main", "files": files, "message": "Fill in names in a fixed order"}


def _first_checks_passed(seen: Seen) -> bool:
    return seen.state("land.round_1.fix") in ("running", "deferred", "success")


SCENARIOS: Mapping[str, Scenario] = {
    each.name: each
    for each in (
        Scenario(
            name="review",
            title="A review agent reads each head before the merge; its objection goes back to the agent",
            conf={"review": "on_checks_passed"},
            needs=(
                "pull_request.opened",
                "review.submitted",
                "push",
                "review.submitted",
                "pull_request.merged",
            ),
        ),
        Scenario(
            name="conflict",
            title="Somebody changes the same lines on main; the agent rebases",
            deeds=(
                Deed(
                    what=f"{PERSON} changes the same lines on main",
                    when=_opened,
                    act="push_commit",
                    values=_theirs,
                ),
            ),
            needs=("pull_request.opened", "push", "pull_request.merged"),
        ),
        Scenario(
            name="flaky",
            title="A check dies of its network; it is run again, and nobody's money is spent on it",
            deeds=(
                Deed(
                    what="The next run of `tests` will lose its network",
                    when=_first_checks_passed,
                    act="script_check",
                    values=lambda seen: {
                        "name": "tests",
                        "conclusion": "failure",
                        "title": "tests",
                        "log": "Fetching the interpreter\nerror: connect ETIMEDOUT 192.0.2.7:443\n"
                        "##[error]Process completed with exit code 1.\n",
                    },
                ),
            ),
            needs=("check.rerequested", "pull_request.merged"),
        ),
        Scenario(
            name="queue",
            title="main is merged into by a queue, whose own run of the checks throws the pull request out once",
            rules={
                "main": {"required_checks": ["tests", "docs"], "merge_queue": True, "queue_method": "squash"}
            },
            deeds=(
                Deed(
                    what="The first run of `tests` in the merge queue will fail",
                    when=_opened,
                    act="script_check",
                    values=lambda seen: {
                        "name": "tests",
                        "on": "merge_group",
                        "conclusion": "failure",
                        "title": "tests",
                        "log": "##[error]letters/template.py: substitute() does not say what it does with text "
                        "that is no placeholder\n",
                    },
                ),
            ),
            needs=(
                "merge_queue.entered",
                "merge_queue.left",
                "push",
                "merge_queue.entered",
                "pull_request.merged",
            ),
        ),
        Scenario(
            name="escalate",
            title="The fix rounds are used up; a person is asked, and grants another with instructions",
            conf={"max_rounds": 0},
            deeds=(
                Deed(
                    what="Somebody answers in Airflow: another round",
                    when=lambda seen: (
                        seen.state("land.round_1.gate") in ("awaiting_input", "deferred")
                        and any(entry["kind"] == "comment.created" for entry in seen.mutations)
                    ),
                    answer=(
                        "land.round_1.gate",
                        "Another round",
                        {
                            "instructions": "Every public function needs an example; `make docs` shows which lack one."
                        },
                    ),
                ),
            ),
            needs=("pull_request.opened", "comment.created", "push", "pull_request.merged"),
        ),
    )
}

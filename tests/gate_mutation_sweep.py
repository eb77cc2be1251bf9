"""Breaks the landing gates in ways that would hurt and shows that tests notice: ``python -m tests.gate_mutation_sweep``.

Beside :mod:`tests.mutation_sweep`, which breaks the rules. Each mutant is a change of the source of the gate,
its acts, its memory, its questions, or who may command. Against each run the single histories of
``tests/contract/landing``, then the unit tests of the gate, then drawn histories, until one notices.
Prints a table; exits with 1 where a mutant survives.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "agent-image"), str(ROOT / "tests/contract/landing")]
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-sweep-"))

import pytest  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from landing_examples import EXAMPLES  # noqa: E402
from landing_run import play  # noqa: E402
from landing_strategies import HISTORIES  # noqa: E402
from test_landing_examples import check  # noqa: E402

if TYPE_CHECKING:
    from types import ModuleType

    from landing_history_plan import History

PACKAGE = "airflow_provider_agents"
UNIT_TESTS = ("test_landing_gate.py", "test_landing_escalation.py")
DRAWN = 60


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One broken gate."""

    name: str
    module: str
    old: str
    new: str

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Put the broken functions and methods of the module into place."""
        module = importlib.import_module(f"{PACKAGE}.{self.module}")
        source = inspect.getsource(module)
        if source.count(self.old) != 1:
            raise SystemExit(
                f"{self.name}: {self.module} has {self.old!r} {source.count(self.old)} times, not once"
            )
        fresh: dict[str, Any] = dict(vars(module))
        exec(
            compile(source.replace(self.old, self.new), str(module.__file__), "exec"), fresh
        )  # our own source
        for name, value in fresh.items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value):
                _patch_class(patch, module, name, value)
            elif inspect.isfunction(value):
                patch.setattr(module, name, value)
                _patch_imports(patch, module, name, value)


GATE, ACTS, MEMORY = "operators.landing_look", "operators.landing_acts", "operators.landing_memory"
CALLS = "operators.merge_calls"
PEOPLE, AUTHORITY = "operators.landing_escalation", "domain.authority"
MUTANTS = (
    Mutant(
        "no reading after an act", GATE, "        after = self._read(task)\n", "        after = snapshot\n"
    ),
    Mutant(
        "whatever head there is is merged",
        CALLS,
        "s.repository, s.number, head_sha=s.head_sha, method",
        "s.repository, s.number, head_sha=(await client.snapshot(s.repository, s.number)).head_sha, method",
    ),
    Mutant("merges are not counted", GATE, "if calls > MOST_MERGE_CALLS:", "if False:"),
    Mutant("no intent before a merge", GATE, "        remember(context, key, intent)\n", ""),
    Mutant(
        "strangers command",
        AUTHORITY,
        "return may(standing_of(comment), action, rules)",
        "return True",
    ),
    Mutant(
        "strangers object",
        AUTHORITY,
        'told = review.state == "CHANGES_REQUESTED" and review.can_write',
        'told = review.state == "CHANGES_REQUESTED"',
    ),
    Mutant("it forgets what a round was given", GATE, "answered=feedback.answered_keys,", "answered=(),"),
    Mutant("it forgets the rounds", GATE, "rounds=(*memory.history.rounds, new),", "rounds=(),"),
    Mutant(
        "it forgets what a failure looked like", GATE, "fingerprint=fingerprint(feedback),", 'fingerprint="",'
    ),
    Mutant(
        "a round counts before it is handed over",
        GATE,
        "        memory.hand_on(\n",
        "        memory.change(\n",
    ),
    Mutant("it hands no history on", MEMORY, "value=handed.to_dict()", "value={}"),
    Mutant(
        "it writes nothing down",
        MEMORY,
        "        remember(self._context, self._key, self.history.to_dict())\n",
        "        pass\n",
    ),
    Mutant(
        "it forgets that checks ran again",
        ACTS,
        "            self._memory.change(reruns=(*before, rerun))\n",
        "            pass\n",
    ),
    Mutant(
        "it forgets that it is in the queue",
        ACTS,
        "        self._memory.change(enqueued=(*self._memory.history.enqueued, entry))\n",
        "",
    ),
    Mutant(
        "nothing is taken back",
        CALLS,
        "            await client.dequeue(s.node_id)\n",
        "            pass\n",
    ),
    Mutant(
        "a comment is written each time",
        ACTS,
        'await client.comment_once(snapshot.repository, snapshot.number, f"landing:{marker}", text)',
        "await client.comment(snapshot.repository, snapshot.number, text)",
    ),
    Mutant("commands are obeyed again", MEMORY, "commands=self.history.commands | frozenset(commands), ", ""),
    Mutant(
        "an answer is not kept",
        PEOPLE,
        '        remember(self._context, self._key("answer_taken"), answer.to_dict())\n',
        "",
    ),
    Mutant(
        "an answer counts for ever", PEOPLE, 'self._key("answer_taken"), {})', 'self._key("nothing"), {})'
    ),
    Mutant("no deadline", GATE, "if datetime.now(tz=UTC) < self._deadline(task, context):", "if True:"),
    Mutant(
        "a round of the graph's end",
        GATE,
        'if decision.verdict == "fix" and self.round_tasks.fix is None:\n                decision',
        "if False:\n                decision",
    ),
    Mutant("threads are not answered", GATE, "        if replies:\n", "        if False:\n"),
)


def main() -> int:
    """Sweep; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of mutants that contain this")
    only = parser.parse_args().only
    started = time.monotonic()
    assert not (why := noticed()), f"the tests fail without a mutant: {why}"
    survived = 0
    for mutant in MUTANTS:
        if only not in mutant.name:
            continue
        with pytest.MonkeyPatch.context() as patch:
            mutant.apply(patch)
            why = noticed()
        survived += not why
        print(f"{mutant.name:42} {why or 'SURVIVED'}", flush=True)
    print(f"{survived} survived, {time.monotonic() - started:.0f} s")
    return 1 if survived else 0


def noticed() -> str:
    """Return which test notices the gates as they are now; empty where none does."""
    for example in sorted(EXAMPLES, key=lambda each: "dies" in each.name):
        try:
            check(example)
        except Exception as error:
            return f"history: {example.name} ({type(error).__name__})"
    folder = ROOT / "tests/unit/operators"
    with contextlib.redirect_stdout(io.StringIO()):
        failed = pytest.main(["-qx", "-p", "no:cacheprovider", *(str(folder / name) for name in UNIT_TESTS)])
    if failed:
        return "unit tests of the gate"
    quick = settings(
        max_examples=DRAWN,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        quick(given(HISTORIES)(_play))()
    except Exception as error:
        return f"drawn histories ({type(error).__name__})"
    return ""


def _play(history: History) -> None:
    play(history)


def _patch_class(patch: pytest.MonkeyPatch, module: ModuleType, name: str, broken: type) -> None:
    """Give the class that everybody has the methods of the broken one."""
    known = getattr(module, name)
    for attribute, value in vars(broken).items():
        # Not how it is made: no mutant changes that, and it names its parent.
        if inspect.isfunction(value) and attribute != "__init__":
            value.__globals__[name] = known
            patch.setattr(known, attribute, value)


def _patch_imports(patch: pytest.MonkeyPatch, module: ModuleType, name: str, broken: Any) -> None:
    """Put a broken function wherever it was imported to."""
    for other in list(sys.modules.values()):
        if str(getattr(other, "__name__", "")).startswith(PACKAGE) and other is not module:
            known = vars(other).get(name)
            if inspect.isfunction(known) and known.__module__ == module.__name__:
                patch.setattr(other, name, broken)


if __name__ == "__main__":
    sys.exit(main())

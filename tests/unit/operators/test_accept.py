"""What is refused before any model is paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakes import URL, GitHub, TaskInstance, context, issue, pull_request_ref, repository

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.operators.accept import AcceptTaskOperator
from airflow_provider_agents.operators.credential_check import CredentialCheck

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"repository": "acme/shop", "issue_number": 3}


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    github = GitHub().install(monkeypatch)
    github.issues[3] = issue()
    return github


class Checked:
    """The check of the credentials, replaced."""

    def __init__(self) -> None:
        self.asked: list[CredentialCheck] = []
        self.faults: list[str] = []

    def __call__(self, check: CredentialCheck) -> None:
        self.asked.append(check)
        if self.faults:
            raise InvalidInputError(self.faults)


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> Checked:
    found = Checked()
    monkeypatch.setattr(CredentialCheck, "run", lambda check: found(check))
    return found


def accept(ti: TaskInstance | None = None, **conf: Any) -> CodingTask:
    ti = ti or TaskInstance("accept")
    operator = AcceptTaskOperator(task_id="accept")
    return CodingTask.model_validate(operator.execute(context(ti, params=GOOD | conf)))


def faults(**conf: Any) -> list[str]:
    ti = TaskInstance("accept")
    with pytest.raises(InvalidInputError) as caught:
        accept(ti, **conf)
    assert ti.pushed["failure"] == str(caught.value)
    return caught.value.faults


def test_an_accepted_task_holds_what_was_looked_up() -> None:
    task = accept()
    assert task.base_sha == "c" * 40
    assert task.ticket is not None
    assert (task.ticket.number, task.ticket.title, task.ticket.author) == (3, "The basket is empty", "mona")
    assert task.work_branch.startswith("ai/issue-3-")


def test_a_prompt_needs_no_issue(github: GitHub) -> None:
    github.issues.clear()
    assert accept(issue_number=None, prompt="{{ 7*7 }}").title == "{{ 7*7 }}"


def test_a_retry_accepts_the_same_task() -> None:
    assert accept() == accept()


def test_an_own_conf_is_used_in_place_of_the_params() -> None:
    operator = AcceptTaskOperator(task_id="accept", conf={"repository": "acme/shop", "prompt": "p"})
    values = operator.execute(context(TaskInstance("accept"), params={"repository": "nonsense"}))
    assert values["request"]["prompt"] == "p"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"archived": True}, "is archived"),
        ({"viewer_permission": "READ"}, "has READ on acme/shop; it needs WRITE"),
        ({"viewer_permission": "TRIAGE"}, "it needs WRITE"),
        ({"squash_allowed": False}, "merge_method: acme/shop does not allow squash; allowed: merge, rebase"),
    ],
)
def test_a_repository_that_cannot_be_worked_in(github: GitHub, info: dict[str, Any], words: str) -> None:
    github.info = repository(**info)
    (fault,) = faults()
    assert words in fault


@pytest.mark.parametrize("permission", ["WRITE", "MAINTAIN", "ADMIN", None])
def test_permissions_that_will_do(github: GitHub, permission: Any) -> None:
    github.info = repository(viewer_permission=permission)
    accept()


def test_an_unknown_repository(github: GitHub) -> None:
    github.info = ForgeAccessError("acme/shop is not there")
    assert faults() == ["repository: acme/shop is not there"]


def test_an_unknown_base_branch_names_the_default_one() -> None:
    assert faults(base_branch="trunk") == [
        "base_branch: acme/shop has no branch trunk; its default branch is main"
    ]


def test_a_repository_is_called_by_its_present_name(github: GitHub) -> None:
    # GitHub answers to a former name, too; the settings and limits are those of the present one.
    github.info = repository(name_with_owner="acme/store")
    assert faults() == ["repository: acme/shop is acme/store by now; name it so"]
    github.info = repository(name_with_owner="Acme/Shop")
    assert accept().request.repository == "acme/shop"


@pytest.mark.parametrize("state", ["CLOSED", "MERGED"])
def test_a_branch_whose_pull_request_has_ended_is_refused_before_anything_is_paid(
    github: GitHub, checked: Checked, state: str
) -> None:
    # As of a manifest that was changed after its run had merged: it names the same branch again.
    github.pull_requests = [pull_request_ref(head_branch="ai/fix-it", state=state)]
    (fault,) = faults(work_branch="ai/fix-it")
    assert fault == (
        f"work_branch: {URL} of branch ai/fix-it is {state.lower()} already; choose another work_branch"
    )
    assert checked.asked == []
    github.pull_requests = [pull_request_ref(head_branch="ai/fix-it", base_branch="release", state=state)]
    assert accept(work_branch="ai/fix-it").work_branch == "ai/fix-it"


def test_a_run_that_is_cleared_after_its_end_says_so_before_anything_is_paid(github: GitHub) -> None:
    github.pull_requests = [pull_request_ref(head_branch=accept().work_branch, state="MERGED")]
    assert faults()[0].endswith("is merged already; start a new run")


def test_a_branch_whose_pull_request_is_open_is_worked_on(github: GitHub) -> None:
    github.pull_requests = [pull_request_ref(head_branch="ai/fix-it")]
    assert accept(work_branch="ai/fix-it").work_branch == "ai/fix-it"


def test_the_default_branch_is_no_work_branch(github: GitHub) -> None:
    github.branches["release"] = "e" * 40
    assert faults(base_branch="release", work_branch="main") == [
        "work_branch: is the default branch of the repository; choose another name"
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"state": "CLOSED"}, "#3 is closed; reopen it or start from a prompt"),
        ({"is_pull_request": True}, "acme/shop#3 is a pull request, not an issue"),
    ],
)
def test_an_issue_that_is_none(github: GitHub, values: dict[str, Any], words: str) -> None:
    github.issues[3] = issue(**values)
    assert faults() == [f"issue_number: {words}"]


def test_an_unknown_issue(github: GitHub) -> None:
    github.issues[3] = ForgeAccessError("no issue #3")
    assert faults() == ["issue_number: no issue #3"]


def test_all_that_is_wrong_is_named_at_once(github: GitHub) -> None:
    github.info = repository(archived=True, viewer_permission="READ", rebase_allowed=False)
    github.issues[3] = issue(state="CLOSED")
    found = faults(base_branch="trunk", merge_method="rebase")
    assert [fault.split(":")[0] for fault in found] == [
        "repository",
        "repository",
        "base_branch",
        "merge_method",
        "issue_number",
    ]


def test_bad_conf_asks_nobody(github: GitHub) -> None:
    github.info = RuntimeError("must not be asked")
    assert faults(max_rounds=99, surprise=1)


def test_the_bounds_are_those_of_the_graph() -> None:
    operator = AcceptTaskOperator(task_id="accept", bounds=Bounds(max_attempts=1, max_rounds=1))
    with pytest.raises(InvalidInputError, match="over the bound 1"):
        operator.execute(context(TaskInstance("accept"), params=GOOD | {"max_attempts": 2}))


def test_an_outage_is_no_fault_of_the_input(github: GitHub) -> None:
    github.info = ForgeUnavailableError("502")
    with pytest.raises(ForgeUnavailableError):
        accept()


def test_the_credentials_of_the_pods_are_checked(checked: Checked) -> None:
    accept(agent="codex", read_repositories=["acme/lib"])
    (check,) = checked.asked
    assert (check.repository, check.program, list(check.read_repositories)) == (
        "acme/shop",
        "codex",
        ["acme/lib"],
    )
    accept()
    assert checked.asked[-1].program == "claude"


def test_a_credential_that_will_not_do_fails_the_task(checked: Checked) -> None:
    checked.faults = ["the key is refused"]
    assert faults() == ["the key is refused"]


def test_credentials_are_not_checked_for_bad_input(checked: Checked) -> None:
    faults(base_branch="trunk")
    assert checked.asked == []


PRESETS = "registry.example.com/agent:1-{preset}"


@pytest.fixture
def presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", PRESETS)


@pytest.mark.usefixtures("presets")
def test_the_preset_is_found_from_the_files_of_the_base(
    github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    github.root = frozenset({"go.mod", "README.md"})
    task = accept()
    assert task.image(PRESETS) == "registry.example.com/agent:1-go"
    assert github.asked == [f"root_files acme/shop {'c' * 40}"]
    assert "Image preset go, from the repository's files." in capsys.readouterr().out


@pytest.mark.usefixtures("presets")
@pytest.mark.parametrize(
    ("conf", "image"),
    [
        ({"image_preset": "node"}, "registry.example.com/agent:1-node"),
        ({"image": "own:1"}, "own:1"),
        ({"image": "own:1", "image_preset": "node"}, "own:1"),
    ],
)
def test_what_was_asked_for_is_not_looked_up(github: GitHub, conf: dict[str, str], image: str) -> None:
    github.root = RuntimeError("must not be asked")
    assert accept(**conf).image(PRESETS) == image


def test_one_image_for_all_is_not_looked_up(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "agent:1")
    github.root = RuntimeError("must not be asked")
    assert accept().image_preset is None


@pytest.mark.usefixtures("presets")
@pytest.mark.parametrize("error", [ForgeUnavailableError("502"), ForgeAccessError("no contents")])
def test_files_that_cannot_be_read_make_it_the_full_image(
    github: GitHub, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    github.root = error
    assert accept().image_preset == "full"
    assert f"could not be read from its files, so the image has all of them: {error}" in caplog.text


def test_a_preset_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "agent:1")
    (fault,) = faults(image_preset="rust")
    assert fault.startswith("image_preset: `[agents] image` of this installation contains no {preset}")
    assert accept(image_preset="rust", image="own:1").image("agent:1") == "own:1"


# Settings of several places


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    return tmp_path


FILE = """\
defaults:
  base_branch: trunk
  plan_turns: 20
  max_rounds: 9
  protected_paths: [ci/**]
  prompts: {plan: {file: plan.md}, fix: Mend it.}
  authority: {merge: {permission: admin}}
  limits: {budget_usd: 30}
repositories:
  acme/shop:
    plan_turns: 30
    fix_turns: 10
    test_command: make test
    mcp_servers: [docs]
mcp_servers:
  docs: {url: https://docs.example.com/mcp, tools: [search]}
"""


def test_the_task_has_the_settings_of_all_places(
    github: GitHub, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "repositories.yaml").write_text(FILE)
    (folder / "plan.md").write_text("Plan it.\n")
    github.branches["trunk"] = "d" * 40
    github.texts[".agents.yaml", "d" * 40] = (
        "plan_turns: 25\nfix_turns: 90\nprotected_paths: [db/**]\nauto_merge: false\n"
    )
    ti = TaskInstance("accept")
    with caplog.at_level("INFO"):
        # The form shows what `defaults:` has: a run that leaves it has not set it.
        task = accept(ti, base_branch="trunk", plan_turns=20, max_rounds=5, budget_usd=100)
    request = task.request
    assert (request.base_branch, task.base_sha) == ("trunk", "d" * 40)
    assert (request.plan_turns, request.fix_turns, request.test_command) == (25, 10, "make test")
    assert (request.budget_usd, request.auto_merge) == (30, False)
    assert request.max_rounds == 5  # no more than the graph has
    assert task.platform.protected_paths == ("ci/**", "db/**")
    assert (task.platform.prompts.plan, task.platform.prompts.fix) == ("Plan it.", "Mend it.")
    assert task.authority.merge.permission == "admin"
    assert task.mcp_servers["docs"].tools == ("search",)
    assert task.settings_origin["plan_turns"] == ".agents.yaml:1"
    assert task.settings_origin["budget_usd"] == "repositories.yaml:8"
    assert ti.pushed["settings"]["plan_turns"] == {"value": 25, "from": ".agents.yaml:1"}
    assert set(ti.pushed["settings"]) == set(task.settings_origin)
    assert "plan_turns       25  (.agents.yaml:1)" in caplog.text
    assert (
        ".agents.yaml:2: fix_turns does not count in full: 10 is tighter (repositories.yaml:12)"
        in caplog.text
    )
    assert "budget_usd: 100.0 (run) is over the limit 30.0 (repositories.yaml:8)" in caplog.text


def test_what_the_run_sets_itself_wins(github: GitHub, folder: Path) -> None:
    (folder / "repositories.yaml").write_text("repositories:\n  acme/*: {plan_turns: 30}\n")
    github.texts[".agents.yaml", "c" * 40] = "plan_turns: 25\n"
    task = accept(plan_turns=40)
    assert (task.request.plan_turns, task.settings_origin["plan_turns"]) == (40, "run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "plan_turn: 3\n",
            ".agents.yaml:1: plan_turn: unknown key; did you mean `plan_turns`? (in acme/shop at ccc",
        ),
        ("lfs: true\nimage: evil\n", ".agents.yaml:2: image: is not set by the repository"),
        ("a: [", ".agents.yaml:1: is not YAML"),
        (ForgeConflictError("it has 70,000 bytes"), "it has 70,000 bytes"),
    ],
)
def test_a_broken_file_of_the_repository_fails_the_run(github: GitHub, text: Any, words: str) -> None:
    github.texts[".agents.yaml", "c" * 40] = text
    (fault,) = faults()
    assert words in fault


def test_a_file_that_could_not_be_read_is_not_taken_for_none(github: GitHub) -> None:
    github.texts[".agents.yaml", "c" * 40] = ForgeUnavailableError("502")
    with pytest.raises(ForgeUnavailableError):
        accept()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults: {plan_turn: 3}\n", "repositories.yaml:1: defaults.plan_turn: unknown key"),
        ("defaults: {prompts: {plan: {file: none.md}}}\n", "prompts.plan: none.md: cannot be read"),
        (
            "defaults: {prompts: {fix: '{{ feedbak }}'}}\n",
            "prompts.fix, line 1: `feedbak` is unknown; did you mean",
        ),
        (
            "defaults: {prompts: {plan: {file: repositories.yaml}}}\n# {{ x1 }}\n",
            "(repositories.yaml), line 2: `x1`",
        ),
        (
            "defaults: {context_window: 1m, agent: codex}\n",
            "context_window: 1m (repositories.yaml:1) is of Claude",
        ),
    ],
)
def test_a_fault_of_the_installation_is_named(folder: Path, text: str, words: str) -> None:
    (folder / "repositories.yaml").write_text(text)
    (fault,) = faults()
    assert words in fault


@pytest.mark.parametrize(
    ("text", "own", "words"),
    [
        (
            "off_peak: [Mon 00:00 - Fri 00:00]",
            "off_peak: [Fri 00:00 - Mon 00:00]",
            "off_peak: The weekly ",
        ),
        (
            f"protected_paths: [{', '.join(f'a{n}' for n in range(99))}]",
            "protected_paths: [x, y]",
            "protected_paths: should have at most 100 items",
        ),
        (
            f"hold_labels: [{', '.join(f'a{n}' for n in range(19))}]",
            "hold_labels: [x, y]",
            "hold_labels: Tuple should have at most 20 items",
        ),
    ],
)
def test_lists_that_do_not_fit_together(
    github: GitHub, folder: Path, text: str, own: str, words: str
) -> None:
    (folder / "repositories.yaml").write_text(f"defaults:\n  {text}\n")
    github.texts[".agents.yaml", "c" * 40] = own
    (fault,) = faults()
    assert fault.startswith(words)


def test_a_combination_is_refused_before_anything_is_paid(checked: Checked) -> None:
    (fault,) = faults(agent="codex", thinking="off")
    assert fault == "thinking: off (run) is of Claude Code only; agent: codex (run)"
    assert checked.asked == []


@pytest.mark.parametrize("budget", [0, 15])
def test_an_installed_budget_is_what_an_empty_one_means(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__BUDGET_USD", str(budget))
    github.texts[".agents.yaml", "c" * 40] = "budget_usd: 100\n"
    assert accept().request.budget_usd == (None if budget else 100)


# MCP servers and skills

TOOLS = """\
defaults: {mcp_servers: [docs], skills: [sql]}
mcp_servers: {docs: {url: https://docs.example.com/mcp, steps: [plan]}, db: {url: https://db.example.com}}
skills: {sql: {steps: [implement, fix]}, css: {}}
"""


def write_skill(folder: Path, name: str = "sql", text: str = "Do.") -> None:
    (folder / "skills" / name).mkdir(parents=True)
    (folder / "skills" / name / "SKILL.md").write_text(
        f"---\ndescription: How {name} is written.\n---\n{text}\n"
    )


def test_servers_and_skills_are_read_once(github: GitHub, folder: Path) -> None:
    (folder / "repositories.yaml").write_text(TOOLS)
    write_skill(folder)
    task = accept()
    assert {name: server.steps for name, server in task.mcp_servers.items()} == {"docs": ("plan",)}
    assert task.skills["sql"].description == "How sql is written."
    assert task.skills["sql"].steps == ("implement", "fix")
    assert task.settings_origin["skills"] == "repositories.yaml:1"


def test_the_repository_can_do_with_less_but_not_with_more(github: GitHub, folder: Path) -> None:
    (folder / "repositories.yaml").write_text(TOOLS)
    write_skill(folder)
    github.texts[".agents.yaml", "c" * 40] = "mcp_servers: [db, evil]\nskills: [css]\n"
    task = accept()
    assert (task.mcp_servers, task.skills) == ({}, {})


@pytest.mark.parametrize(
    "text",
    [
        "mcp_servers: {evil: {url: https://evil}}\n",
        "skills: {evil: {}}\n",
        "mcp_servers: [{url: https://e}]\n",
    ],
)
def test_the_repository_declares_nothing(github: GitHub, text: str) -> None:
    github.texts[".agents.yaml", "c" * 40] = text
    (fault,) = faults()
    assert fault.startswith(".agents.yaml:1: ")


def test_wrong_names_name_the_known_ones(github: GitHub, folder: Path) -> None:
    (folder / "repositories.yaml").write_text(TOOLS.replace("[docs]", "[dosc]").replace("[sql]", "[sqll]"))
    assert faults() == [
        "repositories.yaml:1: dosc is not declared: the top of the file has no mcp_servers.dosc; it has docs, db",
        "repositories.yaml:1: sqll is not declared: the top of the file has no skills.sqll; it has sql, css",
    ]


def test_a_skill_that_is_not_in_the_folder(github: GitHub, folder: Path) -> None:
    (folder / "repositories.yaml").write_text(TOOLS)
    write_skill(folder, "css")
    assert faults() == ["skills/sql/SKILL.md: there is no such file; skills in the folder: css"]


def test_skills_that_are_too_large_to_travel(github: GitHub, folder: Path) -> None:
    (folder / "repositories.yaml").write_text(TOOLS.replace("[sql]", "[sql, css]"))
    write_skill(folder, text="x" * 30_000)
    write_skill(folder, "css", text="x" * 30_000)
    (fault,) = faults()
    assert "skills: sql, css have 60," in fault


def test_a_program_without_mcp(github: GitHub, folder: Path) -> None:
    (folder / "repositories.yaml").write_text(TOOLS)
    write_skill(folder)
    assert faults(agent="command") == [
        "mcp_servers: docs (repositories.yaml:1) is nothing for agent: command (run)",
        "skills: sql (repositories.yaml:1) is nothing for agent: command (run)",
    ]

"""The settings of a run reach the steps and the gateways of their pods."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from agent_steps import Step, github  # noqa: F401 (a fixture)
from fakes import accepted, coding_task

from agent_runner import contract
from agent_runner.contract import AgentSettings, GatewayConfig, Skill, SkillFile, StepSpec
from airflow_provider_agents.domain.repository_settings import PlatformSettings
from airflow_provider_agents.domain.skill_files import LoadedSkill
from airflow_provider_agents.domain.tool_servers import McpServer
from airflow_provider_agents.operators.effective_settings import installed_options
from airflow_provider_agents.operators.gateway_settings import gateway_config
from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from airflow_provider_agents.operators.review import AgentReviewOperator
from airflow_provider_agents.operators.steps import (
    AgentFixOperator,
    AgentImplementOperator,
    AgentPlanOperator,
    AgentTestOperator,
)

if TYPE_CHECKING:
    from airflow_provider_agents.operators.agent_step import AgentStepOperator

STEPS: dict[str, type[AgentStepOperator]] = {
    "plan": AgentPlanOperator,
    "implement": AgentImplementOperator,
    "fix": AgentFixOperator,
    "review": AgentReviewOperator,
}


def settings_of(step: str, task: dict[str, Any] | None = None, **request: Any) -> AgentSettings:
    arguments: dict[str, Any] = {"fix": {"feedback": {}}, "review": {"pull_request": {}}}.get(step, {})
    operator = STEPS[step](task_id="s", coding_task=task or accepted(**request), **arguments)
    return operator.step_settings(operator.resolve_task({}))


@pytest.mark.parametrize("step", STEPS)
def test_the_effort_of_a_step_else_of_all(step: str) -> None:
    assert settings_of(step).effort is None
    assert settings_of(step, effort="high").effort == "high"
    assert settings_of(step, **{"effort": "high", f"{step}_effort": "low"}).effort == "low"


SQL = LoadedSkill(
    description="How SQL is written.",
    files={"SKILL.md": "Do.", "a/b.md": "B"},
    steps=("plan", "implement", "fix", "review"),
)
SQL_SENT = Skill(
    name="sql",
    description="How SQL is written.",
    files=(SkillFile(path="SKILL.md", text="Do."), SkillFile(path="a/b.md", text="B")),
)


@pytest.mark.parametrize("step", STEPS)
def test_window_thinking_servers_and_skills_reach_every_step(step: str) -> None:
    task = coding_task(context_window="1m", thinking="8000").model_copy(
        update={
            "mcp_servers": {
                "docs": McpServer(url="https://d"),
                "db": McpServer(url="https://b", steps=("plan",)),
            },
            "skills": {"sql": SQL, "css": SQL.model_copy(update={"steps": ("fix",)})},
        }
    )
    found = settings_of(step, task.model_dump(mode="json"))
    assert (found.context_window, found.thinking) == ("1m", "8000")
    assert found.mcp_servers == (("db", "docs") if step == "plan" else ("docs",))
    assert [skill.name for skill in found.skills] == (["css", "sql"] if step == "fix" else ["sql"])
    assert SQL_SENT in found.skills


def test_a_reviewer_of_another_program_is_not_given_what_only_the_first_takes() -> None:
    task = coding_task(
        review_agent="codex", context_window="200k", thinking="on", review="on_open"
    ).model_copy(update={"skills": {"sql": SQL}})
    found = settings_of("review", task.model_dump(mode="json"))
    assert (found.program, found.context_window, found.thinking) == ("codex", None, None)
    assert found.skills == (SQL_SENT,)


@pytest.mark.usefixtures("github")
def test_the_pod_has_them() -> None:
    task = coding_task(run_setup=False, thinking="off").model_copy(
        update={"platform": PlatformSettings(protected_paths=("db/**", ".github/workflows/**"))}
    )
    step = Step(AgentTestOperator, coding_task=task.model_dump(mode="json"))
    step.deferred()
    pod = step.kubernetes.pods[step.kubernetes.only]
    spec = StepSpec.from_json(pod["metadata"]["annotations"][SPEC_ANNOTATION])
    assert (spec.run_setup, spec.agent.thinking) == (False, "off")
    text = json.dumps(pod)
    assert text.count("db/**") == 1


def test_protected_paths_are_those_of_the_installation_and_of_the_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__PROTECTED_PATHS", "ci/**, deploy/**")
    spec = StepSpec(step="plan", repository="acme/shop", base_branch="main", work_branch="w", prompt="p")

    def protected(*paths: str) -> GatewayConfig:
        return gateway_config(
            spec,
            budget=contract.Budget(),
            forge_url="https://github.com",
            push=True,
            read_repositories=(),
            secret_name="s",
            protected_paths=paths,
        )

    # What the repository limits itself to, no agent loosens.
    assert protected().protected_paths == ("ci/**", "deploy/**", ".agents.yaml")
    assert protected("db/**", "ci/**").protected_paths == ("ci/**", "deploy/**", ".agents.yaml", "db/**")


def test_what_empty_settings_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__BUDGET_USD", "0")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS_PER_REPOSITORY", "7")
    assert installed_options() == {"budget_usd": None, "workspace_size": "10Gi", "max_runs": 7}


def skill(*paths: str, text: str = "t") -> Skill:
    return Skill(name="s", description="d", files=tuple(SkillFile(path=path, text=text) for path in paths))


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ({"thinking": "some"}, "agent.thinking: 'some' is none of on, off and a number of tokens"),
        ({"mcp_servers": ("a b",)}, "agent.mcp_servers: 'a b' is no name of an MCP server"),
        ({"mcp_servers": ("a", "a")}, "agent.mcp_servers: a is there twice"),
        ({"skills": (dataclasses.replace(SQL_SENT, name="../x"),)}, "'../x' is no name of a skill"),
        ({"skills": (skill("x/SKILL.md"),)}, "agent.skills: s has no SKILL.md"),
        ({"skills": (skill("SKILL.md", "../y"),)}, "'../y' cannot be a file of a skill"),
        ({"skills": (skill("SKILL.md", "/etc/passwd"),)}, "'/etc/passwd' cannot be a file of a skill"),
        ({"skills": (skill("SKILL.md", ".hidden/y"),)}, "'.hidden/y' cannot be a file of a skill"),
        ({"skills": (skill("SKILL.md", "a", "A/b"),)}, "'a' cannot be a file of a skill"),
        ({"skills": (skill("SKILL.md", "a", "A"),)}, "s has a file twice"),
        ({"skills": (skill("SKILL.md", text="x" * 50_001),)}, "50,001 bytes, at most 50,000"),
        ({"skills": (skill("SKILL.md", *(f"f{n}" for n in range(50))),)}, "s has 51 files, at most 50"),
    ],
)
def test_the_contract_refuses_what_is_none(agent: dict[str, Any], words: str) -> None:
    with pytest.raises(contract.ContractError, match="step specification") as caught:
        StepSpec(
            step="plan", repository="a/b", base_branch="main", work_branch="w", prompt="p",
            agent=AgentSettings(**agent),
        )  # fmt: skip
    assert words in str(caught.value)


def test_the_contract_reads_what_it_writes() -> None:
    agent = AgentSettings(
        thinking="8000", context_window="1m", mcp_servers=("a", "b"), skills=(SQL_SENT,),
    )  # fmt: skip
    spec = StepSpec(
        step="plan",
        repository="a/b",
        base_branch="main",
        work_branch="w",
        prompt="p",
        agent=agent,
        run_setup=False,
    )
    assert StepSpec.from_json(spec.to_json()) == spec

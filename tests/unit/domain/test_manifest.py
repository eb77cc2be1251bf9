"""Manifests: what each field becomes, what is refused and where, and which run a manifest is."""

from __future__ import annotations

import re
import textwrap

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
from airflow_provider_agents.domain.go_duration import seconds_of
from airflow_provider_agents.domain.manifest import Installation, TaskManifest, name_of, read_manifest
from airflow_provider_agents.domain.manifest_documents import MAX_DOCUMENTS
from airflow_provider_agents.domain.manifest_mapping import repository_of

README = """\
apiVersion: agents.wearn.dev/v1alpha1
kind: CodingTask
metadata:
  name: add-healthcheck
  namespace: agent-system
spec:
  source:
    type: chat
    chat:
      sessionId: "manual-test"
      userId: "jackson"
  repository:
    url: https://github.com/jcwearn/example-repo.git
    branch: main
  prompt: "Add a /healthz endpoint that returns 200 OK"
  anthropicApiKeyRef:
    name: agent-secrets
    key: anthropic-api-key
  gitCredentialsRef:
    name: agent-secrets
    key: github-token
"""
"""As agent-operator's own README has it."""

SHORT = """\
apiVersion: agents.wearn.dev/v1alpha1
kind: CodingTask
metadata: {name: fix-it}
spec:
  source: {type: chat}
  repository: {url: https://github.com/acme/shop.git}
  prompt: Fix it
"""


def only(text: str, installation: Installation | None = None) -> TaskManifest:
    manifests, faults = read_manifest(text, "task.yaml", installation)
    assert faults == []
    (manifest,) = manifests
    return manifest


def faults_of(text: str, installation: Installation | None = None) -> list[str]:
    manifests, faults = read_manifest(text, "task.yaml", installation)
    assert faults, f"accepted: {manifests}"
    return faults


def with_spec(lines: str) -> str:
    return SHORT + textwrap.indent(textwrap.dedent(lines), "  ")


def test_the_manifest_of_the_readme_is_taken_as_it_is() -> None:
    manifest = only(README)
    assert manifest.conf == {
        "repository": "jcwearn/example-repo",
        "base_branch": "main",
        "work_branch": "ai/add-healthcheck",
        "prompt": "Add a /healthz endpoint that returns 200 OK",
    }
    assert manifest.name == "add-healthcheck"
    assert manifest.origin == "chat manual-test of jackson"
    assert manifest.notes == ()
    assert name_of(manifest.run_id) == "add-healthcheck"


def test_what_is_left_out_has_the_readmes_defaults() -> None:
    """Branch, CPU, memory and time of agent-operator's table are the request's own defaults, too."""
    request = CodingTaskRequest.model_validate(only(SHORT).conf)
    assert (request.base_branch, request.cpu, request.memory, request.step_timeout) == (
        "main",
        "4",
        "8Gi",
        30,
    )
    assert request.work_branch == "ai/fix-it"
    assert request.image is None


@pytest.mark.parametrize(
    ("lines", "conf"),
    [
        ("agentImage: ghcr.io/acme/agent:1.2", {"image": "ghcr.io/acme/agent:1.2"}),
        ("resources: {cpu: 2}", {"cpu": "2"}),
        ("resources: {cpu: 500m, memory: 4Gi}", {"cpu": "500m", "memory": "4Gi"}),
        ("resources: {storage: 20Gi}", {"workspace_size": "20Gi"}),
        ("maxRetries: 0", {"max_attempts": 1}),
        ("maxRetries: 1", {"max_attempts": 2}),
        ("maxRetries: 3", {"max_attempts": 3}),
        ("stepTimeout: 30m", {"step_timeout": 30.0}),
        ("stepTimeout: 1h30m", {"step_timeout": 90.0}),
        ("stepTimeout: 90s", {"step_timeout": 1.5}),
        ("model: {default: opus}", {"plan_model": "opus", "implement_model": "opus", "fix_model": "opus"}),
        (
            "model: {default: sonnet, plan: opus}",
            {"plan_model": "opus", "implement_model": "sonnet", "fix_model": "sonnet"},
        ),
        ("model: {implement: haiku}", {"implement_model": "haiku"}),
        ("model: {maxTurns: 40}", {"plan_turns": 40, "implement_turns": 40, "fix_turns": 40}),
        ("serviceAccountName: agent-runner", {}),
        ("nodeSelector: {}\ntolerations: []", {}),
    ],
)
def test_what_a_field_becomes(lines: str, conf: dict[str, object]) -> None:
    base = only(SHORT).conf
    found = only(with_spec(lines)).conf
    assert {key: value for key, value in found.items() if base.get(key) != value} == conf


def test_an_issue() -> None:
    text = SHORT.replace(
        "source: {type: chat}",
        "source: {type: github-issue, github: {owner: Acme, repo: shop, issueNumber: 7}}",
    )
    manifest = only(text)
    assert manifest.conf["issue_number"] == 7
    assert manifest.conf["prompt"] == "Fix it"
    assert manifest.origin == ""


def test_branches() -> None:
    text = SHORT.replace("shop.git}", "shop.git, branch: develop, workBranch: feature/x}")
    conf = only(text).conf
    assert (conf["base_branch"], conf["work_branch"]) == ("develop", "feature/x")


@pytest.mark.parametrize(
    ("lines", "line", "path", "words"),
    [
        ("resources:\n  gpu: 1", 9, "spec.resources.gpu", "unknown key"),
        ("provider: ollama", 8, "spec.provider", "unknown key"),
        ("resources: {cpu: 4x}", 8, "spec.resources.cpu", "pattern"),
        ("resources: {memory: lots}", 8, "spec.resources.memory", "pattern"),
        ("maxRetries: 11", 8, "spec.maxRetries", "10"),
        ("maxRetries: -1", 8, "spec.maxRetries", "0"),
        ("stepTimeout: 30", 8, "spec.stepTimeout", "text"),
        ("stepTimeout: soon", 8, "spec.stepTimeout", "duration"),
        ("stepTimeout: 0s", 8, "spec.stepTimeout", "greater than 0"),
        ("stepTimeout: 25h", 8, "spec.stepTimeout", "1440"),
        ("agentImage: ghcr.io/jcwearn/agent-runner:latest", 8, "spec.agentImage", "agent-image/Dockerfile"),
        ("agentImage: 'a b'", 8, "spec.agentImage", "pattern"),
        ("nodeSelector: {disk: ssd}", 8, "spec.nodeSelector", "pod_template.yaml"),
        ("tolerations: [{operator: Exists}]", 8, "spec.tolerations", "pod_template.yaml"),
        ("serviceAccountName: root", 8, "spec.serviceAccountName", "[agents] service_account"),
        (
            "anthropicApiKeyRef: {name: mine, key: anthropic-api-key}",
            8,
            "spec.anthropicApiKeyRef",
            "agent-secrets",
        ),
        (
            "anthropicApiKeyRef: {name: agent-secrets, key: other}",
            8,
            "spec.anthropicApiKeyRef",
            "anthropic-api-key",
        ),
        ("anthropicApiKeyRef: {name: agent-secrets}", 8, "spec.anthropicApiKeyRef.key", "missing"),
        ("gitCredentialsRef: {name: agent-secrets, key: token}", 8, "spec.gitCredentialsRef", "github-token"),
        ("model: {maxTurns: 501}", 8, "spec.model.maxTurns", "500"),
        ("model: {default: '$(x)'}", 8, "spec.model.default", "pattern"),
    ],
)
def test_what_is_refused_names_line_and_path(lines: str, line: int, path: str, words: str) -> None:
    found = faults_of(with_spec(lines))
    assert any(each.startswith(f"task.yaml:{line}: {path}: ") and words in each for each in found), found


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("metadata: {name: fix-it}", "metadata: {name: Fix It}", "task.yaml:3: metadata.name: "),
        ("metadata: {name: fix-it}", "metadata: {}", "task.yaml:3: metadata.name: is missing"),
        (
            "{name: fix-it}",
            "{name: a, namespace: other}",
            "task.yaml:3: metadata.namespace: this installation's",
        ),
        ("v1alpha1", "v1", "task.yaml:1: apiVersion: is 'agents.wearn.dev/v1'"),
        ("CodingTask", "AgentRun", "task.yaml:2: kind: is 'AgentRun'; CodingTask is taken"),
        ("  prompt: Fix it\n", "", "spec.prompt: is missing"),
        ("prompt: Fix it", "prompt: ''", "task.yaml:7: spec.prompt: "),
        ("{type: chat}", "{type: mail}", "task.yaml:5: spec.source.type: "),
        ("{type: chat}", "{type: github-issue}", "task.yaml:5: spec.source: type github-issue needs github"),
        (
            "{type: chat}",
            "{type: chat, github: {owner: a, repo: b, issueNumber: 1}}",
            "github does not belong to type chat",
        ),
        (
            "{type: chat}",
            "{type: github-issue, github: {owner: acme, repo: other, issueNumber: 1}}",
            "task.yaml:5: spec.source.github: the issue is in acme/other",
        ),
        (
            "{type: chat}",
            "{type: github-issue, github: {owner: acme, repo: shop, issueNumber: 0}}",
            "issueNumber",
        ),
        (
            "https://github.com/acme/shop.git",
            "acme/shop",
            "task.yaml:6: spec.repository.url: should be a clone URL",
        ),
        ("shop.git}", "shop.git, branch: 'a..b'}", "task.yaml:6: spec.repository.branch: "),
        ("shop.git}", "shop.git, workBranch: main}", "must differ"),
        ("spec:", "status: {}\nspec:", "task.yaml:4: status: is written by a controller"),
    ],
)
def test_what_is_wrong_elsewhere(old: str, new: str, words: str) -> None:
    assert old in SHORT
    found = faults_of(SHORT.replace(old, new, 1))
    assert any(words in each for each in found), found


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    found = faults_of(with_spec("stepTimeout: x\nserviceAccountName: y\nnodeSelector: {a: b}"))
    assert [int(each.split(":")[1]) for each in found] == [8, 9, 10]


def test_notes_say_what_does_not_do_what_it_does_elsewhere() -> None:
    text = with_spec(
        """\
        maxRetries: 3
        model: {test: haiku, pullRequest: haiku}
        anthropicApiKeyRef: {name: agent-secrets, key: anthropic-api-key}
        """
    )
    notes = only(text, Installation(credentials="connections")).notes
    assert [note.split(": ")[0] for note in notes] == [
        "task.yaml:8",
        "task.yaml:9",
        "task.yaml:9",
        "task.yaml:10",
    ]
    assert "4 attempts; this installation has 3" in notes[0]
    assert only(text, Installation(max_attempts=6)).conf["max_attempts"] == 4


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/acme/shop.git", ("github.com", "acme/shop")),
        ("https://github.com/acme/shop", ("github.com", "acme/shop")),
        ("https://GHES.example.com/acme/shop/", ("ghes.example.com", "acme/shop")),
        ("https://ghes.example.com:8443/acme/shop.git", ("ghes.example.com:8443", "acme/shop")),
        ("git@github.com:acme/shop.git", ("github.com", "acme/shop")),
        ("ssh://git@github.com/acme/shop.git", ("github.com", "acme/shop")),
        ("ssh://git@github.com:22/acme/shop.git", ("github.com", "acme/shop")),
    ],
)
def test_clone_urls(url: str, expected: tuple[str, str]) -> None:
    assert repository_of(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", "acme/shop", "https://github.com/acme", "https://github.com/acme/shop/tree/main", "file:///srv/shop",
        "https://github.com/acme/shop?x=1", "https://[::1/acme/shop", "https:///acme/shop", "git@github.com:shop",
        "https://github.com:port/acme/shop", "ext::sh -c id", "/srv/acme/shop",
    ],
)  # fmt: skip
def test_what_is_no_clone_url(url: str) -> None:
    with pytest.raises(ValueError, match="clone URL"):
        repository_of(url)


@pytest.mark.parametrize(
    "url", ["https://ghp_secret@github.com/a/b", "https://u:ghp_secret@github.com/a/b.git"]
)
def test_a_credential_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    (fault,) = faults_of(SHORT.replace("https://github.com/acme/shop.git", url))
    assert "holds a credential" in fault
    assert "ghp_secret" not in fault


@pytest.mark.parametrize(
    ("host", "forge", "fault", "notes"),
    [
        ("github.com", "github.com", False, 0),
        ("github.com", None, False, 0),
        ("www.github.com", "github.com", False, 0),
        ("ghes.example.com", "ghes.example.com", False, 0),
        ("ghes.example.com", None, False, 1),
        ("ghes.example.com", "github.com", True, 0),
        ("github.com", "ghes.example.com", True, 0),
    ],
)
def test_the_host_fits_the_connection(host: str, forge: str | None, fault: bool, notes: int) -> None:
    text = SHORT.replace("github.com", host)
    manifests, faults = read_manifest(text, "task.yaml", Installation(forge_host=forge))
    assert bool(faults) == fault
    assert fault or len(manifests[0].notes) == notes


# Which run it is


def test_the_same_manifest_is_the_same_run_however_it_is_written() -> None:
    again = yaml.safe_dump(yaml.safe_load(README), sort_keys=True)
    assert again != README
    assert only(again).run_id == only("# a remark\n" + README).run_id == only(README).run_id


def test_labels_change_nothing_and_the_file_name_does_not_either() -> None:
    labelled = README.replace("  namespace", "  labels: {team: a}\n  annotations: {x: y}\n  namespace")
    assert only(labelled).run_id == only(README).run_id
    assert read_manifest(README, "other.yaml")[0][0].run_id == only(README).run_id


@pytest.mark.parametrize("change", [("200 OK", "204"), ("jackson", "kim"), ("branch: main", "branch: dev")])
def test_another_content_is_another_run_of_the_same_family(change: tuple[str, str]) -> None:
    first, second = only(README), only(README.replace(*change))
    assert first.run_id != second.run_id
    assert first.family == second.family
    assert first.run_id.startswith(first.family)


def test_another_name_or_namespace_is_another_family() -> None:
    other = only(README.replace("add-healthcheck", "add-other"))
    elsewhere = only(README.replace("agent-system", "team-a"), Installation(namespace="team-a"))
    assert len({only(README).family, other.family, elsewhere.family}) == 3


@settings(max_examples=30, deadline=None)
@given(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", fullmatch=True))
def test_every_name_makes_a_run_id_that_airflow_takes(name: str) -> None:
    manifests, faults = read_manifest(SHORT.replace("fix-it", f"'{name}'"), "t.yaml")
    if faults:
        # A name such as `a..b` is none of a branch.
        assert "spec" in faults[0] or "work_branch" in faults[0] or "metadata.name" in faults[0]
        return
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]{1,250}", manifests[0].run_id)
    assert len(name) > 120 or name_of(manifests[0].run_id) == name


# The plain form


def test_the_plain_form() -> None:
    manifest = only("name: nightly\nrepository: acme/shop\nprompt: Do it\nmax_rounds: 2\nhold_labels: [a]\n")
    assert manifest.conf == {
        "repository": "acme/shop",
        "prompt": "Do it",
        "max_rounds": 2,
        "hold_labels": ["a"],
    }
    assert name_of(manifest.run_id) == "nightly"


def test_the_plain_form_without_a_name_is_known_by_what_it_asks_for() -> None:
    first, again = only("repository: a/b\nprompt: x\n"), only("prompt: x\nrepository: a/b\n")
    assert first.run_id == again.run_id
    assert (first.family, name_of(first.run_id)) == ("", "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("repository: a/b\n", "issue_number or a prompt"),
        ("prompt: x\n", "repository: is missing"),
        (
            "repository: a/b\nprompt: x\nmax_round: 1\n",
            "task.yaml:3: max_round: unknown key; did you mean `max_rounds`?",
        ),
        ("repository: a/b\nprompt: x\nmax_rounds: many\n", "task.yaml:3: max_rounds: "),
        ("repository: a/b\nprompt: x\nhold_labels:\n- a\n- {b: c}\n", "task.yaml:5: hold_labels.1: "),
        ("name: A b\nrepository: a/b\nprompt: x\n", "task.yaml:1: name: "),
        ("name: null\nrepository: a/b\nprompt: x\n", "task.yaml:1: name: "),
        ("metadata: {name: a}\nspec: {}\n", "task.yaml:1: kind: is missing"),
        ("kind: CodingTask\nspec: {}\n", "apiVersion: is missing"),
        ("- a\n", "task.yaml:1: "),
        ("a: b: c\n", "task.yaml:1: is not YAML"),
        ("", "task.yaml:1: holds no manifest"),
        ("# only words\n---\n", "task.yaml:1: holds no manifest"),
        ("x: " + "y" * 300_000, "task.yaml:1: is larger than 256 KB"),
    ],
)
def test_what_is_wrong_with_a_plain_form(text: str, fault: str) -> None:
    found = faults_of(text)
    assert any(fault in each for each in found), found


# Several documents


def test_several_documents_keep_the_lines_of_the_file() -> None:
    text = f"{SHORT}--- # the second\nrepository: a/b\nprompt: |\n  one\n   --- two\n...\n---\nrepository: a/c\nprompt: x\n"
    manifests, faults = read_manifest(text, "task.yaml")
    assert faults == []
    assert [manifest.place for manifest in manifests] == ["task.yaml:1", "task.yaml:9", "task.yaml:15"]
    assert manifests[1].conf["prompt"] == "one\n --- two"

    found = faults_of(f"{text}---\nrepository: a/d\nprompts: x\n")
    assert any(each.startswith("task.yaml:19: prompts: unknown key") for each in found), found


def test_the_same_task_twice_in_a_file_is_a_fault() -> None:
    assert "task.yaml:9: is the same task as in task.yaml:1" in faults_of(f"{SHORT}---\n{SHORT}")


def test_a_directive_and_a_byte_order_mark() -> None:
    assert only(f"\ufeff%YAML 1.2\n---\n{SHORT}").name == "fix-it"


def test_too_many_documents() -> None:
    (fault,) = faults_of("".join(f"---\nrepository: a/b\nprompt: p{n}\n" for n in range(MAX_DOCUMENTS + 1)))
    assert "more than 100 documents" in fault


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.lists(
            st.sampled_from(
                [*SHORT.splitlines(), *README.splitlines(), "---", "...", "  x: [", "&a b", "*a"]
            ),
            max_size=30,
        ).map("\n".join),
    )
)
def test_no_text_raises_and_every_fault_names_its_place(text: str) -> None:
    manifests, faults = read_manifest(text, "task.yaml")
    assert manifests or faults
    assert all(re.match(r"task\.yaml:[1-9][0-9]*: ", fault) for fault in faults), faults


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("+2m", 120), ("500ms", 0.5), (".5m", 30)],
)
def test_durations_of_go(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "-5m", "30min", "1d", "1h30", "٣m", "1m" * 30])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds_of(text)

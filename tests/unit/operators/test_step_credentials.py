"""Where a pod's credentials come from, and the short-lived secret that is made of them."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from kubernetes.client import ApiClient, V1ObjectMeta, V1OwnerReference, V1Pod, V1PodStatus, V1Secret
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.exceptions import ForgeAccessError, InvalidInputError, StepInfrastructureError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_app import InstallationToken
from airflow_provider_agents.operators import step_credentials
from airflow_provider_agents.operators.step_credentials import StepCredentials, delete_leftovers, resolve

NOW = datetime.now(UTC)
LABELS = {"agents.airflow/installation": "team", "agents.airflow/run": "r"}
APP = json.dumps({"app_id": 1, "private_key": "k"})


class Cluster:
    """The calls of a Kubernetes client that are made here."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.objects: list[V1Secret] = []
        self.pods: set[str] = {"pod-1"}
        self.fail: dict[str, Exception] = {}
        self.done: list[str] = []

    def _do(self, what: str) -> None:
        self.done.append(what)
        verb = what.split()[0]
        if verb in self.fail:
            raise self.fail[verb]

    def create_namespaced_secret(self, namespace: str, body: Any, _request_timeout: float) -> None:
        name = body["metadata"]["name"]
        self._do(f"create {name}")
        if name in self.secrets:
            raise ApiException(status=409, reason="Conflict")
        self.secrets[name] = body

    def patch_namespaced_secret(self, name: str, namespace: str, body: Any, _request_timeout: float) -> None:
        self._do(f"patch {name}")
        self.secrets.setdefault(name, {"metadata": {}})
        self.secrets[name]["data"] = body.get("data", self.secrets[name].get("data"))
        self.secrets[name]["metadata"] |= body.get("metadata", {})

    def delete_namespaced_secret(self, name: str, namespace: str, _request_timeout: float) -> None:
        self._do(f"delete {name}")

    def read_namespaced_pod(self, name: str, namespace: str, _request_timeout: float) -> V1Pod:
        self._do(f"read {name}")
        if name not in self.pods:
            raise ApiException(status=404, reason="Not Found")
        return V1Pod(metadata=V1ObjectMeta(name=name, namespace=namespace, uid=f"uid-of-{name}"))

    def list_namespaced_secret(
        self,
        namespace: str,
        label_selector: str,
        limit: int,
        _request_timeout: float,
        _continue: str | None = None,
    ) -> Any:
        self._do(f"list {label_selector}")
        begin = int(_continue or 0)
        following = str(begin + limit) if begin + limit < len(self.objects) else None
        return SimpleNamespace(
            items=self.objects[begin : begin + limit], metadata=SimpleNamespace(_continue=following)
        )

    def values(self, name: str) -> dict[str, str]:
        return {key: base64.b64decode(text).decode() for key, text in self.secrets[name]["data"].items()}


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {
        "gh": {"password": "ghp_canary"},
        "anthropic_default": {"password": "sk-ant-api-canary"},
        "openai_default": {"password": "sk-canary"},
    }

    def get(conn_id: str) -> Connection:
        if conn_id not in known:
            raise AirflowNotFoundException(conn_id)
        return Connection(conn_id=conn_id, conn_type="x", **known[conn_id])

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(get))
    return known


@pytest.fixture
def minted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []

    def mint(hook: AgentsGitHubHook, repositories: Any, permissions: Any) -> InstallationToken:
        asked.append((hook.github_conn_id, tuple(repositories), dict(permissions)))
        return InstallationToken(token="ghs_canary", minted_at=NOW, expires_at=NOW + timedelta(hours=1))

    monkeypatch.setattr(AgentsGitHubHook, "mint", mint)
    return asked


def use(monkeypatch: pytest.MonkeyPatch, **options: str) -> None:
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__AGENTS__{name.upper()}", value)


def resolved(step: Any = "implement", **values: Any) -> StepCredentials:
    known: dict[str, Any] = {
        "pod_name": "pod-1",
        "namespace": "agents",
        "github_conn_id": "gh",
        "secret": "agent-secrets",
        "kubernetes_conn_id": "cluster",
    }
    return resolve(step, "acme/shop", **known | values)


def volume(credentials: StepCredentials) -> list[Any]:
    found = ApiClient().sanitize_for_serialization(credentials.volume())
    assert found["name"] == "credentials"
    assert found["projected"]["defaultMode"] == 0o440
    return [
        (
            source["secret"]["name"],
            [item["key"] for item in source["secret"]["items"]],
            source["secret"].get("optional", False),
        )
        for source in found["projected"]["sources"]
    ]


ANTHROPIC = ["anthropic-api-key", "anthropic-oauth-token"]


@pytest.mark.parametrize(
    ("step", "program", "keys"),
    [
        ("implement", "claude", ["github-token", *ANTHROPIC]),
        ("plan", "codex", ["github-token", "openai-api-key"]),
        ("fix", "own", ["github-token", *ANTHROPIC, "openai-api-key"]),
        ("test", "claude", ["github-token"]),
    ],
)
def test_by_default_the_secret_of_the_installation_is_mounted(
    connections, step: str, program: str, keys: list[str]
) -> None:
    credentials = resolved(step, program=program)
    assert volume(credentials) == [("agent-secrets", keys, True)]
    assert (credentials.secret_name, credentials.renewal, dict(credentials.data)) == (None, None, {})
    cluster = Cluster()
    assert credentials.create_secret(cluster, LABELS) is credentials  # type: ignore[arg-type]
    credentials.adopt(cluster)  # type: ignore[arg-type]
    credentials.delete_secret(cluster)  # type: ignore[arg-type]
    assert cluster.done == []


def test_connections_become_a_secret_of_the_pod(connections, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, credentials="connections")
    credentials = resolved()
    assert "canary" not in repr(credentials)
    assert volume(credentials) == [("pod-1-credentials", ["anthropic-api-key", "github-token"], False)]
    cluster = Cluster()
    made = credentials.create_secret(cluster, LABELS)  # type: ignore[arg-type]
    assert (made.expires_at, made.renewal) == (None, None)
    body = cluster.secrets["pod-1-credentials"]
    assert body["metadata"]["labels"] == LABELS | {"agents.airflow/kind": "step-credentials"}
    assert body["metadata"]["annotations"] == {"agents.airflow/pod": "pod-1"}
    assert cluster.values("pod-1-credentials") == {
        "github-token": "ghp_canary",
        "anthropic-api-key": "sk-ant-api-canary",
    }


def test_a_token_of_a_subscription_has_its_own_key(connections, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, credentials="connections", anthropic_conn_id="mine")
    connections["mine"] = {"password": " sk-ant-oat01-canary\n"}
    assert resolved().data["anthropic-oauth-token"] == "sk-ant-oat01-canary"


@pytest.mark.parametrize(
    ("program", "gone", "words"),
    [
        ("claude", "anthropic_default", "'anthropic_default' ([agents] anthropic_conn_id) does not exist"),
        ("codex", "openai_default", "airflow connections add openai_default"),
    ],
)
def test_a_missing_model_connection_is_named(
    connections, monkeypatch: pytest.MonkeyPatch, program: str, gone: str, words: str
) -> None:
    use(monkeypatch, credentials="connections")
    del connections[gone]
    with pytest.raises(InvalidInputError) as caught:
        resolved(program=program)
    assert words in str(caught.value)
    connections[gone] = {"password": ""}
    with pytest.raises(InvalidInputError, match="has no password"):
        resolved(program=program)
    assert resolved("test", program=program).data == {"github-token": "ghp_canary"}


def test_an_unknown_program_gets_what_there_is(connections, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, credentials="connections")
    del connections["anthropic_default"]
    assert set(resolved(program="own").data) == {"github-token", "openai-api-key"}


def test_an_option_that_is_neither(connections, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, credentials="vault")
    with pytest.raises(InvalidInputError, match="must be secret or connections, not 'vault'"):
        resolved()


@pytest.mark.parametrize(
    ("step", "contents"), [("plan", "read"), ("test", "read"), ("implement", "write"), ("fix", "write")]
)
def test_a_token_of_an_app_is_made_for_exactly_this_step(
    connections, minted: list[Any], step: str, contents: str
) -> None:
    connections["gh"] = {"extra": APP}
    credentials = resolved(step, read_repositories=("acme/lib", "other/lib", "Acme/lib2"))
    assert minted == []
    cluster = Cluster()
    made = credentials.create_secret(cluster, LABELS)  # type: ignore[arg-type]
    assert minted == [
        ("gh", ("acme/shop", "acme/lib", "Acme/lib2"), {"contents": contents, "metadata": "read"})
    ]
    assert cluster.values("pod-1-credentials") == {"github-token": "ghs_canary"}
    assert made.expires_at == NOW + timedelta(hours=1)
    assert made.renewal is not None
    assert made.renewal.renew_at == NOW + timedelta(minutes=50)
    assert made.renewal.secret_name == "pod-1-credentials"
    assert made.renewal.kubernetes_conn_id == "cluster"
    assert "canary" not in repr(made)
    assert "canary" not in json.dumps(made.renewal.to_dict())
    model = [] if step == "test" else [("agent-secrets", ANTHROPIC, True)]
    assert volume(made) == [*model, ("pod-1-credentials", ["github-token"], False)]


def test_an_app_with_connections_needs_no_secret_of_the_installation(
    connections, minted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, credentials="connections")
    connections["gh"] = {"extra": APP}
    assert volume(resolved()) == [("pod-1-credentials", ["anthropic-api-key", "github-token"], False)]


def test_no_step_may_change_workflows() -> None:
    permissions = (step_credentials.READ_PERMISSIONS, step_credentials.WRITE_PERMISSIONS)
    assert set(itertools.chain(*permissions)) == {"contents", "metadata"}


def test_a_second_attempt_replaces_what_the_first_left(connections, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, credentials="connections")
    cluster = Cluster()
    resolved().create_secret(cluster, LABELS)  # type: ignore[arg-type]
    connections["gh"] = {"password": "ghp_newer"}
    resolved().create_secret(cluster, LABELS)  # type: ignore[arg-type]
    assert cluster.values("pod-1-credentials")["github-token"] == "ghp_newer"


def test_a_pod_of_an_earlier_try_keeps_its_own_secret(connections, minted: list[Any]) -> None:
    connections["gh"] = {"extra": APP}
    found = resolved().of_pod("pod-0")
    assert (found.pod_name, found.secret_name) == ("pod-0", "pod-0-credentials")
    assert found.renewal is not None
    assert (found.renewal.secret_name, found.renewal.pod_name) == ("pod-0-credentials", "pod-0")
    assert (found.renewal.expires_at, found.renewal.renew_at) == (None, None)
    assert minted == []


def test_the_pod_owns_its_secret(connections, minted: list[Any]) -> None:
    connections["gh"] = {"extra": APP}
    cluster = Cluster()
    credentials = resolved().create_secret(cluster, LABELS)  # type: ignore[arg-type]
    credentials.adopt(cluster)  # type: ignore[arg-type]
    assert cluster.secrets["pod-1-credentials"]["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "pod-1", "uid": "uid-of-pod-1"}
    ]


@pytest.mark.parametrize("verb", ["read", "patch"])
def test_a_secret_that_cannot_be_handed_over_is_left_to_the_sweeper(
    connections, minted: list[Any], verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    connections["gh"] = {"extra": APP}
    cluster = Cluster()
    credentials = resolved().create_secret(cluster, LABELS)  # type: ignore[arg-type]
    cluster.fail[verb] = ApiException(status=500, reason="Server Error")
    credentials.adopt(cluster)  # type: ignore[arg-type]
    assert "could not be handed over to pod pod-1" in caplog.text
    assert "Server Error" in caplog.text


def test_the_secret_of_a_pod_that_could_not_be_created_goes(connections, minted: list[Any]) -> None:
    connections["gh"] = {"extra": APP}
    cluster = Cluster()
    credentials = resolved()
    credentials.delete_secret(cluster)  # type: ignore[arg-type]
    assert cluster.done == ["delete pod-1-credentials"]
    cluster.fail["delete"] = ApiException(status=500)
    credentials.delete_secret(cluster)  # type: ignore[arg-type]


def test_a_right_that_airflow_lacks_is_named(connections, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, credentials="connections")
    cluster = Cluster()
    error = ApiException(status=403, reason="Forbidden")
    error.body = json.dumps({"message": 'User "airflow" cannot create resource "secrets" in API group ""'})
    cluster.fail["create"] = error
    with pytest.raises(InvalidInputError, match="Airflow may not create secrets in namespace agents"):
        resolved().create_secret(cluster, LABELS)  # type: ignore[arg-type]
    cluster.fail["create"] = OSError("connection refused")
    with pytest.raises(StepInfrastructureError, match="connection refused") as caught:
        resolved().create_secret(cluster, LABELS)  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


def test_no_secret_is_made_where_there_is_no_token(connections, monkeypatch: pytest.MonkeyPatch) -> None:
    connections["gh"] = {"extra": APP}

    def mint(*_: object) -> InstallationToken:
        raise ForgeAccessError("not installed")

    monkeypatch.setattr(AgentsGitHubHook, "mint", mint)
    cluster = Cluster()
    with pytest.raises(ForgeAccessError):
        resolved().create_secret(cluster, LABELS)  # type: ignore[arg-type]
    assert cluster.done == []


# What was left behind


def leftover(name: str, *, hours: float = 2, pod: str = "gone", owned: bool = False) -> V1Secret:
    owner = V1OwnerReference(api_version="v1", kind="Pod", name=pod, uid="u")
    return V1Secret(
        metadata=V1ObjectMeta(
            name=name,
            creation_timestamp=NOW - timedelta(hours=hours),
            annotations={"agents.airflow/pod": pod},
            owner_references=[owner] if owned else None,
        )
    )


def test_only_what_is_old_and_ownerless_and_without_a_pod_is_swept() -> None:
    cluster = Cluster()
    cluster.objects = [
        leftover("old"),
        leftover("young", hours=0.5),
        leftover("owned", owned=True),
        leftover("of-a-living-pod", pod="pod-1"),
    ]
    assert delete_leftovers(cluster, "agents", "team a", dry_run=True) == ["old"]  # type: ignore[arg-type]
    assert [what for what in cluster.done if what.startswith(("delete", "patch"))] == []
    assert delete_leftovers(cluster, "agents", "team a") == ["old"]  # type: ignore[arg-type]
    assert [what for what in cluster.done if what.startswith(("delete", "patch"))] == [
        "delete old",
        "patch of-a-living-pod",
    ]
    assert cluster.secrets["of-a-living-pod"]["metadata"]["ownerReferences"][0]["uid"] == "uid-of-pod-1"
    selector = cluster.done[0].removeprefix("list ").split(",")
    assert selector[0] == "agents.airflow/kind=step-credentials"
    assert selector[1].startswith("agents.airflow/installation=team")


@pytest.mark.parametrize(("phase", "goes"), [("Succeeded", True), ("Failed", True), ("Running", False)])
def test_the_secret_of_a_pod_that_is_kept_goes_when_the_pod_has_ended(phase: str, goes: bool) -> None:
    cluster = Cluster()
    cluster.objects = [leftover("owned", pod="pod-1", owned=True), leftover("young", hours=0.5, pod="pod-1")]
    pod = V1Pod(metadata=V1ObjectMeta(name="pod-1", uid="u"), status=V1PodStatus(phase=phase))
    cluster.read_namespaced_pod = lambda *_, **__: pod  # type: ignore[method-assign]
    assert delete_leftovers(cluster, "agents", "team a") == (["owned"] if goes else [])  # type: ignore[arg-type]
    assert [what for what in cluster.done if what.startswith("patch")] == []


def test_all_pages_are_swept_and_one_failure_does_not_stop_the_rest() -> None:
    cluster = Cluster()
    cluster.objects = [leftover(f"old-{number}") for number in range(250)]
    original = cluster.delete_namespaced_secret

    def delete(name: str, *args: Any, **kwargs: Any) -> None:
        if name == "old-3":
            raise ApiException(status=500)
        original(name, *args, **kwargs)

    cluster.delete_namespaced_secret = delete  # type: ignore[method-assign]
    found = delete_leftovers(cluster, "agents", "team")  # type: ignore[arg-type]
    assert len(found) == 249
    assert "old-3" not in found


def test_a_secret_stays_where_its_pod_cannot_be_looked_for() -> None:
    cluster = Cluster()
    cluster.objects = [leftover("old")]
    cluster.fail["read"] = ApiException(status=403)
    assert delete_leftovers(cluster, "agents", "team") == []  # type: ignore[arg-type]
    cluster.fail["read"] = OSError("refused")
    assert delete_leftovers(cluster, "agents", "team") == []  # type: ignore[arg-type]
    assert [what for what in cluster.done if what.startswith("delete")] == []


def test_a_sweep_that_may_not_list_says_so() -> None:
    cluster = Cluster()
    error = ApiException(status=403)
    error.body = json.dumps({"message": 'cannot list resource "secrets"'})
    cluster.fail["list"] = error
    with pytest.raises(InvalidInputError, match="Airflow may not list secrets"):
        delete_leftovers(cluster, "agents", "team")  # type: ignore[arg-type]

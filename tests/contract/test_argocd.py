"""The hook and the stand-in over real HTTP; the stand-in's answers against the published interface."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import signal
import ssl
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError, InvalidInputError
from airflow_provider_agents.hooks import argocd_client
from airflow_provider_agents.hooks.argocd import ArgoCdHook
from airflow_provider_agents.operators.pr_rule_application import application_readings
from demo.argocd.faults import Fault
from demo.argocd.follower import Follower
from demo.argocd.server import StandInArgoCd
from demo.github.clock import Clock
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_agents.domain.argocd_application import ApplicationReading

SCHEMA = json.loads((Path(__file__).parent / "argocd_schema" / "definitions.json").read_text())
REPO = "https://github.com/acme/shop.git"
TOKEN = "canary-token-0123456789"


@pytest.fixture
async def argocd(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInArgoCd]:
    monkeypatch.setattr(argocd_client, "RETRY_DELAYS", (0.01, 0.02))
    clock = Clock()
    clock.stop()
    async with StandInArgoCd(clock=clock) as server:
        server.add_token(token=TOKEN)
        server.add("shop-staging", REPO, image="registry.test/shop", project="team")
        connect(monkeypatch, server.url)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, url: str, *, token: str = TOKEN, **extra: Any) -> None:
    values = {"conn_type": "argocd", "host": url, "password": token, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ARGOCD_DEFAULT", json.dumps(values))


async def read(name: str = "shop-staging", **values: Any) -> ApplicationReading:
    return await asyncio.to_thread(lambda: ArgoCdHook(timeout_seconds=2).application(name, **values))


def valid(body: Any, name: str) -> None:
    jsonschema.validate(body, {"$ref": f"#/definitions/{name}", **SCHEMA})


async def get(server: StandInArgoCd, path: str, token: str = TOKEN) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        response = await session.get(f"{server.url}{path}")
        return response.status, await response.json()


async def test_the_stand_in_answers_as_the_published_interface_says(argocd: StandInArgoCd) -> None:
    app = argocd.applications["shop-staging"]
    app.deploy("a" * 40, argocd.now(), health="Degraded", message="no")
    app.condition = "cannot compare"
    argocd.add(
        "several", REPO, sources=[{"repoURL": REPO, "path": "a"}, {"repoURL": REPO}], revisions=["a", "b"]
    )
    base = "/api/v1/applications/shop-staging"
    resource = "resource?kind=Deployment&resourceName=shop-staging"
    for path, name in (
        (base, "v1alpha1Application"),
        ("/api/v1/applications/several", "v1alpha1Application"),
        (f"{base}/resource-tree", "v1alpha1ApplicationTree"),
        (f"{base}/{resource}", "applicationApplicationResourceResponse"),
        ("/api/v1/session/userinfo", "sessionGetUserInfoResponse"),
    ):
        status, body = await get(argocd, path)
        assert status == 200, path
        assert body
        valid(body, name)
    for path, token, expected in (
        (base, "wrong", 401),
        ("/api/v1/applications/none", TOKEN, 403),
        ("/api/v1/applications/none?project=team", TOKEN, 404),
        (f"{base}/resource?kind=Secret&resourceName=x", TOKEN, 400),
    ):
        status, body = await get(argocd, path, token)
        assert status == expected
        valid(body, "runtimeError")


async def test_a_reading_says_what_is_deployed_and_how_it_is(argocd: StandInArgoCd) -> None:
    app = argocd.applications["shop-staging"]
    app.deploy("a" * 40, argocd.now())
    argocd.clock.advance(60)
    app.deploy(
        "b" * 40, argocd.now(), health="Degraded", message="exceeded its progress deadline", seconds=30
    )
    during = await read()
    argocd.clock.advance(30)
    found = await read()
    assert (during.health, found.health, found.sync) == ("Progressing", "Degraded", "Synced")
    assert found.health_message == "Deployment shop-staging: exceeded its progress deadline"
    assert found.revision == found.revision_of("acme/shop", "github.com") == "b" * 40
    assert [revision[0] for revision, _ in found.deployments_of("acme/shop")] == ["a", "b"]
    assert found.images == (f"registry.test/shop:{'b' * 12}",)
    assert (found.project, found.automated, found.operation_phase) == ("team", True, "Succeeded")
    assert found.health_since == argocd.now().replace(microsecond=0)
    assert (found.fault, found.fault_kind) == ("", "")


async def test_workloads_say_how_many_copies_are_available(argocd: StandInArgoCd) -> None:
    argocd.set_health("shop-staging", "Degraded", "no pods", available=0)
    (found,) = await asyncio.to_thread(lambda: ArgoCdHook().workloads("shop-staging"))
    assert (found.kind, found.name, found.desired, found.available, found.short) == (
        "Deployment", "shop-staging", 2, 0, True,
    )  # fmt: skip
    with pytest.raises(ForgeAccessError, match="read what the application none runs"):
        await asyncio.to_thread(lambda: ArgoCdHook().workloads("none"))


async def test_several_are_read_and_one_that_fails_stops_none(argocd: StandInArgoCd) -> None:
    argocd.add("other", REPO)
    names = ["shop-staging", "none", "other", "shop-staging"]
    found = await asyncio.to_thread(lambda: ArgoCdHook().applications(names))
    assert list(found) == ["shop-staging", "none", "other"]
    assert [one.health for one in found.values()] == ["Healthy", "Unknown", "Healthy"]
    assert [one.fault_kind for one in found.values()] == ["", "denied", ""]
    assert len(argocd.requests) == 3


async def test_triggers_read_in_their_own_loop(argocd: StandInArgoCd) -> None:
    async with ArgoCdHook().client() as client:
        assert (await client.application("shop-staging")).health == "Healthy"
        assert TOKEN not in repr(client)
    with pytest.raises(RuntimeError, match="async with"):
        ArgoCdHook().applications(["shop-staging"])


async def test_with_a_project_an_absent_application_is_told_from_a_forbidden_one(
    argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await read("none")).fault_kind == "denied"
    connect(monkeypatch, argocd.url, project="team")
    assert (await read()).fault == ""
    missing = await read("none")
    assert (missing.fault_kind, missing.failed, missing.health) == ("missing", False, "Unknown")
    argocd.add_token("limited", "limited-token", projects=("theirs",))
    connect(monkeypatch, argocd.url, token="limited-token", project="team")
    assert (await read()).fault_kind == "denied"


async def test_applications_of_another_namespace(
    argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch
) -> None:
    argocd.add("apart", REPO, namespace="team-apps")
    assert (await read("apart")).fault_kind == "denied"
    connect(monkeypatch, argocd.url, namespace="team-apps")
    assert (await read("apart")).fault == ""


async def test_a_name_is_one_part_of_the_path(argocd: StandInArgoCd) -> None:
    assert (await read("../session/userinfo?x=")).fault_kind == "denied"
    assert argocd.requests[-1].path.startswith("/api/v1/applications/")


LOGIN = "<html>log in</html>"


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (
            Fault(status=302, body=LOGIN, headers={"Location": "https://sso.test/?s=1"}),
            "denied",
            "https://sso.test/",
        ),
        (Fault(status=307, headers={"Location": "https://argocd.test/"}), "denied", "sends elsewhere"),
        (Fault(status=200, body=LOGIN), "denied", "the answer is a web page"),
        (Fault(status=401, body={"code": 16, "message": "invalid session"}), "denied", "make a new one"),
        (Fault(status=404, body="Not Found"), "denied", "not at this address"),
        (Fault(status=200, body='{"metadata": {"name": '), "malformed", "no JSON object"),
        (Fault(status=200, body={"metadata": {"name": "other"}}), "malformed", "it is of 'other'"),
        (Fault(status=200, body="[" * 200_000), "malformed", "no JSON object"),
        (Fault(status=429, headers={"Retry-After": "3000"}), "unavailable", "limits the rate"),
        (Fault(status=400, body={"message": "bad"}), "malformed", "HTTP 400, 'bad'"),
    ],
)
async def test_what_does_not_pass_is_asked_once(
    argocd: StandInArgoCd, fault: Fault, kind: str, words: str
) -> None:
    argocd.faults.add(fault)
    found = await read()
    assert (found.fault_kind, found.health, len(argocd.requests)) == (kind, "Unknown", 1)
    assert words in found.fault
    assert TOKEN not in found.fault


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=2),
        Fault(status=502, body=LOGIN, times=2),
        Fault(drop=True, times=2),
        Fault(status=429, headers={"Retry-After": "0"}, times=2),
    ],
)
async def test_what_passes_is_tried_again(argocd: StandInArgoCd, fault: Fault) -> None:
    argocd.faults.add(fault)
    found = await read()
    assert (found.fault, found.health, len(argocd.requests)) == ("", "Healthy", 3)


async def test_tries_are_bounded(argocd: StandInArgoCd) -> None:
    argocd.faults.add(Fault(status=500, times=100, body={"message": "broken"}))
    found = await read()
    assert (found.fault_kind, len(argocd.requests)) == ("unavailable", 3)
    assert "HTTP 500, 'broken'" in found.fault


async def test_a_server_that_hangs_is_given_up(argocd: StandInArgoCd) -> None:
    argocd.faults.add(Fault(delay_seconds=5, times=3))
    found = await asyncio.to_thread(lambda: ArgoCdHook(timeout_seconds=0.1).application("shop-staging"))
    assert found.fault_kind == "unavailable"
    assert "TimeoutError" in found.fault


async def test_many_applications_of_a_server_that_hangs_do_not_add_up(
    argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argocd_client, "MOST_SECONDS", 0.5)
    argocd.faults.add(Fault(delay_seconds=3, times=1_000))
    begin = time.monotonic()
    async with ArgoCdHook(timeout_seconds=0.3).client() as client:
        found = await client.applications([f"shop-{n}" for n in range(100)])
    assert time.monotonic() - begin < 3
    assert {reading.fault_kind for reading in found.values()} == {"unavailable"}
    assert "no time was left" in found["shop-99"].fault


async def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argocd_client, "MOST_BYTES", 100_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" " * 65_536)
        return response

    application = web.Application()
    application.router.add_get("/{rest:.*}", endless)
    async with TestServer(application) as server:
        connect(monkeypatch, str(server.make_url("")))
        found = await read()
    assert found.fault_kind == "malformed"
    assert "longer than 100,000 bytes" in found.fault


async def test_a_redirect_does_not_take_the_token_along(
    argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StandInArgoCd() as other:
        argocd.faults.add(
            Fault(status=302, headers={"Location": f"{other.url}/api/v1/applications/shop-staging"})
        )
        await read()
        assert other.requests == []


async def test_an_echo_of_the_token_is_hidden(argocd: StandInArgoCd) -> None:
    argocd.faults.add(Fault(status=400, body={"message": f"bad header Bearer {TOKEN}"}))
    found = await read()
    assert "Bearer ***" in found.fault
    assert TOKEN not in found.fault


async def test_a_netrc_of_the_machine_is_not_in_the_way(
    argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert (await read()).health == "Healthy"


async def test_https_where_there_is_none(argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, argocd.url.replace("http:", "https:"))
    found = await read()
    assert found.fault_kind == "denied"
    assert "no TLS at this address" in found.fault


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argocd_client, "RETRY_DELAYS", ())
    async with StandInArgoCd() as server:
        url = server.url
    connect(monkeypatch, url)
    assert (await read()).fault_kind == "unavailable"


async def test_the_button_test(argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asyncio.to_thread(ArgoCdHook().test_connection) == (
        True, "Argo CD accepts the token of 'airflow'",
    )  # fmt: skip
    connect(monkeypatch, argocd.url, token="revoked")
    works, words = await asyncio.to_thread(ArgoCdHook().test_connection)
    assert not works
    assert "does not accept the token" in words
    monkeypatch.delenv("AIRFLOW_CONN_ARGOCD_DEFAULT")
    works, words = await asyncio.to_thread(ArgoCdHook().test_connection)
    assert not works
    assert "airflow connections add argocd_default --conn-type argocd" in words


def certificate(folder: Path) -> ssl.SSLContext:
    """Make a certificate that signs itself, in ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "argocd")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8 = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


async def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with StandInArgoCd(tls=certificate(tmp_path)) as server:
        server.add_token(token=TOKEN)
        server.add("shop-staging", REPO)
        connect(monkeypatch, server.url)
        refused = await read()
        assert refused.fault_kind == "denied"
        assert "its certificate is not trusted" in refused.fault
        assert server.requests == []
        for extra in (
            {"ca_file": str(tmp_path / "ca.pem")},
            {"ca_certificate": (tmp_path / "ca.pem").read_text()},
            {"verify": False},
        ):
            connect(monkeypatch, server.url, **extra)
            assert (await read()).health == "Healthy", extra
        connect(monkeypatch, server.url, ca_file=str(tmp_path / "none.pem"))
        with pytest.raises(InvalidInputError, match="cannot be read"):
            await read()


def rule(**argocd: Any) -> PullRequestRule:
    return PullRequestRule.model_validate({"instruction": "x", "argocd": {"enabled": True, **argocd}})


async def test_a_rule_reads_each_application_once(argocd: StandInArgoCd) -> None:
    argocd.add("shop-production", REPO, health="Degraded")
    places: Any = [
        ("acme/shop", "staging"),
        ("Other/Shop", "staging"),
        ("acme/shop", "production"),
        ("acme/shop", "unknown"),
        ("acme/my_shop", "staging"),
    ]
    found = await asyncio.to_thread(application_readings, rule(), places)
    assert [found[place].health for place in places] == [
        "Healthy",
        "Healthy",
        "Degraded",
        "Unknown",
        "Unknown",
    ]
    assert [found[place].fault_kind for place in places] == ["", "", "", "unnamed", "unnamed"]
    assert len(argocd.requests) == 2
    assert await asyncio.to_thread(application_readings, rule(enabled=False), places) == {}


async def test_a_rule_whose_connection_is_missing_goes_on(argocd: StandInArgoCd) -> None:
    places: Any = [("acme/shop", "staging"), ("acme/shop", "unknown")]
    found = await asyncio.to_thread(application_readings, rule(connection="none_such"), places)
    assert [one.fault_kind for one in found.values()] == ["denied", "unnamed"]
    assert "there is no connection 'none_such'" in found[places[0]].fault
    assert argocd.requests == []


@pytest.fixture
async def forge() -> AsyncIterator[StandInGitHub]:
    async with StandInGitHub(None, mergeability_delay=0) as server:
        server.add_token("agent", "ghp_1")
        await server.seed_synthetic("acme/shop", {"deploy/app.yaml": "1\n"})
        yield server


def follower(forge: StandInGitHub, **values: Any) -> Follower:
    return Follower(api=f"{forge.url}/api/v3", token="ghp_1", repository="acme/shop", **values)


async def push(forge: StandInGitHub, **files: str | None) -> str:
    await forge.act("agent", "push_commit", "acme/shop", branch="main", files=files, message="Change")
    return str(await forge.forge.store.repositories["acme/shop"].git.branch("main"))


async def test_an_application_follows_its_branch(argocd: StandInArgoCd, forge: StandInGitHub) -> None:
    argocd.add("app", REPO, follow=follower(forge, rollout=20, interval=180))
    first = await read("app")
    argocd.clock.advance(20)
    well = await read("app")
    broken = await push(forge, BROKEN="yes\n")
    unseen = await read("app")
    seen = await read("app", refresh=True)
    argocd.clock.advance(20)
    ill = await read("app")
    assert [one.health for one in (first, well, unseen, seen, ill)] == [
        "Progressing", "Healthy", "Healthy", "Progressing", "Degraded",
    ]  # fmt: skip
    assert (unseen.revision, ill.revision) == (well.revision, broken)
    mended = await push(forge, BROKEN=None)
    argocd.clock.advance(180)
    await read("app")
    argocd.clock.advance(20)
    again = await read("app")
    assert (again.health, again.revision) == ("Healthy", mended)
    assert [revision for revision, _ in again.deployments_of("acme/shop")] == [well.revision, broken, mended]


async def test_readings_at_once_deploy_once(argocd: StandInArgoCd, forge: StandInGitHub) -> None:
    app = argocd.add("app", REPO, follow=follower(forge))
    await asyncio.gather(*(argocd.reading("app", refresh=True) for _ in range(5)))
    assert len(app.history) == 1


async def test_a_revision_can_be_scripted(argocd: StandInArgoCd, forge: StandInGitHub) -> None:
    head = await push(forge, a="1\n")
    argocd.add("app", REPO, follow=follower(forge, healths={head: "Degraded"}))
    assert (await read("app")).health == "Degraded"


async def test_what_is_not_automated_is_out_of_sync(argocd: StandInArgoCd, forge: StandInGitHub) -> None:
    argocd.add("app", REPO, automated=False, follow=follower(forge))
    found = await read("app")
    assert (found.sync, found.automated, found.revision) == ("OutOfSync", False, "")


async def test_git_that_is_gone_is_told_of(argocd: StandInArgoCd, forge: StandInGitHub) -> None:
    argocd.add("app", REPO, follow=follower(forge, branch="nowhere"))
    found = await read("app")
    assert found.sync == "Unknown"
    assert found.conditions == ("ComparisonError: Failed to load target state: there is no branch nowhere",)


async def test_the_stand_in_as_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = tmp_path / "ready.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "demo.argocd", "--ready-file", str(ready), "--token", TOKEN,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not ready.exists():
                await asyncio.sleep(0.02)
        url = json.loads(ready.read_text())["url"]
        connect(monkeypatch, url)
        async with aiohttp.ClientSession(f"{url}/_demo/") as session:
            await session.put("applications/app", json={"repo_url": REPO})
            await session.post("clock", json={"stop": True})
            await session.post("applications/app/deploy", json={"revision": "c" * 40, "seconds": 9})
            assert (await read("app")).health == "Progressing"
            await session.post("clock", json={"advance": 9})
            assert (await read("app")).health == "Healthy"
            await session.post("applications/app/health", json={"health": "Degraded", "message": "ill"})
            assert (await read("app")).health_message == "Deployment app: ill"
            await session.post("faults", json={"status": 404})
            assert (await read("app")).fault_kind == "denied"
            assert (await session.post("applications/none/health", json={"health": "Degraded"})).status == 404
            assert (await session.post("applications/app/health", json={"health": "Fine"})).status == 422
            asked = await (await session.get("requests")).json()
        assert [one["status"] for one in asked] == [200, 200, 200, 404]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert ready.stat().st_mode & 0o777 == 0o600


async def test_too_many_workloads_are_not_counted_in_part(
    argocd: StandInArgoCd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argocd_client, "MOST_WORKLOADS", 0)
    with pytest.raises(ForgeError, match="it has 1 workloads, more than 0"):
        await asyncio.to_thread(lambda: ArgoCdHook().workloads("shop-staging"))

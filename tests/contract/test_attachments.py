"""Files of a ticket over real HTTP: texts into the worker, images through the real gateway to the real runner."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from agent_runner.contract import FilePlaces, ImageAccess, Limits, TicketImage, image_stem
from agent_runner.gateway import attachments as gateway_attachments
from airflow_provider_agents.domain.attachment_files import MOST_FILES, FetchedFile, FileAccess
from airflow_provider_agents.domain.tickets import Attachment
from airflow_provider_agents.hooks.attachments import fetch_files
from airflow_provider_agents.hooks.linear import AgentsLinearHook, LinearCredential
from airflow_provider_agents.hooks.linear_files import sign_files

sys.path.insert(0, str(Path(__file__).parent / "runner"))

from attachments_world import GIF, JPEG, WEBP, FileServer, open_files, png
from gateway_world import BRANCH, World, open_world
from pod import Pod

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent_runner.gateway.server import Gateway

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

CANARY = "canary-of-the-tracker"


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with open_files() as server:
        yield server


@pytest.fixture
async def other() -> AsyncIterator[FileServer]:
    """A host that is not the tracker."""
    async with open_files() as server:
        yield server


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


def access(files: FileServer, *further: FileServer, **values: Any) -> FileAccess:
    """Return the tracker's places: all on this machine, where only those of the tracker itself may be."""
    places = FilePlaces(own=(files.place, *(server.place for server in further)))
    return FileAccess(
        places=places,
        **{
            "credential_place": files.place,
            "authorization": f"Bearer {CANARY}",
            "images": "github",
            **values,
        },
    )


async def fetched(files: FileServer, path: str, *further: FileServer, name: str = "") -> FetchedFile:
    url = f"{files.url}{path}"
    attachment = Attachment(name=name or "file", url=url)
    return (await fetch_files([attachment], access(files, *further), file_seconds=2))[url]


# Texts, in the worker


async def test_text_is_fetched_with_the_credential(files: FileServer) -> None:
    files.answers["/log.txt"] = {"text": "boom at żółw:3\n"}
    assert (await fetched(files, "/log.txt#L3")).text == "boom at żółw:3\n"
    ((method, path, headers),) = files.seen
    assert (method, path) == ("GET", "/log.txt")
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers


async def test_credential_does_not_go_over_a_redirect(files: FileServer, other: FileServer) -> None:
    files.redirect("/a", f"{other.url}/signed?x=1")
    other.answers["/signed"] = b"from the storage"
    assert (await fetched(files, "/a", other)).text == "from the storage"
    assert other.headers("Authorization") == []
    files.redirect("/b", "/c")
    files.answers["/c"] = b"on the same host"
    assert (await fetched(files, "/b")).text == "on the same host"
    assert [headers.get("Authorization") for _, path, headers in files.seen if path == "/c"] == [None]


async def test_other_own_places_get_no_credential(files: FileServer, other: FileServer) -> None:
    other.answers["/a"] = b"text"
    found = await fetch_files([Attachment(name="a", url=f"{other.url}/a")], access(files, other))
    assert found[f"{other.url}/a"].text == "text"
    assert other.headers("Authorization") == []


async def test_image_without_a_telling_name_is_left_to_the_pod(files: FileServer) -> None:
    files.answers["/shot"] = png()
    assert await fetched(files, "/shot") == FetchedFile(image=True)
    files.answers |= {"/jpeg.txt": JPEG, "/gif": GIF, "/webp": WEBP}
    for path in ("/jpeg.txt", "/gif", "/webp"):
        assert (await fetched(files, path)).image


async def test_images_are_not_asked_for_in_the_worker(files: FileServer) -> None:
    assert (await fetched(files, "/shot.png")).image
    assert files.seen == []


async def test_images_of_a_tracker_whose_images_no_pod_can_get(files: FileServer) -> None:
    files.answers["/shot"] = png()
    named, found = (Attachment(name=n, url=f"{files.url}/{n}") for n in ("shot.png", "shot"))
    answer = await fetch_files([named, found], access(files, images=""))
    assert {each.fault for each in answer.values()} == {"images of this tracker are not fetched"}


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500])
async def test_answers_that_are_no_file(files: FileServer, status: int) -> None:
    files.answers["/a"] = {"status": status, "text": "words of the host"}
    assert (await fetched(files, "/a")).fault == f"its host answered HTTP {status}"


async def test_server_that_is_gone(files: FileServer) -> None:
    gone = FileServer(url="http://127.0.0.1:9")
    fault = (await fetched(gone, "/a")).fault
    assert fault.startswith("its host could not be asked: ClientConnector")


async def test_many_files_take_their_time_together(files: FileServer) -> None:
    async def wait(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    files.answers |= {"/now": b"text", "/never": wait}
    wanted = [Attachment(name=name, url=f"{files.url}/{name}") for name in ("now", "never")]
    found = await fetch_files(wanted, access(files), all_seconds=0.5)
    assert [each.text or each.fault for each in found.values()] == ["text", "it did not come in time"]


async def test_further_files_are_not_asked_for(files: FileServer) -> None:
    wanted = [Attachment(name=str(n), url=f"{files.url}/{n}") for n in range(MOST_FILES + 5)]
    assert len(await fetch_files(wanted, access(files))) == MOST_FILES
    assert len(files.seen) == MOST_FILES


async def test_proxy_may_be_in_a_private_network(
    files: FileServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the operator's; what it may reach is its own affair."""
    port = files.place.rpartition(":")[2]
    monkeypatch.setenv("http_proxy", f"http://localhost:{port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    files.answers = {"/a": b"through the proxy", "/a.png": png()}
    tracker = FileServer(url="http://127.0.0.1:9")
    assert (await fetched(tracker, "/a")).text == "through the proxy"
    gateway = await world.gateway(images=images(world, "http://127.0.0.1:9/a.png", places=("127.0.0.1:9",)))
    assert (await get(gateway, "1"))[0] == 200
    assert [path for _, path, _ in files.seen] == ["/a", "/a.png"]


# Images, through the gateway


def images(world: World, *paths: str, places: tuple[str, ...] = (), **values: Any) -> ImageAccess:
    forge = world.forge.url.removeprefix("http://")
    return ImageAccess(
        images=tuple(
            TicketImage(url=path if "://" in path else f"{world.forge.url}{path}", auth="none" if "://" in path else "github")
            for path in paths
        ),
        places=FilePlaces(own=(forge, *places)),
        **values,
    )  # fmt: skip


@asynccontextmanager
async def forge_files(world: World) -> AsyncIterator[FileServer]:
    """Let the forge keep files beside its repositories."""
    server, git = FileServer(url=world.forge.url), world.answer

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (git(request) if ".git/" in request.path else server.handle(request))

    world.answer = answer
    yield server
    world.answer = git


async def get(gateway: Gateway, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{gateway.url}/attachments/{path}") as answer,
    ):
        return answer.status, answer.headers.get("Content-Type", ""), await answer.read()


async def test_gateway_gets_an_image_with_the_forges_token(world: World) -> None:
    async with forge_files(world) as files, open_files() as storage:
        files.redirect("/user-attachments/assets/0-1", f"{storage.url}/signed?s=1")
        storage.answers["/signed"] = png()
        gateway = await world.gateway(
            images=images(world, "/user-attachments/assets/0-1", places=(storage.place,))
        )
        assert await get(gateway, "1") == (200, "image/png", png())
        assert files.headers("Authorization") == [f"Bearer {world.forge.token}"]
        assert storage.headers("Authorization") == []


async def test_gateway_has_a_private_image_signed_where_the_token_does_not_open_it(world: World) -> None:
    async def render(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        assert asked["context"] == "acme/widget"
        signed = f"{storage.url}/1/2-3.png?jwt=a.b.c&amp;x=1"
        known = asked["text"] == f"![image]({world.forge.url}/user-attachments/assets/0-1)"
        return web.Response(text=f'<p><img src="{signed}"></p>' if known else "<p>no</p>")

    async with forge_files(world) as files, open_files() as storage:
        files.answers["/api/v3/markdown"] = render
        storage.answers["/1/2-3.png"] = png()
        gateway = await world.gateway(
            images=images(
                world,
                "/user-attachments/assets/0-1",
                "/user-attachments/assets/0-2",
                "/a.png",
                places=(storage.place,),
                api_url=f"{world.forge.url}/api/v3",
            )
        )
        assert (await get(gateway, "1"))[2] == png()
        assert [path for _, path, _ in storage.seen] == ["/1/2-3.png?jwt=a.b.c&x=1"]
        assert storage.headers("Authorization") == []
        for other in ("2", "3"):
            status, _, body = await get(gateway, other)
            assert (status, json.loads(body)) == (404, {"reason": "its host answered HTTP 404"})
        assert [path for _, path, _ in files.seen].count("/api/v3/markdown") == 2


async def test_gateway_serves_nothing_but_the_listed_images(world: World) -> None:
    async with forge_files(world) as files:
        files.answers["/a.png"] = png()
        gateway = await world.gateway(images=images(world, "/a.png"))
        for path in ("0", "2", "01", "1/", "", "1%2e", "999999999999", "x", "٣"):
            assert (await get(gateway, path))[0] == 404, path
        assert files.seen == []
        assert (await get(gateway, "1", "POST"))[0] == 405
        assert (await get(gateway, "1?url=http://127.0.0.1/"))[0] == 405
        assert (await get(gateway, "1"))[0] == 200


async def test_gateway_does_not_ask_without_end(world: World) -> None:
    async with forge_files(world) as files:
        files.answers["/a.png"] = png()
        gateway = await world.gateway(images=images(world, "/a.png"))
        statuses = [(await get(gateway, "1"))[0] for _ in range(gateway_attachments.MOST_TRIES + 3)]
        assert statuses == [200] * gateway_attachments.MOST_TRIES + [429] * 3
        assert len(files.seen) == gateway_attachments.MOST_TRIES


async def test_gateway_without_a_credential_says_which(world: World) -> None:
    (world.folder / "secrets" / "github-token").unlink()
    async with forge_files(world) as files:
        gateway = await world.gateway(images=images(world, "/a.png"))
        status, _, body = await get(gateway, "1")
        assert status == 502
        assert "github-token" in json.loads(body)["reason"]
        assert files.seen == []


async def test_signed_address_is_asked_for_without_any_credential(world: World) -> None:
    async with open_files() as storage:
        storage.answers["/f"] = WEBP
        gateway = await world.gateway(
            images=images(world, f"{storage.url}/f?signature=s", places=(storage.place,))
        )
        assert await get(gateway, "1") == (200, "image/webp", WEBP)
        ((_, path, headers),) = storage.seen
        assert path == "/f?signature=s"
        assert "Authorization" not in headers


# Images, to the agent


def pod_of(world: World, gateway: Gateway) -> Pod:
    """Return a pod whose gateway is the real one."""
    root = world.folder / "pod"
    for name in ("workspace", "home", "tmp"):
        (root / name).mkdir(parents=True)
    pod = Pod(root, None, bare=world.forge.repository)  # type: ignore[arg-type]
    pod.variables["AGENT_GATEWAY_URL_FILE"] = str(world.folder / "url")
    pod.claude("commit('x.txt', 'x'); result()")
    return pod


async def run(pod: Pod, names: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    """Run a step; return how the agent program was started."""
    values = {"repository": "acme/widget", "work_branch": BRANCH, "images": names, **changes}
    ran = await asyncio.to_thread(pod.run, pod.spec("plan", **values))
    assert ran.failure is None, ran.log
    call: dict[str, Any] = pod.calls()[-1]
    return call | {"log": ran.log}


async def test_runner_saves_images_beside_the_checkout_and_tells_the_agent(world: World) -> None:
    async with forge_files(world) as files:
        files.answers |= {"/a": png(), "/b": JPEG, "/c": b"<html>", "/d": GIF}
        names = tuple(image_stem(f"{name} page.html", f"{world.forge.url}/{name}") for name in "abcde")
        gateway = await world.gateway(images=images(world, "/a", "/b", "/c", "/d", "/e"))
        pod = pod_of(world, gateway)
        call = await run(pod, names)
        folder = pod.root / "workspace" / "attachments"
        saved = sorted(folder.iterdir())
        assert [path.name for path in saved] == [
            f"attachment-1-{names[0]}.png", f"attachment-2-{names[1]}.jpg", f"attachment-4-{names[3]}.gif",
        ]  # fmt: skip
        assert saved[0].read_bytes() == png()
        assert {stat.S_IMODE(path.stat().st_mode) & 0o333 for path in saved} == {0}
        prompt = call["stdin"]
        assert prompt.startswith("Do the task.")
        assert f"- image 1: `{saved[0]}` (png, {len(png())} bytes)" in prompt
        assert "- image 3: could not be had: it is no image of the kinds png, jpeg, gif and webp" in prompt
        assert "- image 5: could not be had: its host answered HTTP 404" in prompt
        assert call["argv"][call["argv"].index("--add-dir") + 1] == str(folder)
        assert world.forge.token not in json.dumps(call)
        assert not (pod.checkout / "attachments").exists()


async def test_later_step_finds_the_images_and_trusts_none_that_was_changed(world: World) -> None:
    async with forge_files(world) as files:
        files.answers |= {"/a": png(), "/b": JPEG, "/c": GIF}
        names = ("a-1", "b-2", "c-3")
        gateway = await world.gateway(images=images(world, "/a", "/b", "/c"))
        pod = pod_of(world, gateway)
        await run(pod, names)
        folder = pod.root / "workspace" / "attachments"
        (folder / "attachment-2-b-2.jpg").unlink()
        (folder / "attachment-2-b-2.jpg").symlink_to("/etc/passwd")
        (folder / "attachment-3-c-3.gif").chmod(0o644)
        (folder / "attachment-3-c-3.gif").write_bytes(b"no image any more")
        await run(pod, names)
        assert [path for _, path, _ in files.seen] == ["/a", "/b", "/c", "/b", "/c"]
        assert (folder / "attachment-2-b-2.jpg").read_bytes() == JPEG
        assert not (folder / "attachment-2-b-2.jpg").is_symlink()
        assert (folder / "attachment-3-c-3.gif").read_bytes() == GIF


async def test_folder_that_an_agent_made_a_link_of(world: World, tmp_path: Path) -> None:
    async with forge_files(world) as files:
        files.answers["/a"] = png()
        gateway = await world.gateway(images=images(world, "/a"))
        pod = pod_of(world, gateway)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "attachment-1-a-1.png").write_bytes(png(3, 3))
        (pod.root / "workspace" / "attachments").symlink_to(elsewhere)
        await run(pod, ("a-1",))
        folder = pod.root / "workspace" / "attachments"
        assert not folder.is_symlink()
        assert (folder / "attachment-1-a-1.png").read_bytes() == png()
        assert (elsewhere / "attachment-1-a-1.png").read_bytes() == png(3, 3)


async def test_images_together_are_bounded(world: World) -> None:
    async with forge_files(world) as files:
        large = png(filler=4_900_000)
        files.answers |= {f"/{n}": large for n in range(5)}
        gateway = await world.gateway(images=images(world, *(f"/{n}" for n in range(5))))
        call = await run(pod_of(world, gateway), ("a", "b", "c", "d", "e"))
        assert call["stdin"].count("(png, ") == 4
        assert "- image 5: could not be had: all images together are larger than 20,971,520" in call["stdin"]


async def test_step_without_any_image_that_can_be_had_goes_on(world: World) -> None:
    gateway = await world.gateway(images=images(world, "http://127.0.0.1:9/a", places=("127.0.0.1:9",)))
    pod = pod_of(world, gateway)
    call = await run(pod, ("a-1",))
    assert "- image 1: could not be had: its host cannot be reached" in call["stdin"]
    assert "image 1 of the ticket is missing" in call["log"]
    assert "--add-dir" not in call["argv"]
    assert not (pod.root / "workspace" / "attachments").exists()


async def test_step_without_images_is_told_nothing_of_them(world: World) -> None:
    call = await run(pod_of(world, await world.gateway()), ())
    assert call["stdin"].strip() == "Do the task."


async def test_image_that_takes_long_is_not_waited_for(world: World) -> None:
    given_up = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        await given_up.wait()
        return web.Response()

    async with forge_files(world) as files:
        files.answers |= {"/a": wait, "/b": png()}
        gateway = await world.gateway(images=images(world, "/a", "/b"))
        call = await run(pod_of(world, gateway), ("a", "b"), limits=Limits(seconds=15))
        given_up.set()
        assert "- image 1: could not be had: it did not come in time" in call["stdin"]
        assert "- image 2: could not be had: there was no time left to get it" in call["stdin"]


# Linear's addresses


async def test_linear_signs_addresses(files: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = "https://uploads.linear.app/w/1/2"
    issue = {
        "description": f"see ![shot]({upload}?signature=s1&x=%5D) and (https://uploads.linear.app/w/none)",
        "comments": {"nodes": [{"body": f"[log]({upload}-c?signature=s2)"}]},
        "attachments": {"nodes": [{"url": f"{upload}-a?signature=s3"}]},
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        assert (await request.json())["variables"] == {"id": "u-1"}
        return web.json_response({"data": {"issue": issue}})

    async def connection(self: AgentsLinearHook) -> LinearCredential:
        return LinearCredential(url=f"{files.url}/graphql", secret="lin_api_x")

    files.answers["/graphql"] = answer
    monkeypatch.setattr(AgentsLinearHook, "aget_conn", connection)
    wanted = [upload, f"{upload}-c", f"{upload}-a", "https://uploads.linear.app/w/none"]
    assert await sign_files("linear_default", "u-1", wanted) == {
        upload: f"{upload}?signature=s1&x=%5D",
        f"{upload}-c": f"{upload}-c?signature=s2",
        f"{upload}-a": f"{upload}-a?signature=s3",
    }
    assert files.headers("public-file-urls-expire-in") == ["3600"]

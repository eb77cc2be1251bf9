"""Which addresses may be asked for a file, and what an image is called on disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import (
    MAX_IMAGE_BYTES,
    MOST_IMAGES,
    ContractError,
    FilePlaces,
    FileRefusedError,
    GatewayConfig,
    ImageAccess,
    StepSpec,
    TicketImage,
    image_file,
    image_kind,
    image_stem,
    place_of,
)
from agent_runner.contract.attachments import IMAGE_STEM_PATTERN
from agent_runner.gateway.settings import config_faults

PLACES = FilePlaces(
    listed=("files.example.com", "files.example.com:8443", "10.1.2.3", "93.184.216.34"),
    own=("github.com", "127.0.0.1:8080", "[::1]:9", "ghes.corp"),
)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://files.example.com/a", "files.example.com"),
        ("https://FILES.example.com:443/a?b=c", "files.example.com"),
        ("https://files.example.com:8443/a", "files.example.com:8443"),
        ("https://github.com/a", "github.com"),
        ("http://127.0.0.1:8080/a", "127.0.0.1:8080"),
        ("http://[::1]:9/", "[::1]:9"),
        ("http://[0:0:0:0:0:0:0:1]:9/", "[::1]:9"),
        ("https://93.184.216.34/", "93.184.216.34"),
    ],
)
def test_address_that_may_be_asked(url: str, place: str) -> None:
    assert PLACES.check(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/a",
        "https://files.example.com.evil.example/",
        "https://files.example.com:444/",
        "https://github.com./a",
        "https://github.com@evil.example/",
        "https://evil.example\\@github.com/",
        "https://evil.example#@github.com/",
        "https://user:word@github.com/",
        "https://gıthub.com/",
        "https://github.com/a b",
        "https://github.com/\r\nHost: x",
        "https://github.com:x/",
        "https://github.com:99999/",
        "https://[::1/",
        "https://[v1.x]/",
        "http://github.com/a",
        "http://files.example.com/a",
        "http://ghes.corp/a",
        "ftp://github.com/a",
        "file:///etc/passwd",
        "data:text/plain,x",
        "//github.com/a",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/",
        "https:///a",
        "",
        "https://github.com/" + "a" * 5_000,
    ],
)
def test_address_that_may_not_be_asked(url: str) -> None:
    with pytest.raises(FileRefusedError):
        PLACES.check(url)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b?c#d", "https://github.com/b?c"),
        ("https://files.example.com/x", "https://files.example.com/x"),
        ("//files.example.com/x", "https://files.example.com/x"),
    ],
)
def test_redirect_that_is_followed(location: str, target: str) -> None:
    assert PLACES.follow("https://github.com/a", location) == target


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/", "https://evil.example/", "http://github.com/a", "//[", "javascript:alert(1)",
     "https://127.0.0.1/", "http://localhost:8080/"],
)  # fmt: skip
def test_redirect_that_is_not_followed(location: str) -> None:
    with pytest.raises(FileRefusedError, match="redirects"):
        PLACES.follow("https://github.com/a", location)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "224.0.0.1", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
     "64:ff9b::a9fe:a9fe", "2002:a00:1::", "ff02::1", "240.0.0.1"],
)  # fmt: skip
def test_private_addresses_are_for_the_tracker_alone(address: str) -> None:
    assert not PLACES.may_lead("files.example.com", address)
    assert PLACES.may_lead("ghes.corp", address)
    assert PLACES.may_lead("GitHub.com", address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_addresses(address: str) -> None:
    assert PLACES.may_lead("files.example.com", address)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\nxxxx", "png"),
        (b"\xff\xd8\xff\xe0xxxx", "jpg"),
        (b"GIF89a" + b"x" * 9, "gif"),
        (b"GIF87a", "gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"<svg xmlns=", None),
        (b"<html>", None),
        (b" \x89PNG\r\n\x1a\n", None),
        (b"GIF90a", None),
        (b"", None),
    ],
)
def test_kind_of_an_image(head: bytes, kind: str | None) -> None:
    assert image_kind(head) == kind


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("Login page.png", "login-page-"),
        ("../../etc/passwd", "etc-passwd-"),
        ("C:\\Windows\\x.exe", "c-windows-x-"),
        (".git/hooks/pre-commit", "git-hooks-pre-commit-"),
        ("a\0b.png", "a-b-"),
        ("\u202egnp.exe", "gnp-"),
        ("Übersicht.png", "ubersicht-"),
        ("-rf", "rf-"),
        ("con.png", "con-"),
    ],
)
def test_name_on_disk(name: str, begins: str) -> None:
    assert image_stem(name, "u").startswith(begins)


@given(st.text(), st.text())
def test_name_on_disk_is_safe_and_short(name: str, url: str) -> None:
    stem = image_stem(name, url)
    assert IMAGE_STEM_PATTERN.fullmatch(stem)
    file = image_file(1, stem, "png")
    assert len(file) < 100
    assert file.startswith("attachment-1-")
    assert file.endswith(".png")
    assert "/" not in file


def test_names_of_two_addresses_differ() -> None:
    assert image_stem("a.png", "https://x/1") != image_stem("a.png", "https://x/2")


def _spec(**values: object) -> StepSpec:
    return StepSpec(step="plan", repository="a/b", base_branch="main", work_branch="w", prompt="x", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-a", "a.png", "a" * 61, "a\n"])
def test_specification_refuses_names_that_are_not_ours(name: str) -> None:
    with pytest.raises(ContractError, match="safe name"):
        _spec(images=(name,))


def test_specification_bounds_the_images() -> None:
    with pytest.raises(ContractError, match="at most 10"):
        _spec(images=("a",) * (MOST_IMAGES + 1))
    spec = _spec(images=("login-1234",))
    assert StepSpec.from_json(spec.to_json()) == spec


def _config(*images: TicketImage, **values: str) -> GatewayConfig:
    return GatewayConfig(
        repository="a/b", work_branch="w", images=ImageAccess(images=images, places=PLACES, **values)
    )


def test_configuration_with_images_is_read_again() -> None:
    config = _config(TicketImage(url="https://github.com/a", auth="github"), api_url="https://api.github.com")
    assert GatewayConfig.from_json(config.to_json()) == config
    assert config_faults(config) == []


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (_config(TicketImage(url="https://evil.example/a")), "evil.example"),
        (_config(TicketImage(url="https://169.254.169.254/a")), "169.254.169.254"),
        (_config(TicketImage(url="https://files.example.com/a", auth="github")), "forge alone"),
        (_config(*[TicketImage(url="https://github.com/a")] * (MOST_IMAGES + 1)), "at most 10"),
        (_config(api_url="https://evil.example"), "no API of the forge"),
        (_config(api_url="http://api.github.com"), "no API of the forge"),
    ],
)
def test_configuration_with_faulty_images(config: GatewayConfig, why: str) -> None:
    (fault,) = config_faults(config)
    assert why in fault


def test_place_without_a_usual_port() -> None:
    assert place_of("http://127.0.0.1:80/x") == "127.0.0.1"
    assert MAX_IMAGE_BYTES == 5_242_880

"""What a file of a ticket is, and whether it is asked for."""

from __future__ import annotations

import pytest

from agent_runner.contract import FilePlaces, FileRefusedError
from airflow_provider_agents.domain.attachment_files import (
    MAX_TEXT_BYTES,
    FileAccess,
    check_type,
    fetched_how,
    file_of,
)
from airflow_provider_agents.domain.tickets import Attachment

ACCESS = FileAccess(places=FilePlaces(listed=("files.example.com",), own=("github.com",)), images="github")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.mark.parametrize(
    ("name", "path", "content_type", "how"),
    [
        ("log.txt", "/a", "", "text"),
        ("shot", "/a.PNG", "", "image"),
        ("shot.jpeg", "/a", "", "image"),
        ("shot", "/a", "image/webp", "image"),
        ("shot", "/user-attachments/assets/0-1", "", "image"),
        ("shot", "/acme/shop/assets/12/0-1", "", "image"),
        ("notes", "/user-attachments/files/1/notes", "", "text"),
        ("a.gif.txt", "/a", "", "text"),
        ("movie", "/a", "image/avif", "text"),
    ],
)
def test_how_a_file_is_fetched(name: str, path: str, content_type: str, how: str) -> None:
    file = Attachment(name=name, url=f"https://github.com{path}", content_type=content_type)
    assert fetched_how(file, ACCESS) == how


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (Attachment(name="a.svg", url="https://github.com/a"), "SVG"),
        (Attachment(name="a", url="https://github.com/a.SVG"), "SVG"),
        (Attachment(name="a", url="https://github.com/a", content_type="image/svg+xml"), "SVG"),
        (Attachment(name="a.png", url="https://evil.example/a.png"), "evil.example"),
        (Attachment(name="a", url="http://github.com/a"), "https"),
        (Attachment(name="a", url="https://github.com/a", size=MAX_TEXT_BYTES + 1), "larger than 100 KB"),
    ],
)
def test_file_that_is_not_asked_for(file: Attachment, why: str) -> None:
    with pytest.raises(FileRefusedError, match=why):
        fetched_how(file, ACCESS)


def test_image_may_be_larger_than_a_text() -> None:
    assert (
        fetched_how(Attachment(name="a.png", url="https://github.com/a", size=3_000_000), ACCESS) == "image"
    )


def test_text() -> None:
    assert file_of("żółw\n".encode()).text == "żółw\n"
    assert file_of(b"\xef\xbb\xbfwith a mark").text == "with a mark"
    assert file_of(b"x" * MAX_TEXT_BYTES).text == "x" * MAX_TEXT_BYTES
    assert file_of(b"\x1b[31mcoloured\x1b[0m \x08log").text
    assert file_of(b"const icon = <svg viewBox='0'/>").text


def test_image_by_its_content_whatever_its_name() -> None:
    assert file_of(PNG).image
    assert not file_of(PNG).text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x" * (MAX_TEXT_BYTES + 1), "larger"),
        (b"PK\x03\x04\0\0", "neither"),
        (b"\x7fELF\x02\x01\x01\0", "neither"),
        ("text".encode("utf-16"), "neither"),
        ("żółw".encode("iso-8859-2"), "UTF-8"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "UTF-8"),
        (b"\x01\x02\x03 abc", "neither"),
        (b"<svg xmlns='x'><script/></svg>", "SVG"),
        (b"\n<?xml version='1.0'?><!-- x --><!DOCTYPE svg><SVG>", "SVG"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\0" + b"x" * MAX_TEXT_BYTES, "neither"),
    ],
)
def test_what_is_no_text(data: bytes, why: str) -> None:
    with pytest.raises(FileRefusedError, match=why):
        file_of(data)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain; charset=utf-8", "application/json", "binary/octet-stream", "application/octet-stream",
     "application/problem+json", "text/x-log", "application/x-sh", "image/png"],
)  # fmt: skip
def test_media_types_that_are_read(content_type: str) -> None:
    check_type(content_type, "https://github.com/a.txt")


@pytest.mark.parametrize(
    "content_type",
    ["application/pdf", "video/mp4", "application/zip", "image/svg+xml", "audio/ogg", "multipart/mixed", "x"],
)
def test_media_types_that_are_not_read(content_type: str) -> None:
    with pytest.raises(FileRefusedError, match="neither"):
        check_type(content_type, "https://github.com/a.txt")


def test_web_page_in_the_place_of_a_file() -> None:
    with pytest.raises(FileRefusedError, match="web page"):
        check_type("text/html; charset=utf-8", "https://github.com/a.txt")
    check_type("text/html", "https://github.com/report.html?x=1")

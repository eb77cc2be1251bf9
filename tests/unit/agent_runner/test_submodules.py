"""Which repository of the gateway a submodule's address means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.submodules import Served, SubmoduleLeftOutError, served_repository

GITHUB = Served("https://github.com", ("acme/shop", "acme/lib", "Other/Tools.js"))
BELOW = Served("http://git.example.org:8080/forge/", ("acme/shop", "acme/lib"))


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("https://github.com/acme/lib", "acme/lib"),
        ("https://github.com/acme/lib.git", "acme/lib"),
        ("https://github.com/acme/lib/", "acme/lib"),
        ("https://GitHub.com/Acme/Lib.git", "acme/lib"),
        ("https://github.com:443/acme/lib.git", "acme/lib"),
        ("http://github.com/acme/lib.git", "acme/lib"),
        ("git://github.com/acme/lib.git", "acme/lib"),
        ("ssh://git@github.com/acme/lib.git", "acme/lib"),
        ("ssh://git@github.com:22/acme/lib.git", "acme/lib"),
        ("git+ssh://git@github.com/acme/lib.git", "acme/lib"),
        ("git@github.com:acme/lib.git", "acme/lib"),
        ("git@github.com:/acme/lib.git", "acme/lib"),
        ("github.com:acme/lib", "acme/lib"),
        ("https://github.com/other/tools.js.git", "Other/Tools.js"),
        ("../lib.git", "acme/lib"),
        ("../lib", "acme/lib"),
        ("./../lib/", "acme/lib"),
        ("../../other/tools.js.git", "Other/Tools.js"),
        ("../shop.git", "acme/shop"),
    ],
)
def test_addresses_of_the_forge(url: str, repository: str) -> None:
    assert served_repository(url, parent="acme/shop", served=GITHUB) == repository


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("http://git.example.org:8080/forge/acme/lib.git", "acme/lib"),
        ("git@git.example.org:acme/lib.git", "acme/lib"),
        ("ssh://git.example.org:2222/acme/lib", "acme/lib"),
        ("../lib.git", "acme/lib"),
    ],
)
def test_addresses_of_a_forge_below_a_path(url: str, repository: str) -> None:
    assert served_repository(url, parent="acme/shop", served=BELOW) == repository


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://gitlab.com/acme/lib.git", "it lies on another server, gitlab.com"),
        ("https://github.com.evil.org/acme/lib.git", "it lies on another server"),
        ("https://github.com:8443/acme/lib.git", "it lies on another server, github.com:8443"),
        ("git@gitlab.com:acme/lib.git", "it lies on another server, gitlab.com"),
        ("ssh://git@gitlab.com/acme/lib.git", "it lies on another server, gitlab.com"),
        ("https://github.com/acme/secret.git", "acme/secret is not among the repositories"),
        ("../secret.git", "acme/secret is not among the repositories"),
        ("../../lib.git", "does not name an owner and a repository"),
        ("../../../acme/lib.git", "leads out of the forge"),
        ("./lib.git", "does not name an owner and a repository"),
        ("../x/../lib.git", "does not name an owner and a repository"),
        ("https://github.com/acme/../acme/lib.git", "does not name an owner and a repository"),
        ("https://github.com/acme/..", "does not name an owner and a repository"),
        ("https://github.com/lib.git", "does not name an owner and a repository"),
        ("https://github.com/acme/%6cib.git", "does not name an owner and a repository"),
        ("https://user:secret@github.com/acme/lib.git", "its address holds a credential"),
        ("https://token@github.com/acme/lib.git", "its address holds a credential"),
        ("ssh://git:secret@github.com/acme/lib.git", "its address holds a credential"),
        ("https://github.com/acme/lib.git?x=1", "not that of a repository"),
        ("https://github.com/acme/lib.git#x", "not that of a repository"),
        ("file:///srv/acme/lib.git", "addresses with file:// are not fetched"),
        ("ftp://github.com/acme/lib.git", "addresses with ftp:// are not fetched"),
        ("ext::sh -c whoami", "a helper program"),
        ("fd::17", "a helper program"),
        ("transport::https://github.com/acme/lib.git", "a helper program"),
        ("--upload-pack=touch /tmp/x", "not a URL"),
        ("-u", "not a URL"),
        ("", "not a URL"),
        ("https://github.com/acme/lib.git\nurl = x", "not a URL"),
        ("https://[/acme/lib.git", "not a URL"),
        ("https://github.com:x/acme/lib.git", "not a URL"),
        ("\\\\server\\acme\\lib", "not a URL"),
        ("/srv/acme/lib.git", "a folder of this machine"),
        ("lib", "a folder of this machine"),
        ("acme/lib", "a folder of this machine"),
    ],
)
def test_left_out(url: str, reason: str) -> None:
    with pytest.raises(SubmoduleLeftOutError) as caught:
        served_repository(url, parent="acme/shop", served=GITHUB)
    assert reason in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_forge_below_a_path_is_not_the_whole_server() -> None:
    with pytest.raises(SubmoduleLeftOutError, match="not that of a repository on the forge"):
        served_repository("http://git.example.org:8080/acme/lib.git", parent="acme/shop", served=BELOW)
    with pytest.raises(SubmoduleLeftOutError, match="another server"):
        served_repository("http://git.example.org/forge/acme/lib.git", parent="acme/shop", served=BELOW)


PARTS = st.sampled_from(
    [
        "https://",
        "ssh://",
        "git@",
        "github.com",
        ":",
        "/",
        "..",
        ".",
        "acme",
        "lib",
        ".git",
        "%2e",
        "@",
        "-",
        "::",
    ]
)


@given(st.lists(PARTS, max_size=12).map("".join) | st.text(max_size=30))
def test_whatever_it_is_it_is_served_or_left_out(url: str) -> None:
    try:
        assert served_repository(url, parent="acme/shop", served=GITHUB) in GITHUB.repositories
    except SubmoduleLeftOutError:
        return

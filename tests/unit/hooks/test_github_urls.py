from __future__ import annotations

import pytest

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.github_urls import github_urls

PUBLIC = ("https://api.github.com", "https://api.github.com/graphql", "https://github.com")
SERVER = (
    "https://ghes.example.com/api/v3",
    "https://ghes.example.com/api/graphql",
    "https://ghes.example.com",
)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        (None, None, PUBLIC),
        ("", None, PUBLIC),
        ("  ", None, PUBLIC),
        ("github.com", None, PUBLIC),
        ("https://github.com/", None, PUBLIC),
        ("https://api.github.com", None, PUBLIC),
        ("https://ghes.example.com/api/v3", None, SERVER),
        ("https://ghes.example.com/api/v3/", None, SERVER),
        ("ghes.example.com/api/v3", None, SERVER),
        ("ghes.example.com", None, SERVER),
        ("https://GHES.example.com", None, SERVER),
        (
            "ghes.example.com",
            8443,
            (
                "https://ghes.example.com:8443/api/v3",
                "https://ghes.example.com:8443/api/graphql",
                "https://ghes.example.com:8443",
            ),
        ),
        (
            "http://127.0.0.1:3000/api/v3",
            None,
            ("http://127.0.0.1:3000/api/v3", "http://127.0.0.1:3000/api/graphql", "http://127.0.0.1:3000"),
        ),
        (
            "http://[::1]:3000",
            None,
            ("http://[::1]:3000/api/v3", "http://[::1]:3000/api/graphql", "http://[::1]:3000"),
        ),
        (
            "https://proxy.example.com/forge/api/v3",
            None,
            (
                "https://proxy.example.com/forge/api/v3",
                "https://proxy.example.com/forge/api/graphql",
                "https://proxy.example.com/forge",
            ),
        ),
        (
            "octo.ghe.com",
            None,
            ("https://api.octo.ghe.com", "https://api.octo.ghe.com/graphql", "https://octo.ghe.com"),
        ),
        (
            "https://api.octo.ghe.com/",
            None,
            ("https://api.octo.ghe.com", "https://api.octo.ghe.com/graphql", "https://octo.ghe.com"),
        ),
    ],
)
def test_addresses(host: str | None, port: int | None, expected: tuple[str, str, str]) -> None:
    urls = github_urls(host, port)
    assert (urls.rest_url, urls.graphql_url, urls.git_url) == expected


@pytest.mark.parametrize(
    "host",
    [
        "ftp://ghes.example.com",
        "https://",
        "https://ghes.example.com/api/v4",
        "https://ghes.example.com:port",
        "https://mona:ghp_secret@ghes.example.com",
        "https://ghes.example.com/api/v3?token=ghp_secret",
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(host: str) -> None:
    with pytest.raises(InvalidInputError, match=r"host of the GitHub connection.*api/v3") as caught:
        github_urls(host)
    assert "ghp_secret" not in str(caught.value)

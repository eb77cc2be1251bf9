from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.argocd_credential import credential

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "eyJhbGciOi.canary-0123456789.sig"
HOST = "https://argocd.test"


def connection(**values: Any) -> Connection:
    if isinstance(values.get("extra"), dict):
        values["extra"] = json.dumps(values["extra"])
    return Connection(conn_id="argo", conn_type="argocd", **values)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"host": "argocd.test"}, "https://argocd.test"),
        ({"host": "https://argocd.test/"}, "https://argocd.test"),
        ({"host": "https://tools.test/argocd/"}, "https://tools.test/argocd"),
        ({"host": "https://argocd.test/api/v1"}, "https://argocd.test"),
        ({"host": "argocd.test", "port": 8443}, "https://argocd.test:8443"),
        ({"host": "https://argocd.test:1", "port": 2}, "https://argocd.test:1"),
        ({"host": "127.0.0.1", "port": 7, "schema": "http"}, "http://127.0.0.1:7"),
        ({"host": "http://[::1]:7"}, "http://[::1]:7"),
        ({"host": "http://argocd-server.argocd.svc"}, "http://argocd-server.argocd.svc"),
        ({"host": "http://argocd-server"}, "http://argocd-server"),
        (
            {"host": "http://argocd-server.argocd.svc.cluster.local"},
            "http://argocd-server.argocd.svc.cluster.local",
        ),
    ],
)
def test_the_host_is_argo_cds_address(values: dict[str, Any], url: str) -> None:
    assert credential(connection(password=TOKEN, **values)).url == url


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"host": HOST}, "'argo' has no token"),
        ({"host": HOST, "password": "Bearer "}, "has no token"),
        ({"host": HOST, "password": "two words"}, "its password is not a token"),
        ({"host": HOST, "password": "key\r\nX-Evil: 1"}, "its password is not a token"),
        ({"password": TOKEN}, "it is empty; write Argo CD's address"),
        ({"password": TOKEN, "host": "ftp://x"}, "it is not an https address"),
        ({"password": TOKEN, "host": "https:///x"}, "it is not an https address"),
        ({"password": TOKEN, "host": "http://argocd.test"}, "in the clear; use https"),
        ({"password": TOKEN, "host": "http://argocd.svc.evil.test"}, "in the clear; use https"),
        ({"password": TOKEN, "host": "http://[2001:db8::1]:80"}, "in the clear; use https"),
        ({"password": TOKEN, "host": "https://x:port"}, "its port is not a number"),
        ({"password": TOKEN, "host": "https://me:pw@x"}, "more than scheme, host, port and path"),
        ({"password": TOKEN, "host": "https://x/?a=b"}, "more than scheme, host, port and path"),
        ({"password": TOKEN, "host": HOST, "extra": "[1]"}, "it is not a JSON object"),
        (
            {"password": TOKEN, "host": HOST, "extra": {"verfy": True}},
            "there is no 'verfy'; it may have verify, ca_file",
        ),
        (
            {"password": TOKEN, "host": HOST, "extra": {"verify": "maybe"}},
            "verify is 'maybe', not true or false",
        ),
        (
            {"password": TOKEN, "host": HOST, "extra": {"ca_file": "ca.pem"}},
            "ca_file is not an absolute path",
        ),
        ({"password": TOKEN, "host": HOST, "extra": {"project": 7}}, "project is not text"),
    ],
)
def test_a_connection_that_cannot_work_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        credential(connection(**values))
    assert words in str(raised.value)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("value", [True, "true", None, ""])
def test_certificates_are_checked_by_default(value: Any) -> None:
    found = credential(connection(password=TOKEN, host=HOST, extra={"verify": value}))
    assert found.verify is True
    assert found.ssl() is True


@pytest.mark.parametrize("value", [False, "False"])
def test_the_check_can_be_switched_off(value: Any) -> None:
    assert credential(connection(password=TOKEN, host=HOST, extra={"verify": value})).ssl() is False


def test_the_form_of_the_ui_leaves_nulls() -> None:
    extra = {"verify": True, "ca_file": None, "ca_certificate": None, "namespace": None, "project": " team "}
    found = credential(connection(password=f" Bearer {TOKEN} ", host=HOST, extra=extra))
    assert (found.token, found.namespace, found.project) == (TOKEN, "", "team")


def test_the_token_is_in_no_repr() -> None:
    found = credential(connection(password=TOKEN, host=HOST))
    assert TOKEN not in repr(found)
    assert found.hide(f"x{TOKEN}x") == "x***x"


@pytest.mark.parametrize("extra", [{"ca_certificate": "no PEM"}, {"ca_file": "/nowhere/ca.pem"}])
def test_an_authority_that_cannot_be_read_is_said(extra: dict[str, str]) -> None:
    found = credential(connection(password=TOKEN, host=HOST, extra=extra))
    with pytest.raises(
        InvalidInputError, match="certificate authority of Argo CD's connection cannot be read"
    ):
        found.ssl()


def test_an_empty_file_of_authorities_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    found = credential(connection(password=TOKEN, host=HOST, extra={"ca_file": str(tmp_path / "ca.pem")}))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        found.ssl()

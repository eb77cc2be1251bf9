"""Folders in place of mount paths, and variables."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_agents.local.environment import PathTranslator, expand

FOLDERS = {
    "/tmp": "/data/t",
    "/agent": "/data/a",
    "/agent/workspace/": "/data/w",
    "/dev/termination-log": "/data/log",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/agent", "/data/a"),
        ("/agent/", "/data/a/"),
        ("/agent/workspace", "/data/w"),
        ("/agent/workspace/repo", "/data/w/repo"),
        ("/agent/workspaces", "/data/a/workspaces"),
        ("/agents", "/agents"),
        ("/agent-x/y", "/agent-x/y"),
        ("/agent.d", "/agent.d"),
        ("in /agent.", "in /data/a."),
        ("/opt/agent", "/opt/agent"),
        ("x/agent", "x/agent"),
        ("./agent ../agent ~/agent", "./agent ../agent ~/agent"),
        ("--dir=/agent", "--dir=/data/a"),
        ("/usr/bin:/agent/bin:/tmp", "/usr/bin:/data/a/bin:/data/t"),
        ('{"a": "/agent/x"}', '{"a": "/data/a/x"}'),
        ("cd /agent && ls '/tmp'", "cd /data/a && ls '/data/t'"),
        ("file:///agent/x", "file:///data/a/x"),
        ("http://host/agent", "http://host/agent"),
        ("http://127.0.0.1:80/tmp", "http://127.0.0.1:80/tmp"),
        ("$HOME/agent ${HOME}/agent $(HOME)/agent", "$HOME/agent ${HOME}/agent $(HOME)/agent"),
        ("/tmp*", "/tmp*"),
        ("@/tmp/x", "@/data/t/x"),
        ("echo a > /dev/termination-log", "echo a > /data/log"),
        ("", ""),
    ],
)
def test_mount_paths(text, expected):
    assert PathTranslator(FOLDERS)(text) == expected


def test_without_mounts_nothing_changes():
    assert PathTranslator({})("/tmp") == "/tmp"


part = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
path = st.lists(part, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.dictionaries(path, path, min_size=1, max_size=5), path)
def test_the_longest_mount_wins_and_nothing_is_replaced_twice(folders, tail):
    translate = PathTranslator(folders)
    for mount, folder in folders.items():
        inside = mount + "/_" + tail
        assert translate(inside) == folder + "/_" + tail
        assert translate(f"a {mount}:{mount}") == f"a {folder}:{folder}"


@given(st.dictionaries(path, path, min_size=1, max_size=4), path)
def test_other_paths_stay(folders, text):
    assume(not any(text == mount or text.startswith(mount + "/") for mount in folders))
    assert PathTranslator(folders)(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"), ("$(B)", "$(B)"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$A", "$A"), ("$(A", "$(A"),
        ("$(A)$(A)", "11"), ("$()", "$()"), ("100$", "100$"),
    ],
)  # fmt: skip
def test_expansion(text, expected):
    assert expand(text, {"A": "1"}) == expected

from __future__ import annotations

import logging

import pytest

from airflow_provider_agents.hooks.unlogged import unlogged_bodies


@pytest.mark.parametrize("name", ["kubernetes.client.rest", "kubernetes_asyncio.client.rest"])
def test_bodies_are_not_logged_while_secrets_come_and_go(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger(name)
    before = list(logger.filters)
    with unlogged_bodies():
        with unlogged_bodies():
            logger.debug("response body: %s", "canary")
        logger.debug("response body: %s", "canary")
        logger.warning("trouble")
    assert caplog.messages == ["trouble"]
    with pytest.raises(ValueError, match="x"), unlogged_bodies():
        raise ValueError("x")
    assert logger.filters == before
    logger.debug("response body: {}")
    assert caplog.messages[-1] == "response body: {}"


@pytest.mark.parametrize("module", ["kubernetes.client.rest", "kubernetes_asyncio.client.rest"])
def test_the_clients_log_where_we_think(module: str) -> None:
    pytest.importorskip(module)
    import sys

    assert sys.modules[module].logger.name == module

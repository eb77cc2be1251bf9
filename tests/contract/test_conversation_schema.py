"""The documents about conversations against GitHub's published schema."""

from __future__ import annotations

import pytest
from graphql import GraphQLSchema, build_schema, parse, validate
from test_github_schema import fetch_schema

from airflow_provider_agents.hooks.github_conversation import DOCUMENTS


@pytest.fixture(scope="module")
def published() -> GraphQLSchema:
    return build_schema(fetch_schema(), assume_valid=True)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_document_is_valid(name: str, published: GraphQLSchema) -> None:
    document = parse(DOCUMENTS[name])
    assert validate(published, document) == []
    (operation, *_) = document.definitions
    assert operation.name.value == name  # type: ignore[attr-defined]

"""The GraphQL endpoint: GitHub's schema, in part, over the stand-in's state.

Errors have GitHub's form (``type`` beside ``message``), and every request its cost in points.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    OperationType,
    assert_valid_schema,
    build_schema,
    execute,
    get_operation_ast,
    parse,
    validate,
)

# Each registers its resolvers.
from demo.github import (  # noqa: F401
    graphql_checks,
    graphql_issues,
    graphql_mutations,
    graphql_pulls,
    graphql_queue,
    graphql_refs,
    graphql_repositories,
    graphql_rules,
    graphql_search,
    graphql_subjects,
)
from demo.github.errors import ApiError
from demo.github.graphql_cost import NODE_LIMIT, measure
from demo.github.graphql_nodes import Context
from demo.github.graphql_registry import RESOLVERS, type_name

if TYPE_CHECKING:
    from demo.github.forge import Forge
    from demo.github.limits import RateLimits
    from demo.github.state import User

SCHEMA_PATH = Path(__file__).with_name("schema.graphql")
MAX_TOKENS = 20_000
CACHED_QUERIES = 256

_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


@cache
def load_schema() -> GraphQLSchema:
    """Return the schema with the stand-in's resolvers on it."""
    schema = build_schema(SCHEMA_PATH.read_text())
    assert_valid_schema(schema)
    for (type_, field), resolver in RESOLVERS.items():
        schema.type_map[type_].fields[field].resolve = resolver  # type: ignore[attr-defined]
    moment = schema.type_map["DateTime"]
    assert isinstance(moment, GraphQLScalarType)
    moment.coerce_output_value = _serialize_moment
    return schema


def _serialize_moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def operation_name(request: dict[str, Any]) -> str:
    """Return the name of the operation in a request, or an empty string."""
    named = request.get("operationName")
    if isinstance(named, str) and named:
        return named
    match = _OPERATION.search(str(request.get("query") or ""))
    return match[1] if match else ""


@lru_cache(maxsize=CACHED_QUERIES)
def prepare(query: str) -> tuple[DocumentNode | None, tuple[GraphQLError, ...]]:
    """Return a query parsed, and what is wrong with it by the schema."""
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        return None, (error,)
    return document, tuple(validate(load_schema(), document))


def is_mutation(request: dict[str, Any]) -> bool:
    """Say whether a request asks for a change."""
    query = request.get("query")
    document, faults = prepare(query) if isinstance(query, str) else (None, ())
    if document is None or faults:
        return False
    operation = get_operation_ast(document, request.get("operationName"))
    return operation is not None and operation.operation is OperationType.MUTATION


async def perform(forge: Forge, limits: RateLimits, user: User, request: dict[str, Any]) -> dict[str, Any]:
    """Answer one GraphQL request.

    :param request: its JSON body, with ``query``, ``variables`` and ``operationName``.
    :raises ApiError: 403 when the rate limit is spent.
    """
    schema = load_schema()
    query, variables = request.get("query"), request.get("variables") or {}
    if not isinstance(query, str) or not query.strip():
        return {"errors": [{"message": "A query attribute must be specified and must be a string."}]}
    document, faults = prepare(query)
    if document is None or faults:
        return {"errors": [_error(fault) for fault in faults]}
    operation = get_operation_ast(document, request.get("operationName"))
    if operation is None:
        return {"errors": [{"message": "Name one of the document's operations in operationName."}]}
    cost = measure(document, variables, request.get("operationName"))
    if cost.too_many_nodes:
        text = (
            f"This query requests up to {cost.nodes:,} possible nodes which exceeds the maximum limit of"
            f" {NODE_LIMIT:,}."
        )
        return {"errors": [{"type": "MAX_NODE_LIMIT_EXCEEDED", "message": text}]}
    limits.spend(user, "graphql", cost.points)
    context = Context(forge, user, cost.points, cost.nodes, limits.describe(user, "graphql"))
    result = execute(
        schema,
        document,
        variable_values=variables,
        operation_name=request.get("operationName"),
        context_value=context,
        field_resolver=_attribute,
        type_resolver=type_name,
    )
    if not isinstance(result, ExecutionResult):
        result = await result
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [_error(error) for error in result.errors]
    return answer


def _attribute(source: Any, info: Any, **_: Any) -> Any:
    """Answer a field with the attribute, or the key, of the same name in snake case."""
    name = _snake_case(info.field_name)
    if isinstance(source, dict):
        return source.get(name)
    return getattr(source, name)


@cache
def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _error(error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    body: dict[str, Any] = {"type": cause.kind} if isinstance(cause, ApiError) else {}
    if error.path:
        body["path"] = list(error.path)
    if error.locations:
        body["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    body["message"] = cause.sentence if isinstance(cause, ApiError) else error.message
    return body

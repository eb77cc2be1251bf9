"""The GraphQL endpoint: GitHub's schema, in part, over the stand-in's state.

Errors have GitHub's form (``type`` beside ``message``), and every request its cost in points.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
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
    graphql_mutations,
    graphql_pulls,
    graphql_repositories,
    graphql_subjects,
)
from demo.github.errors import ApiError
from demo.github.graphql_nodes import Context
from demo.github.graphql_registry import RESOLVERS, type_name

if TYPE_CHECKING:
    from demo.github.access import RateLimits
    from demo.github.forge import Forge
    from demo.github.state import User

SCHEMA_PATH = Path(__file__).with_name("schema.graphql")
NODE_LIMIT = 500_000
MAX_TOKENS = 20_000

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


async def perform(forge: Forge, limits: RateLimits, user: User, request: dict[str, Any]) -> dict[str, Any]:
    """Answer one GraphQL request.

    :param request: its JSON body, with ``query``, ``variables`` and ``operationName``.
    :raises ApiError: 403 when the rate limit is spent.
    """
    schema = load_schema()
    query, variables = request.get("query"), request.get("variables") or {}
    if not isinstance(query, str) or not query.strip():
        return {"errors": [{"message": "A query attribute must be specified and must be a string."}]}
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        return {"errors": [_error(error)]}
    if faults := validate(schema, document):
        return {"errors": [_error(fault) for fault in faults]}
    operation = get_operation_ast(document, request.get("operationName"))
    if operation is None:
        return {"errors": [{"message": "Name one of the document's operations in operationName."}]}
    cost, count = price(document, operation, variables)
    if count > NODE_LIMIT:
        text = f"This query requests up to {count:,} possible nodes which exceeds the maximum limit of {NODE_LIMIT:,}."
        return {"errors": [{"type": "MAX_NODE_LIMIT_EXCEEDED", "message": text}]}
    limits.spend(user, "graphql", cost)
    context = Context(forge, user, cost, count, limits.describe(user, "graphql"))
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
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", info.field_name).lower()
    if isinstance(source, dict):
        return source.get(name)
    return getattr(source, name)


def _error(error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    body: dict[str, Any] = {"type": cause.kind} if isinstance(cause, ApiError) else {}
    if error.path:
        body["path"] = list(error.path)
    if error.locations:
        body["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    body["message"] = cause.message if isinstance(cause, ApiError) else error.message
    return body


def price(
    document: DocumentNode, operation: OperationDefinitionNode, variables: dict[str, Any]
) -> tuple[int, int]:
    """Return the cost in points and the number of nodes asked for, by GitHub's published formulas.

    Every connection counts one request for each node of its parents; a hundred requests are a point, and
    a query costs one at the least.
    """
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    requests, nodes = _count(operation.selection_set, fragments, variables, 1)
    mutation = operation.operation is OperationType.MUTATION
    return max(1, round((requests + mutation) / 100)), nodes


def _count(
    selections: SelectionSetNode | None,
    fragments: dict[str, FragmentDefinitionNode],
    variables: dict[str, Any],
    parents: int,
) -> tuple[int, int]:
    requests = nodes = 0
    for selection in selections.selections if selections else ():
        inner, within = parents, getattr(selection, "selection_set", None)
        if isinstance(selection, FragmentSpreadNode):
            within = fragments[selection.name.value].selection_set
        elif isinstance(selection, FieldNode) and (size := _page_size(selection, variables)):
            requests += 0 if selection.name.value == "nodes" else parents
            inner = parents * size
            nodes += inner
        deeper, below = _count(within, fragments, variables, inner)
        requests, nodes = requests + deeper, nodes + below
    return requests, nodes


def _page_size(field: FieldNode, variables: dict[str, Any]) -> int:
    """Return how many nodes a field asks for: by ``first``, ``last`` or a list of ``ids``."""
    for argument in field.arguments or ():
        if argument.name.value not in ("first", "last", "ids"):
            continue
        value: Any = argument.value
        if isinstance(value, VariableNode):
            given = variables.get(value.name.value)
            return len(given) if isinstance(given, list) else given if isinstance(given, int) else 0
        if isinstance(value, IntValueNode):
            return int(value.value)
        if isinstance(value, ListValueNode):
            return len(value.values)
    return 0

"""What a GraphQL query costs, by GitHub's published formulas.

Points: add up the requests that each unique connection needs, one for every node of its parents, taking each
``first`` and ``last`` as reached; divide by a hundred, round, and count one at the least. Nodes: the product
of the page sizes down the tree, summed over all connections.

See https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_operation_ast,
    parse,
    value_from_ast_untyped,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NODE_LIMIT = 500_000
REQUESTS_PER_POINT = 100
QUERY_SECONDARY_POINTS = 1
MUTATION_SECONDARY_POINTS = 5
"""What a request counts towards the secondary limit of points a minute."""

_PAGE_ARGUMENTS = ("first", "last", "ids")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Price of one GraphQL request.

    :param points: towards the primary limit.
    :param requests: from which the points come.
    :param nodes: that it asks for at the most.
    :param secondary: points towards the limit of a minute.
    """

    points: int
    requests: int
    nodes: int
    secondary: int

    @property
    def too_many_nodes(self) -> bool:
        return self.nodes > NODE_LIMIT


def query_cost(
    document: str | DocumentNode,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> int:
    """Return the points that a GraphQL request takes from the hour's limit.

    :raises ValueError: the document has no operation of that name, or several and no name is given.
    """
    return measure(document, variables, operation_name).points


def measure(
    document: str | DocumentNode,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> Cost:
    """Return points, requests and nodes of a GraphQL request.

    :raises ValueError: the document has no operation of that name, or several and no name is given.
    :raises graphql.GraphQLError: the document cannot be parsed.
    """
    parsed = parse(document) if isinstance(document, str) else document
    operation = get_operation_ast(parsed, operation_name)
    if operation is None:
        raise ValueError("Name one of the document's operations.")
    counter = _Counter(parsed, operation, variables or {})
    requests, nodes = counter.count([operation.selection_set], 1)
    mutation = operation.operation is OperationType.MUTATION
    return Cost(
        points=max(1, round(requests / REQUESTS_PER_POINT)),
        requests=requests,
        nodes=nodes,
        secondary=MUTATION_SECONDARY_POINTS if mutation else QUERY_SECONDARY_POINTS,
    )


class _Counter:
    """Walks one operation."""

    def __init__(
        self, document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> None:
        self._fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        defaults = {
            definition.variable.name.value: value_from_ast_untyped(definition.default_value)
            for definition in operation.variable_definitions or ()
            if definition.default_value is not None
        }
        self._variables = {**defaults, **variables}

    def count(self, selections: list[SelectionSetNode], parents: int) -> tuple[int, int]:
        """Return requests and nodes of selections on each of ``parents`` objects."""
        requests = nodes = 0
        for same in self._fields(selections).values():
            size, inner = self._page_size(same[0]), parents
            if size is not None:
                # A list of ids is a lookup, not a connection; its items are parents all the same.
                requests += 0 if same[0].name.value == "nodes" else parents
                inner = parents * size
                nodes += inner
            within = [field.selection_set for field in same if field.selection_set]
            deeper, below = self.count(within, inner)
            requests, nodes = requests + deeper, nodes + below
        return requests, nodes

    def _fields(self, selections: list[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """Return the fields by the name that they have in the answer: what is asked twice is fetched once."""
        found: dict[str, list[FieldNode]] = {}
        for field in self._flat(selections):
            key = field.alias.value if field.alias else field.name.value
            found.setdefault(key, []).append(field)
        return found

    def _flat(self, selections: list[SelectionSetNode]) -> Iterator[FieldNode]:
        for selection in (item for chosen in selections for item in chosen.selections):
            if self._left_out(selection):
                continue
            if isinstance(selection, FieldNode):
                yield selection
            elif isinstance(selection, InlineFragmentNode):
                yield from self._flat([selection.selection_set])
            elif isinstance(selection, FragmentSpreadNode):
                yield from self._flat([self._fragments[selection.name.value].selection_set])

    def _left_out(self, selection: Any) -> bool:
        for directive in selection.directives or ():
            if directive.name.value in ("skip", "include") and directive.arguments:
                condition = self._value(directive.arguments[0].value)
                if condition is (directive.name.value == "skip"):
                    return True
        return False

    def _page_size(self, field: FieldNode) -> int | None:
        """Return how many nodes a field asks for by ``first``, ``last`` or ``ids``; ``None`` for no list."""
        for argument in field.arguments or ():
            if argument.name.value in _PAGE_ARGUMENTS:
                value = self._value(argument.value)
                if isinstance(value, list):
                    return len(value)
                if isinstance(value, int):
                    return max(value, 0)
        return None

    def _value(self, node: ValueNode) -> Any:
        if isinstance(node, VariableNode):
            return self._variables.get(node.name.value)
        if isinstance(node, BooleanValueNode):
            return node.value
        return value_from_ast_untyped(node, self._variables)

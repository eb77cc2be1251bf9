"""The GraphQL documents with which issues are read as tickets; a contract test validates each at GitHub's schema.

What they cost, by GitHub's published formula (see :mod:`.github_queries`):

====================  =====================================================  ==============================
query                 requests                                               points
====================  =====================================================  ==============================
``CHANGED``           1 a repository                                         1 for 20 repositories
``ASKED``             101 a page of 100 tickets: their labels                5 for 5 pages
``DETAILS``           3 a ticket: labels, assignees, comments                1 for 30 tickets
``READINGS``          6 a ticket: labels, assignees, edits, events,          1 for 20 tickets
                      comments, sub-issues
a further page        1                                                      1
``LINKS``, ``IDS``    none                                                   1 for 50
====================  =====================================================  ==============================

So a look at 50 repositories in which nothing changed is 3 requests and 3 points.
"""

from __future__ import annotations

CHANGED_BATCH = 20
"""Repositories in one query for what changed."""
ASKED_BATCH = 5
"""Pages of 100 tickets with their labels in one query: about 500 kB, and half a second of GitHub's time."""
DETAILS_BATCH = 30
READINGS_BATCH = 20
LINKS_BATCH = 50
IDS_BATCH = 50

_SCALARS = "id number title url createdAt updatedAt state"
_CHANGED_FIELDS = _SCALARS
_ASKED_FIELDS = f"{_SCALARS} labels(first: 100) {{ nodes {{ name }} }}"


def _listing(operation: str, fields: str, count: int) -> str:
    declared = ", ".join(
        f"$owner{i}: String!, $name{i}: String!, $filter{i}: IssueFilters!, $after{i}: String"
        for i in range(count)
    )
    # Newest first: what changes while the pages are read is seen twice, and nothing is passed over.
    order = "orderBy: {field: UPDATED_AT, direction: DESC}"
    looks = "\n".join(
        f"  look{i}: repository(owner: $owner{i}, name: $name{i}) {{\n"
        "    id nameWithOwner isArchived hasIssuesEnabled\n"
        f"    issues(first: 100, after: $after{i}, filterBy: $filter{i}, {order}) {{\n"
        f"      pageInfo {{ hasNextPage endCursor }} nodes {{ {fields} }}\n"
        "    }\n"
        "  }"
        for i in range(count)
    )
    return f"query {operation}({declared}) {{\n{looks}\n}}\n"


def changed_document(count: int) -> str:
    """Return the query for what changed in ``count`` repositories, as ``look0`` and so on.

    Their variables are ``owner0``, ``name0``, ``filter0`` (an ``IssueFilters``), ``after0`` and so on.
    """
    return _listing("ChangedTickets", _CHANGED_FIELDS, count)


def asked_document(count: int) -> str:
    """Return the query for tickets that were asked for, with their labels; variables as :func:`changed_document`."""
    return _listing("AskedTickets", _ASKED_FIELDS, count)


_FACTS = f"""
  {_SCALARS}
  repository {{ id nameWithOwner isArchived isPrivate }}
  labels(first: 100) {{ nodes {{ name }} }}
  assignees(first: 20) {{ nodes {{ login }} }}
"""

DETAILS = f"""
query TicketDetails($ids: [ID!]!) {{
  nodes(ids: $ids) {{
    __typename
    ... on Issue {{
      {_FACTS}
      comments(last: 30) {{ pageInfo {{ hasPreviousPage }} nodes {{ body viewerDidAuthor }} }}
    }}
  }}
}}
"""

_EVENTS = """
fragment Events on IssueTimelineItemsConnection {
  pageInfo { hasNextPage endCursor }
  nodes {
    __typename
    ... on LabeledEvent { id createdAt actor { __typename login } label { name } }
    ... on UnlabeledEvent { createdAt label { name } }
    ... on AssignedEvent {
      id createdAt actor { __typename login }
      assignee { __typename ... on User { login } ... on Bot { login } }
    }
    ... on UnassignedEvent {
      createdAt assignee { __typename ... on User { login } ... on Bot { login } }
    }
    ... on RenamedTitleEvent { createdAt actor { __typename login } }
    ... on TransferredEvent { createdAt }
  }
}
"""
_EVENT_TYPES = (
    "itemTypes: [LABELED_EVENT, UNLABELED_EVENT, ASSIGNED_EVENT, UNASSIGNED_EVENT, RENAMED_TITLE_EVENT, "
    "TRANSFERRED_EVENT]"
)

_COMMENTS = """
fragment TicketComments on IssueCommentConnection {
  pageInfo { hasNextPage endCursor }
  nodes {
    id url body createdAt viewerDidAuthor authorAssociation
    author { __typename login }
    editor { __typename login }
  }
}
"""

_LINKED = """
fragment Linked on Issue { number title state stateReason repository { nameWithOwner isPrivate } }
"""

_CHILDREN = """
fragment Children on IssueConnection { pageInfo { hasNextPage endCursor } nodes { ...Linked } }
"""

READINGS = (
    f"""
query TicketReadings($ids: [ID!]!) {{
  nodes(ids: $ids) {{
    __typename
    ... on Issue {{
      {_FACTS}
      stateReason body lastEditedAt authorAssociation
      editor {{ __typename login }}
      author {{ __typename login }}
      userContentEdits(first: 100) {{ nodes {{ editedAt editor {{ __typename login }} }} }}
      timelineItems(first: 100, {_EVENT_TYPES}) {{ ...Events }}
      comments(first: 100) {{ ...TicketComments }}
      parent {{ ...Linked }}
      subIssues(first: 100) {{ ...Children }}
    }}
  }}
}}
"""
    + _EVENTS
    + _COMMENTS
    + _LINKED
    + _CHILDREN
)


def _page(operation: str, selection: str, fragments: str) -> str:
    return (
        f"query {operation}($id: ID!, $after: String!) {{\n"
        f"  node(id: $id) {{ __typename ... on Issue {{ {selection} }} }}\n"
        "}\n" + fragments
    )


EVENTS_PAGE = _page(
    "TicketEvents", f"timelineItems(first: 100, after: $after, {_EVENT_TYPES}) {{ ...Events }}", _EVENTS
)
COMMENTS_PAGE = _page(
    "TicketCommentsPage", "comments(first: 100, after: $after) { ...TicketComments }", _COMMENTS
)
CHILDREN_PAGE = _page(
    "TicketChildren", "subIssues(first: 100, after: $after) { ...Children }", _CHILDREN + _LINKED
)

STATUS_COMMENTS = """
query StatusComments($id: ID!, $after: String) {
  node(id: $id) {
    __typename
    ... on Issue {
      number state locked
      repository { nameWithOwner }
      comments(first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes { id url body viewerDidAuthor }
      }
    }
  }
}
"""

TICKET_STATE = """
query TicketState($id: ID!) { node(id: $id) { __typename ... on Issue { state } } }
"""


def ids_document(count: int) -> str:
    """Return the query for the node ids of ``count`` issues; variables ``owner0``, ``name0``, ``number0`` …"""
    declared = ", ".join(f"$owner{i}: String!, $name{i}: String!, $number{i}: Int!" for i in range(count))
    issues = "\n".join(
        f"  issue{i}: repository(owner: $owner{i}, name: $name{i}) {{ issue(number: $number{i}) {{ id }} }}"
        for i in range(count)
    )
    return f"query TicketIds({declared}) {{\n{issues}\n}}\n"


def repositories_document(count: int) -> str:
    """Return the query for the node ids of ``count`` repositories; variables ``owner0``, ``name0`` …"""
    declared = ", ".join(f"$owner{i}: String!, $name{i}: String!" for i in range(count))
    found = "\n".join(
        f"  repository{i}: repository(owner: $owner{i}, name: $name{i}) {{ id }}" for i in range(count)
    )
    return f"query TicketRepositories({declared}) {{\n{found}\n}}\n"


def links_document(count: int) -> str:
    """Return the query for the state of ``count`` issues or pull requests; variables ``owner0``, ``name0``, ``number0`` …"""
    declared = ", ".join(f"$owner{i}: String!, $name{i}: String!, $number{i}: Int!" for i in range(count))
    links = "\n".join(
        f"  link{i}: repository(owner: $owner{i}, name: $name{i}) {{\n"
        "    nameWithOwner isPrivate\n"
        f"    issueOrPullRequest(number: $number{i}) {{\n"
        "      __typename\n"
        "      ... on Issue { title issueState: state stateReason }\n"
        "      ... on PullRequest { title pullRequestState: state }\n"
        "    }\n"
        "  }"
        for i in range(count)
    )
    return f"query TicketLinks({declared}) {{\n{links}\n}}\n"


ADD_COMMENT = """
mutation AddTicketComment($id: ID!, $body: String!) {
  addComment(input: {subjectId: $id, body: $body}) { commentEdge { node { id url } } }
}
"""

DELETE_COMMENT = """
mutation DeleteTicketComment($id: ID!) {
  deleteIssueComment(input: {id: $id}) { clientMutationId }
}
"""

CLOSE_TICKET = """
mutation CloseTicket($id: ID!) {
  closeIssue(input: {issueId: $id, stateReason: COMPLETED}) { clientMutationId }
}
"""

DOCUMENTS: dict[str, str] = {
    "ChangedTickets": changed_document(2),
    "AskedTickets": asked_document(2),
    "TicketDetails": DETAILS,
    "TicketReadings": READINGS,
    "TicketEvents": EVENTS_PAGE,
    "TicketCommentsPage": COMMENTS_PAGE,
    "TicketChildren": CHILDREN_PAGE,
    "StatusComments": STATUS_COMMENTS,
    "TicketState": TICKET_STATE,
    "TicketIds": ids_document(2),
    "TicketRepositories": repositories_document(2),
    "TicketLinks": links_document(2),
}
"""Every query by its operation name; those for several of a kind in one of their sizes."""

MUTATIONS: dict[str, str] = {
    "AddTicketComment": ADD_COMMENT,
    "DeleteTicketComment": DELETE_COMMENT,
    "CloseTicket": CLOSE_TICKET,
}
"""Every document that changes something, by its operation name."""

"""The GraphQL documents that are sent to Linear; a test holds each against the vendor's published types."""

from __future__ import annotations

PAGE = 100
"""Tickets of one page of a list."""
FIRST_CHANGES = 20
"""Tickets of the first page of a list of what changed."""
TEAMS_AT_ONCE = 25
"""Teams whose states are read by one query."""
PART = 50
"""Comments, changes, … of one page of a ticket."""

_LABELS = "pageInfo { hasNextPage endCursor } nodes { id name }"

# `recent` and `commands`: whether a comment moves a ticket's `updatedAt` is not documented, and a command asks
# for an agent without any label.
ENTRY = f"""
fragment AgentsEntry on Issue {{
  id identifier title url createdAt updatedAt archivedAt trashed priorityLabel
  team {{ key }}
  state {{ id name type }}
  assignee {{ id email }}
  delegate {{ id email }}
  project {{ name }}
  labels(first: 10) {{ {_LABELS} }}
  recent: comments(first: 1, orderBy: updatedAt) {{ nodes {{ updatedAt }} }}
  commands: comments(first: 1, filter: {{ body: {{ startsWith: "/agent" }} }}) {{ nodes {{ id }} }}
}}
"""

ISSUES = (
    """
query AgentsIssues($filter: IssueFilter!, $first: Int!, $after: String, $archived: Boolean!) {
  issues(filter: $filter, first: $first, after: $after, includeArchived: $archived) {
    pageInfo { hasNextPage endCursor }
    nodes { ...AgentsEntry }
  }
}
"""
    + ENTRY
)

TEAMS = """
query AgentsTeams($keys: [String!]!) {
  teams(first: 25, filter: { key: { in: $keys } }) {
    nodes { key states(first: 100) { nodes { name } } }
  }
}
"""

CONNECTIONS: dict[str, str] = {
    "comments": "id body createdAt updatedAt url user { id }",
    "history": (
        "id createdAt updatedAt actorId addedLabels { id name } removedLabels { id name } "
        "fromAssigneeId toAssigneeId fromAssignee { id email } toAssignee { id email } "
        "fromDelegate { id email } toDelegate { id email } "
        "fromStateId toStateId fromState { id name } toState { id name } "
        "fromTitle updatedDescription descriptionUpdatedBy { id }"
    ),
    "attachments": "title url metadata creator { id }",
    "relations": "type relatedIssue { identifier title trashed state { type } }",
    "inverseRelations": "type issue { identifier title trashed state { type } }",
    "children": "identifier title trashed subIssueSortOrder state { type }",
}
"""Parts of a ticket that come in pages, and what is read of each item."""

ISSUE = (
    """
query AgentsIssue($id: String!) {
  viewer { id app }
  issue(id: $id) {
    ...AgentsEntry
    description
    creator { id }
    parent { identifier title trashed state { type } }
"""
    + "".join(
        f"    {name}(first: {PART}) {{ pageInfo {{ hasNextPage endCursor }} nodes {{ {fields} }} }}\n"
        for name, fields in CONNECTIONS.items()
    )
    + "  }\n}\n"
    + ENTRY
)


def _page(name: str, fields: str) -> str:
    return f"""
query AgentsMore_{name}($id: String!, $after: String!) {{
  issue(id: $id) {{
    {name}(first: {PART}, after: $after) {{ pageInfo {{ hasNextPage endCursor }} nodes {{ {fields} }} }}
  }}
}}
"""


MORE = {name: _page(name, fields) for name, fields in {**CONNECTIONS, "labels": "id name"}.items()}
"""For each part of a ticket: the document that reads its next page."""

STATES = """
query AgentsStates($id: String!) {
  issue(id: $id) {
    state { id name type }
    team { key states(first: 100) { nodes { id name type position } } }
  }
}
"""

_USER = "id email active guest app teams(first: 100, after: $after) { pageInfo { hasNextPage endCursor } nodes { key } }"

USER = f"query AgentsUser($id: String!, $after: String) {{ user(id: $id) {{ {_USER} }} }}"

USER_BY_EMAIL = """
query AgentsUserByEmail($email: String!) {
  users(first: 2, filter: { email: { eqIgnoreCase: $email } }) { nodes { id } }
}
"""

FILES = """
query AgentsFiles($id: String!) {
  issue(id: $id) {
    description
    comments(first: 100) { nodes { body } }
    attachments(first: 100) { nodes { url } }
  }
}
"""
"""All that names files, so that Linear signs their addresses."""

COMMENT = "query AgentsComment($id: String!) { comment(id: $id) { id url issue { id } user { id } } }"

VIEWER = "query AgentsViewer { viewer { id name app organization { name } } }"

MOVE = """
mutation AgentsMove($id: String!, $state: String!) {
  issueUpdate(id: $id, input: { stateId: $state }) { success }
}
"""

CREATE_COMMENT = """
mutation AgentsCreateComment($id: String!, $issue: String!, $body: String!) {
  commentCreate(input: { id: $id, issueId: $issue, body: $body, doNotSubscribeToIssue: true }) {
    success
    comment { id url }
  }
}
"""

UPDATE_COMMENT = """
mutation AgentsUpdateComment($id: String!, $body: String!) {
  commentUpdate(id: $id, input: { body: $body, doNotSubscribeToIssue: true }) {
    success
    comment { id url }
  }
}
"""

WRITE_CLAIM = """
mutation AgentsWriteClaim($issue: String!, $url: String!, $title: String!, $subtitle: String!, $metadata: JSONObject!) {
  attachmentCreate(
    input: { issueId: $issue, url: $url, title: $title, subtitle: $subtitle, metadata: $metadata }
  ) {
    success
    attachment { id creator { id } }
  }
}
"""

QUERIES = {
    "issues": ISSUES,
    "teams": TEAMS,
    "issue": ISSUE,
    "states": STATES,
    "user": USER,
    "user by e-mail": USER_BY_EMAIL,
    "files": FILES,
    "comment": COMMENT,
    "viewer": VIEWER,
    **{f"more {name}": document for name, document in MORE.items()},
}
MUTATIONS = {
    "move": MOVE,
    "create comment": CREATE_COMMENT,
    "update comment": UPDATE_COMMENT,
    "write claim": WRITE_CLAIM,
}

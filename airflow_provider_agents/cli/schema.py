"""``airflow agents schema``: the JSON schema of a file, for an editor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.published_schemas import schema_text

if TYPE_CHECKING:
    from argparse import Namespace


def schema(args: Namespace) -> None:
    """Write the schema to standard output."""
    sys.stdout.write(schema_text(args.name))

"""Form letters: one template, many guests."""

from letters.merge import merge
from letters.template import MissingValueError, fill, placeholders

__all__ = ["MissingValueError", "fill", "merge", "placeholders"]

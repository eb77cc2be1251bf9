"""Command line: ``python3 -m letters TEMPLATE TABLE``."""

import argparse
import sys
from pathlib import Path

from letters import MissingValueError, merge


def main():
    """Print one letter for each guest; return the exit code."""
    parser = argparse.ArgumentParser(prog="letters", description="Fill in form letters.")
    parser.add_argument("template", type=Path, help="text file with {{ placeholders }}")
    parser.add_argument("table", type=Path, help="CSV file with one row for each letter")
    options = parser.parse_args()
    try:
        with options.table.open(newline="", encoding="utf-8") as table:
            for letter in merge(options.template.read_text(encoding="utf-8"), table):
                print(letter)
    except (MissingValueError, OSError) as error:
        print(f"letters: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

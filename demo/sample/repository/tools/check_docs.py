"""Check that every public function of a package has an example in its docstring, and that the examples are right.

Usage: python3 tools/check_docs.py PACKAGE
Prints each fault as an annotation that GitHub shows beside the line, and exits with 1 if there are any.
"""

import ast
import doctest
import importlib
import sys
from pathlib import Path


def undocumented(path):
    """Yield the line and the fault of each public function in a file that lacks an example."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        docstring = ast.get_docstring(node)
        if docstring is None:
            yield node.lineno, f"{node.name}() has no docstring"
        elif ">>> " not in docstring:
            yield node.lineno, f"{node.name}() has no example (>>>) in its docstring"


def main(package):
    """Check the package and return the exit code."""
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root))
    faults = examples = 0
    for path in sorted((root / package).rglob("*.py")):
        if path.name == "__main__.py":
            continue  # a program, not part of the library
        name = path.relative_to(root).as_posix()
        for line, fault in undocumented(path):
            print(f"::error file={name},line={line}::{fault}")
            faults += 1
        module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
        result = doctest.testmod(module)
        if result.failed:
            print(f"::error file={name},line=1::{result.failed} of {result.attempted} examples are wrong")
        faults += result.failed
        examples += result.attempted
    print(f"{package}: {examples} lines of examples, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

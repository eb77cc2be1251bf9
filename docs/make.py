"""Write the generated parts of the docs and the JSON schemas; tests hold them to the code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
from airflow_provider_agents.domain.published_schemas import SCHEMAS, schema_text
from airflow_provider_agents.domain.settings_reference import with_generated
from airflow_provider_agents.get_provider_info import get_provider_info
from airflow_provider_agents.prompts.reference import with_generated as with_prompts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[1]
PARAMS = "Params of `coding_task`"
OPTIONS = "Options of the section `[agents]`"


def main() -> None:
    """Write the files."""
    settings = ROOT / "docs" / "settings.md"
    settings.write_text(with_generated(settings.read_text(encoding="utf-8")), encoding="utf-8")
    prompts = ROOT / "docs" / "prompts.md"
    prompts.write_text(with_prompts(prompts.read_text(encoding="utf-8")), encoding="utf-8")
    reference = ROOT / "docs" / "reference.md"
    page = with_rows(reference.read_text(encoding="utf-8"), PARAMS, _params())
    reference.write_text(with_rows(page, OPTIONS, _options()), encoding="utf-8")
    folder = ROOT / "airflow_provider_agents" / "schemas"
    folder.mkdir(exist_ok=True)
    for name in SCHEMAS:
        (folder / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")


def with_rows(page: str, section: str, rows: Iterable[str]) -> str:
    """Return the page with the rows of the one table of a section replaced."""
    before, _, rest = page.partition(f"## {section}\n")
    text, end, after = rest.partition("\n## ")
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|---")) + 1
    last = max(number for number, line in enumerate(lines) if line.startswith("|")) + 1
    body = "\n".join([*lines[:first], *rows, *lines[last:]]).rstrip("\n")
    return f"{before}## {section}\n{body}\n{end}{after}"


def _params() -> Iterable[str]:
    schema: Mapping[str, Any] = CodingTaskRequest.model_json_schema()
    for name, field in schema["properties"].items():
        default = "required" if name in schema["required"] else _default(field.get("default"))
        words = field["description"]
        if choices := _choices(field):
            words += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        yield f"| `{name}` | {default} | {words} |"


def _choices(field: Mapping[str, Any]) -> list[Any]:
    variants = field.get("anyOf") or [field]
    return [choice for variant in variants for choice in variant.get("enum", ())]


def _options() -> Iterable[str]:
    for name, option in get_provider_info()["config"]["agents"]["options"].items():
        yield f"| `{name}` | {_default(option['default'] or None)} | {option['description']} |"


def _default(value: Any) -> str:
    if value is None:
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    main()

"""Write the generated part of ``docs/settings.md`` and the JSON schemas; a test holds them to the code."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_agents.domain.published_schemas import SCHEMAS, schema_text
from airflow_provider_agents.domain.settings_reference import with_generated

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write the files."""
    page = ROOT / "docs" / "settings.md"
    page.write_text(with_generated(page.read_text(encoding="utf-8")), encoding="utf-8")
    folder = ROOT / "airflow_provider_agents" / "schemas"
    folder.mkdir(exist_ok=True)
    for name in SCHEMAS:
        (folder / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write docs/schema/dispatch.schema.json, and the tables of docs/configuration.md, from the settings themselves."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from dispatcher.config.schema import json_schema

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "docs" / "schema" / "dispatch.schema.json"
PAGE = ROOT / "docs" / "configuration.md"

#: A table of the page, and the definition in the schema that it is made from.
TABLES = {
    "process": "Settings",
    "kafka": "KafkaOptions",
    "functions": "FunctionOptions",
    "batch": "BatchOptions",
    "retry": "RetryOptions",
    "limits": "LimitsOptions",
    "target": "ProcessTarget",
    "http": "HttpTarget",
    "bearer": "BearerAuth",
    "basic": "BasicAuth",
    "google_id_token": "GoogleIdToken",
    "aws_sigv4": "AwsSigV4",
}
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def schema() -> str:
    """The published schema."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def page(text: str) -> str:
    """The page with its tables as they have to be."""
    definitions = json_schema()["definitions"]
    return _MARKED.sub(lambda match: f"{match[1]}{_table(definitions[TABLES[match[2]]])}{match[3]}", text)


def _table(definition: dict[str, Any]) -> str:
    rows = ["| setting | value | default | what it is |", "| --- | --- | --- | --- |"]
    properties, required = definition["properties"], definition.get("required", ())
    # What can't be left out comes first, wherever a model has it from.
    for name in sorted(properties, key=lambda name: (name != "type", name not in required)):
        said = properties[name]
        if name in {"kafka", "functions"}:
            continue  # tables with sections of their own
        default = "" if "default" not in said else f"`{_written(said['default'])}`"
        cells = (f"`{name}`", _kind(said), default, said.get("description", "").replace("|", "\\|"))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(["", *rows, "", ""])


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _kind(said: dict[str, Any]) -> str:
    if "enum" in said:
        return ", ".join(f"`{_written(each)}`" for each in said["enum"])
    if "const" in said:
        return f"`{_written(said['const'])}`"
    if "anyOf" in said:
        return ", ".join(dict.fromkeys(_kind(each) for each in said["anyOf"]))
    if said.get("type") == "array":
        return f"list of {_kind(said['items'])}"
    if said.get("format") == "date-time":
        return "time"
    if "$ref" in said or said.get("type") == "object" or "oneOf" in said:
        return "table"
    kinds = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    return "path" if said.get("format") == "path" else kinds[said["type"]]


def main() -> None:
    """Write both."""
    SCHEMA.write_text(schema())
    PAGE.write_text(page(PAGE.read_text()))
    sys.stderr.write(f"wrote {SCHEMA.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()

"""``dispatch manifest``: the bindings as a document."""

from __future__ import annotations

from pathlib import Path

import click

from dispatcher.cli.options import app_argument, app_name, app_option, functions, only_option
from dispatcher.cli.output import print_json

__all__ = ["manifest"]


@click.command()
@app_argument
@app_option
@only_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the document instead.")
@click.option(
    "--check",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with this file instead, for CI: exit 1 when it is not what the code declares.",
)
def manifest(app: tuple[str, ...], name: str | None, only: tuple[str, ...], schema: bool, file: Path | None) -> None:
    """Print all bindings as one versioned JSON document, for tools that do not import the code.

    APP is a folder, a file, a module or module:function; this folder when none is named. The document holds neither
    paths of this machine nor secrets. Its JSON Schema is in docs/schema/manifest.schema.json.
    """
    from bindings.manifest import Manifest, json_schema

    if schema:
        print_json(json_schema())
        return
    every = functions(app, only)
    targets = {each.binding.name: each.target_name for each in every}
    found = Manifest.of([each.binding for each in every], app=app_name(app, name), targets=targets)
    if file is None:
        click.echo(found.to_json())
        return
    there = Manifest.read(file.read_bytes())
    if there != found:
        _fail_with_difference(there.to_json(), found.to_json(), file)


def _fail_with_difference(there: str, found: str, file: Path) -> None:
    import difflib

    from dispatcher.cli.output import fail, print_lines

    print_lines(
        line.rstrip("\n")
        for line in difflib.unified_diff(there.splitlines(), found.splitlines(), str(file), "the code", n=2)
    )
    fail(f"{file} is not what the code declares", f"dispatch manifest > {file}")
    raise SystemExit(1)

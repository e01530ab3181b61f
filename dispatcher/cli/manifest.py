"""``dispatch manifest``: the bindings as a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli.options import app_argument, app_name, app_option, functions, only_option
from dispatcher.cli.output import print_json, talk

if TYPE_CHECKING:
    from bindings.manifest import Manifest

__all__ = ["manifest"]


@click.command()
@app_argument
@app_option
@only_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["manifest", "sam", "tfvars", "event-source-mapping"]),
    default="manifest",
    show_default=True,
    help="sam: a template of the functions for AWS Lambda. tfvars: variables of the Terraform modules."
    " event-source-mapping: AWS's own trigger instead of a dispatcher; warnings say what it can't do.",
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the document instead.")
@click.option(
    "--check",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with this file instead, for CI: exit 1 when it is not what the code declares.",
)
def manifest(
    app: tuple[str, ...], name: str | None, only: tuple[str, ...], form: str, schema: bool, file: Path | None
) -> None:
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
    declared = Manifest.of([each.binding for each in every], app=app_name(app, name), targets=targets)
    found = declared.to_json() if form == "manifest" else _exported(declared, form)
    if file is None:
        click.echo(found)
        return
    there = _in_order(file, form)
    if json.loads(there) != json.loads(found):
        _fail_with_difference(there, found, file, form)


def _exported(manifest: Manifest, form: str) -> str:
    from dispatcher.exports import FORMATS

    export = FORMATS[form](manifest)
    for warning in export.warnings:
        talk(f"warning: {warning}", style="yellow")
    return json.dumps(export.document, indent=2)


def _in_order(file: Path, form: str) -> str:
    """A file's document as we would print it, so that only what it says is compared."""
    if form == "manifest":
        from bindings.manifest import Manifest

        return Manifest.read(file.read_bytes()).to_json()
    try:
        return json.dumps(json.loads(file.read_bytes()), indent=2)
    except ValueError as error:
        raise click.UsageError(f"{file} is not JSON: {error}") from None


def _fail_with_difference(there: str, found: str, file: Path, form: str) -> None:
    import difflib

    from dispatcher.cli.output import fail, print_lines

    print_lines(
        line.rstrip("\n")
        for line in difflib.unified_diff(there.splitlines(), found.splitlines(), str(file), "the code", n=2)
    )
    how = "" if form == "manifest" else f"--format {form} "
    fail(f"{file} is not what the code declares", f"dispatch manifest {how}> {file}")
    raise SystemExit(1)

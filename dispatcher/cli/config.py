"""``dispatch config``: the settings, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dispatcher.cli.formats import Format, output_option, print_objects
from dispatcher.cli.help import Group
from dispatcher.cli.options import (
    app_argument,
    app_name,
    app_option,
    broker_option,
    configuration,
    functions,
    only_option,
)
from dispatcher.cli.output import print_json, print_table, talk
from dispatcher.telemetry.text import printable

if TYPE_CHECKING:
    from dispatcher.config.configuration import Configuration
    from dispatcher.config.functions import Function
    from dispatcher.config.origin import Origin

__all__ = ["config"]


class _Setting(NamedTuple):
    key: str
    value: Any
    origin: Origin


@click.group(cls=Group)
def config() -> None:
    """Look at the settings: dispatch.toml, the environment, flags."""


@config.command()
@app_argument
@broker_option
@app_option
@only_option
@output_option
def show(
    app: tuple[str, ...],
    broker: str,  # noqa: ARG001 - it is in the settings
    name: str | None,
    only: tuple[str, ...],
    output: Format,
) -> None:
    """Print each setting, its value, and where it comes from. Secrets are never shown.

    APP is a folder, a file, a module or module:function; this folder when none is named. Without functions there, the
    settings of the process alone are shown.
    """
    from bindings.errors import NoFunctionsFound

    settings = configuration()
    try:
        found = functions(app, only)
    except NoFunctionsFound:
        if app or only:
            raise
        found = []
    rows = [*_of_process(settings, app_name(app, name)), *_of_kafka(settings)]
    for function in found:
        rows += _of_function(function)
    if output != "text":
        print_objects(output, [_as_json(row) for row in rows])
        return
    print_table(
        ("SETTING", "VALUE", "FROM"),
        [(row.key, printable(_text(row.value)), printable(str(row.origin))) for row in rows],
    )
    profile = f", profile {settings.profile}" if settings.profile else ""
    talk(f"read {settings.file}{profile}" if settings.file else "there is no dispatch.toml; these are the defaults")


@config.command()
def schema() -> None:
    """Print the JSON Schema of dispatch.toml, for editors."""
    from dispatcher.config.schema import json_schema

    print_json(json_schema())


def _of_process(settings: Configuration, app: str) -> Iterator[_Setting]:
    from dispatcher.config.origin import Origin

    for field in fields(settings.settings):
        origin = settings.origin(field.name)
        value = getattr(settings.settings, field.name)
        if field.name == "app" and origin.kind == "default":
            value, origin = app, Origin("default", "the folder's name")
        yield _Setting(field.name, value, origin)


def _of_kafka(settings: Configuration) -> Iterator[_Setting]:
    kafka = settings.kafka
    for name in type(kafka).model_fields:
        yield _Setting(f"kafka.{name}", getattr(kafka, name), settings.origin("kafka", name))


def _of_function(function: Function) -> Iterator[_Setting]:
    from dispatcher.config.origin import Origin

    binding, head = function.binding, f"functions.{function.binding.name}"
    default = Origin("default")
    target = function.target.model_dump(exclude_unset=True) if function.target else "local"
    yield _Setting(f"{head}.target", target, function.origins.get(("target",), default))
    for field in fields(binding):
        value = getattr(binding, field.name)
        if field.name in {"function", "name", "signature"}:
            continue
        if not is_dataclass(value):
            yield _Setting(f"{head}.{field.name}", value, function.origins.get((field.name,), default))
            continue
        for inner in fields(value):
            # [functions.NAME] has the dead letters' stream without a table around it.
            # Its topic alone is what most say of it, and its name is the policy's.
            key = field.name if inner.name == "stream" else f"{field.name}.{inner.name}"
            origins = function.origins
            origin = origins.get((field.name, inner.name)) or (
                origins.get((field.name,), default) if field.name == "dead_letter" else default
            )
            yield _Setting(f"{head}.{key}", getattr(value, inner.name), origin)


def _text(value: Any) -> str:
    plain = _plain(value)
    if plain is None:
        return "-"
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, list):
        return ", ".join(map(str, plain)) or "-"
    if isinstance(plain, dict):
        return "{ " + ", ".join(f"{key} = {_text(inner)}" for key, inner in plain.items()) + " }"
    return f"{plain:g}" if isinstance(plain, float) else str(plain)


def _plain(value: Any) -> Any:
    """As JSON has it; a secret is a mask, and a reference to one says where it is."""
    from pydantic import SecretStr

    from dispatcher.config.secrets import MASK, SecretReference

    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, SecretReference):
        return {name: str(inner) for name, inner in value.model_dump(exclude_none=True).items()}
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, timedelta):
        return f"-{value.total_seconds():g}s"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _as_json(row: _Setting) -> dict[str, Any]:
    place = row.origin.place or None
    return {"setting": row.key, "value": _plain(row.value), "from": row.origin.kind, "place": place}

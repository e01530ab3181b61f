"""Where settings come from: defaults, a file, the environment, flags. The later wins; each remembers its place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from dispatcher.config.document import Document
from dispatcher.config.kafka import KafkaOptions
from dispatcher.config.origin import PREFIX, Origin
from dispatcher.config.problems import Problem, nearest
from dispatcher.config.toml import Keys, lines_of, read
from dispatcher.errors import ConfigurationError

__all__ = ["Layer", "Place", "environment", "file_layers", "merge", "same_name"]

#: Read before the settings are, set by the supervisor for its processes, or read by a function in Lambda.
NOT_SETTINGS = frozenset({"DISPATCH_CONFIG", "DISPATCH_PROFILE", "DISPATCH_LIFELINE_FD", "DISPATCH_FUNCTION"})
#: What Kubernetes sets in every container when there is a service named ``dispatch``.
_OF_KUBERNETES = re.compile(r"DISPATCH_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")
#: In the section ``[kafka]``.
_SECRETS = ("password", "key_password", "token")
#: Tables that are one value: the parts of two of them make no third.
_WHOLE = {"target", *_SECRETS}


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says.

    Attributes:
        values: a tree of tables.
        origin: where the source says what is at these keys.
        shown: how the keys are called there.
        folds_names: functions' names come without case and dashes.
        problems: what is wrong whatever the values are.
    """

    values: Mapping[str, Any]
    origin: Callable[[Keys], Origin]
    shown: Callable[[Keys], str]
    folds_names: bool = False
    problems: list[Problem] = field(default_factory=list)


def file_layers(path: Path, profile: str | None) -> tuple[list[Layer], list[Layer]]:
    """What a file says, and the profile over it; and the profiles that are not chosen.

    Raises:
        ConfigurationError: it can't be read, or has no such profile.
    """
    values, text = read(path)
    lines = lines_of(text)
    inside: Keys = ()
    if path.name == "pyproject.toml":
        inside = ("tool", "dispatch")
        tool = values.get("tool", {})
        if "dispatch" not in tool:
            raise ConfigurationError(f"{path} has no [tool.dispatch]")
        values = tool["dispatch"]
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: tool.dispatch is a table: write [tool.dispatch]")
    shown = _shown(path)

    def layer(table: dict[str, Any], prefix: Keys) -> Layer:
        def origin(keys: Keys) -> Origin:
            return Origin("file", _line(shown, lines, (*prefix, *keys)))

        def shown_as(keys: Keys) -> str:
            return ".".join((*prefix, *keys))

        problems = [Problem(origin(keys).place, shown_as(keys), message) for keys, message in _literal_secrets(table)]
        return Layer(_anchored(table, path.parent), origin, shown_as, problems=problems)

    profiles = values.pop("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(each, dict) for each in profiles.values()):
        raise ConfigurationError(
            f"{_line(shown, lines, (*inside, 'profiles'))}: profiles are tables: write [profiles.NAME]"
        )
    if profile is not None and profile not in profiles:
        known = nearest(profile, profiles) or "; it has no [profiles.NAME] at all"
        raise ConfigurationError(f"{shown} has no profile {profile!r}{known}")
    layers = {name: layer(table, (*inside, "profiles", name)) for name, table in profiles.items()}
    chosen = [layers.pop(profile)] if profile is not None else []
    return [layer(values, inside), *chosen], [*layers.values()]


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _line(shown: str, lines: Mapping[Keys, int], keys: Keys) -> str:
    for length in range(len(keys), 0, -1):
        if keys[:length] in lines:
            return f"{shown}:{lines[keys[:length]]}"
    return shown


def _literal_secrets(table: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    # Such files are committed, copied and shown; as Cargo and Poetry do, the secret itself is kept out of them.
    kafka = table.get("kafka")
    for name in _SECRETS:
        if isinstance(kafka, Mapping) and name in kafka and not isinstance(kafka[name], Mapping):
            instead = f'write {name} = {{ file = "..." }} or {{ env = "..." }}, or set {PREFIX}KAFKA__{name.upper()}'
            yield ("kafka", name), f"a secret is not written into a file that is shared: {instead}"


def _anchored(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths in a file are relative to it, wherever the command is typed."""
    if folder.resolve() == Path.cwd().resolve():
        return table

    def anchor(holder: Any, name: str, prefix: str = "") -> None:
        value = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(value, str) and value.startswith(prefix):
            holder[name] = prefix + str(folder / Path(value.removeprefix(prefix)).expanduser())

    anchor(table, "data")
    anchor(table, "broker", "embedded:")
    kafka = table.get("kafka")
    for name in ("ca_file", "cert_file", "key_file"):
        anchor(kafka, name)
    for name in _SECRETS:
        anchor(kafka.get(name) if isinstance(kafka, dict) else None, "file")
    functions = table.get("functions")
    for function in functions.values() if isinstance(functions, dict) else ():
        target = function.get("target") if isinstance(function, dict) else None
        if not isinstance(target, dict):
            continue
        for name in ("ca_file", "cert_file", "key_file"):
            anchor(target, name)
        # Whatever says { file = ... } in a target says where a secret is.
        holders = [target, *(each for each in (target.get("auth"), target.get("headers")) if isinstance(each, dict))]
        for holder in holders:
            for inner in holder.values():
                anchor(inner, "file")
    return table


class _Environment(EnvSettingsSource):
    """pydantic-settings' own, but for what is decoded as JSON: tables and lists alone.

    A password of digits stays text, and what is no JSON is left to the checks, which name the variable.
    """

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ARG002
        if field_name in _SECRETS:
            # As of a file: whoever copies one into a variable, or into a store of secrets, takes its line end along.
            value = str(value).rstrip("\r\n")
        if field_name.endswith("password") or not str(value).lstrip().startswith(("{", "[")):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value


def environment(environ: Mapping[str, str] = os.environ) -> Layer:
    """What ``DISPATCH_*`` variables say; ``__`` goes into a table: ``DISPATCH_KAFKA__RACK``. Empty ones say nothing."""
    said = {name.upper(): name for name, value in environ.items() if name.upper().startswith(PREFIX) and value}

    def origin(keys: Keys) -> Origin:
        for length in range(len(keys), 0, -1):
            name = PREFIX + "__".join(keys[:length]).upper()
            if name in said:
                return Origin("environment", said[name])
        inside = PREFIX + "__".join(keys).upper() + "__"
        return Origin("environment", next((said[name] for name in sorted(said) if name.startswith(inside)), inside))

    settings = {PREFIX + name.upper() for name in Document.model_fields}
    kafka = {PREFIX + "KAFKA__" + name.upper() for name in KafkaOptions.model_fields}
    known = (settings | kafka | NOT_SETTINGS) - {
        PREFIX + "KAFKA",
        PREFIX + "FUNCTIONS",
        "DISPATCH_LIFELINE_FD",
        "DISPATCH_FUNCTION",
    }
    problems = [
        Problem(said[name], "", f"there is no such setting{nearest(name, known, prefix=PREFIX)}")
        for name in sorted(said)
        if name.partition("__")[0] not in settings | NOT_SETTINGS and not _OF_KUBERNETES.fullmatch(name)
    ]
    if not any(name.partition("__")[0] in settings for name in said):
        return Layer({}, origin, _unnamed, problems=problems)
    return Layer(_Environment(Document)(), origin, _unnamed, folds_names=True, problems=problems)


def _unnamed(_keys: Keys) -> str:
    return ""  # a variable's name says it all


def same_name(name: str) -> str:
    """A function's name as a variable has it: upper case and dashes can't be told apart there."""
    return name.casefold().replace("-", "_")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is said, and how its key is called there."""

    origin: Origin
    key: str


def merge(layers: list[Layer]) -> tuple[dict[str, Any], dict[Keys, Place]]:
    """All layers in one, the later over the earlier, and for each value where it is from."""
    merged: dict[str, Any] = {}
    places: dict[Keys, Place] = {}

    def put(table: dict[str, Any], values: Mapping[str, Any], layer: Layer, keys: Keys, said: Keys) -> None:
        for written, value in values.items():
            key = written
            if keys == ("functions",) and layer.folds_names:
                key = next((each for each in table if same_name(each) == same_name(written)), written)
            here, there = (*keys, key), (*said, written)
            if isinstance(value, Mapping) and key not in _WHOLE:
                inner = table.get(key)
                if not isinstance(inner, dict):
                    inner = table[key] = {}
                places[here] = Place(layer.origin(there), layer.shown(there))
                put(inner, value, layer, here, there)
            else:
                for old in [each for each in places if each[: len(here)] == here]:
                    del places[old]
                table[key] = value
                remember(value, layer, here, there)

    def remember(value: Any, layer: Layer, here: Keys, there: Keys) -> None:
        places[here] = Place(layer.origin(there), layer.shown(there))
        if isinstance(value, Mapping):
            for key, inner in value.items():
                remember(inner, layer, (*here, key), (*there, key))

    for layer in layers:
        put(merged, layer.values, layer, (), ())
    return merged, places

"""From the sources to one valid document, or to everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dispatcher.config.document import Document
from dispatcher.config.origin import Origin
from dispatcher.config.problems import Problem, nearest, raise_all
from dispatcher.config.sources import Place, environment, file_layers, merge
from dispatcher.config.toml import Keys

__all__ = ["read"]


def read(path: Path | None, profile: str | None) -> tuple[Any, dict[Keys, Origin]]:
    """The document that file and environment make, and where its values came from.

    Raises:
        ConfigurationError: with all that is wrong.
    """
    of_file, others = file_layers(path, profile) if path else ([], [])
    layers = [*of_file, environment()]
    problems = [problem for layer in layers for problem in layer.problems]
    merged, places = merge(layers)
    document, found = _validated(merged, places)
    problems += found
    # A mistake in the profile for production is told now, not on the day that it is chosen.
    for other in others:
        problems += other.problems
        problems += _validated(*merge([other]))[1]
    raise_all(problems)
    return document, {keys: place.origin for keys, place in places.items()}


def _validated(merged: Mapping[str, Any], places: Mapping[Keys, Place]) -> tuple[Any, list[Problem]]:
    try:
        return Document(**merged), []
    except ValidationError as error:
        problems: dict[Keys, Problem] = {}
        for each in error.errors(include_url=False, include_input=False):
            keys = _keys(each["loc"], merged)
            if each["type"] == "missing":
                keys = (*keys, str(each["loc"][-1]))
            place = _place(keys, places)
            # A union has a complaint for each of its types: the first, or the one inside, is of the type that is meant.
            problems.setdefault(keys, Problem(place.origin.place, place.key, _message(each, keys)))
        deeper = {keys[:length] for keys in problems for length in range(len(keys))}
        return None, [problem for keys, problem in problems.items() if keys not in deeper]


def _keys(location: tuple[int | str, ...], merged: Mapping[str, Any]) -> Keys:
    """The keys of the value that is wrong: the location without the names of a union's types."""
    keys: list[str] = []
    value: Any = merged
    for part in location:
        if isinstance(value, Mapping) and part in value:
            keys.append(str(part))
            value = value[part]
    return tuple(keys)


def _place(keys: Keys, places: Mapping[Keys, Place]) -> Place:
    for length in range(len(keys), 0, -1):
        if keys[:length] in places:
            return places[keys[:length]]
    return Place(Origin("default"), ".".join(keys))


def _message(error: Any, keys: Keys) -> str:
    text: str = error["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if error["type"] == "extra_forbidden":
        names = _names_in(Document, tuple(map(str, error["loc"][:-1])))
        return f"there is no such setting{nearest(keys[-1], names)}"
    if error["type"] == "missing":
        return f"{keys[-1]} is missing"
    return (
        text[:1].lower() + text[1:]
        if text.startswith(("Field", "String", "List", "Tuple", "Value", "Unable"))
        else text
    )


def _names_in(model: type[BaseModel], location: Keys) -> set[str]:
    """The names of the settings in the table at ``location``."""
    candidates: list[Any] = [model]
    for part in location:
        inner: list[Any] = []
        for kind in candidates:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if part in kind.model_fields:
                    inner += _unwrapped(kind.model_fields[part].annotation)
                elif part in {kind.__name__, *_tags(kind)}:
                    inner.append(kind)
            elif get_origin(kind) is dict:
                inner += _unwrapped(get_args(kind)[1])
        candidates = inner
    return {
        name
        for kind in candidates
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name in kind.model_fields
    }


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["type"].annotation) if "type" in model.model_fields else ()


def _unwrapped(kind: Any) -> Iterator[Any]:
    """The types in a union, out of their annotations."""
    if get_origin(kind) in {dict, None}:
        yield kind
    else:
        for each in get_args(kind):
            yield from _unwrapped(each)

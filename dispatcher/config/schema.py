"""The JSON Schema of ``dispatch.toml``, for editors; published as ``docs/schema/dispatch.schema.json``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from bindings.binding import Binding
from dispatcher.config.docstrings import descriptions_of
from dispatcher.config.document import Document, FunctionOptions
from dispatcher.config.kafka import KafkaOptions
from dispatcher.config.secrets import SecretReference, TokenReference
from dispatcher.config.targets import (
    AwsLambdaTarget,
    AwsSigV4,
    BasicAuth,
    BearerAuth,
    GoogleFunctionTarget,
    GoogleIdToken,
    HttpTarget,
    LocalTarget,
    ProcessTarget,
)

__all__ = ["json_schema"]

_DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest that the TOML language servers know well
_DESCRIBED: tuple[type[BaseModel], ...] = (
    *(KafkaOptions, SecretReference, TokenReference),
    *(LocalTarget, ProcessTarget, HttpTarget, AwsLambdaTarget, GoogleFunctionTarget),
    *(BearerAuth, BasicAuth, GoogleIdToken, AwsSigV4),
)


def json_schema() -> dict[str, Any]:
    """What may be written in ``dispatch.toml``, and under ``[tool.dispatch]``."""
    schema = Document.model_json_schema(ref_template="#/definitions/{model}")
    definitions = {name: _tidy(each) for name, each in schema.pop("$defs").items()}
    for model in _DESCRIBED:
        _describe(definitions[model.__name__], model)
    _describe(definitions[FunctionOptions.__name__], Binding)
    _describe(definitions[FunctionOptions.__name__], FunctionOptions.__base__)
    # TOML knows neither null nor a secret that is written out: what is left says so.
    definitions["Settings"] = _tidy(schema) | {"description": "The settings of a dispatcher."}
    profiles = {
        "type": "object",
        "additionalProperties": {"$ref": "#/definitions/Settings"},
        "description": "By name: settings over the others, chosen with --profile or DISPATCH_PROFILE.",
    }
    top = definitions["Settings"]
    tables = ("kafka", "functions")
    top["properties"] = {name: said for name, said in top["properties"].items() if name not in tables} | {
        name: top["properties"][name] for name in tables
    }
    return {
        "$schema": _DIALECT,
        "title": "dispatch.toml",
        "description": "The settings of Dispatch; in pyproject.toml they stand under [tool.dispatch].",
        "type": "object",
        "additionalProperties": False,
        "properties": {**top["properties"], "profiles": profiles},
        "definitions": dict(sorted(definitions.items())),
    }


def _describe(schema: dict[str, Any], model: Any) -> None:
    schema["description"] = (model.__doc__ or "").strip().partition("\n")[0].replace("``", "`")
    texts = {name: text for each in reversed(model.__mro__) for name, text in descriptions_of(each).items()}
    for name, text in texts.items():
        if name in schema["properties"]:
            schema["properties"][name]["description"] = text


def _tidy(schema: Any) -> Any:
    """The schema without what TOML can't say (null), what is no one's to write (secrets), and titles made of names."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if (key == "title" and isinstance(value, str)) or (key == "default" and value in (None, {})):
            continue
        if key == "properties":
            found[key] = {name: _tidy(each) for name, each in value.items()}
        elif key == "anyOf":
            found[key] = [_tidy(each) for each in value if each.get("type") != "null" and not each.get("writeOnly")]
        else:
            found[key] = _tidy(value)
    alternatives = found.get("anyOf")
    if alternatives is not None and len(alternatives) == 1:
        del found["anyOf"]
        found = {**alternatives[0], **found}
    return found

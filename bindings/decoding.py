"""From a type to the function that makes its values from bytes.

Built once, at import, as fast as the type allows; pydantic and msgspec are imported only for types that
are theirs (``pydantic.TypeAdapter`` alone takes 0.1 s to import).
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, is_typeddict

__all__ = ["TAKES", "Unsupported", "decoder_of", "null_value", "type_name"]

TAKES = (
    "a function takes a pydantic model, a dataclass, a TypedDict, dict, dict[str, X], bytes, str or a"
    " msgspec.Struct; Event[...] of one of these for its key, headers and offset; list[...] of either for a"
    " batch; X | None inside where a record may have no value"
)


class Unsupported(TypeError):
    """Raised for a type that events can't be decoded to; the message says what to write instead."""


def null_value() -> ValueError:
    """Make the error of a record without a value, for a function that does not take None."""
    return ValueError("the value is null (a tombstone): annotate `X | None` to receive None for such records")


def type_name(annotation: Any) -> str:
    """Write a type as a person would in an annotation: ``list[Event[Order]]``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is types.NoneType:
        return "None"
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is types.UnionType or str(origin) == "typing.Union":
        return " | ".join(type_name(each) for each in arguments)
    if origin is not None and arguments:
        return f"{type_name(origin)}[{', '.join(type_name(each) for each in arguments)}]"
    return getattr(annotation, "__name__", None) or str(annotation).removeprefix("typing.")


def decoder_of(annotation: Any) -> Callable[[bytes], Any]:
    """Make the decoder of a value's type.

    A pydantic model is read by its own configuration. Dataclasses, TypedDicts and dicts are read strictly:
    a text is not taken for a number, and NaN is refused, as JSON has none (RFC 8259, section 6).

    Returns:
        From bytes to the value; raises ``ValueError`` or a child when the bytes are not that.

    Raises:
        Unsupported: there is no decoder for the type.
        NameError: the type names another that is not defined yet.
    """
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    origin = get_origin(plain) or plain
    if plain is bytes or plain is str:
        if plain is not annotation:
            raise Unsupported(f"the constraints on {plain.__name__} would not be checked: use a pydantic model")
        return _same if plain is bytes else _text
    if origin is dict:
        return _dict_decoder(annotation, get_args(plain))
    if isinstance(plain, type) and hasattr(plain, "__pydantic_validator__") and not dataclasses.is_dataclass(plain):
        return _model_decoder(annotation, plain)
    if is_typeddict(origin) or _is_foreign_typed_dict(origin) or _is_dataclass(origin):
        return _strict_decoder(annotation)
    msgspec = sys.modules.get("msgspec")
    if msgspec is not None and isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        try:
            return _struct_decoder(msgspec.json.Decoder(annotation).decode)
        except TypeError as error:
            raise Unsupported(f"{type_name(annotation)} can't be decoded to: {error}") from error
    raise Unsupported(f"{type_name(annotation)} is not a type that events are decoded to: {TAKES}")


def _same(raw: bytes) -> bytes:
    return raw


def _text(raw: bytes) -> str:
    return raw.decode()


def _is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _is_foreign_typed_dict(kind: Any) -> bool:
    # On Python 3.11 pydantic needs typing_extensions.TypedDict, which typing.is_typeddict does not know.
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _dict_decoder(annotation: Any, arguments: tuple[Any, ...]) -> Callable[[bytes], Any]:
    if arguments and arguments[0] is not str:
        raise Unsupported(f"the keys of a JSON object are texts: write dict[str, {type_name(arguments[1])}]")
    if get_origin(annotation) is Annotated or (arguments and arguments[1] not in (Any, object)):
        return _strict_decoder(annotation)

    from pydantic_core import from_json

    def decode(raw: bytes) -> dict[str, Any]:
        value = from_json(raw, allow_inf_nan=False)
        if type(value) is not dict:
            raise ValueError(f"the value is a JSON {_json_name(value)}, not an object")
        return value

    return decode


def _json_name(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _model_decoder(annotation: Any, model: Any) -> Callable[[bytes], Any]:
    if model.__module__ == "pydantic.main" and model.__name__ == "BaseModel":
        raise Unsupported("BaseModel itself has no fields: annotate a model of yours, or dict")
    if not model.__pydantic_complete__:
        # Raises PydanticUndefinedAnnotation, a NameError, for a name that is still missing.
        model.model_rebuild(raise_errors=True)
    if annotation is not model:
        constrained: Callable[[bytes], Any] = _adapter(annotation).validate_json
        return constrained
    # The bound C method: 1.0 us a small event where Model.model_validate_json takes 1.2.
    validate: Callable[[bytes], Any] = model.__pydantic_validator__.validate_json
    return validate


def _strict_decoder(annotation: Any) -> Callable[[bytes], Any]:
    from pydantic_core import from_json

    validate = _adapter(annotation).validate_json

    def decode(raw: bytes) -> Any:
        # A float field takes NaN and Infinity, which JSON has not: parse again, only where one may stand.
        if b"NaN" in raw or b"Infinity" in raw:
            from_json(raw, allow_inf_nan=False)
        return validate(raw, strict=True)

    return decode


def _adapter(annotation: Any) -> Any:
    from pydantic import PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticUndefinedAnnotation

    try:
        adapter = TypeAdapter(annotation)
        if not adapter.pydantic_complete:
            adapter.rebuild(raise_errors=True)
    except PydanticUndefinedAnnotation:
        raise
    except PydanticUserError as error:
        hint = " It comes with pydantic." if error.code == "typed-dict-version" else ""
        raise Unsupported(f"{type_name(annotation)} can't be decoded to: {error.message}{hint}") from error
    return adapter.validator


def _struct_decoder(decode_struct: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode(raw: bytes) -> Any:
        try:
            return decode_struct(raw)
        except RecursionError:
            # msgspec follows brackets down the C stack, those in unknown fields too.
            raise ValueError("the value is nested too deeply") from None

    return decode

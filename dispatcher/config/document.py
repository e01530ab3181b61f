"""What a configuration may say: models made from the settings and the policies themselves, so that nothing is said twice.

Every value may be left out. A value is checked by the very class that it is for: ``Batch(max_events=0)`` in a file has the
message that it has in code.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from dataclasses import Field as DataclassField
from datetime import datetime
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bindings.binding import Binding
from bindings.decorator import bind
from bindings.policies import Batch, DeadLetter, Limits, Retry
from dispatcher.config.docstrings import descriptions_of
from dispatcher.config.kafka import KafkaOptions
from dispatcher.config.settings import Settings
from dispatcher.config.targets import Target
from dispatcher.errors import ConfigurationError

__all__ = ["Document", "FunctionOptions", "exception_named", "policy_of"]

#: How "not at all" is written, since TOML has no null.
NONE = "none"

_CONFIG = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def exception_named(name: str) -> type[BaseException]:
    """A built-in exception by its name, or ``"module:Class"``.

    Raises:
        ValueError: there is none.
    """
    module, colon, attribute = name.rpartition(":")
    try:
        found = getattr(importlib.import_module(module) if colon else builtins, attribute or name, None)
    except ImportError as error:
        raise ValueError(f"{name!r} is no exception: {error}") from None
    if not isinstance(found, type) or not issubclass(found, BaseException):
        raise ValueError(  # noqa: TRY004 - pydantic collects this kind
            f'{name!r} is no exception: write "ValueError", or "module:Class" for one of your own'
        )
    return found


def _exceptions(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _streams(value: object) -> object:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _none(value: object) -> object:
    return None if value == NONE else value


#: What is written otherwise in a file than in code.
_WRITTEN: Mapping[str, Any] = {
    "retry_on": Annotated[list[str], BeforeValidator(_exceptions, json_schema_input_type=list[str])],
    "give_up_on": Annotated[list[str], BeforeValidator(_exceptions, json_schema_input_type=list[str])],
    "streams": Annotated[
        tuple[str, ...], Field(min_length=1), BeforeValidator(_streams, json_schema_input_type=list[str] | str)
    ],
    "start": datetime | str,
}


def _checked_by(cls: Callable[..., Any], name: str) -> AfterValidator:
    def check(value: Any) -> Any:
        given = value
        if name in {"retry_on", "give_up_on"}:
            # A user's own are imported with the functions, and not before.
            given = tuple(exception_named(each) for each in value if ":" not in each)
        try:
            cls(**{name: given})
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(check)


def _optional(kind: Any) -> Any:
    if type(None) not in get_args(kind):
        return kind
    value = reduce(or_, (each for each in get_args(kind) if each is not type(None)))
    return Annotated[kind, BeforeValidator(_none, json_schema_input_type=value | Literal["none"])]


def _default(field: DataclassField[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return None if field.default_factory is MISSING else field.default_factory()


def _options_of(cls: Any, check: Callable[..., Any], names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The fields of a model that holds what a dataclass holds, each of which may be left out."""
    texts, kinds = descriptions_of(cls), get_type_hints(cls)
    made = {}
    for field in fields(cls):
        if names is None or field.name in names:
            kind: Any = _optional(_WRITTEN.get(field.name, kinds[field.name]))
            default = _default(field)
            if field.name in {"retry_on", "give_up_on"}:
                default = [each.__name__ for each in default]
            checked: Any = Annotated[kind, _checked_by(check, field.name)]
            made[field.name] = (checked, Field(default=default, description=texts.get(field.name)))
    return made


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _policy(cls: Any) -> Any:
    return create_model(f"{cls.__name__}Options", __config__=_CONFIG, __doc__=_summary(cls), **_options_of(cls, cls))


_POLICIES = {cls: _policy(cls) for cls in (Batch, Retry, Limits)}
_DeadLetterOptions: Any = _policy(DeadLetter)


def policy_of(policy: Any, options: BaseModel) -> Any:
    """The policy, with what the options say in place of its own."""
    said = options.model_dump(exclude_unset=True)
    for name in {"retry_on", "give_up_on"} & said.keys():
        said[name] = tuple(map(exception_named, said[name]))
    return replace(policy, **said)


@cache
def _probe() -> Binding:
    def function(_events: list[bytes]) -> None: ...

    return bind(function, "stream", name="function")


def _checked_binding(**given: Any) -> Binding:
    return replace(_probe(), **given)


def _empty_is_none(value: object) -> object:
    return None if isinstance(value, str) and value in {"", NONE} else value


def _topic_alone(value: object) -> object:
    return {"stream": given} if isinstance(given := _empty_is_none(value), str) else given


_SHORT = ("streams", "order", "concurrency", "max_concurrency", "timeout", "rate", "start")
_TEXTS = descriptions_of(Binding)


class _FunctionBase(BaseModel):
    """A function's policies and target, in place of what its code declares.

    Args:
        function: ``"module:function"`` of a function that is bound here alone, with no decorator in its code.
        streams: the topics it consumes, at least one, in place of those in the code.
        order: ``"key"``: events of one key run one after another; ``"partition"``: one invocation a partition at a time;
            ``"none"``.
        batch: how many events it is handed at once.
        retry: how often and when a failed event is delivered again, and what happens when that is used up.
        limits: what it may hold in memory.
        rate: invocations started a second at the most; ``"none"`` for no limit.
        start: where its consumer group begins without commits: ``"earliest"``, ``"latest"``, a span back such as ``"-2h"``,
            or a time with its zone.
        target: where it runs: ``"local"``, ``"process"``, or a table with the type and its options.
        where: a CEL expression over ``value``, ``key``, ``headers``, ``stream``; ``"none"`` for no filter.
        emits: the stream to which its results are produced; ``"none"`` for none.
        dead_letter: the topic for events whose attempts are used up; ``"none"`` for the default,
            ``<stream>.<function>.dead``; or a table: ``{format = "spring"}`` writes Spring Kafka's headers beside our own.
    """

    model_config = _CONFIG

    function: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    target: Target | None = None
    where: Annotated[str | None, BeforeValidator(_empty_is_none)] = None
    emits: Annotated[str | None, BeforeValidator(_empty_is_none), _checked_by(_checked_binding, "emits")] = None
    dead_letter: Annotated[
        _DeadLetterOptions | None,
        BeforeValidator(_topic_alone, json_schema_input_type=str | _DeadLetterOptions | None),
    ] = None


#: What a configuration says of one function.
FunctionOptions: Any = create_model(
    "FunctionOptions",
    __base__=_FunctionBase,
    __doc__=_summary(_FunctionBase),
    **_options_of(Binding, _checked_binding, _SHORT),
    batch=(_POLICIES[Batch] | None, Field(default=None, description=_summary(Batch))),
    retry=(_POLICIES[Retry] | None, Field(default=None, description=_summary(Retry))),
    limits=(_POLICIES[Limits] | None, Field(default=None, description=_summary(Limits))),
)


class _Sections(BaseSettings):
    """The settings of a dispatcher."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix="DISPATCH_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    kafka: KafkaOptions = Field(
        default_factory=KafkaOptions,
        description="How a Kafka cluster is reached, but for where it is: that is `broker`.",
    )
    functions: dict[str, FunctionOptions] = Field(
        default={},
        description="By the functions' names: their policies and targets, in place of what their code declares.",
    )

    @classmethod
    def settings_customise_sources(cls, *_sources: Any, **by_name: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        # Only what the constructor is given: the sources are merged before, each value with its place.
        return (by_name["init_settings"],)


#: The whole of a configuration.
Document: Any = create_model("Document", __base__=_Sections, **_options_of(Settings, Settings))

"""The manifest: all bindings of an app as one versioned JSON document, for tools that never import its code.

>>> from bindings import bindings_of, on_stream
>>> @on_stream("orders", order="partition")
... def confirm(order: dict) -> None: ...
>>> manifest = Manifest.of(bindings_of(confirm), app="shop")
>>> manifest.functions[0].group, manifest.functions[0].event.json_schema
('shop.confirm', {'additionalProperties': True, 'type': 'object'})
>>> Manifest.read(manifest.to_json()) == manifest
True

It holds what the code declares, and nothing of the machine: no paths, no addresses, no secrets. Its JSON Schema is
``docs/schema/manifest.schema.json``.
"""

from __future__ import annotations

import builtins
import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bindings.binding import Binding
from bindings.decorator import bindings_of
from bindings.errors import InvalidManifest
from bindings.policies import Batch, DeadLetter, Limits, Ordering, Retry, StartAt
from bindings.signature import Signature

__all__ = [
    "VERSION",
    "BatchPolicy",
    "DeadLetterPolicy",
    "EventType",
    "FunctionEntry",
    "LimitsPolicy",
    "Manifest",
    "RetryPolicy",
    "json_schema",
]

#: Goes up when a reader of the former version would misread the document.
VERSION: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class BatchPolicy(_Part):
    """How many events one invocation takes. See :class:`bindings.Batch`."""

    max_events: int = Field(ge=1, description="Events in a batch.")
    max_bytes: int = Field(ge=1, description="Bytes in a batch: keys, values and headers.")
    max_wait: float = Field(ge=0, description="Seconds that a batch that is not full waits for more.")
    group_by: Literal["key"] | None = Field(description='"key": a batch holds the events of one key alone.')


class RetryPolicy(_Part):
    """Attempts and waits of a failed event. See :class:`bindings.Retry`."""

    max_attempts: int = Field(ge=1, description="Deliveries in all, the first one included.")
    initial: float = Field(ge=0, description="Seconds, the longest wait before the second attempt.")
    multiplier: float = Field(ge=1, description="By how much each wait may be longer than the one before.")
    max_delay: float = Field(ge=0, description="Seconds, no wait is longer.")
    jitter: Literal["full", "none"] = Field(description="Whether a wait is a random part of that time, or all of it.")
    max_age: float | None = Field(description="Seconds since the event's timestamp after which it is not tried again.")
    retry_on: tuple[str, ...] = Field(description="Exceptions that are worth another attempt, by qualified name.")
    give_up_on: tuple[str, ...] = Field(description="Exceptions that are not, by qualified name.")
    then: Literal["dead_letter", "pause", "drop"] = Field(description="What happens when attempts or age are used up.")
    park_limit: int = Field(ge=1, description="Events of one partition that may wait in place.")
    topic_after: float | None = Field(
        description="Seconds; waits of an unordered function of this length go to its retry topic at once."
    )


class LimitsPolicy(_Part):
    """What a function may hold in memory. See :class:`bindings.Limits`."""

    held_events: int = Field(ge=1, description="Events that were fetched and are not done.")
    held_bytes: int = Field(ge=1, description="Their bytes.")


class DeadLetterPolicy(_Part):
    """Where events rest when their attempts are used up."""

    stream: str | None = Field(description="The one topic that was declared; null for a topic of each stream's own.")
    topics: dict[str, str] = Field(description="From each stream to the topic of its dead letters.")
    format: Literal["dispatch", "spring"] = Field(
        default="dispatch", description='"spring": with the headers of Spring Kafka beside our own.'
    )


class EventType(_Part):
    """What the function takes."""

    type: str = Field(description="The parameter's annotation, as a person would write it.")
    content: Literal["json", "text", "bytes"] = Field(description="How an event's value is written.")
    batch: bool = Field(description="The function is handed a list.")
    optional: bool = Field(description="It takes an event without a value (a tombstone).")
    json_schema: dict[str, Any] | None = Field(
        description="The JSON Schema (2020-12) of one event's value; null where there is none."
    )


class FunctionEntry(_Part):
    """One binding: a function, the streams it consumes and the policies of its delivery."""

    name: str = Field(description="The function's name in the app.")
    reference: str = Field(pattern=r"^[^:]+:[^:]+$", description='Where the function is: "module:attribute".')
    target: str = Field(description='Where it runs: "local", "process", ...')
    streams: tuple[str, ...] = Field(min_length=1, description="The streams that it consumes.")
    group: str = Field(description="Its consumer group.")
    order: Literal["key", "partition", "none"] = Field(description="Which events run one after another.")
    batch: BatchPolicy
    retry: RetryPolicy
    limits: LimitsPolicy
    concurrency: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        description='Invocations in flight in one process; "auto" finds how many the target takes.'
    )
    max_concurrency: int = Field(ge=1, description='The ceiling of "auto".')
    timeout: float = Field(gt=0, description="Seconds an attempt may take.")
    rate: Annotated[float, Field(gt=0)] | None = Field(description="Invocations started a second, at the most.")
    where: str | None = Field(description="A CEL expression; other events are skipped.")
    emits: str | None = Field(description="The stream to which its results are produced.")
    dead_letter: DeadLetterPolicy
    retry_topics: dict[str, str] = Field(
        description="From each stream to the topic where events come back to this function alone: redriven dead letters,"
        " and an unordered function's long waits. It exists once there is one."
    )
    start: str = Field(description='Where a group without commits begins: "earliest", "latest", "-2h" or a time.')
    event: EventType

    @classmethod
    def of(cls, binding: Binding, *, app: str, target: str = "local") -> Self:
        """Describe one binding."""
        retry = asdict(binding.retry) | {
            "retry_on": tuple(map(_name_of, binding.retry.retry_on)),
            "give_up_on": tuple(map(_name_of, binding.retry.give_up_on)),
        }
        return cls(
            name=binding.name,
            reference=f"{binding.function.__module__}:{binding.function.__qualname__}",
            target=target,
            streams=binding.streams,
            group=f"{app}.{binding.name}",
            order=binding.order,
            batch=BatchPolicy(**asdict(binding.batch)),
            retry=RetryPolicy(**retry),
            limits=LimitsPolicy(**asdict(binding.limits)),
            concurrency=binding.concurrency,
            max_concurrency=binding.max_concurrency,
            timeout=binding.timeout,
            rate=binding.rate,
            where=binding.where,
            emits=binding.emits,
            dead_letter=DeadLetterPolicy(
                stream=binding.dead_letter.stream,
                topics={stream: binding.dead_letter_topic(stream) for stream in binding.streams},
                format=binding.dead_letter.format,
            ),
            retry_topics={stream: binding.retry_topic(stream) for stream in binding.streams},
            start=_start_as_text(binding.start),
            event=_event_of(binding.signature),
        )

    def to_binding(self) -> Binding:
        """Import the function and make the binding that this describes.

        Raises:
            InvalidManifest: the function or an exception is not where the document says, or a value is not valid.
        """
        function = _imported(self.reference.replace(":", "."), self.reference.partition(":")[0])
        declared = [binding for binding in bindings_of(function) if binding.name == self.name]
        retry = self.retry.model_dump() | {
            "retry_on": tuple(map(_exception, self.retry.retry_on)),
            "give_up_on": tuple(map(_exception, self.retry.give_up_on)),
        }
        order: Ordering = self.order
        try:
            return Binding(
                function=function,
                name=self.name,
                streams=self.streams,
                signature=declared[0].signature if declared else Signature.of(function),
                order=order,
                batch=Batch(**self.batch.model_dump()),
                retry=Retry(**retry),
                dead_letter=DeadLetter(stream=self.dead_letter.stream, format=self.dead_letter.format),
                limits=Limits(**self.limits.model_dump()),
                concurrency=self.concurrency,
                max_concurrency=self.max_concurrency,
                timeout=self.timeout,
                rate=self.rate,
                where=self.where,
                emits=self.emits,
                start=self.start,
            )
        except ValueError as error:
            raise InvalidManifest(f"{self.name}: {error}") from error


class Manifest(_Part):
    """All bindings of an app."""

    version: Literal[1] = Field(description="Of this format.")
    app: str = Field(description="The app's name; with a function's it makes the consumer group.")
    functions: tuple[FunctionEntry, ...]

    @classmethod
    def of(cls, bindings: Iterable[Binding], *, app: str, targets: Mapping[str, str] | None = None) -> Self:
        """Describe bindings.

        Args:
            bindings: of one app.
            app: its name.
            targets: from a function's name to the kind of its target; ``local`` where it is not named.
        """
        kinds = targets or {}
        entries = [FunctionEntry.of(each, app=app, target=kinds.get(each.name, "local")) for each in bindings]
        return cls(version=VERSION, app=app, functions=tuple(entries))

    @classmethod
    def read(cls, document: str | bytes) -> Self:
        """Read a document.

        Raises:
            InvalidManifest: it is no JSON, of another version, or not as the JSON Schema says.
        """
        try:
            given = json.loads(document)
        except ValueError as error:
            raise InvalidManifest(f"the manifest is not JSON: {error}") from error
        version = given.get("version") if isinstance(given, dict) else None
        if version != VERSION:
            raise InvalidManifest(
                f"a manifest of version {version!r}: this version of dispatch reads version {VERSION}"
            )
        try:
            return cls.model_validate_json(document)
        except ValidationError as error:
            first, *more = error.errors(include_url=False, include_input=False)
            others = f" (and {len(more)} more)" if more else ""
            where = ".".join(map(str, first["loc"]))
            raise InvalidManifest(f"the manifest is not valid at {where}: {first['msg']}{others}") from error

    def to_dict(self) -> dict[str, Any]:
        """The document, as what JSON is made of."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """The document, in ASCII, with two spaces an indent."""
        return json.dumps(self.to_dict(), indent=2)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document."""
    schema = Manifest.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _exception(name: str) -> type[BaseException]:
    found = _imported(name, name.rpartition(".")[0])
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise InvalidManifest(f"{name} is not an exception")
    return found


def _imported(name: str, module: str) -> Any:
    """The object of a qualified name; its module may be a shorter part of it than ``module``."""
    if module == "builtins":
        return getattr(builtins, name.rpartition(".")[2], None)
    while module:
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            module = module.rpartition(".")[0]
            continue
        try:
            for part in name.removeprefix(f"{module}.").split("."):
                found = getattr(found, part)
        except AttributeError:
            break
        return found
    raise InvalidManifest(f"there is no {name} to import")


def _start_as_text(start: StartAt) -> str:
    if isinstance(start, datetime):
        return start.isoformat()
    if isinstance(start, timedelta):
        milliseconds = round(start.total_seconds() * 1000)
        return f"-{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"-{milliseconds}ms"
    return start


def _event_of(signature: Signature) -> EventType:
    value = signature.value_type
    return EventType(
        type=signature.type_name,
        content="bytes" if value is bytes else "text" if value is str else "json",
        batch=signature.batch,
        optional=signature.optional,
        json_schema=None if value in (bytes, str) else _schema_of(value),
    )


def _schema_of(value: Any) -> dict[str, Any] | None:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError

    try:
        msgspec = sys.modules.get("msgspec")
        if msgspec is not None and isinstance(value, type) and issubclass(value, msgspec.Struct):
            made: dict[str, Any] = msgspec.json.schema(value)
        else:
            made = TypeAdapter(value).json_schema()
        # A default that is no JSON would not be read back.
        return dict(json.loads(json.dumps(made)))
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError, TypeError, ValueError):
        return None

"""The manifest: bindings as a document and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from event_types import Data, Model, Struct, Typed

from bindings import Batch, DeadLetter, Event, Limits, Retry, bindings_of, on_stream
from bindings.discovery import discover
from bindings.errors import InvalidManifest
from bindings.manifest import Manifest, json_schema
from bindings.policies import parse_start

ROOT = Path(__file__).parent.parent.parent


class OutOfStock(Exception):
    """An error of the user's own."""


@on_stream("orders", "returns")
def plain(order: dict) -> None:
    """All defaults."""


@on_stream(
    "orders",
    name="all-options",
    order="none",
    batch=Batch(max_events=10, max_bytes=1_000, max_wait=2.5),
    retry=Retry(
        max_attempts=3,
        initial=0.5,
        multiplier=3.0,
        max_delay=9.0,
        jitter="none",
        max_age=3_600.0,
        retry_on=(OutOfStock, OSError),
        give_up_on=(ValueError,),
        then="drop",
        park_limit=7,
        topic_after=30.0,
    ),
    concurrency=3,
    timeout=1.5,
    rate=12.5,
    where="value.total > 1.0",
    emits="results",
    dead_letter=DeadLetter(stream="graveyard"),
    limits=Limits(held_events=5, held_bytes=600),
    start="-2h",
)
async def full(orders: list[Event[Model | None]]) -> list[dict]:
    """No default."""
    return []


@on_stream("orders", start=datetime(2026, 5, 1, tzinfo=UTC))
def since(order: Data) -> None:
    """A time as start."""


@on_stream("orders", start=timedelta(hours=1, milliseconds=5))
def back(order: bytes) -> None:
    """A span as start."""


DECLARED = [*bindings_of(plain), *bindings_of(full), *bindings_of(since), *bindings_of(back)]


def test_bindings_come_back_from_the_document_as_they_were() -> None:
    """Every field of a binding survives the way to JSON and back, the function and its exceptions by name."""
    manifest = Manifest.read(Manifest.of(DECLARED, app="shop").to_json())
    for binding, entry in zip(DECLARED, manifest.functions, strict=True):
        back = entry.to_binding()
        for field in binding.__dataclass_fields__:
            if field != "start":
                assert getattr(back, field) == getattr(binding, field), field
        # A start keeps its meaning; times and spans become text.
        assert parse_start(back.start) == parse_start(binding.start)


def test_the_document_says_where_events_go() -> None:
    """Group, dead-letter and retry topics are told for each stream, so that a reader needs no rule of ours."""
    plain_, full_, *_ = Manifest.of(DECLARED, app="shop", targets={"plain": "process"}).functions
    assert (plain_.group, plain_.target, full_.target) == ("shop.plain", "process", "local")
    assert plain_.dead_letter.topics == {"orders": "orders.plain.dead", "returns": "returns.plain.dead"}
    assert plain_.retry_topics == {"orders": "orders.plain.retry", "returns": "returns.plain.retry"}
    assert full_.dead_letter.topics == {"orders": "graveyard"}
    assert full_.retry_topics == {"orders": "orders.all-options.retry"}
    assert full_.retry.retry_on == (f"{__name__}.OutOfStock", "builtins.OSError")
    assert full_.reference == f"{__name__}:full"


@pytest.mark.parametrize("kind", [Model, Data, Typed, Struct])
def test_the_type_of_an_event_has_a_schema(kind: Any) -> None:
    """Models, dataclasses, typed dicts and structs tell the fields of an event by JSON Schema."""

    def take(order: kind) -> None: ...

    take.__annotations__["order"] = kind
    [entry] = Manifest.of(bindings_of(on_stream("orders")(take)), app="shop").functions
    assert (entry.event.type, entry.event.content) == (kind.__name__, "json")
    text = json.dumps(entry.event.json_schema)
    assert all(part in text for part in ('"name"', '"total"', '"number"', '"string"'))


@pytest.mark.parametrize(("kind", "content"), [(bytes, "bytes"), (str, "text")])
def test_raw_values_have_no_schema(kind: type, content: str) -> None:
    """Bytes and text are no JSON, and the document says so."""

    def take(order: kind) -> None: ...  # type: ignore[valid-type]

    take.__annotations__["order"] = kind
    [entry] = Manifest.of(bindings_of(on_stream("orders")(take)), app="shop").functions
    assert (entry.event.content, entry.event.json_schema) == (content, None)


def test_the_published_schema_is_that_of_the_code() -> None:
    """docs/schema/manifest.schema.json is what this version writes: `dispatch manifest --schema` prints it."""
    assert json.loads((ROOT / "docs/schema/manifest.schema.json").read_text()) == json_schema()


def test_the_example_functions_fit_the_published_schema() -> None:
    """Every object of a real document has exactly the fields that the published schema requires of it."""
    schema = json.loads((ROOT / "docs/schema/manifest.schema.json").read_text())
    document = Manifest.of(discover("functions", root=ROOT), app="shop").to_dict()
    assert document.keys() == set(schema["required"]) == schema["properties"].keys()
    entry_schema = schema["$defs"]["FunctionEntry"]
    assert len(document["functions"]) >= 3
    for entry in document["functions"]:
        assert entry.keys() == set(entry_schema["required"]) == entry_schema["properties"].keys()
    assert schema["additionalProperties"] is entry_schema["additionalProperties"] is False


def test_the_document_has_no_paths_of_this_machine() -> None:
    """Nothing in it names the folder where the code is."""
    text = Manifest.of(discover("functions", root=ROOT), app="shop").to_json()
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda document: document.update(version=2), "version 2"),
        (lambda document: document.pop("app"), "at app"),
        (lambda document: document["functions"][0].update(concurrency=0), r"functions\.0\.concurrency"),
        (lambda document: document["functions"][0].update(colour="red"), r"functions\.0\.colour"),
    ],
)
def test_what_is_no_manifest_is_refused_by_the_field(change: Any, problem: str) -> None:
    """Another version, a missing, a wrong and an unknown field are errors that say where."""
    document = Manifest.of(DECLARED, app="shop").to_dict()
    change(document)
    with pytest.raises(InvalidManifest, match=problem):
        Manifest.read(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "null", "{"])
def test_what_is_not_a_document_is_refused(text: str) -> None:
    """Text that is no JSON object is an error of ours, not of the JSON reader."""
    with pytest.raises(InvalidManifest):
        Manifest.read(text)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("reference", "nowhere:plain", "no nowhere.plain"),
        ("reference", f"{__name__}:missing", "missing"),
        ("retry", {"retry_on": ["builtins.NoError"]}, "NoError"),
        ("retry", {"retry_on": ["json.loads"]}, "not an exception"),
        ("streams", ["no stream"], "not a stream name"),
    ],
)
def test_a_binding_that_cannot_be_made_says_why(field: str, value: Any, problem: str) -> None:
    """A function or an exception that is gone, and a value that no policy takes, are named."""
    document = Manifest.of(DECLARED[:1], app="shop").to_dict()
    entry = document["functions"][0]
    entry[field] = entry[field] | value if isinstance(value, dict) else value
    [read] = Manifest.read(json.dumps(document)).functions
    with pytest.raises(InvalidManifest, match=problem):
        read.to_binding()

"""Which failures are one error."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from bindings import Reject, Retry
from bindings.failure import failure_of
from dispatcher.deadletters.fingerprint import fingerprint, masked


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 31747741811 has a total of $0.00", "order 7 has a total of $1,200.50"),
        ("no customer h17", "no customer h204"),
        ("no field 'total' in \"anna\"", "no field 'sum' in \"bob\""),
        ("id 7f8c0a52-3c1b-4d8e-9d0c-0123456789ab", "id 00000000-0000-4000-8000-000000000000"),
        ("at 0x7f8a12b3", "at 0x01"),
        ("digest deadbeef01 differs", "digest 00c0ffee99 differs"),
        ("anna@example.org is unknown", "bob@example.com is unknown"),
        ("since 2026-03-01T12:00:00Z", "since 2025-12-31T23:59:59Z"),
        ("first line\nwith 3 details", "first line\nwith others"),
    ],
)
def test_what_differs_from_event_to_event_is_masked(one: str, other: str) -> None:
    """Numbers, ids, quoted text and all lines but the first don't tell errors apart."""
    assert masked(one) == masked(other)
    assert fingerprint("f", "ValueError", "", one) == fingerprint("f", "ValueError", "", other)


def test_what_tells_errors_apart() -> None:
    """The function, the error's type and its place do, and where the place is not known the words of the message."""
    prints = {
        fingerprint("f", "ValueError", "app.py:check", "no 1"),
        fingerprint("g", "ValueError", "app.py:check", "no 1"),
        fingerprint("f", "KeyError", "app.py:check", "no 1"),
        fingerprint("f", "ValueError", "app.py:other", "no 1"),
        fingerprint("f", "ValueError", "", "no 1"),
        fingerprint("f", "ValueError", "", "not any of 1"),
    }
    assert len(prints) == 6
    assert fingerprint("f", "ValueError", "app.py:check", "a") == fingerprint("f", "ValueError", "app.py:check", "b")


class Shop:
    """Something with a method."""

    def sell(self) -> None:
        int("no number")


def test_the_place_is_the_innermost_frame_of_the_users_code() -> None:
    """A frame of the standard library or of an installed package is not it, however deep it is."""
    import json

    from pydantic import TypeAdapter

    def place(raising: Any) -> str:
        try:
            raising()
        except Exception as error:  # noqa: BLE001 - any
            return failure_of(error, Retry()).place
        return "nothing was raised"

    def decode() -> None:
        json.loads("{")

    def validate() -> None:
        TypeAdapter(int).validate_python("x")

    assert place(Shop().sell) == "test_fingerprint.py:Shop.sell"
    assert place(decode).endswith(".<locals>.decode")
    assert place(validate).endswith(".<locals>.validate")
    assert failure_of(Reject("never raised"), Retry()).place == ""


def test_a_failure_keeps_no_frames_alive() -> None:
    """The place is a text: what the function's frames held is gone with the exception."""

    class Held:
        pass

    def fail() -> tuple[Any, weakref.ref[Held]]:
        held = Held()
        try:
            raise ValueError("no")
        except ValueError as error:
            return failure_of(error, Retry()), weakref.ref(held)

    failure, held = fail()
    gc.collect()
    assert failure.place
    assert held() is None

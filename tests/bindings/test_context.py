"""The context of a delivery."""

import logging
import time
from datetime import UTC, datetime, timedelta

import pytest

from bindings import Context, Emit
from bindings.context import InvocationContext


def test_it_is_a_context():
    """It has all that the protocol promises; mypy checks the types."""
    context: Context = InvocationContext("check", "orders/0/7", attempt=2, timeout=30)
    assert (context.function, context.event_id, context.attempt) == ("check", "orders/0/7", 2)
    assert repr(context) == "<InvocationContext of check, orders/0/7, attempt 2>"


def test_deadline_is_the_timeout_away():
    """The deadline is an aware time that stays the same, and the remaining seconds count down past it."""
    context = InvocationContext("check", "orders/0/7", timeout=30)
    assert abs(context.deadline - datetime.now(UTC) - timedelta(seconds=30)) < timedelta(seconds=5)
    assert context.deadline is context.deadline
    first = context.remaining()
    assert 25 < context.remaining() <= first <= 30
    assert InvocationContext("check", "orders/0/7", timeout=-1).remaining() < 0


def test_log_lines_say_which_delivery(caplog):
    """Each record carries function, event id and attempt, names the caller's line, and the level is the module's."""
    context = InvocationContext("check", "orders/0/7", attempt=3)
    logging.getLogger("functions.check").setLevel(logging.INFO)
    context.logger.debug("hidden")
    context.logger.info("seen %d", 1, extra={"more": True})
    (record,) = caplog.records
    assert (record.name, record.getMessage(), record.filename) == ("functions.check", "seen 1", "test_context.py")
    assert (record.function, record.event_id, record.attempt, record.more) == ("check", "orders/0/7", 3, True)
    assert context.logger is context.logger
    logging.getLogger("functions.check").setLevel(logging.NOTSET)


def test_loggers_are_not_kept():
    """A logger an event is forgotten with its event: the logging module's table does not grow."""
    before = len(logging.Logger.manager.loggerDict)
    for offset in range(100):
        InvocationContext("growing", f"orders/0/{offset}").logger.debug("x")
    assert len(logging.Logger.manager.loggerDict) <= before + 2


def test_emitted_values_are_collected_in_order():
    """What is emitted is kept with its key and headers, for when the function has succeeded."""
    context = InvocationContext("check", "orders/0/7", emits="breaches")
    context.emit(1)
    context.emit({"n": 2}, key="k", headers=(("a", b"1"),))
    assert context.emitted == [Emit(1), Emit({"n": 2}, key="k", headers=(("a", b"1"),))]


def test_emit_without_a_stream_is_refused():
    """Emitting into nowhere is an error at the line that does it, with the mend."""
    with pytest.raises(RuntimeError, match=r'check declares no output stream: add emits="\.\.\."'):
        InvocationContext("check", "orders/0/7").emit(1)


def test_it_is_cheap_to_make():
    """A context costs less than 5 us (about 0.5 us on a laptop): it is made for each invocation."""
    # What the processor takes, not what other programs and the collection of other tests' garbage take meanwhile.
    taken = []
    for _ in range(3):
        begin = time.process_time()
        for _ in range(10_000):
            InvocationContext("check", "orders/0/7", 1, 30.0, None)
        taken.append(time.process_time() - begin)
    assert min(taken) / 10_000 < 5e-6

"""A function's process: sets itself up as it is told, then runs one invocation after another.

It ends when the dispatcher closes the connection, or has ended. The function runs in the main thread; an async one
on an event loop that stays, so that what it has opened there is good for the next invocation too. The loop
turns only while an invocation runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import io
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from bindings import Binding, InvalidOutcome, NoFunctionsFound, Retry
from bindings.context import InvocationContext
from bindings.discovery import discover
from bindings.failure import FailureKind
from bindings.invocation import Delivered, Invocations, Received, Reply, reply_to
from bindings.signature import Signature
from bindings.trace import TraceContext, current_trace, tell_trace
from dispatcher.invokers.process.confinement import confine, die_with, lift_memory_limit, renew_cpu_seconds
from dispatcher.invokers.process.frames import FAILED, READY, START, Bytes, Frames, frame
from dispatcher.invokers.process.logs import Forwarder
from dispatcher.invokers.process.messages import pack_reply, read_request

__all__ = ["main"]

_READ = 1 << 18
_LONGEST_PROBLEM = 4_000
# A binding has streams. Nothing here reads them: each event says where it comes from.
_STREAMS = ("events",)


class Connection:
    """The line to the dispatcher. Any thread may send."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # What the function starts must not hold the line open.
        self._socket.set_inheritable(False)
        self._lock = threading.Lock()
        self._received = self._receive()

    def send(self, data: bytes) -> None:
        """Send a frame; blocks until it is on its way."""
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> tuple[bytes, Any, Bytes] | None:
        """Wait for a frame; None when the dispatcher has closed the line."""
        return next(self._received, None)

    def _receive(self) -> Iterator[tuple[bytes, Any, Bytes]]:
        frames = Frames(0xFFFF_FFFF)
        while data := self._socket.recv(_READ):
            yield from frames.feed(data)


class ProcessInvocations(Invocations):
    """Calls the function as the local target does, so that it says the same; but a sync one in the main thread."""

    def __init__(self, binding: Binding) -> None:
        super().__init__(binding)
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop() if binding.signature.is_async else None
        self.is_out_of_memory = False

    def finish(self, batch: Sequence[Received]) -> Reply:
        """Run one invocation to its end; its results are bytes then."""
        try:
            coroutine = self.invoke(batch)
            reply = self._loop.run_until_complete(coroutine) if self._loop else _finish(coroutine)
            reply = self.in_bytes(reply)
        except BaseException as error:  # noqa: BLE001 - nothing that a function raises may end its process
            reply = reply_to(error, self._binding.retry)
        return self._forgiving_memory(reply)

    def end(self) -> None:
        """Cancel what an async function has left on its loop."""
        self._runner.close()

    async def run(
        self,
        batch: Sequence[Delivered],  # noqa: ARG002 - the protocol's
        argument: Any,
        context: InvocationContext | None,
    ) -> Any:
        """Call the function in this thread."""
        try:
            if self._loop is not None:
                return await self._call(argument, context)
            return contextvars.copy_context().run(self._call, argument, context)
        except MemoryError:
            self.is_out_of_memory = True
            lift_memory_limit()
            raise

    def _forgiving_memory(self, reply: Reply) -> Reply:
        """An event that can't be decoded for want of memory is not to blame: what ran before it may have kept it."""
        failures = {
            index: replace(failure, kind=FailureKind.FUNCTION, counts=True)
            if failure.error_type == "MemoryError"
            else failure
            for index, failure in reply.failures.items()
        }
        if any(failure.error_type == "MemoryError" for failure in (*failures.values(), *filter(None, [reply.rest]))):
            self.is_out_of_memory = True
        return replace(reply, failures=failures)


def main(descriptor: int) -> None:
    """Serve the dispatcher at the other end of an inherited socket until it hangs up."""
    connection = Connection(descriptor)
    first = connection.receive()
    if first is None:
        return
    kind, settings, _ = first
    if kind != START:
        raise RuntimeError("the dispatcher begins with the settings")
    die_with(settings["parent"])
    # Whole lines: unbuffered, a print of several words is several writes, which those of other processes come between.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)
    confine(settings["memory"], settings["open_files"])
    forwarder = Forwarder(connection.send)
    forwarder.addFilter(tell_trace)
    logging.root.handlers[:] = [forwarder]
    logging.root.setLevel(settings["level"])
    try:
        invocations = ProcessInvocations(_load(settings))
    except BaseException as error:  # noqa: BLE001 - an import may do anything
        lift_memory_limit()
        _give_up(connection, error)
    if "structlog" in sys.modules:
        from dispatcher.structured import as_record, send_to_logging

        send_to_logging(as_record)
    connection.send(frame(READY, None))
    _serve(connection, invocations, forwarder, settings)
    invocations.end()


def _serve(
    connection: Connection, invocations: ProcessInvocations, forwarder: Forwarder, settings: dict[str, Any]
) -> None:
    while (received := connection.receive()) is not None:
        _, header, data = received
        forwarder.begin()
        if settings["cpu_seconds"] is not None:
            renew_cpu_seconds(settings["cpu_seconds"])
        id_, batch, trace = read_request(header, data)
        # In a context of its own: the next invocation is of another trace.
        reply = contextvars.copy_context().run(_traced, invocations.finish, batch, trace)
        last = invocations.is_out_of_memory
        answer = pack_reply(id_, reply, last=last)
        if len(answer) > settings["max_reply"]:
            error = InvalidOutcome(
                f"the results have {len(answer):,} bytes, and max_reply lets {settings['max_reply']:,} pass"
            )
            answer = pack_reply(id_, reply_to(error, Retry()), last=last)
        connection.send(answer)
        if last:
            return


def _traced(
    finish: Callable[[Sequence[Received]], Reply], batch: Sequence[Received], trace: TraceContext | None
) -> Reply:
    """Run an invocation as a part of its trace; what the function itself has of OpenTelemetry goes on with that too."""
    current_trace.set(trace)
    if trace is not None and "opentelemetry.trace" in sys.modules:
        from opentelemetry.context import attach
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        attach(TraceContextTextMapPropagator().extract(trace.headers()))
    return finish(batch)


def _give_up(connection: Connection, error: BaseException) -> NoReturn:
    try:
        problem = str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything
        problem = type(error).__name__
    if not type(error).__module__.startswith("bindings"):
        problem = f"{type(error).__name__}: {problem}"
    connection.send(frame(FAILED, problem[:_LONGEST_PROBLEM]))
    os._exit(1)


def _load(settings: dict[str, Any]) -> Binding:
    """Import the function, and bind it with what the dispatcher's own binding says."""
    function = _find(settings["reference"], settings["root"])
    retry = Retry(retry_on=_classes(settings["retry_on"]), give_up_on=_classes(settings["give_up_on"]))
    return Binding(
        function=function,
        name=settings["name"],
        streams=_STREAMS,
        signature=Signature.of(function),
        retry=retry,
        timeout=settings["timeout"],
        emits=settings["emits"],
    )


def _find(reference: str, root: str) -> Callable[..., Any]:
    try:
        return discover(reference, root=root)[0].function
    except NoFunctionsFound:
        # Bound by configuration alone: the module is imported, and the attribute is not decorated.
        module, _, attribute = reference.rpartition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return function


def _classes(references: Sequence[str]) -> tuple[type[BaseException], ...]:
    found = []
    for reference in references:
        module, _, name = reference.partition(":")
        value: Any = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
        found.append(value)
    return tuple(found)


def _finish(coroutine: Coroutine[Any, Any, Reply]) -> Reply:
    """Run a coroutine that never waits, with no event loop: the function may run one of its own."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        reply: Reply = stop.value
        return reply
    raise RuntimeError("a sync function can't wait")

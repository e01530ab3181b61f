"""Decorated functions for Google's Functions Framework, on Cloud Run functions and everywhere else that it runs.

::

    from bindings.hosts import functions_framework as hosts
    from orders import check_limit

    main = hosts.http(check_limit)             # --signature-type http (the default)
    event_main = hosts.cloud_event(check_limit)    # --signature-type cloudevent: one event a request

Both speak the same of outcomes as :mod:`bindings.hosts.http` says. Prefer ``http``: it takes batches too, and the framework's
own parsing of CloudEvents is left out.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from bindings.binding import Binding
from bindings.hosts.http import Answer, problem, respond
from bindings.hosts.serving import Served, binding_of

__all__ = ["cloud_event", "http"]


def http(function: Callable[..., Any] | Binding) -> Callable[[Any], Any]:
    """Make the http function of a decorated function: takes a Flask request, returns body, status and headers.

    Raises:
        TypeError: the function is not decorated.
    """
    served = Served(binding_of(function))
    loop = _Loop()

    def handle(request: Any) -> tuple[bytes, int, dict[str, str]]:
        given = _respond(served, loop, request) if request.method == "POST" else _wrong_method()
        return given.body, given.status, given.headers

    handle.__name__ = served.binding.name.replace("-", "_")
    return handle


def cloud_event(function: Callable[..., Any] | Binding) -> Callable[[Any], Any]:
    """Make the CloudEvent function of a decorated function.

    The framework answers "OK" for whatever such a function returns; so what there is to say is raised as a response.

    Raises:
        TypeError: the function is not decorated, or takes batches, which the framework does not.
    """
    binding = binding_of(function)
    if binding.signature.batch:
        raise TypeError(f"{binding.name} takes batches, and a CloudEvent function one event a request: use http()")
    served = Served(binding)
    loop = _Loop()

    def handle(_event: Any) -> None:
        import flask

        given = _respond(served, loop, flask.request)
        flask.abort(flask.Response(given.body, given.status, given.headers))

    handle.__name__ = binding.name.replace("-", "_")
    return handle


def _respond(served: Served, loop: _Loop, request: Any) -> Answer:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return loop.run(respond(served, headers, request.get_data()))


def _wrong_method() -> Answer:
    return problem(405, "Method Not Allowed", "events are posted", allow="POST")


class _Loop:
    """One event loop for all of the framework's threads: what an async function opens there is good for the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        with self._lock:
            if self._loop is None:
                # Not at import: gunicorn forks its workers after that, and threads do not survive it.
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="functions", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

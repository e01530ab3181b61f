"""Decorated functions as an ASGI application: for uvicorn and others in a container, Knative, Cloud Run, Azure.

::

    from bindings.hosts.asgi import app
    from orders import check_limit, confirm_order

    application = app(check_limit, confirm_order)      # uvicorn service:application

One function is served at ``POST /``, and each of several at ``POST /<name>``. ``GET /livez`` and ``GET /readyz`` are for the
platform; the latter says 503 once the server stops. :mod:`bindings.hosts.http` has the forms of requests and answers.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from bindings.binding import Binding
from bindings.hosts.http import Answer, problem, respond
from bindings.hosts.serving import Served, binding_of

__all__ = ["ASGIApp", "app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: https://asgi.readthedocs.io, version 3.
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_LARGEST_BODY = 16 * 1024 * 1024


def app(*functions: Callable[..., Any] | Binding, token: str | None = None, max_body: int = _LARGEST_BODY) -> ASGIApp:
    """Make the application of some decorated functions.

    Args:
        functions: decorated with ``@on_stream``, at least one, with different names.
        token: requests must bear it (``Authorization: Bearer ...``), where the platform does not ask who calls.
        max_body: bytes of a request; a larger one is answered with 413.

    Raises:
        TypeError: a function is not decorated.
        ValueError: no function, or two of one name.
    """
    served = {binding.name: Served(binding) for binding in map(binding_of, functions)}
    if not served:
        raise ValueError("app() serves at least one function")
    if len(served) != len(functions):
        raise ValueError('two functions have one name: give one another with @on_stream(..., name="...")')
    return _Application(served, token, max_body)


class _Application:
    def __init__(self, served: dict[str, Served], token: str | None, max_body: int) -> None:
        self._served = served
        self._only = next(iter(served.values())) if len(served) == 1 else None
        self._token = None if token is None else f"Bearer {token}".encode()
        self._max_body = max_body
        self._is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            given = await self._handle(scope, receive)
            if given is not None:
                await _send(send, given)
        else:
            raise ValueError(f"this application speaks http, not {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self._is_stopping = True
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _handle(self, scope: Scope, receive: Receive) -> Answer | None:
        path, method = scope["path"].strip("/"), scope["method"]
        if path in ("livez", "readyz") and method in ("GET", "HEAD"):
            ready = path == "livez" or not self._is_stopping
            return Answer(200 if ready else 503, {"content-type": "text/plain"}, b"ok" if ready else b"stopping")
        served = self._only if path == "" else self._served.get(path)
        if served is None:
            return problem(404, "Not Found", f"POST to / or to one of: {', '.join(sorted(self._served))}")
        if method != "POST":
            return problem(405, "Method Not Allowed", "events are posted", allow="POST")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self._token is not None and not hmac.compare_digest(
            headers.get("authorization", "").encode("latin-1"), self._token
        ):
            return problem(401, "Unauthorized", "the token is missing or another", www_authenticate="Bearer")
        body = await self._body(receive)
        if body is None:
            return problem(413, "Content Too Large", f"a request has {self._max_body:,} bytes at most")
        return await _while_connected(respond(served, headers, body), receive)

    async def _body(self, receive: Receive) -> bytes | None:
        parts, size, is_more = [], 0, True
        while is_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b""
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                return None
            is_more = message.get("more_body", False)
        return b"".join(parts)


async def _while_connected(work: Coroutine[Any, Any, Answer], receive: Receive) -> Answer | None:
    """Do the work; stop it when the caller has hung up, whose time was up: nobody would read the answer."""
    working, listening = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            return None
        return working.result()
    finally:
        working.cancel()
        listening.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, given: Answer) -> None:
    headers = {**given.headers, "content-length": str(len(given.body))}
    if given.status == 204:
        del headers["content-length"]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": given.status, "headers": encoded})
    await send({"type": "http.response.body", "body": given.body})

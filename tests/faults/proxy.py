"""The network between clients and one server, which a test can break: a TCP proxy in a thread of its own.

=============  =========================================================================================
``open``       forwards
``refuse``     nothing listens; connections are cut
``reset``      connections are reset, and each new one as soon as it is made
``blackhole``  connections stand, new ones are taken, and nothing comes through, as when packets are dropped
``slow``       what is sent arrives 0.3 s later
``throttled``  20 kB a second in each direction of each connection
=============  =========================================================================================

What a blackhole has swallowed arrives once it is gone, as TCP would send it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Literal, Self, TypeVar

__all__ = ["Mode", "Proxy"]

Mode = Literal["open", "refuse", "reset", "blackhole", "slow", "throttled"]
_T = TypeVar("_T")

_DELAY = 0.3
_BYTES_A_SECOND = 20_000
_CHUNK = 64 * 1024
# On, and for 0 s: close() then sends RST instead of FIN.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards ``127.0.0.1:port`` to ``127.0.0.1:target``. A context manager.

    Args:
        port: where clients connect; a free one when it is left out. It is held from now on.
        target: the server's port; may be set later.
    """

    def __init__(self, port: int = 0, target: int = 0) -> None:
        self._listener = self._bind(port)
        self.port: int = self._listener.getsockname()[1]
        self.target = target
        self.mode: Mode = "open"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listening = False
        self._links: dict[asyncio.Task[None], tuple[socket.socket, ...]] = {}
        self._gate = asyncio.Event()
        self._gate.set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.set("open")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, mode: Mode) -> None:
        """Break the network in this way, or mend it; returns when it is so."""
        self._do(self._set(mode))

    def _do(self, what: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _set(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "blackhole":
            self._gate.clear()
        else:
            self._gate.set()
        if mode in ("refuse", "reset"):
            await self._cut()
        if mode == "refuse":
            self._stop_listening()
        elif not self._listening:
            if self._listener.fileno() < 0:
                self._listener = self._bind(self.port)
            self._listener.listen(128)
            self._listener.setblocking(False)
            # Not sock_accept(), which loses a connection when it is cancelled at that moment.
            self._loop.add_reader(self._listener, self._accept)
            self._listening = True

    async def _close(self) -> None:
        self._stop_listening()
        self._listener.close()
        self._gate.set()
        await self._cut()

    def _stop_listening(self) -> None:
        if self._listening:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listening = False

    async def _cut(self) -> None:
        tasks = list(self._links)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # it has hung up already
            return
        client.setblocking(False)
        if self.mode == "reset":
            _reset(client)
            return
        server = socket.socket()
        server.setblocking(False)
        task = self._loop.create_task(self._link(client, server))
        self._links[task] = (client, server)
        task.add_done_callback(self._unlink)

    def _unlink(self, task: asyncio.Task[None]) -> None:
        # Cancelled before its first step, or ended: the sockets are gone either way.
        for each in self._links.pop(task):
            _reset(each)

    async def _link(self, client: socket.socket, server: socket.socket) -> None:
        await self._gate.wait()
        with contextlib.suppress(OSError):
            await self._loop.sock_connect(server, ("127.0.0.1", self.target))
            directions = [
                asyncio.ensure_future(self._forward(source, drain))
                for source, drain in ((client, server), (server, client))
            ]
            try:
                # When one side has hung up, so does the other.
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in directions:
                    each.cancel()
                await asyncio.gather(*directions, return_exceptions=True)

    async def _forward(self, source: socket.socket, drain: socket.socket) -> None:
        """Forward in order; a delay holds each chunk, not those behind it."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        writer = asyncio.ensure_future(self._write(waiting, drain))
        try:
            while data := await self._loop.sock_recv(source, _CHUNK):
                delay = _DELAY if self.mode == "slow" else 0.0
                await waiting.put((self._loop.time() + delay, data))
                if writer.done():
                    return
            await waiting.put((0.0, b""))
            await writer
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, waiting: asyncio.Queue[tuple[float, bytes]], drain: socket.socket) -> None:
        while True:
            due, data = await waiting.get()
            if not data:
                return
            if (left := due - self._loop.time()) > 0:
                await asyncio.sleep(left)
            await self._gate.wait()
            while self.mode == "throttled" and data:
                part, data = data[: _BYTES_A_SECOND // 20], data[_BYTES_A_SECOND // 20 :]
                await self._loop.sock_sendall(drain, part)
                await asyncio.sleep(len(part) / _BYTES_A_SECOND)
            await self._loop.sock_sendall(drain, data)

    @staticmethod
    def _bind(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        return listener


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()

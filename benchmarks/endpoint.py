"""An endpoint in a process of its own that answers every POST with the same bytes, at once or after a delay.

It knows no more of HTTP than where a request ends, so that it is no limit to those that post: ``python -m benchmarks.endpoint
SECONDS ANSWER`` prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["endpoint", "json_answer"]

NO_CONTENT = "HTTP/1.1 204 No Content\r\n\r\n"


def json_answer(document: bytes) -> str:
    """An answer of 200 with that body."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(document)}\r\n\r\n{document.decode()}"


@contextlib.contextmanager
def endpoint(answer: str = NO_CONTENT, delay: float = 0.0) -> Iterator[str]:
    """Start it; gives its URL, without a path."""
    words = [sys.executable, "-m", "benchmarks.endpoint", str(delay), answer]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


class _Answering(asyncio.Protocol):
    answer = b""
    delay = 0.0

    def __init__(self) -> None:
        self._head = b""
        # Bytes of the body that are still to come.
        self._left = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        while data:
            if self._left:
                used = min(self._left, len(data))
                self._left -= used
                data = data[used:]
            else:
                self._head += data
                head, end, data = self._head.partition(b"\r\n\r\n")
                if not end:
                    return
                self._head = b""
                self._left = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            if not self._left:
                if self.delay:
                    asyncio.get_running_loop().call_later(self.delay, self._transport.write, self.answer)
                else:
                    self._transport.write(self.answer)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    _Answering.delay, _Answering.answer = float(sys.argv[1]), sys.argv[2].encode()
    asyncio.run(_serve())

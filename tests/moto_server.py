"""AWS by moto on a socket, empty at first: what moto knows is one state of the process, whichever test filled it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer

__all__ = ["moto_server"]


@contextmanager
def moto_server() -> Iterator[str]:
    """The server's address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        with urlopen(Request(f"{url}/moto-api/reset", method="POST"), timeout=10):  # noqa: S310 - of this process
            yield url
    finally:
        server.stop()

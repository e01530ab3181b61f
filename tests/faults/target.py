"""A target under test: an app's function behind HTTP, as any service would have it, that can be told to refuse.

    python target.py APP PORT DOWN

While there is a file DOWN, every event is answered with 503.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ledger import FOLDER, INSTANCE

__all__ = ["Target"]


class Target:
    """The service of a fleet's function, and its outages.

    Args:
        folder: of the fleet; the handlers write their ledger there.
        source: the app's file.
        environ: what the app reads.
    """

    def __init__(self, folder: Path, source: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._source = source
        self._environ = environ
        self._down = folder / "down"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it is, or would be."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Serve; the outage is over."""
        self._down.unlink(missing_ok=True)
        self._starts += 1
        name = f"target{self._starts}"
        with (self._folder / f"{name}.log").open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self._source), str(self.port), str(self._down)],
                env={**os.environ, **self._environ, FOLDER: str(self._folder), INSTANCE: name},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def refuse_all(self) -> None:
        """Answer every event with 503, without a look at it."""
        self._down.touch()

    def stop(self) -> None:
        """Be gone: connections are refused."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def main(source: str, port: str, down: str) -> None:
    """Serve the one function of the app."""
    import uvicorn

    from bindings.discovery import discover
    from bindings.hosts.asgi import app

    served = app(*discover(source))

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and os.path.exists(down):  # noqa: PTH110 - for each request
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await served(scope, receive, send)

    uvicorn.run(application, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])

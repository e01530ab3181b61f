"""Who a request says that it comes from: headers made of secrets, which are read again when they change."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dispatcher.config.secrets import SecretReference, TokenReference
from dispatcher.config.targets import BasicAuth, BearerAuth, HttpTarget
from dispatcher.errors import ConfigurationError, DispatchError

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["SecretHeaders", "Signer", "Tokens", "secret_headers"]

logger = logging.getLogger("dispatcher.invokers.http")

# Seconds between two looks at where secrets are. A function that makes tokens is asked less often.
_LOOK, _ASK = 1.0, 60.0

#: Gives a token that is good now, and renews it before it ends.
Tokens = Callable[[], Awaitable[str]]


class Signer(Protocol):
    """Signs requests."""

    async def sign(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The headers that make a request signed, to be added to it.

        Args:
            method: of the request.
            url: of the request, as it is sent.
            headers: that it has already.
            body: of the request.
        """


class SecretHeaders:
    """Headers whose values are secrets. Looked up when a request needs them, at most once a second.

    A look that fails leaves what was known: a file that is being replaced is not there for a moment.

    Attributes:
        values: as they were at the last look.
    """

    def __init__(self, sources: Mapping[str, Callable[[], Awaitable[str]]], *, every: float = _LOOK) -> None:
        self._sources = sources
        self._every = every
        self._due = float("-inf")
        self._failed = ""
        self._first = asyncio.Lock()
        self.values: dict[str, str] = {}

    @property
    def is_due(self) -> bool:
        """Whether a request must look first. Until something is known, all must."""
        return not self.values or time.monotonic() >= self._due

    async def look(self) -> None:
        """Read them again; the first time, all who ask wait for one reading.

        Raises:
            DispatchError: one is not there, and never was; no value is in the message.
        """
        if self.values:
            await self._read()
            return
        async with self._first:
            if not self.values:
                await self._read()

    async def _read(self) -> None:
        # Before the wait, so that one request looks and the others go on with what is known.
        self._due = time.monotonic() + self._every
        try:
            self.values = {name: _checked(name, await source()) for name, source in self._sources.items()}
            self._failed = ""
        except DispatchError as error:
            if not self.values:
                self._due = float("-inf")
                raise
            if str(error) != self._failed:
                self._failed = str(error)
                logger.warning("going on with the secret that was read before: %s", error)

    async def replaced(self, used: Mapping[str, str]) -> bool:
        """Whether a new look finds others than those that a refused request had."""
        await self.look()
        return any(used.get(name) != value for name, value in self.values.items())


def secret_headers(target: HttpTarget, tokens: Tokens | None = None) -> SecretHeaders | None:
    """The headers of a target that hold secrets; None when there are none.

    Args:
        target: its ``headers`` and ``auth``.
        tokens: for a kind of ``auth`` that asks for tokens elsewhere.
    """
    sources: dict[str, Callable[[], Awaitable[str]]] = {
        name: _reader(value) for name, value in target.headers.items() if isinstance(value, SecretReference)
    }
    every = _LOOK
    if isinstance(target.auth, BearerAuth):
        sources["authorization"] = _made(_reader(target.auth.token), lambda token: f"Bearer {token}")
        every = _LOOK if target.auth.token.call is None else _ASK
    elif isinstance(target.auth, BasicAuth):
        username = target.auth.username
        sources["authorization"] = _made(
            _reader(target.auth.password),
            lambda password: "Basic " + b64encode(f"{username}:{password}".encode()).decode("ascii"),
        )
    elif tokens is not None:
        sources["authorization"] = _made(tokens, lambda token: f"Bearer {token}")
    return SecretHeaders(sources, every=every) if sources else None


def _made(source: Callable[[], Awaitable[str]], make: Callable[[str], str]) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        return make(await source())

    return read


def _reader(reference: SecretReference) -> Callable[[], Awaitable[str]]:
    if isinstance(reference, TokenReference) and reference.call is not None:
        return lambda: _called(reference.call or "")

    async def read() -> str:
        # In a thread: a file may be on a network.
        return (await asyncio.to_thread(reference.read)).get_secret_value()

    return read


async def _called(name: str) -> str:
    module, _, attribute = name.partition(":")

    def call() -> Any:
        return getattr(importlib.import_module(module), attribute)()

    try:
        made = await asyncio.to_thread(call)
        token = await made if inspect.isawaitable(made) else made
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        # Not its text: what failed with a token in hand may tell it.
        raise ConfigurationError(f"no token from {name}: {type(error).__name__}") from None
    if not isinstance(token, str) or not token:
        raise ConfigurationError(f"no token from {name}: it gave {type(token).__name__}, or an empty one")
    return token


def _checked(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"the secret for the header {name} holds what no header may: a line end, or no ASCII")
    return value

"""The target ``google_function``: a Cloud Run function, found by its name and called with an ID token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bindings import Binding, Emit
from bindings.failure import FailureKind
from bindings.invocation import Reply
from dispatcher.config.targets import GoogleFunctionTarget, GoogleIdToken, HttpTarget
from dispatcher.core.delivery import Delivery
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.base import Call
from dispatcher.invokers.google_functions.lookup import find_url
from dispatcher.invokers.google_functions.tokens import IdTokens
from dispatcher.invokers.http.connection import tls_context
from dispatcher.invokers.http.failures import not_delivered
from dispatcher.invokers.http.invoker import HttpInvoker
from dispatcher.invokers.http.requests import writer_of

__all__ = ["GoogleFunctionInvoker"]

# Seconds between two lookups, while the function is not found or does not take what it is sent.
_LOOK_AGAIN = 30.0


class GoogleFunctionInvoker:
    """Posts events to a function of Google's: CloudEvents, or the push form of Pub/Sub.

    The function is looked up at the first event, and again when it can't be reached where it was.

    Args:
        binding: the function and its policies.
        target: which function it is.
    """

    #: A total deadline ends an attempt, whatever it waits for.
    keeps_time = True

    def __init__(self, binding: Binding, target: GoogleFunctionTarget) -> None:
        self._binding = binding
        self._target = target
        #: Invocations that can run at once.
        self.concurrency = binding.places
        self.call = Call(
            f"invoke {target.function}",
            {
                "faas.invoked_name": target.function,
                "faas.invoked_provider": "gcp",
                "faas.invoked_region": target.location,
            },
        )
        self._found: HttpInvoker | None = None
        self._url = ""
        self._is_stale = False
        self._looked = float("-inf")
        self._problem = ""
        self._looking = asyncio.Lock()
        # What can't work with this target is said now, and not at the first event.
        described = self._http_target("http://localhost")
        writer_of(binding, described)
        if described.ca_file is not None:
            tls_context(described)

    async def invoke(self, batch: Sequence[Delivery]) -> Reply:
        """Post the events and wait for what becomes of them."""
        try:
            async with asyncio.timeout(self._binding.timeout):
                invoker = await self._look() if self._found is None or self._is_stale else self._found
        except ConfigurationError as error:
            return Reply(rest=not_delivered("FunctionNotFound", str(error)))
        except TimeoutError:
            return Reply(rest=not_delivered("FunctionNotFound", "its lookup took longer than the function's timeout"))
        reply = await invoker.invoke(batch)
        if reply.rest is not None and reply.rest.kind is FailureKind.NOT_DELIVERED and self._is_time():
            # It may have been deployed elsewhere.
            self._is_stale = True
        return reply

    def results(self, returned: object) -> Sequence[Emit]:  # noqa: ARG002 - the name in Invoker
        """Nothing: a function elsewhere returns nothing here."""
        return ()

    async def close(self) -> None:
        """Close the connections."""
        if self._found is not None:
            await self._found.close()

    def _is_time(self) -> bool:
        return self._target.url is None and time.monotonic() - self._looked > _LOOK_AGAIN

    async def _look(self) -> HttpInvoker:
        async with self._looking:
            if self._found is not None and not self._is_stale:
                return self._found
            if self._problem and time.monotonic() - self._looked < _LOOK_AGAIN:
                raise ConfigurationError(self._problem)
            self._looked = time.monotonic()
            try:
                url = self._target.url or await find_url(self._target)
            except ConfigurationError as error:
                self._problem = str(error)
                raise
            self._problem, self._is_stale = "", False
            if self._found is None or url != self._url:
                if self._found is not None:
                    await self._found.close()
                described = self._http_target(url)
                tokens = None if described.auth is None else IdTokens(self._target.audience or url)
                self._found, self._url = HttpInvoker(self._binding, described, tokens=tokens), url
            return self._found

    def _http_target(self, url: str) -> HttpTarget:
        target = self._target
        # The Functions Framework answers the batched form with 500.
        is_list = target.envelope == "cloudevents" and self._binding.signature.batch
        shared = target.model_dump(include={"connect_timeout", "keep_alive", "max_request", "max_reply", "ca_file"})
        # A token is not for the wire: plain HTTP is a function on this machine.
        auth = None if url.startswith("http://") and not target.audience else GoogleIdToken(type="google_id_token")
        return HttpTarget(
            type="http",
            url=url,
            envelope="cloudevents_json" if is_list else target.envelope,
            source=target.source,
            event_type=target.event_type,
            content_type=target.content_type,
            auth=auth,
            **shared,
        )

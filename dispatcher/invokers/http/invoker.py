"""The target ``http``: events are posted to an endpoint."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from yarl import URL

from bindings import Binding, Emit
from bindings.calling import event_id
from bindings.failure import Failure, timed_out
from bindings.invocation import Reply
from bindings.trace import current_trace
from dispatcher.config.targets import HttpTarget
from dispatcher.core.delivery import Delivery
from dispatcher.errors import DispatchError
from dispatcher.invokers.base import Call
from dispatcher.invokers.http.auth import Signer, Tokens, secret_headers
from dispatcher.invokers.http.connection import Answer, Connection, tls_context
from dispatcher.invokers.http.failures import CallFailed, not_delivered, refused_for_good, too_large
from dispatcher.invokers.http.replies import ACCEPT, reply_of
from dispatcher.invokers.http.requests import writer_of
from dispatcher.invokers.http.statuses import failure_of_status

__all__ = ["HttpInvoker"]

logger = logging.getLogger("dispatcher.invokers.http")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Those that keep method and body (RFC 9110, 15.4.8 and 15.4.9).
_SAME_REQUEST = frozenset({307, 308})
_MOST_REDIRECTS = 3


class HttpInvoker:
    """Posts the events of a binding to its target. One request is one attempt: nothing is sent twice for it.

    Args:
        binding: the function and its policies.
        target: where it is, and how it is spoken to.
        tokens: for ``auth`` of type ``google_id_token``.
        signer: for ``auth`` of type ``aws_sigv4``.

    Raises:
        ConfigurationError: a file of certificates can't be used, or the envelope does not fit the function.
    """

    #: A total deadline ends an attempt, whatever it waits for.
    keeps_time = True

    def __init__(
        self, binding: Binding, target: HttpTarget, *, tokens: Tokens | None = None, signer: Signer | None = None
    ) -> None:
        self._binding = binding
        self._url = URL(target.url)
        self._write = writer_of(binding, target)
        self._most = target.max_request
        self._signer = signer
        self._secrets = secret_headers(target, tokens)
        self._warm_up = target.warm_up
        self._timeout = binding.timeout
        self.call = _call_to(self._url)
        #: Invocations that can run at once.
        self.concurrency = binding.places
        self._headers = {
            "accept": ACCEPT,
            "accept-encoding": "gzip",
            "user-agent": "dispatch-runtime",
            "dispatch-function": binding.name,
            "dispatch-timeout": _decimal(binding.timeout),
            **{name.lower(): value for name, value in target.headers.items() if isinstance(value, str)},
        }
        self._connection = Connection(
            target,
            concurrency=binding.places,
            context=_context(target),
            forbid_private=target.forbid_private,
        )
        _complain(binding.name, target)

    async def invoke(self, batch: Sequence[Delivery]) -> Reply:
        """Post the events and wait for what becomes of them."""
        try:
            written, body = self._write(batch)
        except Exception as error:  # noqa: BLE001 - whatever an event holds, it is that event's failure
            return await self._without_unwritable(batch, error)
        if self._most is not None and len(body) > self._most:
            return Reply(rest=too_large(f"a request of {len(body)} bytes, which is more than max_request"))
        headers = {
            **self._headers,
            **written,
            "dispatch-attempt": str(1 + max([each.history.attempts for each in batch if each.history], default=0)),
            "idempotency-key": event_id(batch[0].origin),
        }
        try:
            if self._secrets is not None:
                if self._secrets.is_due:
                    await self._look()
                headers.update(self._secrets.values)
            answer = await self._post(headers, body)
        except CallFailed as error:
            return Reply(rest=error.failure)
        if 200 <= answer.status < 300:
            if answer.problem is not None:
                return Reply(rest=answer.problem)
            if not answer.body and self._binding.emits is None:
                return Reply()
            return reply_of(self._binding, batch, answer.headers, answer.body)
        return Reply(rest=await self._refused(answer, headers))

    def results(self, returned: object) -> Sequence[Emit]:  # noqa: ARG002 - the name in Invoker
        """Nothing: a function elsewhere returns nothing here."""
        return ()

    async def warm_up(self) -> None:
        """Wake the target up, when ``warm_up`` says where to knock. What comes of it is no matter."""
        if self._warm_up is None:
            return
        try:
            if self._secrets is not None:
                await self._look()
            headers = {"user-agent": self._headers["user-agent"], **(self._secrets.values if self._secrets else {})}
            url = self._url.join(URL(self._warm_up))
            answer = await self._connection.request("GET", url, headers, None, timeout=self._timeout)
        except CallFailed as error:
            logger.warning("%s: it could not be woken up: %s", self._binding.name, error)
        else:
            logger.info("%s: woken up, it answers %d", self._binding.name, answer.status)

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def _post(self, headers: dict[str, str], body: bytes) -> Answer:
        url, left, began = self._url, self._timeout, time.monotonic()
        trace = current_trace.get()
        for redirects in range(_MOST_REDIRECTS + 1):
            if redirects:
                left = self._timeout - (time.monotonic() - began)
                if left <= 0:
                    raise CallFailed(timed_out(self._timeout))
                headers["dispatch-timeout"] = _decimal(left)
            sent: Mapping[str, str] = headers
            if self._signer is not None:
                sent = {**headers, **await self._signed(self._signer, url, headers, body)}
            if trace is not None:
                # Not signed: a proxy on the way that traces puts a span of its own in its place.
                sent = {**sent, **trace.headers()}
            answer = await self._connection.request("POST", url, sent, body, timeout=left)
            if answer.status not in _REDIRECTS:
                return answer
            url = self._followed(url, answer)
        raise CallFailed(
            not_delivered("Redirected", f"redirected more than {_MOST_REDIRECTS} times, at last to {_shown(url)}")
        )

    async def _signed(self, signer: Signer, url: URL, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(self._timeout):
                return await signer.sign("POST", url, headers, body)
        except TimeoutError:
            raise CallFailed(not_delivered("SecretUnavailable", "no credentials to sign with came in time")) from None
        except DispatchError as error:
            raise CallFailed(not_delivered("SecretUnavailable", str(error))) from None

    @staticmethod
    def _followed(url: URL, answer: Answer) -> URL:
        """Where a redirect leads, when it may be followed: on the same host, by the same request."""
        try:
            there = url.join(URL(answer.headers.get("location", "")))
            allowed = answer.status in _SAME_REQUEST and there.origin() == url.origin() and there.user is None
        except ValueError:
            raise CallFailed(not_delivered("Redirected", f"HTTP {answer.status} to what is no URL")) from None
        if not allowed:
            why = "" if answer.status in _SAME_REQUEST else f"; HTTP {answer.status} would make the POST a GET"
            raise CallFailed(
                not_delivered("Redirected", f"it points to {_shown(there)}, which is not followed{why}: change the url")
            )
        return there

    async def _look(self) -> None:
        if self._secrets is None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._secrets.look()
        except TimeoutError:
            raise CallFailed(not_delivered("SecretUnavailable", "a secret could not be read in time")) from None
        except DispatchError as error:
            raise CallFailed(not_delivered("SecretUnavailable", str(error))) from None

    async def _refused(self, answer: Answer, headers: Mapping[str, str]) -> Failure:
        failure = failure_of_status(answer.status, answer.headers, answer.body, now=time.time())
        if answer.status == 401 and self._secrets is not None:
            # The secret was changed on both sides, and the request bore the old one: that is no fault of the event.
            try:
                if await self._secrets.replaced(headers):
                    return not_delivered(
                        "HTTP 401", "the target takes another secret, which is there by now", retry_after=0
                    )
            except DispatchError as error:
                return not_delivered("SecretUnavailable", str(error))
        return failure

    async def _without_unwritable(self, batch: Sequence[Delivery], error: Exception) -> Reply:
        """Post the events of a batch that can be written; the others can't at any attempt."""
        failures: dict[int, Failure] = {}
        good: list[int] = []
        for index, delivery in enumerate(batch):
            try:
                self._write([delivery])
                good.append(index)
            except Exception as own:  # noqa: BLE001 - as for the batch
                failures[index] = refused_for_good("UnwritableEvent", f"can't be written as a request: {own}")
        if not failures:
            return Reply(rest=refused_for_good("UnwritableEvent", f"can't be written together: {error}"))
        if not good:
            return Reply(failures)
        reply = await self.invoke([batch[index] for index in good])
        return replace(reply, failures=failures | {good[index]: each for index, each in reply.failures.items()})


def _call_to(url: URL) -> Call:
    """What a trace says of posting there: paths and queries may be secret."""
    place: dict[str, str | int] = {"server.address": url.host or ""}
    if url.port is not None:
        place["server.port"] = url.port
    return Call("POST", {"http.request.method": "POST", "url.scheme": url.scheme, **place})


def _decimal(seconds: float) -> str:
    return f"{seconds:.3f}"


def _shown(url: URL) -> str:
    """A URL without what may be secret in it."""
    return str(url.with_query(None).with_fragment(None).with_user(None))[:300]


def _is_here(url: URL) -> bool:
    """Whether what is sent there leaves this machine in no case."""
    host = url.host or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _context(target: HttpTarget) -> ssl.SSLContext | None:
    if not target.url.startswith("https:") or (target.verify_tls and not target.ca_file and not target.cert_file):
        return None
    certificate = None
    if target.cert_file is not None:
        key = None if target.key_file is None else str(target.key_file.expanduser())
        password = None if target.key_password is None else target.key_password.read().get_secret_value()
        certificate = (str(target.cert_file.expanduser()), key, password)
    return tls_context(target, verify=target.verify_tls, certificate=certificate)


def _complain(name: str, target: HttpTarget) -> None:
    if not target.verify_tls:
        logger.error(
            "%s: verify_tls is false: whoever is between here and %s can read and change its events, and answer for it."
            " ca_file trusts a certificate of your own",
            name, _shown(URL(target.url)),
        )  # fmt: skip
    elif (
        target.url.startswith("http:")
        and not _is_here(URL(target.url))
        and (target.auth is not None or secret_headers(target) is not None)
    ):
        logger.warning("%s: its secrets go over http://, where anybody on the way can read them", name)

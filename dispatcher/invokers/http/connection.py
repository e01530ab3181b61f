"""Requests with a total deadline and bounded replies, each sent once, over connections that are kept."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import ssl
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from bindings.failure import Failure, timed_out
from dispatcher.config.targets import RemoteTarget
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.http.addresses import public_socket
from dispatcher.invokers.http.deadlines import Deadlines
from dispatcher.invokers.http.failures import CallFailed, failed, not_delivered, refused_for_good

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy
    from yarl import URL

__all__ = ["Answer", "Connection", "tls_context"]

#: Of the deadline: a connection that is not there by then is told from a function that is slow.
_CONNECTING = 0.9
#: aiohttp warns of larger bodies that are bytes: they are copied in one go.
_LARGE = 1 << 20
#: Bytes that are decompressed where they are: at the most a thousand times as many come of them, in 3 ms.
_SMALL = 1_024
#: An event without a value has no type of content, and is told by that: none is to be made up.
_UNTYPED = ("content-type",)
#: What aiohttp's writer says when it has written nothing, since the connection was closed before.
_NOTHING_WRITTEN = "Cannot write to closing transport"
#: OpenSSL's verify codes for a certificate that is for another host, or another address.
_OTHER_HOST = frozenset({62, 64})


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: of the reply.
        headers: of the reply; names in any case.
        body: decompressed; empty when there is a ``problem``.
        problem: why the body could not be read: it is larger than the limit, broken, or did not end in time.
    """

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    problem: Failure | None = None


class Connection:
    """The way to one target: as many connections as invocations run, each kept for the next one.

    Nothing is repeated, no redirect followed, no cookie kept, no proxy taken from the environment. May be made without an
    event loop, and is used in one.

    Args:
        target: the limits.
        concurrency: requests at once.
        context: for https; the system's trust, or the target's ``ca_file``, by default.
        forbid_private: connect to public addresses alone.

    Raises:
        ConfigurationError: the ``ca_file`` can't be read.
    """

    def __init__(
        self,
        target: RemoteTarget,
        *,
        concurrency: int,
        context: ssl.SSLContext | None = None,
        forbid_private: bool = False,
    ) -> None:
        self._limit = target.max_reply
        self._connect_timeout = target.connect_timeout
        self._keep_alive = target.keep_alive
        self._concurrency = concurrency
        self._context = context or (None if target.ca_file is None else tls_context(target))
        self._forbid_private = forbid_private
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._deadlines = Deadlines()

    async def request(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, *, timeout: float
    ) -> Answer:
        """Send one request and read its reply.

        Args:
            method: ``POST``.
            url: where to.
            headers: all of them, but for Host and Content-Length.
            body: of the request.
            timeout: seconds for all of it: connecting, sending, waiting, reading.

        Raises:
            CallFailed: no reply came.
        """
        session = self._session or self._open()
        data: Any = body
        if body is not None and len(body) > _LARGE:
            data = io.BytesIO(body)
        response: aiohttp.ClientResponse | None = None
        try:
            with self._deadlines.within(timeout):
                response = await session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    timeout=self._timeout(timeout),
                    # Said for the session it would be 3 us of each request, 0.05 of what one takes.
                    skip_auto_headers=None if "content-type" in headers else _UNTYPED,
                )
                read = await self._read(response)
        except _Unreadable as error:
            problem = failed("InvalidReply", str(error))
        except aiohttp.ConnectionTimeoutError:
            wait = self._timeout(timeout).connect
            raise CallFailed(not_delivered("ConnectTimeout", f"not connected after {wait:g} s")) from None
        except TimeoutError:
            problem = timed_out(timeout)
        except (aiohttp.ClientError, OSError) as error:
            problem = failure_of(error, is_whole=data is body)
        except ValueError as error:
            # A header that no request may have.
            raise CallFailed(refused_for_good("InvalidRequest", f"can't be sent as a request: {error}")) from None
        except BaseException:
            if response is not None:
                response.close()
            raise
        else:
            return Answer(response.status, response.headers, read)
        if response is None:
            raise CallFailed(problem)
        response.close()
        return Answer(response.status, response.headers, b"", problem)

    async def close(self) -> None:
        """Close all connections."""
        self._deadlines.close()
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # One more for a warm-up beside them.
                limit=self._concurrency + 1,
                ssl=self._context or True,
                # getaddrinfo, whatever else is installed: it knows what the system knows.
                resolver=aiohttp.ThreadedResolver(),
                socket_factory=public_socket if self._forbid_private else None,
                **({"keepalive_timeout": self._keep_alive} if self._keep_alive else {"force_close": True}),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Without a limit of our own a reply of 700 KB could become 700 MB.
            auto_decompress=False,
            trust_env=False,
        )
        return self._session

    def _timeout(self, timeout: float) -> aiohttp.ClientTimeout:
        found = self._timeouts.get(timeout)
        if found is None:
            connecting = min(self._connect_timeout, _CONNECTING * timeout)
            # The default rounds what is above 5 s up to whole seconds of the loop's clock.
            found = aiohttp.ClientTimeout(total=None, connect=connecting, ceil_threshold=float("inf"))
            if len(self._timeouts) < 16:
                self._timeouts[timeout] = found
        return found

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        length = response.content_length
        if length is not None and length > self._limit:
            raise _Unreadable(f"a reply of {length} bytes, which is more than max_reply")
        content = response.content
        body = await content.readany()
        if not content.at_eof():
            # As it comes: a reply of single bytes is not to be a list of a million.
            grown = bytearray(body)
            while chunk := await content.readany():
                grown += chunk
                if len(grown) > self._limit:
                    raise _Unreadable(f"a reply of more than {self._limit} bytes, which is max_reply")
            body = bytes(grown)
        if len(body) > self._limit:
            raise _Unreadable(f"a reply of more than {self._limit} bytes, which is max_reply")
        encoding = response.headers.get("content-encoding")
        if not encoding or not body:
            return body
        if len(body) < _SMALL:
            return _decompressed(body, encoding.strip().lower(), self._limit)
        return await asyncio.to_thread(_decompressed, body, encoding.strip().lower(), self._limit)


class _Unreadable(Exception):
    """Raised when a reply's body is too large, or not what it says it is."""


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _Unreadable(f"a reply in the encoding {encoding[:40]!r}, which was not asked for")
    found = bytearray()
    try:
        while body:
            inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
            found += inflater.decompress(body, limit + 1 - len(found))
            if len(found) > limit:
                raise _Unreadable(f"a reply of more than {limit} bytes once decompressed, which is max_reply")
            if not inflater.eof:
                raise _Unreadable(f"a reply whose {encoding} breaks off")
            body = inflater.unused_data
    except zlib.error as error:
        raise _Unreadable(f"a reply that is no {encoding}: {error}") from None
    return bytes(found)


def failure_of(error: Exception, *, is_whole: bool = True) -> Failure:
    """What an error of the client means: whether anything can have reached the function.

    Args:
        error: of aiohttp.
        is_whole: headers and body were to be written in one go.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return not_delivered("CertificateError", _certificate(error.certificate_error, error.host))
    if isinstance(error, aiohttp.ClientConnectorError):
        return not_delivered(*_unconnected(error))
    if isinstance(error, aiohttp.InvalidURL):
        return not_delivered("InvalidURL", f"no URL to send to: {error.description or error.url}")
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "").upper():
        # TLS 1.3: a server that refuses our certificate says so after the handshake is over for us.
        return not_delivered("TLSError", f"the target ended the TLS handshake: {_words(cause.reason)}")
    if is_whole and str(cause) == _NOTHING_WRITTEN:
        return not_delivered("ConnectionClosed", "the target closed a kept connection before anything was sent")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return failed("ConnectionLost", "the connection ended before a reply came")
    if isinstance(error, aiohttp.ClientResponseError):
        return failed("InvalidReply", f"not a reply of HTTP: {error.message.partition(chr(10))[0][:200]}")
    if isinstance(error, aiohttp.ClientPayloadError):
        return failed("ConnectionLost", "the connection ended within the reply")
    return failed("ConnectionLost", f"the connection was lost after the request went out: {_system(cause)}")


def _unconnected(error: aiohttp.ClientConnectorError) -> tuple[str, str]:
    inner = error.os_error
    host = error.host
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "NameNotFound", f"{host} can't be resolved: {inner.strerror or inner}"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return "CertificateError", _certificate(inner, host)
    if isinstance(inner, ssl.SSLError):
        hint = "; does it speak https?" if "WRONG_VERSION" in (inner.reason or "") else ""
        return "TLSError", f"no TLS with {host}:{error.port}: {_words(inner.reason) or inner}{hint}"
    if "forbid_private" in str(inner):
        return "AddressForbidden", f"{host}: {inner}"
    name = {errno.ECONNREFUSED: "ConnectionRefused", errno.ECONNRESET: "ConnectionReset"}
    return name.get(inner.errno or 0, "ConnectError"), f"no connection to {host}:{error.port}: {_system(inner)}"


def _certificate(error: Exception, host: str) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {host}: {error}"
    if error.verify_code in _OTHER_HOST:
        return f"the certificate is for another host than {host}: {error.verify_message}"
    if error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
        return f"the certificate of {host} has expired"
    return f"the certificate of {host} is not trusted ({error.verify_message}): ca_file names one that is"


def _words(reason: str | None) -> str:
    return (reason or "").replace("_", " ").lower()


def _system(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error) or type(error).__name__


def tls_context(
    target: RemoteTarget,
    *,
    verify: bool = True,
    certificate: tuple[str, str | None, str | None] | None = None,
) -> ssl.SSLContext:
    """Make what a TLS connection is checked by.

    Args:
        target: names its ``ca_file``.
        verify: False believes any certificate.
        certificate: this client's: files of certificate and key, and the key's password.

    Raises:
        ConfigurationError: a file can't be read, or is not what it should be.
    """
    try:
        context = ssl.create_default_context(
            cafile=None if target.ca_file is None else str(target.ca_file.expanduser())
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"can't read the certificates in ca_file {target.ca_file}: {_system(error)}") from None
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        try:
            # A function, so that an encrypted key without a password is an error and not a question at the terminal.
            context.load_cert_chain(certificate[0], certificate[1], lambda: certificate[2] or "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"can't use the client certificate {certificate[0]}: {_system(error)}") from None
    return context

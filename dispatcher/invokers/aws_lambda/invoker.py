"""The target ``aws_lambda``: events go to a Lambda function as its own trigger for Kafka would send them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from yarl import URL

from bindings import Binding, Emit
from bindings.envelopes import aws_kafka
from bindings.envelopes.reply import MEDIA_TYPE
from bindings.invocation import Reply
from bindings.trace import current_trace
from dispatcher.config.targets import AwsLambdaTarget
from dispatcher.core.delivery import Delivery
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.aws_lambda.answers import failure_of_error, reply_of
from dispatcher.invokers.aws_lambda.signing import CredentialsChain, SigV4
from dispatcher.invokers.base import Call
from dispatcher.invokers.http.connection import Connection
from dispatcher.invokers.http.failures import CallFailed, not_delivered, too_large

__all__ = ["LambdaInvoker"]

#: Bytes of a payload, as AWS's page of Lambda quotas has them.
_LARGEST = {"request_response": 6_291_456, "event": 1_048_576}
#: Bytes of an answer that is worth remembering.
_SHORT = 1_024
_KINDS = {"request_response": "RequestResponse", "event": "Event"}


class LambdaInvoker:
    """Invokes a Lambda function. One request is one attempt: the SDK, which would send it up to three times, has no part.

    Args:
        binding: the function and its policies.
        target: which Lambda function, and how it is invoked.

    Raises:
        ConfigurationError: no region is set, or a file of certificates can't be used.
    """

    #: A total deadline ends an attempt, whatever it waits for.
    keeps_time = True

    def __init__(self, binding: Binding, target: AwsLambdaTarget) -> None:
        self._binding = binding
        self._target = target
        #: Invocations that can run at once.
        self.concurrency = binding.places
        region = target.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            raise ConfigurationError(
                f'{binding.name}: in which region is {target.function}? Say region = "..." in its target, or set AWS_REGION'
            )
        self._url = _url(target, region)
        # An ARN ends with the name, and maybe a qualifier.
        name = target.function.partition(":function:")[2].partition(":")[0] or target.function
        self.call = Call(
            f"invoke {name}",
            {"faas.invoked_name": name, "faas.invoked_provider": "aws", "faas.invoked_region": region},
        )
        self._signer = SigV4(region, "lambda", CredentialsChain(target.profile))
        self._most = target.max_request or _LARGEST[target.invocation]
        self._headers = {
            "content-type": "application/json",
            "user-agent": "dispatch-runtime",
            "x-amz-invocation-type": _KINDS[target.invocation],
        }
        self._contexts: dict[int, str] = {}
        self._all_done: bytes | None = None
        self._connection = Connection(target, concurrency=binding.places)

    async def invoke(self, batch: Sequence[Delivery]) -> Reply:
        """Invoke with the events and wait for what becomes of them."""
        records = [delivery.origin for delivery in batch]
        body = aws_kafka.encode(
            records, arn=self._target.event_source_arn, bootstrap_servers=self._target.bootstrap_servers
        )
        if len(body) > self._most:
            return Reply(rest=too_large(f"a payload of {len(body)} bytes, where {self._most} are taken"))
        headers = self._headers
        if self._target.invocation == "request_response":
            # An asynchronous invocation takes a context too, and nobody reads its answer.
            headers = {**headers, "x-amz-client-context": self._context(max([each.attempts for each in batch]))}
        try:
            signature = await self._signed(headers, body)
            answer = await self._connection.request(
                "POST", self._url, {**headers, **signature}, body, timeout=self._binding.timeout
            )
        except ConfigurationError as error:
            return Reply(rest=not_delivered("CredentialsMissing", str(error)))
        except CallFailed as error:
            return Reply(rest=error.failure)
        if answer.status not in (200, 202):
            if answer.status == 403:
                # Expired, revoked, or another role's by now: a file of them may hold new ones.
                self._signer.credentials.doubt()
            return Reply(rest=failure_of_error(answer.status, answer.headers, answer.body, now=time.time()))
        if answer.problem is not None:
            return Reply(rest=answer.problem)
        if answer.status == 202:
            return Reply()
        function_error = answer.headers.get("x-amz-function-error", "")
        if answer.body == self._all_done and not function_error:
            return Reply()
        reply = reply_of(self._binding, batch, function_error, answer.body)
        if len(answer.body) < _SHORT and not (reply.failures or reply.rest or reply.results):
            # What says so names no event, so it says so of any; to read it takes 15 us.
            self._all_done = answer.body
        return reply

    def results(self, returned: object) -> Sequence[Emit]:  # noqa: ARG002 - the name in Invoker
        """Nothing: a function elsewhere returns nothing here."""
        return ()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def _signed(self, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        if self._signer.credentials.current() is not None:
            return await self._signer.sign("POST", self._url, headers, body)
        try:
            async with asyncio.timeout(self._binding.timeout):
                return await self._signer.sign("POST", self._url, headers, body)
        except TimeoutError:
            raise ConfigurationError("no AWS credentials came in time: who gives them does not answer") from None

    def _context(self, attempts: int) -> str:
        """What our host in the function reads of the delivery; base64, as the API wants it."""
        trace = current_trace.get()
        found = self._contexts.get(attempts) if trace is None else None
        if found is None:
            said = {
                "accept": MEDIA_TYPE,
                "dispatch-attempt": str(attempts + 1),
                "dispatch-function": self._binding.name,
                **({} if trace is None else trace.headers()),
            }
            found = b64encode(json.dumps({"custom": said}).encode()).decode("ascii")
            if trace is None and len(self._contexts) < 64:
                self._contexts[attempts] = found
        return found


def _url(target: AwsLambdaTarget, region: str) -> URL:
    base = target.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_LAMBDA") or os.environ.get("AWS_ENDPOINT_URL")
    if not base:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        base = f"https://lambda.{region}.{suffix}"
    path = f"/2015-03-31/functions/{quote(target.function, safe='')}/invocations"
    query = f"?Qualifier={quote(target.qualifier, safe='')}" if target.qualifier else ""
    return URL(base.rstrip("/") + path + query, encoded=True)

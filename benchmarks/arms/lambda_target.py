"""Lambda functions invoked: by the dispatcher, by aiohttp with our signatures, and by boto3."""

from __future__ import annotations

import json
import os
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from yarl import URL

from benchmarks.arms.remote import CONCURRENCY, batches_of, binding_of, consume, post_all
from benchmarks.clock import Clock
from benchmarks.endpoint import endpoint, json_answer
from bindings.envelopes import aws_kafka
from bindings.envelopes.reply import MEDIA_TYPE, document_of
from bindings.invocation import Reply
from dispatcher.config.targets import AwsLambdaTarget
from dispatcher.invokers.aws_lambda.invoker import LambdaInvoker
from dispatcher.invokers.aws_lambda.signing import CredentialsChain, SigV4

REGION, FUNCTION = "eu-west-1", "elsewhere"
#: What a decorated function in our Lambda host answers when all went well.
ANSWER = json.dumps({"batchItemFailures": [], "dispatch": document_of(Reply())}).encode()
CONTEXT = {"custom": {"accept": MEDIA_TYPE, "dispatch-attempt": "1", "dispatch-function": "elsewhere"}}

os.environ |= {"AWS_ACCESS_KEY_ID": "AKIABENCHMARK", "AWS_SECRET_ACCESS_KEY": "secret"}


async def run_dispatch(bootstrap: str, stream: str, events: int, delay: float) -> dict[str, float]:
    """A worker with this target, to the end of the log."""
    await CredentialsChain().get()  # the import of the SDK, which is no part of an invocation
    with endpoint(json_answer(ANSWER), delay) as url:
        binding = binding_of(stream, 1)
        target = AwsLambdaTarget(type="aws_lambda", function=FUNCTION, region=REGION, endpoint_url=url)
        return await consume(bootstrap, binding, LambdaInvoker(binding, target), Clock(events))


async def run_signed(events: int, delay: float) -> dict[str, float]:
    """Payloads that are made already, signed by the same signer and posted."""
    clock = Clock(events)
    signer = SigV4(REGION, "lambda", CredentialsChain())
    await signer.credentials.get()
    headers = {
        "content-type": "application/json",
        "user-agent": "dispatch-runtime",
        "x-amz-invocation-type": "RequestResponse",
        "x-amz-client-context": _context(),
    }
    with endpoint(json_answer(ANSWER), delay) as url:
        place = URL(f"{url}/2015-03-31/functions/{FUNCTION}/invocations")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:

            async def post(payload: bytes) -> None:
                clock.begin()
                signature = await signer.sign("POST", place, headers, payload)
                async with session.post(place, data=payload, headers={**headers, **signature}) as response:
                    if await response.read() != ANSWER:
                        raise SystemExit("another answer")
                clock.end()

            await post_all(_payloads(events), post)
    return clock.figures()


def run_boto3(events: int, delay: float) -> dict[str, float]:
    """The same payloads by boto3, in threads, as its documentation has it, with its own repetitions turned off."""
    import boto3
    from botocore.config import Config

    clock, lock = Clock(events), threading.Lock()
    context = _context()
    payloads = _payloads(events)
    with endpoint(json_answer(ANSWER), delay) as url, ThreadPoolExecutor(CONCURRENCY) as threads:
        config = Config(max_pool_connections=CONCURRENCY, retries={"total_max_attempts": 1}, read_timeout=60)
        client = boto3.client("lambda", region_name=REGION, endpoint_url=url, config=config)

        def invoke(payload: bytes) -> None:
            with lock:
                clock.begin()
            came = client.invoke(FunctionName=FUNCTION, Payload=payload, ClientContext=context)
            if came["Payload"].read() != ANSWER:
                raise SystemExit("another answer")
            with lock:
                clock.end()

        list(threads.map(invoke, payloads))
    return clock.figures()


def _payloads(events: int) -> list[bytes]:
    """Byte for byte as the dispatcher makes them."""
    return [aws_kafka.encode(records) for records in batches_of(events, 1)]


def _context() -> str:
    return b64encode(json.dumps(CONTEXT).encode()).decode("ascii")

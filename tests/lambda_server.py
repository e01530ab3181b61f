"""AWS Lambda for tests: the Invoke API in front, real ``awslambdaric`` processes behind a Runtime API.

AWS's own emulator never reports a function's error and ends at eight calls at once; this one has both. What it does of
Lambda: RequestResponse and Event invocations, qualifiers, the client context, function errors with the payload that
the runtime writes, the function's timeout (the process is killed), the size limits, throttling and other API errors on
demand, and signatures: each request's is made again by botocore and must be the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

__all__ = ["ACCESS_KEY", "REGION", "SECRET_KEY", "LambdaServer", "Request"]

ACCESS_KEY, SECRET_KEY, REGION = "AKIATESTTESTTEST", "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "eu-west-1"
_SYNC_LIMIT, _ASYNC_LIMIT = 6 * 1024 * 1024, 1024 * 1024
_RUNTIME = "/2018-06-01/runtime"


@dataclass
class Request:
    """One request of the Invoke API, as it came."""

    function: str
    qualifier: str | None
    kind: str
    client_context: str | None
    payload: bytes
    at: float


@dataclass
class _Invocation:
    id: str
    payload: bytes
    client_context: str | None
    deadline: float
    answer: asyncio.Future[tuple[bytes, str | None]]


@dataclass
class _Function:
    """A function: its processes, and the Runtime API that they ask for work."""

    name: str
    handler: str
    path: str
    processes: int
    timeout: float
    cold_start: float
    environment: Mapping[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    queue: asyncio.Queue[_Invocation] = field(default_factory=asyncio.Queue)
    current: dict[str, _Invocation] = field(default_factory=dict)
    runner: web.AppRunner | None = None
    address: str = ""
    log: Path = Path(os.devnull)


class LambdaServer:
    """The Invoke API at :attr:`url`. An async context manager."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.bad_signatures = 0
        self.in_flight = self.peak = 0
        self._folder = folder
        self._functions: dict[str, _Function] = {}
        self._faults: deque[Callable[[web.Request], web.StreamResponse | None]] = deque()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/2015-03-31/functions/{name}/invocations", self._invoke)
        self._runner, port = await _listen(application)
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for function in self._functions.values():
            for process in function.running:
                process.kill()
                process.wait()
            if function.runner is not None:
                await function.runner.cleanup()
        if self._runner is not None:
            await self._runner.cleanup()

    async def add(
        self,
        name: str,
        handler: str,
        *,
        path: Path,
        processes: int = 1,
        timeout: float = 30.0,
        cold_start: float = 0.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Deploy a function: ``module.attribute`` in a folder, or several, parted by ``os.pathsep``."""
        function = _Function(name, handler, str(path), processes, timeout, cold_start, environment or {})
        application = web.Application(client_max_size=64 << 20)
        application.router.add_get(f"{_RUNTIME}/invocation/next", partial(self._next, function))
        application.router.add_post(f"{_RUNTIME}/invocation/{{id}}/response", partial(self._answer, function, None))
        application.router.add_post(f"{_RUNTIME}/invocation/{{id}}/error", partial(self._answer, function, "Unhandled"))
        application.router.add_post(f"{_RUNTIME}/init/error", self._init_error)
        function.runner, port = await _listen(application)
        function.address = f"127.0.0.1:{port}"
        function.log = self._folder / f"{name}.log"
        self._functions[name] = function
        for _ in range(processes):
            self._start(function)

    def log(self, name: str) -> str:
        """What the processes of a function have written."""
        return self._functions[name].log.read_text()

    def fail(self, status: int, error: str, *, times: int = 1, retry_after: str | None = None) -> None:
        """Answer the next requests with an error of the API, such as ``429, "TooManyRequestsException"``."""
        headers = {"x-amzn-ErrorType": error, **({"Retry-After": retry_after} if retry_after else {})}
        body = {"Type": "User", "message": f"{error} on demand"}
        self._faults.extend([lambda _: web.json_response(body, status=status, headers=headers)] * times)

    def reset(self, *, times: int = 1) -> None:
        """Hang up on the next requests."""

        def hang_up(request: web.Request) -> None:
            assert request.transport is not None
            request.transport.abort()

        self._faults.extend([hang_up] * times)

    # -- the Invoke API

    async def _invoke(self, request: web.Request) -> web.StreamResponse:
        payload = await request.read()
        self._check_signature(request, payload)
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        context = request.headers.get("X-Amz-Client-Context")
        name, _, inline = request.match_info["name"].partition(":")
        qualifier = request.query.get("Qualifier", inline or None)
        self.requests.append(Request(name, qualifier, kind, context, payload, time.monotonic()))
        if self._faults:
            answer = self._faults.popleft()(request)
            return answer if answer is not None else web.Response(status=500)
        function = self._functions.get(name)
        if function is None:
            return _error(404, "ResourceNotFoundException", f"Function not found: {name}")
        if len(payload) > (_ASYNC_LIMIT if kind == "Event" else _SYNC_LIMIT):
            return _error(413, "RequestTooLargeException", "Request must be smaller than the limit")
        if kind == "DryRun":
            return web.Response(status=204)
        future: asyncio.Future[tuple[bytes, str | None]] = asyncio.get_running_loop().create_future()
        invocation = _Invocation(str(uuid.uuid4()), payload, context, 0.0, future)
        await function.queue.put(invocation)
        if kind == "Event":
            return web.Response(status=202)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            body, error = await asyncio.wait_for(asyncio.shield(future), function.timeout + function.cold_start + 10)
        finally:
            self.in_flight -= 1
        headers = {"X-Amz-Executed-Version": qualifier or "$LATEST", "x-amzn-RequestId": invocation.id}
        if error:
            headers["X-Amz-Function-Error"] = error
        return web.Response(body=body, headers=headers, content_type="application/json")

    def _check_signature(self, request: web.Request, payload: bytes) -> None:
        given = request.headers.get("Authorization", "")
        signed = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        headers = {name: value for name, value in request.headers.items() if name.lower() in signed}
        again = AWSRequest("POST", str(request.url), headers, payload)
        again.context["timestamp"] = request.headers.get("X-Amz-Date", "")
        signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "lambda", REGION)
        canonical = signer.canonical_request(again)
        expected = signer.signature(signer.string_to_sign(again, canonical), again) if signed != [""] else ""
        if not expected or not given.endswith(f"Signature={expected}"):
            self.bad_signatures += 1

    # -- the Runtime API

    def _start(self, function: _Function) -> None:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_LAMBDA_RUNTIME_API": function.address,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "log",
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
            "AWS_REGION": REGION,
            "LAMBDA_TASK_ROOT": function.path.partition(os.pathsep)[0],
            "PYTHONPATH": function.path,
            "_HANDLER": function.handler,
            **function.environment,
        }
        starts = (
            f"import sys, time; time.sleep({function.cold_start}); sys.argv = ['bootstrap', {function.handler!r}]\n"
        )
        program = starts + "from awslambdaric.__main__ import main; main(sys.argv)"
        with function.log.open("ab") as log:
            function.running.append(
                subprocess.Popen(
                    [sys.executable, "-c", program],
                    cwd=function.path.partition(os.pathsep)[0],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    async def _next(self, function: _Function, _: web.Request) -> web.Response:
        invocation = await function.queue.get()
        invocation.deadline = time.time() + function.timeout
        function.current[invocation.id] = invocation
        asyncio.get_running_loop().call_later(function.timeout, self._time_out, function, invocation)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{REGION}:123456789012:function:{function.name}",
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000",
        }
        if invocation.client_context:
            import base64

            headers["Lambda-Runtime-Client-Context"] = base64.b64decode(invocation.client_context).decode()
        return web.Response(body=invocation.payload, headers=headers, content_type="application/json")

    async def _answer(self, function: _Function, error: str | None, request: web.Request) -> web.Response:
        body = await request.read()
        invocation = function.current.pop(request.match_info["id"], None)
        if invocation is not None and not invocation.answer.done():
            invocation.answer.set_result((body, error))
        return web.json_response({"status": "OK"}, status=202)

    async def _init_error(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "OK"}, status=202)

    def _time_out(self, function: _Function, invocation: _Invocation) -> None:
        if function.current.pop(invocation.id, None) is None:
            return
        # Which process has it is not told: with one, it is that one.
        process = function.running.pop(0)
        process.kill()
        process.wait()
        self._start(function)
        message = {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {invocation.id} Error: Task timed out after {function.timeout:.2f} seconds",
        }
        if not invocation.answer.done():
            invocation.answer.set_result((json.dumps(message).encode(), "Unhandled"))


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"Type": "User", "message": message}, status=status, headers={"x-amzn-ErrorType": kind})


async def _listen(application: web.Application) -> tuple[web.AppRunner, int]:
    # A function that waits for work would hold the end up for a minute.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    return runner, port


def credentials() -> Mapping[str, Any]:
    """The environment in which boto's chain finds the keys that this server knows."""
    return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION}

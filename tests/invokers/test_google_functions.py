"""The target ``google_function``: looked up, called with a token, under the real Functions Framework.

The Functions API and the metadata server are fakes of these tests: there is no emulator of either.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import process_functions as functions
import pytest
from aiohttp import web
from host_servers import HostServers, free_port
from stage import Stage, binding_of, order

from bindings import Event, Retry, on_stream
from dispatcher.config.targets import GoogleFunctionTarget
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.google_functions.tokens import IdTokens
from dispatcher.invokers.making import make_invoker

_HOSTS = Path(__file__).parent.parent / "hosts"
# google-auth reads where its metadata server is once, at its import: all tests have it at one place.
PORT = free_port()
NAMED = {"type": "google_function", "project": "shop", "location": "europe-west1"}


class Google:
    """The Cloud Functions API, a metadata server, and a proxy that lets in who bears a token for it."""

    def __init__(self) -> None:
        self.url = ""
        self.functions: dict[str, str] = {}
        self.lookups: list[str] = []
        self.tokens = 0
        self.token_seconds = 3600
        self.is_down = False
        self.behind = ""
        self.refused = 0

    async def lookup(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.lookups.append(name)
        if name not in self.functions:
            error = {"code": 404, "message": f"Resource {name} was not found", "status": "NOT_FOUND"}
            return web.json_response({"error": error}, status=404)
        return web.json_response(
            {"name": name, "state": "ACTIVE", "serviceConfig": {"uri": self.functions[name]}, "environment": "GEN_2"}
        )

    async def metadata(self, request: web.Request) -> web.Response:
        headers = {"Metadata-Flavor": "Google"}
        if self.is_down:
            return web.Response(status=500, headers=headers)
        if request.path.endswith("/identity"):
            self.tokens += 1
            token = _token(request.query["audience"], self.token_seconds, self.tokens)
            return web.Response(text=token, content_type="text/html", headers=headers)
        if request.path.endswith("/email"):
            return web.Response(text="dispatcher@shop.example", headers=headers)
        return web.json_response(
            {"email": "dispatcher@shop.example", "aliases": ["default"], "scopes": []}, headers=headers
        )

    async def forward(self, request: web.Request) -> web.Response:
        """What Cloud Run does in front of a function: who bears no token for it is turned away."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or _claims(token)["aud"] != f"{self.url}/run":
            self.refused += 1
            return web.Response(status=403)
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.behind, data=await request.read(), headers=request.headers) as came,
        ):
            kind = {"content-type": came.headers.get("content-type", "")}
            return web.Response(status=came.status, body=await came.read(), headers=kind)


def _part(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _token(audience: str, seconds: int, number: int) -> str:
    now = int(time.time())
    claims = {"aud": audience, "iat": now, "exp": now + seconds, "n": number}
    return f"{_part({'alg': 'none'})}.{_part(claims)}.{base64.urlsafe_b64encode(b'signature').decode()}"


def _claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.fixture
async def google(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Google]:
    """Google, as far as it is needed, on loopback."""
    fake = Google()
    application = web.Application()
    application.router.add_get("/v2/{name:projects/.*}", fake.lookup)
    application.router.add_get("/computeMetadata/{rest:.*}", fake.metadata)
    application.router.add_get("/", fake.metadata)
    application.router.add_post("/run", fake.forward)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT, reuse_address=True).start()
    address = f"127.0.0.1:{PORT}"
    fake.url = f"http://{address}"
    monkeypatch.setenv("GCE_METADATA_HOST", address)
    monkeypatch.setenv("GCE_METADATA_IP", address)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    yield fake
    await runner.cleanup()


def target(google: Google, function: str, **more: Any) -> GoogleFunctionTarget:
    """A target whose lookup goes to the fake."""
    return GoogleFunctionTarget(**{**NAMED, "function": function, "api_endpoint": google.url, **more})


def deployed(google: Google, function: str, url: str) -> None:
    """The function is there."""
    google.functions[f"projects/shop/locations/europe-west1/functions/{function}"] = url


@pytest.mark.parametrize(("name", "kind"), [("ff_sync_says", "http"), ("ff_names_failures", "http")])
async def test_from_its_name_to_its_answer(
    stage: Stage, google: Google, hosts: HostServers, name: str, kind: str
) -> None:
    """The function is looked up once, called with an ID token for its address, and says what it says in this process: one
    event a request as a CloudEvent, a batch as a list of them."""
    google.behind = await asyncio.to_thread(hosts.start, kind, name)
    deployed(google, "says", f"{google.url}/run")
    await stage.send([order(0), order(1, "reject"), order(2, "fail"), b"not JSON"])
    binding = binding_of(getattr(functions, name.removeprefix("ff_")))
    local = await stage.through(binding, None, app="local")
    remote = await stage.through(binding, make_invoker(binding, target(google, "says", audience=f"{google.url}/run")))
    assert remote.dead == local.dead
    assert remote.statistics.done == local.statistics.done
    assert len(google.lookups) == 1
    assert google.tokens == 1
    assert google.refused == 0


@on_stream("events", retry=Retry(max_attempts=2, initial=0.0), timeout=5.0)
async def waits(event: Event[bytes]) -> None:
    """Stands for a function elsewhere."""


async def test_a_function_that_is_not_there_costs_no_attempt(
    stage: Stage, google: Google, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be found is not an event's fault: nothing becomes a dead letter, and no time is lost on asking again at
    once. The message says what to mend."""
    await stage.send([b"1"])
    binding = binding_of(waits)
    invoker = make_invoker(binding, target(google, "gone"))
    assert invoker is not None
    worker = stage.worker(binding, invoker, ends=False)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(30):
        while worker.statistics().not_delivered < 3:
            await asyncio.sleep(0.01)
    worker.stop()
    await running
    said = [record.message for record in caplog.records if "takes no events" in record.message]
    assert len(said) == 1
    assert "cloudfunctions.functions.get" in said[0]
    assert (worker.statistics().dead_lettered, worker.statistics().done) == (0, 0)
    assert len(google.lookups) == 1


async def test_a_token_is_kept_renewed_and_outlives_an_outage(google: Google) -> None:
    """One that is good is used again; one that ends soon is renewed; while that fails, the old one is good to its end."""
    tokens = IdTokens("https://service.example")
    first = await tokens()
    assert _claims(first)["aud"] == "https://service.example"
    assert await tokens() == first
    google.token_seconds = 200
    ending = IdTokens("https://service.example")
    soon = await ending()
    assert await ending() != soon
    google.is_down = True
    assert _claims(await ending())["n"] == google.tokens
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await IdTokens("https://other.example")()


async def test_the_push_of_pubsub(stage: Stage, google: Google, hosts: HostServers) -> None:
    """With that envelope a function gets what a push subscription would bring it, and the coordinates of the event."""
    google.behind = await asyncio.to_thread(hosts.start, "http", "ff_describes")
    deployed(google, "describes", f"{google.url}/run")
    await stage.send([b"\x00\xff"])
    binding = binding_of(functions.describes)
    described = target(google, "describes", envelope="pubsub", audience=f"{google.url}/run")
    came = await stage.through(binding, make_invoker(binding, described))
    assert [(said["value"], said["id"]) for said in came.values] == [([0, 255], "events/0/0")]

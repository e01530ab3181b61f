"""Secrets reach nobody: a real run with some in every place that has them, and everything that it left behind is read.

The configuration's own forms, and each command's mistakes: tests/config/test_config_secrets.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from kafka_server import SUPER_USER, KafkaCluster

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.core.record import Outgoing, TopicPartition

pytestmark = pytest.mark.kafka

USER, PASSWORD = SUPER_USER
CANARY = "canary-9d41c7"

HEAD = """
import os
from bindings import Context, Event, Reject, Retry, on_stream

TOKEN = os.environ.get("SHOP_TOKEN", "")
"""
FUNCTION = """
@on_stream("{stream}", emits="{stream}.out", retry=Retry(max_attempts=2, initial=0.01))
def {name}(event: Event[dict], context: Context) -> dict:
    secret = TOKEN + str(event.value) + str(event.headers)
    match event.value["do"]:
        case "reject":
            raise Reject("not wanted")
        case "raise":
            raise RuntimeError("it failed")
        case "log":
            context.logger.info("one event", extra={{"number": 1}})
        case "decode":
            event.value["absent"]
        case "slow":
            import time
            time.sleep(30)
    return {{"ok": True}}
"""


def everything(process: int) -> str:
    """What others on the machine see of a process: its command line, its title, and those of what it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    files = [
        Path("/proc") / number / file for number in (str(process), *children) for file in ("cmdline", "comm", "status")
    ]
    return "\n".join(file.read_text(errors="replace") for file in files)


@pytest.mark.timeout(300)
def test_a_run_tells_no_secret(dispatch: Any, kafka_cluster: KafkaCluster) -> None:
    """The password of the cluster, a function's token, and what is in an event's key, value and headers: after events that
    are handled, rejected, fail, can't be decoded and time out, with everything logged that can be, none is in the log, the
    summary, the status, the manifest, the lists, the configuration that is shown, the errors of dead letters, or the titles
    of the processes. The password is there where it must be: with it, and it alone, the run is let in."""
    name = uuid.uuid4().hex[:8]
    stream, app = f"secret-{name}", f"app-{name}"
    dispatch.write("app.py", HEAD + "".join(FUNCTION.format(stream=stream, name=each) for each in ("local", "apart")))
    dispatch.write("token", f"{CANARY}-file")
    dispatch.write("password", PASSWORD)
    dispatch.write(
        "dispatch.toml",
        '[kafka]\nsecurity_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\npassword = { file = "password" }\n'
        '[functions.apart]\ntimeout = 1\ntarget = { type = "process", processes = 1, environment = ["SHOP_TOKEN"] }\n'
        "[functions.local]\ntimeout = 1\n",
    )
    events = [
        json.dumps({"do": do, "card": f"{CANARY}-value"}).encode() for do in ("", "reject", "raise", "log", "decode")
    ]
    events += [
        f'{{"do": "{CANARY}-broken'.encode(),
        b"\xff" + CANARY.encode(),
        json.dumps({"do": "slow", "x": CANARY}).encode(),
    ]

    async def fill() -> None:
        async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
            for topic in (stream, f"{stream}.out"):
                await owner.create_stream(StreamInfo(name=topic, partitions=1))
            producer = await owner.producer()
            headers = (("authorization", f"Bearer {CANARY}-header".encode()),)
            for event in events:
                await producer.send(Outgoing(topic=stream, key=f"{CANARY}-key".encode(), value=event, headers=headers))
            await producer.close()

    asyncio.run(fill())
    dispatch.environ |= {
        "DISPATCH_BROKER": f"kafka://{kafka_cluster.bootstrap('sasl')}",
        "DISPATCH_APP": app,
        "DISPATCH_KAFKA__USERNAME": USER,
        "SHOP_TOKEN": f"{CANARY}-token",
        "DISPATCH_KAFKA__KEY_PASSWORD__FILE": "token",
    }
    run = dispatch.start("run", "app.py", "--log-level", "debug", "--log-format", "json")
    letters = TopicPartition(f"{stream}.local.dead", 0), TopicPartition(f"{stream}.apart.dead", 0)

    async def dead() -> list[Any]:
        async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
            there = [id_ for id_ in letters if await owner.describe(id_.topic) is not None]
            return list((await owner.end_offsets(there)).values())

    deadline = time.monotonic() + 60
    while asyncio.run(dead()) != [6, 6]:
        assert time.monotonic() < deadline, (asyncio.run(dead()), run.stderr[-3_000:])
        time.sleep(0.5)
    told = [everything(run.process.pid)]
    assert "python" in told[0]
    shown = [
        ("status", "app.py", "-o", "json"),
        ("list", "app.py", "-o", "json"),
        ("manifest", "app.py"),
        ("config", "show", "--json"),
        ("check", "app.py"),
    ]
    for words in shown:
        done = dispatch(*words)
        assert done.stdout or done.stderr
        told.append(done.stdout + done.stderr)
    run.interrupt()
    ended = run.end(40)
    told += [ended.stdout, ended.stderr]
    listed = json.loads(dispatch("dlq", "list", "local", "app.py", "--json").stdout)
    listed += json.loads(dispatch("dlq", "list", "apart", "app.py", "--json").stdout)
    assert len(listed) == 12
    told += [json.dumps({fact: value for fact, value in letter.items() if fact != "event"}) for letter in listed]
    for path in (dispatch.folder / ".dispatch").rglob("*"):
        told += [path.read_bytes().decode("latin-1")] if path.is_file() else []
    for text in told:
        assert CANARY not in text, text[max(0, text.index(CANARY) - 300) :][:600]
        assert PASSWORD not in text, text[max(0, text.index(PASSWORD) - 300) :][:600]
    # The control: the log is what it is about, and the letters hold the events themselves.
    assert "dead letter" in ended.stderr
    assert CANARY in json.dumps([letter["event"] for letter in listed])


async def test_what_is_wrong_with_a_password_is_said_without_it(kafka_cluster: KafkaCluster, dispatch: Any) -> None:
    """A wrong password, tried by a whole run with everything logged, the client library's own log too: who was refused and
    which setting to check, and no traceback in which it could stand."""
    dispatch.write("app.py", HEAD + FUNCTION.format(stream="absent", name="handle"))
    done = await asyncio.to_thread(
        dispatch,
        *("run", "app.py", "--log-level", "debug"),
        DISPATCH_BROKER=f"kafka://{kafka_cluster.bootstrap('sasl')}",
        DISPATCH_KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT",
        DISPATCH_KAFKA__USERNAME=USER,
        DISPATCH_KAFKA__PASSWORD=CANARY,
    )
    assert done.code == 1
    assert f"refuses the user '{USER}'" in done.stderr
    assert CANARY not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="reads /proc")  # noqa: PTH110 - at import
async def test_a_functions_process_sees_no_secret_of_the_dispatcher(dispatch: Any) -> None:
    """A function in a process of its own finds the dispatcher's settings neither in its environment nor on its command line;
    what is named for it, it has."""
    dispatch.write(
        "app.py",
        "import os\nfrom pathlib import Path\nfrom bindings import on_stream\n"
        "@on_stream('orders')\ndef handle(event: dict) -> None:\n"
        "    Path('seen').write_text(repr(dict(os.environ)) + Path('/proc/self/cmdline').read_text())\n",
    )
    dispatch.write("dispatch.toml", '[functions.handle]\ntarget = { type = "process", environment = ["SHOP_TOKEN"] }\n')
    dispatch("send", "orders", "-", stdin="{}\n")
    secrets = {"DISPATCH_KAFKA__USERNAME": "me", "DISPATCH_KAFKA__PASSWORD": CANARY, "AWS_SECRET_ACCESS_KEY": CANARY}
    run = dispatch("run", "app.py", "--until-caught-up", SHOP_TOKEN="for-the-function", **secrets)
    assert run.code == 0, run.stderr
    seen = (dispatch.folder / "seen").read_text()
    assert CANARY not in seen
    assert "for-the-function" in seen

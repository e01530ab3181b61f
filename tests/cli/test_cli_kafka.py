"""The same commands on a real Apache Kafka."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

pytestmark = pytest.mark.kafka

APP = """
from bindings import Reject, on_stream

@on_stream("STREAM", emits="STREAM.results")
async def handle(order: dict) -> dict:
    if order["id"] == 7:
        raise Reject("seven")
    return order
"""


def test_send_check_run_and_look_on_kafka(dispatch: Any, kafka_bootstrap: str) -> None:
    """What works on the embedded log works on Kafka by naming it, except that streams are made only when asked for."""
    stream = f"orders-{secrets.token_hex(4)}"
    dispatch.environ["DISPATCH_BROKER"] = f"kafka://{kafka_bootstrap}"
    dispatch.write("app.py", APP.replace("STREAM", stream))
    lines = "".join(json.dumps({"id": number, "who": f"h{number % 5}"}) + "\n" for number in range(200))

    missing = dispatch("check", "app.py", "--json")
    assert (missing.code, missing.json[0]["severity"]) == (1, "error")
    assert f"dispatch streams create {stream}" in missing.json[0]["mend"]
    refused = dispatch("send", stream, "-", stdin=lines)
    assert refused.code == 1
    assert "--create" in refused.stderr

    sent = dispatch("send", stream, "-", "--key", "who", "--create", "--partitions", "3", "--json", stdin=lines)
    assert (sent.code, sent.json["sent"]) == (0, 200)
    assert dispatch("check", "app.py").code == 0
    ran = dispatch("run", "app.py", "--until-caught-up", "--json")
    assert ran.code == 1, ran.stderr
    [function] = ran.json["functions"]
    assert (function["consumed"], function["done"], function["dead_lettered"], function["emitted"]) == (
        200,
        199,
        1,
        199,
    )

    streams = {each["stream"]: each for each in dispatch("streams", "list", "--json").json}
    assert (streams[stream]["partitions"], streams[stream]["events"]) == (3, 200)
    assert streams[f"{stream}.results"]["events"] == 199
    [dead] = dispatch("streams", "tail", f"{stream}.handle.dead", "--json").stdout.splitlines()
    assert json.loads(dead)["value"]["id"] == 7
    results = dispatch("streams", "tail", f"{stream}.results", "--json").stdout.splitlines()
    assert sorted(json.loads(line)["value"]["id"] for line in results) == [n for n in range(200) if n != 7]
    assert len(dispatch("streams", "show", stream, "--json").json["partitions"]) == 3
    again = dispatch("run", "app.py", "--until-caught-up", "--json")
    assert (again.code, again.json["functions"][0]["consumed"]) == (0, 0)


def test_ctrl_c_leaves_the_group_and_the_next_run_goes_on_at_once(dispatch: Any, kafka_bootstrap: str) -> None:
    """A drained run commits and leaves, so that its successor neither waits for a session to end nor sees an event twice."""
    stream = f"orders-{secrets.token_hex(4)}"
    dispatch.environ["DISPATCH_BROKER"] = f"kafka://{kafka_bootstrap}"
    dispatch.write("app.py", APP.replace("STREAM", stream))
    dispatch("send", stream, "-", "--create", stdin='{"id": 1}\n{"id": 2}\n')
    run = dispatch.start("run", "app.py")
    run.until(lambda: run.said("done 2,"), "both events", 40)
    run.interrupt()
    done = run.end()
    assert done.code == 130
    assert "Traceback" not in done.stderr
    again = dispatch("run", "app.py", "--until-caught-up", "--json")
    assert (again.code, again.json["functions"][0]["consumed"]) == (0, 0)
    assert again.json["functions"][0]["seconds"] < 8

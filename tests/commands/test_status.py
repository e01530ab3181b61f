"""``dispatch status``: where functions stand, with nothing running and with something running."""

from __future__ import annotations

import json
import re
import secrets
import signal
import time
from typing import Any

import pytest

APP = """
from bindings import Reject, Retry, on_stream

@on_stream("STREAM", order="partition", retry=Retry(max_attempts=9, initial=600.0, jitter="none"))
async def strict(order: dict) -> None:
    if order["id"] == 2:
        raise KeyError("two")

@on_stream("STREAM", retry=Retry(max_attempts=9, initial=600.0, jitter="none"))
async def loose(order: dict) -> None:
    if order["id"] == 0:
        raise Reject("zero")
    if order["id"] == 2:
        raise KeyError("two")
"""

LINES = "".join(json.dumps({"id": number, "who": f"h{number}"}) + "\n" for number in range(5))


def by_name(done: Any) -> dict[str, Any]:
    """The functions of a status, by name."""
    return {each["function"]: each for each in done.json}


def test_before_anything_ran_all_is_lag(dispatch: Any) -> None:
    """With no commit, lag counts from where start= begins; there are no members, no dead letters, nothing parked."""
    dispatch.write("app.py", APP.replace("STREAM", "orders"))
    dispatch("send", "orders", "-", "--partitions", "1", stdin=LINES)
    done = dispatch("status", "--json")
    assert done.code == 0, done.stderr
    loose = by_name(done)["loose"]
    assert (loose["lag"], loose["members"], loose["parked"]) == (5, 0, 0)
    assert loose["dead_letters"]["unresolved"] == 0
    [partition] = loose["partitions"]
    assert (partition["committed"], partition["position"], partition["end"]) == (None, 0, 5)
    assert 0 < partition["lag_seconds"] < 60


def check_after_a_run(dispatch: Any, stream: str) -> None:
    """Run both functions until they wait, stop them, and look at what is left."""
    dispatch.write("app.py", APP.replace("STREAM", stream))
    dispatch("send", stream, "-", "--key", "who", "--create", "--partitions", "1", stdin=LINES)
    began = time.time()
    run = dispatch.start("run", "app.py")
    run.until(lambda: by_name(dispatch("status", "--json"))["loose"]["lag"] == 1, "the commit of all but one", 40)
    live = by_name(dispatch("status", "--json"))
    assert (live["loose"]["members"], live["strict"]["members"]) == (1, 1)
    run.interrupt(signal.SIGTERM)
    run.end()

    found = by_name(dispatch("status", "--json"))
    loose, strict = found["loose"], found["strict"]
    assert (loose["members"], strict["members"]) == (0, 0)
    # What passed the parked event is done beyond the commit; under partition order nothing passes.
    [partition] = [each for each in loose["partitions"] if each["stream"] == stream]
    assert (partition["committed"], partition["end"], partition["lag"], partition["done_beyond"]) == (2, 5, 1, 2)
    assert partition["parked"] == [{"offset": 2, "attempts": 1}]
    [partition] = [each for each in strict["partitions"] if each["stream"] == stream]
    assert (partition["committed"], partition["lag"], partition["done_beyond"]) == (2, 3, 0)
    assert (loose["lag"], loose["parked"], strict["lag"], strict["parked"]) == (1, 1, 3, 1)
    assert loose["dead_letters"] == {"topics": [f"{stream}.loose.dead"], "in_log": 1, "unresolved": 1}
    assert 0 < loose["lag_seconds"] < time.time() - began + 10

    text = dispatch("status", "app.py")
    assert text.code == 0
    assert "@2 (1 attempt)" in text.stdout
    assert "dispatch dlq list loose" in text.stderr
    # The client library calls it an error to look whether a stream is there.
    assert "ERROR" not in text.stderr


def test_parked_and_done_events_are_read_from_the_commits(dispatch: Any) -> None:
    """Commit, end, lag, done beyond, parked with attempts, dead letters and members, while it runs and after."""
    check_after_a_run(dispatch, "orders")


@pytest.mark.kafka
def test_the_same_on_kafka(dispatch: Any, kafka_bootstrap: str) -> None:
    """A real Kafka says the same of the same run."""
    dispatch.environ["DISPATCH_BROKER"] = f"kafka://{kafka_bootstrap}"
    dispatch.environ["DISPATCH_APP"] = f"shop-{secrets.token_hex(4)}"
    check_after_a_run(dispatch, f"orders-{secrets.token_hex(4)}")


def test_what_could_not_be_read_is_unknown_and_never_0(dispatch: Any) -> None:
    """A stream that is missing makes the numbers of its function unknown, and the exit code 1; others are still told."""
    dispatch.write(
        "app.py", APP.replace("STREAM", "orders").replace('@on_stream("orders", retry', '@on_stream("gone", retry')
    )
    dispatch("send", "orders", "-", "--partitions", "1", stdin=LINES)
    done = dispatch("status", "--json")
    assert done.code == 1
    loose, strict = by_name(done)["loose"], by_name(done)["strict"]
    assert (loose["lag"], loose["lag_seconds"], loose["parked"]) == (None, None, None)
    assert loose["missing_streams"] == ["gone"]
    assert strict["lag"] == 5
    text = dispatch("status", "--summary")
    [line] = [line for line in text.stdout.splitlines() if line.startswith("loose")]
    assert line.split()[2:7] == ["stopped", "0", "unknown", "unknown", "unknown"]
    assert "there is no stream gone" in text.stderr


def test_a_broker_that_is_not_there_is_an_error(dispatch: Any) -> None:
    """No log and no server are told as such: a table of zeros would be a lie."""
    dispatch.write("app.py", APP.replace("STREAM", "orders"))
    for broker in ("embedded:nowhere/log.db", "kafka://127.0.0.1:1"):
        done = dispatch("status", "--broker", broker)
        assert (done.code, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr


def test_forms_and_choice(dispatch: Any) -> None:
    """With jsonl it is a line a function, --only chooses, --summary leaves the partitions out."""
    dispatch.write("app.py", APP.replace("STREAM", "orders"))
    dispatch("send", "orders", "-", "--partitions", "2", stdin=LINES)
    lines = dispatch("status", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["function"] for line in lines] == ["strict", "loose"]
    only = dispatch("status", "--only", "loose", "--summary")
    assert [line.split()[0] for line in only.stdout.splitlines()] == ["FUNCTION", "loose"]
    assert dispatch("status", "--json", "-o", "jsonl").code == 2


def test_watching_shows_it_again(dispatch: Any) -> None:
    """--watch goes on until Ctrl-C, and what it prints is new each time."""
    dispatch.write("app.py", APP.replace("STREAM", "orders"))
    dispatch("send", "orders", "-", "--partitions", "1", stdin=LINES)
    watch = dispatch.start("status", "--only", "loose", "-o", "jsonl", "--watch", "--interval", "0.1")
    assert watch.process.stdout
    first = json.loads(watch.process.stdout.readline())
    dispatch("send", "orders", "-", stdin=LINES)
    later = first
    while later["lag"] == first["lag"]:
        later = json.loads(watch.process.stdout.readline())
    assert (first["lag"], later["lag"]) == (5, 10)
    watch.interrupt()
    assert watch.end().code == 130


def test_letters_that_were_dealt_with_are_no_longer_counted(dispatch: Any) -> None:
    """After `dlq drop` the dead letter is still in the log, and nobody has to look at it any more."""
    dispatch.write("app.py", APP.replace("STREAM", "orders"))
    dispatch("send", "orders", "-", "--partitions", "1", stdin='{"id": 0}\n')
    assert dispatch("run", "app.py", "--only", "loose", "--until-caught-up").code == 1
    before = by_name(dispatch("status", "--json"))["loose"]["dead_letters"]
    assert (before["in_log"], before["unresolved"]) == (1, 1)
    dropped = dispatch("dlq", "drop", "loose", "app.py", "--yes")
    assert dropped.code == 0, dropped.stderr
    after = by_name(dispatch("status", "--json"))["loose"]["dead_letters"]
    assert (after["in_log"], after["unresolved"]) == (1, 0)
    [line] = [line for line in dispatch("status", "--summary").stdout.splitlines() if line.startswith("loose")]
    assert line.endswith("0 of 1")


def test_what_runs_now_is_in_flight_and_nothing_is_once_it_has_ended(dispatch: Any) -> None:
    """While a process on this machine holds events in its function they are in flight; after it, 0, and never a guess."""
    dispatch.write(
        "held.py",
        "import asyncio, pathlib\n"
        "from bindings import on_stream\n"
        '@on_stream("held", concurrency=3)\n'
        "async def hold(order: dict) -> None:\n"
        "    while not pathlib.Path('go').exists():\n"
        "        await asyncio.sleep(0.01)\n",
    )
    dispatch("send", "held", "-", "--key", "id", stdin="".join(f'{{"id": {n}}}\n' for n in range(10)))
    run = dispatch.start("run", "held.py", "--app", "shop")

    def counted() -> int | None:
        [function] = dispatch("status", "held.py", "--app", "shop", "-o", "json").json
        assert function["in_flight"] is None or function["in_flight"] == sum(
            each["in_flight"] for each in function["partitions"]
        )
        return function["in_flight"]

    run.until(lambda: counted() == 3, "three in flight")
    dispatch.write("go", "")
    run.until(lambda: counted() == 0, "none in flight")
    run.interrupt()
    run.end()
    assert counted() == 0
    assert list((dispatch.folder / ".dispatch" / "run").iterdir()) == []


def test_what_runs_on_another_machine_is_unknown_until_all_is_done(dispatch: Any) -> None:
    """A process whose data folder is not this one's holds an event of one partition: in flight there is unknown, and never 0;
    in partitions of which all is done it is 0, and so it is in all of them at the end."""
    dispatch.write(
        "held.py",
        "import asyncio, pathlib\n"
        "from bindings import on_stream\n"
        '@on_stream("held")\n'
        "async def hold(order: dict) -> None:\n"
        "    while not pathlib.Path('go').exists():\n"
        "        await asyncio.sleep(0.01)\n",
    )
    dispatch("send", "held", "-", "--partitions", "2", "--key", "id", stdin='{"id": 1}\n')
    dispatch.environ["DISPATCH_DATA"] = str(dispatch.folder / "elsewhere")
    run = dispatch.start("run", "held.py", "--app", "shop")
    del dispatch.environ["DISPATCH_DATA"]

    def status() -> Any:
        [function] = dispatch("status", "held.py", "--app", "shop", "-o", "json").json
        return function

    run.until(lambda: status()["members"] == 1, "the member")
    held = status()
    assert held["in_flight"] is None
    assert {each["lag"]: each["in_flight"] for each in held["partitions"]} == {0: 0, 1: None}
    dispatch.write("go", "")
    run.until(lambda: status()["in_flight"] == 0, "none in flight")
    run.interrupt()
    run.end()


def test_the_commands_that_it_prints_are_about_the_same_app(dispatch: Any) -> None:
    """With an app and a profile named, what it says about going on names them too: pasted, it resumes that app's function and not
    that of the folder's."""
    dispatch.write("app.py", APP.replace("STREAM", "orders"))
    dispatch.write("dispatch.toml", "[profiles.night]\ncommit_interval = 1\n")
    dispatch("send", "orders", "-", stdin=LINES)
    other = ("--app", "other", "--profile", "night")
    assert dispatch("functions", "pause", "loose", "app.py", *other).code == 0
    [words] = re.findall(r"let it go on: dispatch (.*)", dispatch("status", "app.py", *other).stderr)
    assert words == "functions resume loose app.py --app other --profile night"
    assert dispatch(*words.split()).code == 0
    assert by_name(dispatch("status", "app.py", *other, "--json"))["loose"]["state"] == "stopped"

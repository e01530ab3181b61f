"""What comes from Kafka is data: no byte of it chooses code (spring-kafka's CVE-2023-34040 is what this is about)."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Outgoing

ROOT = Path(__file__).parents[2]

# Each process that imports it, the dispatcher's and the function's own, notes what would be code at work.
APP = """
import json, os, pickle, sys
from pathlib import Path
from bindings import Event, Reject, Retry, on_stream

NOTES = Path(__file__).with_name("notes.txt")
WATCHED = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "ctypes.dlopen"}

def watch(name, arguments):
    if name in WATCHED and watch.on:
        with NOTES.open("a") as notes:
            notes.write(f"{name} {arguments!r}\\n")

watch.on = False
sys.addaudithook(watch)

@on_stream("orders", emits="results", retry=Retry(max_attempts=2, initial=0.01))
def handle(event: Event[bytes]) -> dict:
    watch.on = True
    if event.key == b"unpickle":
        pickle.loads(event.value)
    if event.key == b"reject":
        raise Reject(event.value.decode("latin-1"))
    if event.key == b"raise":
        raise RuntimeError(event.value)
    return {"value": event.value.hex(), "headers": [[name, (value or b"").hex()] for name, value in event.headers]}
"""


class Payload:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def payloads(mark: Path) -> list[bytes]:
    """The same deed in what the common readers of code take: pickles of every protocol, YAML, Java, Groovy, templates."""
    pickles = [pickle.dumps(Payload(mark), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    texts = [
        f"!!python/object/apply:os.system ['touch {mark}']",
        f"!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
        json.dumps({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [f"touch {mark}"]}]}),
        json.dumps({"__class__": "os.system", "@type": "java.lang.Runtime", "$ref": str(mark)}),
        f"{{{{ ''.__class__.__mro__[1].__subclasses__() }}}} ${{jndi:ldap://127.0.0.1/x}} $(touch {mark}) `touch {mark}`",
    ]
    return [*pickles, b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap", *(text.encode() for text in texts)]


async def send(folder: Path, events: list[Outgoing]) -> None:
    """Put events where the command's own broker keeps them."""
    (folder / ".dispatch").mkdir(exist_ok=True)
    async with EmbeddedBroker(folder / ".dispatch" / "log.db") as broker:
        for name in ("orders", "results"):
            await broker.create_stream(StreamInfo(name=name, partitions=1))
        producer = await broker.producer()
        for event in events:
            await producer.send(event)
        await producer.close()


@pytest.mark.parametrize("target", ["local", "process"])
async def test_payloads_in_values_keys_and_headers_have_no_effect(dispatch: Any, target: str, tmp_path: Path) -> None:
    """A function that handles, rejects or fails over them, here and in a process of its own: each comes as the bytes that
    it was, becomes a result or a dead letter, and nothing is unpickled or started over it."""
    mark = tmp_path / "mark"
    dispatch.write("app.py", APP)
    dispatch.write("dispatch.toml", f'[functions.handle]\ntarget = "{target}"\n')
    sent = payloads(mark)
    names = ["__TypeId__", "springDeserializerExceptionValue", "content-type", "py/object", "dispatch-retry-x"]
    headers = lambda payload: tuple((name, payload) for name in names)  # noqa: E731 - one line, twice
    events = [
        Outgoing(topic="orders", key=key or payload, value=payload, headers=headers(payload))
        for payload in sent
        for key in (b"", b"reject", b"raise")
    ]
    await send(dispatch.folder, events)
    run = dispatch("run", "app.py", "--until-caught-up", "-o", "json")
    assert run.code == 1, run.stderr  # there are dead letters
    [counts] = run.json["functions"]
    assert (counts["done"], counts["dead_lettered"]) == (len(sent), 2 * len(sent)), run.stderr
    assert dispatch("dlq", "list", "handle", "app.py").code == 0
    assert dispatch("streams", "tail", "results", "-o", "jsonl").code == 0
    assert dispatch("dlq", "redrive", "handle", "app.py", "--yes").code == 0
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    assert not mark.exists()
    assert not (dispatch.folder / "notes.txt").exists(), (dispatch.folder / "notes.txt").read_text()


@pytest.mark.parametrize("target", ["local", "process"])
async def test_the_watch_sees_what_is_unpickled(dispatch: Any, target: str, tmp_path: Path) -> None:
    """The control: a function that unpickles one of these payloads itself is noted, and its mark is there."""
    mark = tmp_path / "mark"
    dispatch.write("app.py", APP)
    dispatch.write("dispatch.toml", f'[functions.handle]\ntarget = "{target}"\n')
    await send(dispatch.folder, [Outgoing(topic="orders", key=b"unpickle", value=pickle.dumps(Payload(mark)))])
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    assert mark.exists()
    assert "pickle.find_class" in (dispatch.folder / "notes.txt").read_text()


READERS_OF_CODE = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "yaml",
    "jsonpickle",
    "multiprocessing",
}
CALLS = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("part", ["bindings", "dispatcher"])
def test_nothing_that_is_shipped_can_read_code(part: str) -> None:
    """No module imports a reader of code, the frames between processes included, and none evaluates text."""
    for path in (ROOT / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = {alias.name.partition(".")[0] for alias in node.names} & READERS_OF_CODE
            elif isinstance(node, ast.ImportFrom):
                found = {(node.module or "").partition(".")[0]} & READERS_OF_CODE
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found = {node.func.id} & CALLS
            else:
                continue
            assert not found, f"{path}:{node.lineno}: {found}"

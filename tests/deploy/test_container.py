"""The image: built from the Dockerfile, run as it is meant to be run, on a real Kafka, with an app that `dispatch init` has made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engine import Engine, EngineUnavailable

from dispatcher.devkafka import free_ports

pytestmark = pytest.mark.timeout(420)  # of the first test, which builds the images

ROOT = Path(__file__).parent.parent.parent
GRACE = 40
EVENTS = 60

SLOW = """
import asyncio

from bindings import on_stream


@on_stream("booked-elsewhere", order="none", concurrency=4, timeout=20.0)
async def book(order: dict) -> dict:
    await asyncio.sleep(1.0)
    return {"booked": order["order_id"]}
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A container engine; the reason why there is none skips a test, and fails it in CI."""
    try:
        return Engine(tmp_path_factory.mktemp("engine"))
    except EngineUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no container engine to test with: {error}")
        pytest.skip(f"no container engine to test with: {error}")


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """Dispatch's own image, of this checkout."""
    name = engine.build(ROOT, "dispatch-test:latest", PYTHON_IMAGE=engine.base(), REVISION="0123abc")
    yield name
    engine.podman("rmi", "--force", name)


@pytest.fixture(scope="session")
def app(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of a new project, with one function more that takes a second an event, a package of its own and one of Dispatch's."""
    folder = tmp_path_factory.mktemp("projects")
    dispatch(folder, "init", "corner-shop")
    (folder / "corner-shop/requirements.txt").write_text("click\niniconfig\n")
    (folder / "corner-shop/functions/slow.py").write_text(SLOW)
    # As a checkout is where umask is 077.
    (folder / "corner-shop/functions/slow.py").chmod(0o600)
    (folder / "corner-shop/functions").chmod(0o700)
    name = engine.build(folder / "corner-shop", "dispatch-test-app:latest", DISPATCH_IMAGE=image)
    yield name
    engine.podman("rmi", "--force", name)


def dispatch(folder: Path, *words: str) -> str:
    """The command on this machine, outside of containers."""
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def container(engine: Engine, *words: str) -> Iterator[str]:
    """A container that runs in the background, hardened as the documentation says; its id."""
    options = ["--detach", "--network=host", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
    name = engine.podman("run", *options, "--pids-limit=200", "--memory=512m", *words).stdout.strip()
    try:
        yield name
    finally:
        engine.podman("rm", "--force", "--time=0", name)


def healthy(engine: Engine, name: str) -> bool:
    """Whether the image's own health check says so now."""
    return engine.podman("healthcheck", "run", name, check=False).returncode == 0


def logs(engine: Engine, name: str) -> str:
    """What the container has said."""
    done = engine.podman("logs", name, check=False)
    return done.stdout + done.stderr


def until(true: Callable[[], Any], what: str, tell: Callable[[], str], seconds: float = 60.0) -> None:
    """Wait for something that has to come."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come:\n{tell()}"
        time.sleep(0.2)


@pytest.mark.kafka
def test_a_stop_drains_and_loses_nothing(engine: Engine, app: str, kafka_bootstrap: str, tmp_path: Path) -> None:
    """Not root, with a root that can't be written: events go through, the health check is green, and a stop amid events ends within its
    grace; what the next container then does is the rest, each event once."""
    broker = f"kafka://{kafka_bootstrap}"
    stream, output = f"container-{os.getpid()}", f"container-{os.getpid()}.booked"
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps({"order_id": n}) + "\n" for n in range(EVENTS)))
    dispatch(tmp_path, "send", stream, str(events), "--broker", broker, "--create")
    [port] = free_ports(1)
    settings = {
        "DISPATCH_BROKER": broker,
        "DISPATCH_MONITORING": f"127.0.0.1:{port}",
        "DISPATCH_FUNCTIONS__BOOK__STREAMS": json.dumps([stream]),
        "DISPATCH_FUNCTIONS__BOOK__EMITS": output,
    }
    options = [f"--env={name}={value}" for name, value in settings.items()]
    only = ["run", "functions/", "--only", "book"]

    def booked() -> list[int]:
        if output not in dispatch(tmp_path, "streams", "list", "--broker", broker):
            return []
        tail = dispatch(tmp_path, "streams", "tail", output, "--broker", broker, "--json", "--limit", str(10 * EVENTS))
        return [json.loads(line)["value"]["booked"] for line in tail.splitlines()]

    with container(engine, *options, app, *only) as name:
        until(booked, "an event that is done", lambda: logs(engine, name))
        assert engine.podman("exec", name, "id", "-u").stdout == "10001\n"
        assert engine.podman("exec", name, "touch", "/app/x", check=False).returncode != 0
        until(lambda: healthy(engine, name), "a health check that is green", lambda: logs(engine, name))
        began = time.monotonic()
        engine.podman("stop", f"--time={GRACE}", name)
        took = time.monotonic() - began
        [state] = json.loads(engine.podman("inspect", name).stdout)
        before = booked()
        assert (state["State"]["ExitCode"], state["State"]["OOMKilled"]) == (143, False), logs(engine, name)
        assert took < GRACE / 2, took
        assert "finishing what is in flight" in logs(engine, name)
        assert 0 < len(before) < EVENTS, "the stop came when nothing was left to do"
    faster = f"--env=DISPATCH_FUNCTIONS__BOOK__CONCURRENCY={EVENTS}"
    with container(engine, *options, faster, app, *only, "--until-caught-up") as name:
        code = engine.podman("wait", name).stdout
        assert code == "0\n", logs(engine, name)
    assert sorted(booked()) == list(range(EVENTS))


def test_the_embedded_log_is_on_a_volume(engine: Engine, app: str, tmp_path: Path) -> None:
    """With no broker and no network the log is on a volume of the image's user: one container sends, the next one delivers, and a third
    has nothing left to do."""
    events = tmp_path / "orders.jsonl"
    events.write_text('{"order_id": "o-1", "customer": "anna", "total": 2500}\n' * 5)
    volume = f"dispatch-test-{os.getpid()}"
    run = ("run", "--rm", "--read-only", "--network=none", f"--volume={volume}:/app/.dispatch")
    only = ("run", "functions/", "--only", "review_large", "--until-caught-up", "--json")
    try:
        engine.podman(*run, f"--volume={events}:/orders.jsonl:ro", app, "send", "orders", "/orders.jsonl")
        done = [json.loads(engine.podman(*run, app, *only).stdout)["functions"][0]["done"] for _ in range(2)]
    finally:
        engine.podman("volume", "rm", "--force", volume)
    assert done == [5, 0]


def test_a_container_that_serves_nothing_is_not_healthy(engine: Engine, image: str) -> None:
    """The control of the health check: where nobody answers it fails."""
    with container(engine, "--entrypoint=sleep", image, "60") as name:
        assert not healthy(engine, name)


def test_what_an_app_adds_comes_after_what_is_locked(engine: Engine, app: str) -> None:
    """What an app asks for is there; what Dispatch's image has of it is that image's, and came in no other version."""
    program = """
import click, iniconfig, importlib.metadata, pathlib
print(click.__file__, iniconfig.__file__, sep="\\n")
print(importlib.metadata.version("click"), *(each.name for each in pathlib.Path("/packages").glob("click-*")))
"""
    done = engine.podman("run", "--rm", "--network=none", "--read-only", "--entrypoint=python", app, "-c", program)
    locked, added, versions = done.stdout.splitlines()
    assert (locked.startswith("/opt/dispatch/"), added) == (True, "/packages/iniconfig/__init__.py")
    version, found = versions.split()
    assert found == f"click-{version}.dist-info"


def test_the_image_says_what_it_is(engine: Engine, image: str) -> None:
    """Its user is a number and not root's, SIGTERM stops it, its labels are OCI's, and the version is the project's."""
    [found] = json.loads(engine.podman("image", "inspect", image).stdout)
    config = found["Config"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] in {"SIGTERM", "15"}
    assert config["Entrypoint"] == ["dispatch"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert labels["description"] == project["description"]
    assert labels["revision"] == "0123abc"


def test_its_list_of_parts_is_what_was_locked(engine: Engine, image: str) -> None:
    """The SBOM that a label names is in the image, and holds the lock's packages in the lock's versions, the project itself, and no more;
    there is no pip to install others with, and no compiler of the build."""
    [found] = json.loads(engine.podman("image", "inspect", image).stdout)
    place = found["Config"]["Labels"]["dispatch.sbom"]
    inside = ("run", "--rm", "--network=none", "--entrypoint")
    sbom = json.loads(engine.podman(*inside, "cat", image, place).stdout)
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"].lower().replace("_", "-").replace(".", "-"): part["version"] for part in sbom["components"]}
    lock = (ROOT / "scripts/requirements-runtime.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    assert {
        "aiokafka",
        "aiohttp",
        "boto3",
        "google-auth",
        "opentelemetry-sdk",
        "aws-msk-iam-sasl-signer-python",
    } <= parts.keys()
    parts.pop("dispatch-runtime", None)
    assert parts == {name: locked[name] for name in parts}
    tried = engine.podman(*inside, "python", image, "-c", "import hatchling", check=False)
    assert "ModuleNotFoundError" in tried.stderr
    assert engine.podman(*inside, "python", image, "-m", "pip", check=False).returncode != 0

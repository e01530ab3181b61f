"""The example functions, run by ``dispatch`` over the real orders of sixty households, against plain calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bindings.testing import invoke
from functions.check_limit.function import EnrichedOrder, check_limit
from functions.flag_anomaly.function import flag_anomaly

ROOT = Path(__file__).parent.parent.parent


def dispatch(log: Path, *words: str, code: int = 0) -> str:
    """Run a command of this checkout on an embedded log, and return its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DISPATCH_BROKER": f"embedded:{log}"},
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stderr}"
    return done.stdout


def events(log: Path, stream: str) -> list[dict]:
    """All that a stream holds."""
    return [json.loads(line) for line in dispatch(log, "streams", "tail", stream, "--json").splitlines()]


@pytest.fixture(scope="module")
def log(whole_orders: Sequence[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which the functions have handled all the orders."""
    folder = tmp_path_factory.mktemp("shop")
    log, lines = folder / "log.db", folder / "orders.jsonl"
    lines.write_text("".join(json.dumps(order) + "\n" for order in whole_orders))
    dispatch(log, "send", "orders.enriched", str(lines), "--key", "household_id")
    run = dispatch(log, "run", "functions", "--app", "shop", "--until-caught-up", "--json", code=1)
    (folder / "summary.json").write_text(run)
    return log


async def test_the_breaches_are_those_of_plain_calls(log: Path, whole_orders: Sequence[dict[str, Any]]) -> None:
    """What the dispatcher brings to ``limits.breached`` is what calling the function for each order gives."""
    called = [
        breach.model_dump()
        for order in whole_orders
        if (breach := await check_limit(EnrichedOrder.model_validate(order)))
    ]
    found = [event["value"] for event in events(log, "limits.breached")]
    assert sorted(found, key=lambda breach: breach["order_id"]) == sorted(called, key=lambda each: each["order_id"])
    assert called


def test_each_order_is_confirmed_in_its_households_order(log: Path, whole_orders: Sequence[dict[str, Any]]) -> None:
    """Every order has its confirmation, under its own key, and those of a household stand in order of time."""
    wanted: dict[str, list[int]] = {}
    for order in whole_orders:
        wanted.setdefault(str(order["household_id"]), []).append(order["order_id"])
    found: dict[str, list[int]] = {}
    for event in events(log, "orders.confirmations"):
        found.setdefault(event["key"], []).append(event["value"]["order_id"])
    assert found == wanted


def test_the_dead_letters_are_the_orders_that_must_be(log: Path, whole_orders: Sequence[dict[str, Any]]) -> None:
    """The orders that no attempt can handle, and no others, rest as they came, after one attempt, with the reason."""
    hopeless = {
        order["order_id"]: order for order in whole_orders if invoke(flag_anomaly, order, attempt=3).outcome == "reject"
    }
    letters = events(log, "orders.enriched.flag_anomaly.dead")
    assert {letter["value"]["order_id"] for letter in letters} == set(hopeless)
    assert len(letters) == len(hopeless) > 10
    for letter in letters:
        assert letter["value"] == hopeless[letter["value"]["order_id"]]
        headers = {header["name"]: header["value"] for header in letter["headers"]}
        assert headers["dispatch-dead-attempts"] == "1"
        assert str(letter["value"]["order_id"]) in headers["dispatch-dead-error-message"]


def test_the_summary_adds_up(log: Path, whole_orders: Sequence[dict[str, Any]]) -> None:
    """Each function ends every order in exactly one way, and the attempts that failed by rule were retried."""
    summary = json.loads((log.parent / "summary.json").read_text())
    functions = {each["function"]: each for each in summary["functions"]}
    assert set(functions) == {"check_limit", "confirm_order", "flag_anomaly"}
    for each in functions.values():
        assert each["done"] + each["dead_lettered"] == each["consumed"] == len(whole_orders)
        assert each["unfinished"] == 0
    away = [order for order in whole_orders if invoke(flag_anomaly, order, attempt=1).outcome == "failed"]
    longer = [order for order in away if invoke(flag_anomaly, order, attempt=2).outcome == "failed"]
    assert functions["flag_anomaly"]["retried"] == len(away) + len(longer)
    assert longer


def test_a_second_run_has_nothing_to_do(log: Path) -> None:
    """What was handled is committed: the same command ends at once, with nothing delivered twice, and exits 0."""
    summary = json.loads(dispatch(log, "run", "functions", "--app", "shop", "--until-caught-up", "--json"))
    assert [each["invocations"] for each in summary["functions"]] == [0, 0, 0]

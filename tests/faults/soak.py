"""Storms of every fault, one after another, for as long as they are given: ``scripts/faults soak --minutes N [--seed S]``.

Members are killed, terminated, restarted and frozen, and others join; in every other storm the broker's only server is
killed and started again too. Some events always fail and end as dead letters, some outlive the drain budget. The first
storm has the seed S, the next S + 1, and so on, and everything about a storm follows from its seed: ``--minutes 0 --seed S``
repeats that one. The report goes to ``$FAULTS_REPORT``; the exit code is 1 when a promise was broken, and the ledgers
and logs of that storm are kept.
"""

# ruff: noqa: T201 - a program, and this is what it says

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet import Fleet
from kafka_server import KafkaCluster
from tempest import Plan, go_through, probe_delivery, probe_order
from verdict import Verdict, write_report

PLAN = Plan(
    records=6_000, chunk=3_000, reserve=3_000, partitions=24, keys=251, members=3, most=5,
    kinds=("join", "terminate", "restart", "kill", "freeze"), disturbances=10, after=(0.5, 4.0), lasts=(1.0, 12.0),
    session=6.0, drain=2.0, work_ms=20, slow=4.0, slow_every=500, fail_every=333, still=40.0, patience=20.0,
)  # fmt: skip
WITH_OUTAGES = (*PLAN.kinds, "outage")


def storm(seed: int, cluster: KafkaCluster, folder: Path, mutant: str | None) -> Verdict:
    """One storm and its verdict."""
    order, outages = ("key", "none")[seed // 2 % 2], seed % 2 == 1
    plan = replace(PLAN, kinds=WITH_OUTAGES, disturbances=12, lasts=(1.0, 6.0)) if outages else PLAN
    row = f'storm of seed {seed}, order="{order}"{", with outages" if outages else ""}'
    verdict = Verdict(row, mutant or "dispatch")
    folder.mkdir()
    with Fleet(folder, cluster.bootstrap(), "storm", mutant=mutant, environ=plan.environ(order)) as fleet:
        outcome = go_through(fleet, plan, seed, server=cluster.nodes[0])
        (probe_order if order == "key" else probe_delivery)(outcome, verdict)
    return verdict


def main() -> int:
    """Storm until the time is over; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="no storm begins after them; one is always gone through"
    )
    parser.add_argument("--seed", type=int, help="of the first storm; any when it is left out")
    parser.add_argument("--mutant", help="a module of mutants/: what the storms must find")
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what this program's own clients say of the outages
    first = asked.seed if asked.seed is not None else random.randrange(1_000_000)
    report = Path(os.environ.get("FAULTS_REPORT", "build/faults"))
    began, verdicts = time.monotonic(), []
    work = Path(tempfile.mkdtemp(prefix="dispatch-soak-"))
    print(f"storms from seed {first} on, in {work}", flush=True)
    with KafkaCluster(work) as cluster:
        while not verdicts or time.monotonic() - began < asked.minutes * 60:
            seed = first + len(verdicts)
            verdict = storm(seed, cluster, work / f"seed{seed}", asked.mutant)
            verdicts.append(verdict)
            print(f"{'BROKEN' if verdict.broken else 'held'}: {verdict.row}", *verdict.figures, sep="\n  ", flush=True)
            if not verdict.broken:
                shutil.rmtree(work / f"seed{seed}")
            seconds = round(time.monotonic() - began)
            write_report(verdicts, report, size="soak", seed=first, storms=len(verdicts), seconds=seconds)
    broken = [verdict.row for verdict in verdicts if verdict.broken]
    print(f"{len(verdicts)} storms, {len(broken)} of them broke a promise; the report is in {report}")
    if not broken:
        shutil.rmtree(work)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())

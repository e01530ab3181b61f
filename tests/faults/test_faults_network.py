"""Servers that are there and say nothing, and networks that are cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import pytest
from fleet import Fleet, until
from kafka_server import KafkaCluster
from outage import Arm, Back, during_outages
from proxy import Mode, Proxy
from silence import PARTITIONS, RESUMES, STALLS, fall_silent, judge
from verdict import Verdict

Size = Literal["smoke", "full"]
CUT = "the network to all three brokers cut by a proxy"
FROZEN = "leader of a partition SIGSTOPped for 60 s"
DROPPED = "the ports of one broker dropped for 60 s"


def test_all_arrives_when_the_network_is_cut(
    fleets: Callable[..., Fleet],
    three_nodes: KafkaCluster,
    proxies: list[Proxy],
    verdict: Callable[..., Verdict],
    size: Size,
) -> None:
    """What was acknowledged is handled, in order, however connections to all servers break."""
    # What a blackhole has swallowed is lost where a reset follows.
    cuts: list[list[tuple[Mode, float]]] = [[("blackhole", 2), ("reset", 1)], [("refuse", 2)]]
    if size == "full":
        # Longer than the worker waits before it makes its consumer anew.
        cuts = [[("blackhole", 45)], [("blackhole", 15), ("reset", 30)], [("refuse", 45)], [("slow", 15)]]
        cuts += [[("throttled", 15)]]

    def outages(back: Back) -> None:
        for cut in cuts:
            for mode, seconds in cut:
                for proxy in proxies:
                    proxy.set(mode)
                time.sleep(seconds)
            for proxy in proxies:
                proxy.set("open")
            back()

    environ = {"FAULTS_WORK": "200"}  # so that some is in flight at any moment, on a busy machine too
    arms = [
        Arm("dispatch", fleets("steady", environ=environ), members=2),
        Arm("a producer without acknowledgements", fleets("steady", environ=environ), waits_for_acknowledgements=False),
        Arm("a worker that ends with the broker", fleets("steady", mutant="ends_with_the_broker", environ=environ)),
    ]
    product, lossy, mortal = during_outages(
        arms, outages, bootstrap=three_nodes.bootstrap("proxied"), verdict=lambda arm: verdict(CUT, arm)
    )
    product.must_hold()
    lossy.must_break("acknowledged and not handled")
    mortal.must_break("members that live")


@pytest.mark.parametrize("coordinator", [False, True], ids=["leader", "coordinator"])
@pytest.mark.parametrize("how", ["frozen", "dropped"])
def test_a_silent_server_stalls_its_own_partitions_alone(
    fleets: Callable[..., Fleet],
    three_nodes: KafkaCluster,
    proxies: list[Proxy],
    verdict: Callable[..., Verdict],
    size: Size,
    how: Literal["frozen", "dropped"],
    coordinator: bool,
) -> None:
    """Partitions with another leader go on at once, its own as soon as they have a leader that answers."""
    if size == "smoke" and (how == "dropped") is not coordinator:
        pytest.skip("in full alone")
    # Few are fetched at once, so that a partition's stall is not hidden by what waits in memory.
    environ = {"FAULTS_WORK": "100", "DISPATCH_MAX_POLL_RECORDS": "8"}
    seconds, watch, resume = 60.0, 15.0, 20.0
    if size == "smoke":
        environ["DISPATCH_KAFKA__REQUEST_TIMEOUT"] = "3"
        # The others notice a frozen server after 6 s; 9 s with Kafka's defaults.
        seconds, watch, resume = (12.0 if how == "frozen" else 6.0), 3.0, 5.0
    # A dropped server's answers come all at once when it is back, whatever the client's patience is.
    broken = {"client_defaults": RESUMES} if how == "frozen" else {}
    if size == "full" or how == "dropped":
        broken["asks_in_the_poll"] = STALLS
    arms = {arm: fleets("few_held", mutant=arm, environ=environ) for arm in (None, *broken)}
    for fleet in arms.values():
        fleet.create(PARTITIONS)
        fleet.feed(int(250 * (seconds + watch + 12)), keys=600, size=1_000)
    for fleet in arms.values():
        fleet.start(bootstrap=three_nodes.bootstrap("proxied"))
    for fleet in arms.values():
        until(lambda: len(fleet.ledger()) > 300 and len(fleet.commits()) == PARTITIONS, "a steady run")  # noqa: B023 - called at once
    silence = fall_silent(
        three_nodes,
        proxies,
        list(arms.values()),
        how,
        coordinator=coordinator,
        seconds=seconds,
        watch=watch,
        after=resume + 2,
    )
    row = f"{FROZEN if how == 'frozen' else DROPPED}{', the group coordinator too' if coordinator else ''}"
    for fleet in arms.values():
        fleet.stop_all()
    verdicts = {arm: judge(verdict(row, arm or "dispatch"), arms[arm], silence, resume=resume) for arm in arms}
    verdicts[None].must_hold()
    for arm, what in broken.items():
        verdicts[arm].must_break(what)

"""Servers that die, one after another until none is left, while records are sent and handled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from fleet import Fleet
from kafka_server import KafkaCluster
from outage import Arm, Back, during_outages
from verdict import Verdict

Size = Literal["smoke", "full"]
ROW = "one broker of three killed, then two, then all, restarted"


def test_all_arrives_when_servers_die(
    fleets: Callable[..., Fleet], three_nodes: KafkaCluster, verdict: Callable[..., Verdict], size: Size
) -> None:
    """What was acknowledged is handled, in order, by members that go on as soon as the servers are back."""
    # In smoke they die one after another, and come back together.
    steps, hold = ([(1,), (2, 3), (1, 2, 3)], 20.0) if size == "full" else ([(1, 2, 3)], 1.5)

    def outages(back: Back) -> None:
        for step in steps:
            nodes = [node for node in three_nodes.nodes if node.id in step]
            for node in nodes:
                node.kill()
                time.sleep(hold)
            for node in nodes:
                node.start()
            for node in nodes:
                node.wait_until_ready(180)
            back()

    environ = {"FAULTS_WORK": "200"}  # so that some is in flight at any moment, on a busy machine too
    arms = [
        Arm("dispatch", fleets("steady", environ=environ), members=2),
        Arm("a producer without acknowledgements", fleets("steady", environ=environ), waits_for_acknowledgements=False),
        Arm("a worker that ends with the broker", fleets("steady", mutant="ends_with_the_broker", environ=environ)),
    ]
    product, lossy, mortal = during_outages(
        arms, outages, bootstrap=three_nodes.bootstrap(), verdict=lambda arm: verdict(ROW, arm)
    )
    product.must_hold()
    lossy.must_break("acknowledged and not handled")
    mortal.must_break("members that live")

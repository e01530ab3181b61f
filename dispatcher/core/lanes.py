"""Lanes: which events must wait for which.

Under ``order="key"`` the events of one key are a lane, under ``order="partition"`` those of one partition,
under ``order="none"`` (and for events without a key) each event is alone. A lane is no object of its own: its
*head*, the delivery that may run, runs, is parked or is settling, stands in ``partition.lanes`` and holds those
behind it. So an event that nothing waits for costs one dictionary entry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from bindings import Ordering
from dispatcher.core.delivery import Delivery

__all__ = ["fixed_lane", "follow", "succeed"]


def fixed_lane(order: Ordering) -> bytes | None:
    """The lane of all events of a partition: one for partition order, none where there is no order.

    Key order has no fixed lane: the record's key is it.
    """
    return b"" if order == "partition" else None


def follow(head: Delivery, delivery: Delivery) -> None:
    """Put ``delivery`` at the end of the lane that ``head`` leads."""
    if head.followers is None:
        head.followers = deque()
    head.followers.append(delivery)


def succeed(old: Delivery, chain: Iterable[Delivery]) -> Delivery | None:
    """Give the lane of ``old`` to the first of ``chain`` and of those behind ``old``; None when it is empty.

    Args:
        old: the head until now.
        chain: deliveries of that lane that go before the waiting ones, in offset order.
    """
    followers = old.followers or deque()
    followers.extendleft(reversed(list(chain)))
    old.followers = None
    lanes, lane = old.partition.lanes, old.lane
    if lane is None:
        msg = "a delivery without a lane leads none"
        raise ValueError(msg)
    if not followers:
        del lanes[lane]
        return None
    head = followers.popleft()
    head.followers = followers
    lanes[lane] = head
    return head

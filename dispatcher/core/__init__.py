"""The decisions of delivery, with no I/O: synchronous objects, one owner, ``now`` passed in."""

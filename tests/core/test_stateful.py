"""Each promise of the design, as an invariant over random days."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from .machine import DeliveryMachine

TestDelivery = DeliveryMachine.TestCase
TestDelivery.__doc__ = """Proves that no order of events, outcomes, rebalances, crashes, lost commits and clock steps
loses an event, commits one that is not done, breaks a lane, counts an attempt wrong or falls asleep over work."""
TestDelivery.settings = settings(
    max_examples=400,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

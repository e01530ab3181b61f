"""Pausing and resuming functions from anywhere: a compacted stream that every process of an app follows."""

from __future__ import annotations

from dispatcher.control.entry import Action, Entry, control_topic
from dispatcher.control.following import Control
from dispatcher.control.log import ControlLog
from dispatcher.control.trail import Trail

__all__ = ["Action", "Control", "ControlLog", "Entry", "Trail", "control_topic"]

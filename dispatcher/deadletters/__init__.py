"""Dead letters: what rests where, what to do with it, and what was done."""

from dispatcher.deadletters.ledger import Ledger
from dispatcher.deadletters.letter import Letter, read_letter, redriven
from dispatcher.deadletters.redrive import Clearing, MapFull
from dispatcher.deadletters.selection import Selection
from dispatcher.deadletters.shelf import Found, Obstacle, Shelf, Survey
from dispatcher.deadletters.topics import make_retry_topics

__all__ = [
    "Clearing",
    "Found",
    "Ledger",
    "Letter",
    "MapFull",
    "Obstacle",
    "Selection",
    "Shelf",
    "Survey",
    "make_retry_topics",
    "read_letter",
    "redriven",
]

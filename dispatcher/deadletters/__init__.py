"""Dead letters: what rests where, what to do with it, and what was done."""

from dispatcher.deadletters.causes import Cause, Mark, causes_of, mark, marks_of
from dispatcher.deadletters.journal import Journal
from dispatcher.deadletters.ledger import Ledger
from dispatcher.deadletters.letter import Letter, read_letter, redriven
from dispatcher.deadletters.operation import Operation, load_operations, store_operation
from dispatcher.deadletters.redrive import Clearing, MapFull
from dispatcher.deadletters.selection import Selection
from dispatcher.deadletters.shelf import Found, Obstacle, Shelf, Survey
from dispatcher.deadletters.topics import make_retry_topics

__all__ = [
    "Cause",
    "Clearing",
    "Found",
    "Journal",
    "Ledger",
    "Letter",
    "MapFull",
    "Mark",
    "Obstacle",
    "Operation",
    "Selection",
    "Shelf",
    "Survey",
    "causes_of",
    "load_operations",
    "make_retry_topics",
    "mark",
    "marks_of",
    "read_letter",
    "redriven",
    "store_operation",
]

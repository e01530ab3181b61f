"""The manifest in the words of tools that deploy: one module a tool.

Each writes one JSON document of a manifest and says what that document can't: a binding promises more than AWS's own trigger
does, and nothing is left out in silence.
"""

from dispatcher.exports.event_source_mapping import event_source_mapping
from dispatcher.exports.export import Export
from dispatcher.exports.sam import sam
from dispatcher.exports.tfvars import tfvars

__all__ = ["FORMATS", "Export", "event_source_mapping", "sam", "tfvars"]

#: From the name of a format to what writes it.
FORMATS = {"sam": sam, "tfvars": tfvars, "event-source-mapping": event_source_mapping}

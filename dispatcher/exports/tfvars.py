"""``terraform.tfvars.json``: the variables of the Terraform modules."""

from __future__ import annotations

from bindings.manifest import Manifest
from dispatcher.exports.export import Export

__all__ = ["tfvars"]


def tfvars(manifest: Manifest) -> Export:
    """The manifest as the variable ``manifest``, which all modules take.

    It is for a root module that is given its variables, by ``-var-file`` or as ``*.auto.tfvars.json``; one that reads the file
    itself says ``manifest = jsondecode(file("manifest.json"))`` and needs no other document. The events' JSON Schemas stay
    out: no module reads them, and a plan would show each change of them.
    """
    document = manifest.to_dict()
    for function in document["functions"]:
        del function["event"]["json_schema"]
    return Export({"manifest": document})

"""What moto's CloudFormation lacks of Lambda: aliases, and the number of a version."""

from __future__ import annotations

from typing import Any

import pytest
from moto.awslambda.models import LambdaVersion, lambda_backends
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel

__all__ = ["teach_moto_aliases"]


class Alias(CloudFormationModel):
    """``AWS::Lambda::Alias``; its Ref is its ARN."""

    # moto files a model under the service that its module is of.
    __module__ = "moto.awslambda.aliases"

    def __init__(self, arn: str) -> None:
        self.physical_resource_id = arn

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Lambda::Alias"

    @classmethod
    def create_from_cloudformation_json(  # type: ignore[override]
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> Alias:
        said = cloudformation_json["Properties"]
        backend = lambda_backends[account_id][region_name]
        made = backend.create_alias(said["Name"], said["FunctionName"], str(said["FunctionVersion"]), "", "")
        return cls(made.arn)


def teach_moto_aliases(patch: pytest.MonkeyPatch) -> None:
    """Teach it to this process's moto, until the patch is undone: other tests have moto as it is."""
    patch.setitem(parsing.get_model_map(), Alias.cloudformation_type(), Alias)
    patch.setattr(LambdaVersion, "has_cfn_attr", classmethod(lambda cls, attribute: attribute == "Version"))
    # moto has none of its own.
    patch.setattr(LambdaVersion, "get_cfn_attribute", lambda self, attribute: str(self.version), raising=False)

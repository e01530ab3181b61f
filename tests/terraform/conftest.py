"""Terraform's own part in the tests is skipped where it, or its AWS provider, is absent; in CI that is a failure."""

from __future__ import annotations

import pytest
from terraform_cli import Terraform, needs_terraform


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform, with keys that are good for nothing: plans alone."""
    needs_terraform()
    keys = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_EC2_METADATA_DISABLED": "true"}
    return Terraform(tmp_path_factory.mktemp("terraform"), **keys)

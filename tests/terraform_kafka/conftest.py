"""Terraform with its provider for Kafka; skipped where it can't be had, which is a failure in CI."""

from __future__ import annotations

import os

import pytest
from command_line import bytecode, dispatch
from kafka_provider import Terraform, missing, provider

__all__ = ["bytecode", "dispatch", "terraform"]


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform in a folder of its own."""
    if (reason := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("terraform")
    return Terraform(folder, provider(folder))

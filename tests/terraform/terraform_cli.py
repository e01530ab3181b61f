"""Terraform for tests: the command, and the AWS provider from a mirror on this machine. Nothing is downloaded.

Where the provider is looked for: what a ``TF_CLI_CONFIG_FILE`` that is there says; ``TERRAFORM_PLUGIN_MIRROR`` or
``TF_PLUGIN_CACHE_DIR``; the folders in which Terraform itself looks for mirrors ("implied local mirror directories" of its page
on the CLI configuration).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ROOT", "Terraform", "needs_terraform"]

ROOT = Path(__file__).parent.parent.parent / "terraform"


def _mirrors() -> Iterator[Path]:
    for name in ("TERRAFORM_PLUGIN_MIRROR", "TF_PLUGIN_CACHE_DIR"):
        if said := os.environ.get(name):
            yield Path(said)
    home = Path.home()
    yield home / ".terraform.d" / "plugins"
    yield Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share")) / "terraform" / "plugins"
    for folder in os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(os.pathsep):
        yield Path(folder) / "terraform" / "plugins"
    yield home / "Library" / "Application Support" / "io.terraform" / "plugins"


#: The provider itself, unpacked or as it is downloaded: a folder of that name alone may be anything.
_PROVIDER = ("*/hashicorp/aws/*/*_*/terraform-provider-aws*", "*/hashicorp/aws/terraform-provider-aws_*.zip")


def _mirror() -> Path | None:
    return next((each for each in _mirrors() if any(any(each.glob(like)) for like in _PROVIDER)), None)


def _own_configuration() -> bool:
    return Path(os.environ.get("TF_CLI_CONFIG_FILE", "")).is_file()


def _missing() -> str | None:
    """What these tests lack on this machine, or None."""
    if shutil.which("terraform") is None:
        return "there is no terraform"
    if _mirror() is None and not _own_configuration():
        return "Terraform's AWS provider is in no local mirror: set TERRAFORM_PLUGIN_MIRROR"
    return None


def needs_terraform() -> None:
    """Skip, or in CI fail, where Terraform can't be had."""
    if (reason := _missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class Terraform:
    """The command, in a copy of ``terraform/``, so that the checkout stays as it is.

    Args:
        folder: is made, and gets the copy.
        environment: for all commands, beside the machine's; what there is of AWS in that is left out.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.tree = folder / "terraform"
        shutil.copytree(ROOT, self.tree, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self._environment = {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "AWS_REGION": "eu-west-1"}
        if _own_configuration():
            self._environment["TF_CLI_CONFIG_FILE"] = os.environ["TF_CLI_CONFIG_FILE"]
        else:
            file = folder / "terraformrc"
            mirror = json.dumps(str(_mirror()))
            file.write_text(f"provider_installation {{\n  filesystem_mirror {{\n    path = {mirror}\n  }}\n}}\n")
            self._environment["TF_CLI_CONFIG_FILE"] = str(file)
        self._environment.update(environment)

    def run(self, where: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """A command in a folder of the tree; it must end with one of these codes. Returns what it said."""
        done = subprocess.run(
            ["terraform", f"-chdir={self.tree / where}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=self._environment,
        )
        assert done.returncode in codes, f"terraform {arguments} in {where}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def init(self, where: str) -> None:
        """Install the provider, which is a link into the mirror, and the modules."""
        self.run(where, "init", "-no-color", "-input=false", "-backend=false")

    def outputs(self, where: str) -> dict[str, Any]:
        """The outputs of what was applied there."""
        return {name: each["value"] for name, each in json.loads(self.run(where, "output", "-json")).items()}

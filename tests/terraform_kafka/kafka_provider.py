"""Terraform's provider for Kafka, built from its source: a Go module, whose checksum is pinned. It is kept in ``build/``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Terraform", "missing", "provider"]

ROOT = Path(__file__).parent.parent.parent
_MODULE, _VERSION = "github.com/Mongey/terraform-provider-kafka", "v0.13.1"
_CHECKSUM = "h1:Dh+rcu3u/j8W2VlR47e6z28EI1ptmN+UfAU6As8WRsw="
_KEPT = ROOT / "build" / "terraform" / f"terraform-provider-kafka_{_VERSION}"


def missing() -> str | None:
    """What these tests lack on this machine, or None."""
    if shutil.which("terraform") is None:
        return "there is no terraform"
    if not _KEPT.exists() and shutil.which("go") is None:
        return "there is no go, which builds Terraform's provider for Kafka"
    return None


def provider(folder: Path) -> Path:
    """The folder that holds the provider; it is built when this machine has none yet: 56 s of a processor."""
    if _KEPT.exists():
        return _KEPT.parent
    found = json.loads(_run("go", "mod", "download", "-json", f"{_MODULE}@{_VERSION}", cwd=folder))
    assert found["Sum"] == _CHECKSUM, "the provider's source is not what it was"
    source = folder / "source"
    shutil.copytree(found["Dir"], source)
    source.chmod(0o755)
    _run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder / _KEPT.name), ".", cwd=source)
    _KEPT.parent.mkdir(parents=True, exist_ok=True)
    # Under another name first: who is interrupted leaves no half of it.
    part = _KEPT.with_suffix(f".{os.getpid()}")
    shutil.copy2(folder / _KEPT.name, part)
    part.replace(_KEPT)
    return _KEPT.parent


class Terraform:
    """The command, with this provider alone and nothing downloaded, in a folder."""

    def __init__(self, folder: Path, providers: Path) -> None:
        self.folder = folder
        configuration = folder / "terraformrc"
        overrides = f'dev_overrides {{\n    "Mongey/kafka" = {json.dumps(str(providers))}\n  }}'
        configuration.write_text(f"provider_installation {{\n  {overrides}\n}}\ndisable_checkpoint = true\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        self._environment = {**kept, "TF_CLI_CONFIG_FILE": str(configuration), "TF_IN_AUTOMATION": "1"}

    def __call__(self, *arguments: str, where: Path | None = None, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command, which must end with one of these codes; returns what it printed."""
        return _run(
            "terraform",
            f"-chdir={where or self.folder}",
            *arguments,
            env=self._environment,
            codes=codes,
            cwd=self.folder,
        )

    def output(self, name: str) -> Any:
        """One output of what was applied."""
        return json.loads(self("output", "-json", name))


def _run(*command: str, cwd: Path, env: dict[str, str] | None = None, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=cwd, env=env)
    assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout

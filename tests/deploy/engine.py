"""A container engine on this machine, as a test drives it: podman with runc, buildah, and a base image of Debian's packages.

The public image that users build from can't be had everywhere, and is only a Python on a small Debian: this one is made of the same
packages, by the machine's own sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["Engine", "EngineUnavailable"]

_TOOLS: Final = ("podman", "buildah", "runc", "mmdebstrap")
_BASE: Final = "localhost/dispatch-test-base:bookworm"
_SOURCES: Final = Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"


class EngineUnavailable(Exception):
    """Raised when there is no engine here that could build and run an image; the message says why."""


class Engine:
    """Builds images and runs containers, as root and without a daemon.

    Args:
        folder: for its configuration.

    Raises:
        EngineUnavailable: a program is absent, or this user may not.
    """

    def __init__(self, folder: Path) -> None:
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            raise EngineUnavailable(f"{', '.join(missing)} can't be found")
        if os.geteuid() != 0:
            raise EngineUnavailable("a base image is made as root here")
        sources = [path for path in _SOURCES if path.is_file()]
        if not sources:
            raise EngineUnavailable("the machine has no Debian sources to make a base image from")
        self._sources = sources[0]
        self._folder = folder
        # Without CAP_SYS_RESOURCE nobody may raise limits, which podman would.
        configuration = folder / "containers.conf"
        configuration.write_text('[containers]\ndefault_ulimits = ["nofile=10000:10000", "nproc=10000:10000"]\n')
        self._environ = os.environ | {"CONTAINERS_CONF": str(configuration)}

    def podman(self, *words: str, check: bool = True, seconds: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run podman to its end."""
        # crun, where it is there, takes no hybrid of cgroups v1 and v2; systemd need not run.
        command = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", *words]
        return self._run(command, check=check, seconds=seconds)

    def build(self, folder: Path, tag: str, **arguments: str) -> str:
        """Build the Dockerfile of a folder and return the image's name."""
        settings = self._folder / "pip.conf"
        settings.write_text("[global]\nretries = 5\n" + _index())
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        if Path(_CERTIFICATES).is_file():
            options.append(f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro")
        command = ["buildah", "bud", "--isolation", "chroot", "--format", "docker", "--layers=false", "--quiet"]
        command += [*options, f"--secret=id=pip.conf,src={settings}", "--tag", f"localhost/{tag}", str(folder)]
        self._run(command, check=True, seconds=300.0)
        return f"localhost/{tag}"

    def base(self) -> str:
        """An image with Python as Debian has it. It is kept, since making it takes half a minute."""
        if self.podman("image", "exists", _BASE, check=False).returncode != 0:
            root = self._folder / "base.tar"
            command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--include=python3-venv,ca-certificates"]
            command += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
            command += ["--dpkgopt=force-unsafe-io", "bookworm", str(root), str(self._sources)]
            self._run(command, check=True, seconds=300.0)
            self.podman("import", "--quiet", str(root), _BASE)
            root.unlink()
        return _BASE

    def _run(self, command: list[str], *, check: bool, seconds: float) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command[:6])} ...:\n{done.stdout[-4_000:]}{done.stderr[-4_000:]}")
        return done


def _index() -> str:
    """The package index that this machine's pip is told of, for the pip of the build."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    lines = (line.partition("=") for line in asked.splitlines())
    found = {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in lines}
    return "".join(f"{name} = {found[name]}\n" for name in ("index-url", "extra-index-url") if name in found)

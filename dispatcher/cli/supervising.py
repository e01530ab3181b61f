"""``dispatch run --workers N`` and ``--reload``: this process watches, others of the same command run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.cli.options import configuration
from dispatcher.config.settings import address
from dispatcher.errors import ConfigurationError
from dispatcher.supervisor import LIFELINE, Supervisor

if TYPE_CHECKING:
    from dispatcher.server import Server

__all__ = ["lifeline", "supervise"]


def supervise(targets: Sequence[str], *, workers: int, reload: bool, until_caught_up: bool) -> int:
    """Run this very command line in ``workers`` processes, without the options that made it a supervisor.

    Args:
        targets: the functions; where their files are is watched for changes.
        workers: how many.
        reload: exchange them when the code has changed.
        until_caught_up: they end by themselves.

    Returns:
        The exit code.
    """
    _check_ports(workers)
    arguments = _without_supervision(sys.argv[1:])
    dispatch = [sys.executable, "-m", "dispatcher"]
    supervisor = Supervisor(
        [*dispatch, *arguments],
        count=workers,
        ends_by_itself=until_caught_up,
        check=[*dispatch, "list", *(targets or ["."])],
        changes=(lambda: _changes(targets)) if reload else None,
        environ=lambda number: _identity(number, workers),
    )
    return asyncio.run(supervisor.run())


@contextlib.contextmanager
def lifeline(server: Server) -> Iterator[None]:
    """In a supervised process: have ``server`` drain when the supervisor has died. To be entered on the loop."""
    descriptor = os.environ.get(LIFELINE)
    if descriptor is None:
        yield
        return
    loop = asyncio.get_running_loop()
    number = int(descriptor)

    def cut() -> None:
        loop.remove_reader(number)
        server.stop()

    loop.add_reader(number, cut)
    try:
        yield
    finally:
        loop.remove_reader(number)


def _check_ports(workers: int) -> None:
    monitoring = configuration().settings.monitoring
    if monitoring is not None and (port := address(monitoring)[1]) + workers - 1 > 65_535:
        raise ConfigurationError(f"monitoring={monitoring!r}: {workers} processes take the ports from {port} on")


def _identity(number: int, workers: int) -> dict[str, str]:
    """What each process has for itself: a static identity, since two members of one name would fence each other off, and a
    port to be watched at."""
    environ = {}
    instance_id, monitoring = configuration().kafka.instance_id, configuration().settings.monitoring
    if instance_id is not None and workers > 1:
        environ["DISPATCH_KAFKA__INSTANCE_ID"] = f"{instance_id}-{number}"
    if monitoring is not None:
        host, port = address(monitoring)
        shown = f"[{host}]" if ":" in host else host
        environ["DISPATCH_MONITORING"] = f"{shown}:{port + number - 1 if port else 0}"
    return environ


async def _changes(targets: Sequence[str]) -> AsyncIterator[object]:
    from watchfiles import DefaultFilter, awatch

    # What Python writes beside its sources, and what the embedded log writes, is no change of the code.
    ignored = DefaultFilter(ignore_dirs=(*DefaultFilter.ignore_dirs, ".dispatch"))
    async for changes in awatch(*_folders(targets), watch_filter=ignored):
        if any(Path(path).suffix in {".py", ".toml"} for _, path in changes):
            yield changes


def _folders(targets: Sequence[str]) -> list[Path]:
    """The folders of the targets; the working folder stands for a module's."""
    folders = set()
    for target in targets:
        place = target.rpartition(":")[0] if ":" in target else target
        path = Path(place)
        folders.add((path if path.is_dir() else path.parent if path.exists() else Path()).resolve())
    return sorted(folders or {Path.cwd()})


def _without_supervision(arguments: Sequence[str]) -> list[str]:
    kept = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--workers":
            skip = True
        elif argument != "--reload" and not argument.startswith("--workers="):
            kept.append(argument)
    return kept

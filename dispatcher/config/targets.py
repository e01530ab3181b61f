"""Targets: where a function runs. A union, told apart by ``type``, to which other kinds are added."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["LocalTarget", "ProcessTarget", "Target", "parse_size"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_UNITS = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_size(size: object) -> object:
    """Bytes from ``"512MB"`` or ``"1GiB"``; a number is bytes already. What is no size is returned as it is."""
    if isinstance(size, str):
        if not (match := _SIZE.fullmatch(size.strip())):
            raise ValueError(f"{size!r} is not a size: write it as 512MB or 1GiB")
        return int(float(match[1]) * _UNITS[match[2] or "B"])
    return size


class _Target(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LocalTarget(_Target):
    """In the dispatcher's own process: async functions on its event loop, others in threads.

    Args:
        type: ``local``.
    """

    type: Literal["local"] = "local"


class ProcessTarget(_Target):
    """In worker processes of its own, which stay warm: for CPU-bound or untrusted functions.

    Args:
        type: ``process``.
        processes: how many; as many as the machine has processors, and ``concurrency`` at the most, when it is left out.
        memory: of each process, in bytes or as ``"512MB"``, 64 MiB at the least; no limit when it is left out.
        cpu_seconds: CPU time of one invocation; no limit when it is left out.
        open_files: file descriptors of each process; what the dispatcher may have when it is left out.
        environment: names of environment variables that the function may see, beyond the common ones.
        start_timeout: seconds that the start of a process, with the import of the function, may take.
        max_reply: of one invocation's results, in bytes or as `"64MB"`; a process that sends more is killed.
    """

    type: Literal["process"] = "process"
    processes: Annotated[int, Field(ge=1, le=1000)] | None = None
    memory: Annotated[int, Field(ge=64 << 20), BeforeValidator(parse_size, json_schema_input_type=int | str)] | None = (
        None
    )
    cpu_seconds: Annotated[float, Field(gt=0)] | None = None
    open_files: Annotated[int, Field(ge=16)] | None = None
    environment: tuple[str, ...] = ()
    start_timeout: Annotated[float, Field(gt=0)] = 60.0
    max_reply: Annotated[int, Field(ge=1024), BeforeValidator(parse_size, json_schema_input_type=int | str)] = 64 << 20


def _as_table(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


#: ``target = "process"`` says the same as ``target = { type = "process" }``.
Target = Annotated[
    Annotated[LocalTarget | ProcessTarget, Field(discriminator="type")],
    BeforeValidator(_as_table, json_schema_input_type=LocalTarget | ProcessTarget | Literal["local", "process"]),
]

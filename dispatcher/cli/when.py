"""Parameters in the time language, see :mod:`dispatcher.times`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from dispatcher.times import Position, parse_moment, parse_position

__all__ = ["moment", "position"]


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return value if isinstance(value, datetime) else parse_moment(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Position(click.ParamType[Position]):
    name = "where"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        try:
            return parse_position(value) if isinstance(value, str) and value not in ("earliest", "latest") else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


#: A time: ``-2h``, ISO 8601, ``earliest``, ``now``.
moment = _Moment()
#: A place in a log: a time, or ``@OFFSET``.
position = _Position()

"""One type of each kind that a function may take, all of the same shape."""

from dataclasses import dataclass

import msgspec
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict


class Model(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    name: str
    total: float


@dataclass
class Data:
    name: str
    total: float


class Typed(TypedDict):
    name: str
    total: float


class Struct(msgspec.Struct):
    name: str
    total: float

"""JSON as it comes from outside."""

import json
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")


@overload
def parse_json(content: bytes | str) -> Any: ...
@overload
def parse_json(content: bytes | str, kind: type[T]) -> T: ...
def parse_json(content: bytes | str, kind: Any = None) -> Any:
    """What the text says, as that kind of value if one is given; without, NaN and Infinity are numbers, as in Python.

    Raises ValueError where it is none, or nested too deeply to be read.
    """
    try:
        return json.loads(content) if kind is None else msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None

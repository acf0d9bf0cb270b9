"""JSON as it comes from outside."""

from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")


@overload
def parse_json(content: bytes | str) -> Any: ...
@overload
def parse_json(content: bytes | str, kind: type[T]) -> T: ...
def parse_json(content: bytes | str, kind: Any = Any) -> Any:
    """What the text says, as that kind of value. Raises ValueError where it is none, or too deep to be read."""
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None

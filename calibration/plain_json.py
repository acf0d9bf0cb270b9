"""JSON as it comes from outside."""

import json
import re
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: an escape can write it, but no file or terminal takes it."""
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@overload
def parse_json(content: bytes | str) -> Any: ...
@overload
def parse_json(content: bytes | str, kind: type[T]) -> T: ...
def parse_json(content: bytes | str, kind: Any = None) -> Any:
    """What the text says, as that kind of value if one is given; without, NaN and Infinity are numbers, as in Python.

    Raises ValueError where it is none, nested too deeply to be read, or has halves of characters.
    """
    try:
        if kind is not None:
            return msgspec.json.decode(content, type=kind)
        text = content if isinstance(content, str) else content.decode(json.detect_encoding(content))
        value = json.loads(text)
        if _ESCAPED_HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError("nested too deeply") from None

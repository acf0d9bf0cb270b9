"""Reads arrays out of a pickle without running any of it.

A pickle is a program: it names functions and calls them. Here it gets none. Every name in it leads to a passive
stand-in of this file or is refused; numbers are then decoded from the raw bytes that the stand-ins were given. Known
are numpy's arrays, scipy's sparse matrices by columns, chumpy's arrays and selections, and Python's containers.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import UserError
from calibration.found_files import open_found


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary of a pickle written by Python 2 or 3, for `as_array` to read from.

    Raises UserError where the file is no pickle, is cut short, holds no dictionary or asks for code to be run.
    """
    try:
        with open_found(path) as file:
            content = _Reader(file, encoding="latin1").load()
    except _RefusedError as refused:
        raise UserError(
            f"{path}: this pickle asks to run {refused}, which no model of a hand needs; nothing was run. "
            "Get the file anew where it is published."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path.") from None
    except Exception as error:  # A hostile or broken pickle can fail in any way.
        raise UserError(
            f"{path}: not a pickle that can be read, or cut short ({error}); get the file anew where it is published."
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: the pickle holds a {type(content).__name__.lstrip('_')}, expected a dictionary of arrays."
        )
    return content


def as_array(value: Any) -> np.ndarray:
    """The numbers of what `read_pickle` found: a new array. Raises ValueError or TypeError where it is none."""
    if isinstance(value, _Array | _Object):
        return value.decoded()
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a {type(value).__name__} holds no numbers")
    return array


class _RefusedError(Exception):
    pass


# Not the one in C: that makes room for the highest place in memory that a pickle names, of eight bytes gigabytes.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        package, _, inner = module.partition(".")
        if package in ("numpy", "scipy", "chumpy"):
            if package == "numpy" and (inner, name) in _NUMPY_NAMES:
                return _NUMPY_NAMES[inner, name]
            if package == "scipy" and inner.startswith("sparse") and name in ("csc_matrix", "csc_array"):
                return _SparseColumns
            if package == "chumpy" and (inner, name) == ("ch", "Ch"):
                return _ChumpyArray
            if package == "chumpy" and (inner, name) == ("reordering", "Select"):
                return _ChumpySelection
        if (module, name) in _OTHER_NAMES:
            return _OTHER_NAMES[module, name]
        if module in ("__builtin__", "builtins") and name in _CONTAINERS:
            return _CONTAINERS[name]
        raise _RefusedError(f"{module}.{name}")


class _Object:
    """Stands in for an object of a class; takes its state and does nothing with it."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError("an object's state is not a dictionary")
        self.state = state

    def decoded(self) -> np.ndarray:
        raise TypeError("an object holds no numbers")


class _ChumpyArray(_Object):
    def decoded(self) -> np.ndarray:
        return as_array(self.state["x"])


class _ChumpySelection(_Object):
    """Entries of a flattened array, in a new shape."""

    def decoded(self) -> np.ndarray:
        chosen = as_array(self.state["a"]).ravel()[as_array(self.state["idxs"]).ravel()]
        shape = self.state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(shape)


class _SparseColumns(_Object):
    def decoded(self) -> np.ndarray:
        shape = self.state["_shape"] if "_shape" in self.state else self.state["shape"]
        starts, rows, data = (as_array(self.state[name]) for name in ("indptr", "indices", "data"))
        if len(shape) != 2 or np.prod(shape, dtype=float) > 1e8 or len(starts) != shape[1] + 1:
            raise ValueError("a sparse matrix has an odd shape")
        dense = np.zeros(shape)
        np.add.at(dense, (rows, np.repeat(np.arange(shape[1]), np.diff(starts))), data)
        return dense


class _Type:
    """Stands in for a numpy type: its kind and size, and the order of its bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        self._code = str(code)
        self._order = "="

    def __setstate__(self, state: Any) -> None:
        self._order = str(state[1])

    def decoded(self) -> np.dtype:
        if not re.fullmatch("[<>|=]?[biuf][1248]", self._order + self._code):
            raise TypeError(f"numbers of the type {self._code}")
        return np.dtype(self._order + self._code)


class _Array:
    """Stands in for a numpy array: shape, type and bytes."""

    def __init__(self, *_: Any) -> None:
        self._shape: tuple[int, ...] = ()
        self._type = _Type("O")
        self._by_columns = False
        self._content: bytes | str = b""

    def __setstate__(self, state: Any) -> None:
        _, self._shape, self._type, self._by_columns, self._content = state

    @classmethod
    def from_buffer(cls, content: bytes, dtype: _Type, shape: tuple[int, ...], order: str) -> "_Array":
        array = cls()
        array.__setstate__((1, shape, dtype, order == "F", content))
        return array

    def decoded(self) -> np.ndarray:
        content = self._content.encode("latin1") if isinstance(self._content, str) else self._content
        numbers = np.frombuffer(content, self._type.decoded())
        return numbers.reshape(self._shape, order="F" if self._by_columns else "C").copy()


class _Marker:
    """Stands in for a type that is named but never called."""

    def __init__(self, *_: Any) -> None:
        raise _RefusedError("a type as a function")


def _scalar(dtype: _Type, content: bytes | str = b"") -> _Array:
    array = _Array()
    array.__setstate__((1, (), dtype, False, content))
    return array


def _reconstructor(cls: type, *_: Any) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, _Object)):
        raise _RefusedError("copyreg on an unknown class")
    return cls()


def _bytes_of(text: str, *_: Any) -> bytes:
    return text.encode("latin1")


_NUMPY_NAMES: dict[tuple[str, str], Any] = {("", "ndarray"): _Marker, ("", "dtype"): _Type}
for _core in ("core", "_core"):
    _NUMPY_NAMES[f"{_core}.multiarray", "_reconstruct"] = _Array
    _NUMPY_NAMES[f"{_core}.multiarray", "scalar"] = _scalar
    _NUMPY_NAMES[f"{_core}.numeric", "_frombuffer"] = _Array.from_buffer
_OTHER_NAMES: dict[tuple[str, str], Any] = {
    ("copy_reg", "_reconstructor"): _reconstructor,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("_codecs", "encode"): _bytes_of,
    ("collections", "OrderedDict"): dict,
}
_CONTAINERS: dict[str, Any] = {
    "set": set,
    "frozenset": frozenset,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "object": _Marker,
}

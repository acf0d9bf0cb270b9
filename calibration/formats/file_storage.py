"""Reading YAML of other programs, and files of OpenCV's cv2.FileStorage: YAML, XML and JSON."""

import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from calibration import plain_yaml
from calibration.errors import UserError, reason_of
from calibration.formats import parts
from calibration.found_files import read_found_text

_LARGEST = 16_000_000
_MOST_CPU_S = 4


def read_text(path: Path) -> str:
    """Raises UserError where the file is missing, not text, or too large to be a calibration."""
    try:
        text = read_found_text(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give the path of an existing calibration.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text ({reason_of(error)}).") from None
    if len(text) > _LARGEST:
        raise UserError(f"{path}: is no calibration: it is larger than {_LARGEST // 10**6} MB. Give another.")
    return text


def read_yaml_mapping(path: Path) -> dict[Any, Any]:
    """The mapping that a YAML file is, `%YAML:1.0` of OpenCV before it or not. Raises UserError."""
    content = parse_yaml(read_text(path))
    if isinstance(content, yaml.YAMLError):
        raise UserError(f"{path}: cannot be read as YAML ({content}). Write it again with its own program.")
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected named entries in YAML. Write it again with its own program.")
    return content


def parse_yaml(text: str) -> Any:
    """What a YAML text says, or the yaml.YAMLError that it is none."""
    if text.startswith("%YAML:"):
        text = text.partition("\n")[2]
    try:
        return plain_yaml.parse_yaml(text)
    except yaml.YAMLError as error:
        return error


@lru_cache(maxsize=16)
def _ends(text: str) -> bool:
    """Whether OpenCV's parser comes to an end of it, or is ended by a signal. Some damaged YAML it reads for ever, and
    cannot be interrupted: so it tries in a process of its own first, which may take `_MOST_CPU_S` of processor time.
    """
    trial = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, ({_MOST_CPU_S}, {_MOST_CPU_S})); "
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); import cv2; "
        "cv2.FileStorage(sys.stdin.buffer.read().decode(), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)"
    )
    return subprocess.run([sys.executable, "-c", trial], input=text.encode(), capture_output=True).returncode >= 0


class Storage:
    """A file of FileStorage. All methods raise UserError that names the file and the entry."""

    def __init__(self, path: Path) -> None:
        self.path, text = path, read_text(path)
        try:
            opened = _ends(text)
            if opened:
                self._file = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
                opened = self._file.isOpened() and self._file.root().isMap()
        except (cv2.error, SystemError):
            opened = False
        if not opened:
            raise UserError(
                f"{path}: OpenCV's FileStorage cannot read it. Write it again with OpenCV, as YAML, XML or JSON."
            )
        self.keys = set(self._file.root().keys())

    def node(self, key: str) -> cv2.FileNode:
        return self._file.getNode(key)

    def array(self, key: str) -> np.ndarray:
        """A matrix, a list of numbers, or one number."""
        node = self.node(key)
        try:
            if node.isSeq():
                return np.array([node.at(index).real() for index in range(node.size())])
            values = np.array(node.real()) if node.isReal() or node.isInt() else node.mat()
        except cv2.error:
            values = None
        if values is None:
            raise UserError(f"{self.path}: no matrix `{key}`. Write the file again with OpenCV.")
        return np.asarray(values, dtype=np.float64)

    def shaped(self, key: str, *shape: int) -> np.ndarray:
        values = self.array(key)
        if values.size != np.prod(shape):
            got = "x".join(map(str, values.shape))
            raise UserError(f"{self.path}: `{key}` must be {'x'.join(map(str, shape))}; got {got}.")
        return values.reshape(shape)

    def text(self, node: cv2.FileNode) -> str:
        try:
            return str(int(node.real())) if node.isInt() else node.string()
        except (cv2.error, UnicodeDecodeError, SystemError):
            raise UserError(f"{self.path}: expected text in `unit`, `cam_ids` and `usthand`. Correct them.") from None

    def texts(self, key: str) -> list[str]:
        node = self.node(key)
        return [self.text(node.at(index)) for index in range(node.size())] if node.isSeq() else [self.text(node)]

    def image_size(self) -> tuple[int, int] | None:
        """Width and height, under one of the names that programs have for them."""
        lower = {key.lower(): key for key in self.keys}
        if {"image_width", "image_height"} <= set(lower):
            width, height = (self.shaped(lower[key]) for key in ("image_width", "image_height"))
            return parts.image_size((width, height), str(self.path))
        for name in ("image_size", "imagesize", "size"):
            if name in lower:
                return parts.image_size(self.shaped(lower[name], 2), str(self.path))
        return None

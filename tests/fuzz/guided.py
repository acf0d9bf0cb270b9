"""Fuzzing that follows the branches that an input takes, with Atheris, which no environment of this project has.

    pip install atheris==3.0.0           in an environment of its own that also has this project's packages
    python -m tests.fuzz.guided TARGET [-max_total_time=600]           ends with the first input that is found

`TARGET` is yaml, json, message, request, jpeg, frames or npy.
"""

import contextlib
import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["app", "calibration", "models.files"]):
    from app.sources.jpeg_header import jpeg_size
    from app.transport.messages import MessageRefused, decode, decode_request
    from calibration.errors import UserError
    from calibration.plain_json import parse_json
    from calibration.plain_yaml import parse_yaml
    from calibration.session import FRAME_COLUMNS, read_frames_csv
    from models.files.npyfile import read_npy

_PLACE = Path(tempfile.mkdtemp(prefix="usthand-guided-"))


def _of_file(read: Callable[[Path], object], start: bytes = b"") -> Callable[[bytes], object]:
    def read_bytes(data: bytes) -> object:
        path = _PLACE / "file"
        path.write_bytes(start + data)
        return read(path)

    return read_bytes


TARGETS: dict[str, tuple[Callable[[bytes], object], type[Exception]]] = {
    "yaml": (lambda data: parse_yaml(data.decode(errors="replace")), yaml.YAMLError),
    "json": (parse_json, ValueError),
    "message": (decode, MessageRefused),
    "request": (decode_request, MessageRefused),
    "jpeg": (lambda data: jpeg_size(b"\xff\xd8" + data), ValueError),
    "frames": (_of_file(read_frames_csv, ",".join(FRAME_COLUMNS).encode() + b"\n"), UserError),
    "npy": (_of_file(read_npy), ValueError),
}


def main() -> None:
    name = sys.argv.pop(1)
    read, refusal = TARGETS[name]

    def one(data: bytes) -> None:
        with contextlib.suppress(refusal):
            read(data)

    atheris.Setup([*sys.argv, "-timeout=5", "-rss_limit_mb=1024"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

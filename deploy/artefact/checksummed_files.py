"""Reads back what an export or a build wrote: a JSON that describes files, and files that it was written for."""

import hashlib
from pathlib import Path
from typing import Protocol, TypeVar

from calibration.errors import UserError
from calibration.found_files import read_found
from calibration.plain_json import parse_json


class Described(Protocol):
    @property
    def format(self) -> str: ...


T = TypeVar("T", bound=Described)


def read_description(path: Path, kind: type[T], expected_format: str, missing: str, again: str) -> T:
    """The JSON file `path` as a struct of that kind.

    Raises UserError where it is missing (which `missing` says), cannot be read, is damaged or of another format;
    `again` says how to make it again.
    """
    try:
        description = parse_json(read_found(path), kind)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path.parent}: {missing}, for it has no {path.name}. {again}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged or of another version ({error}). {again}") from None
    if description.format != expected_format:
        raise UserError(f"{path}: format `{description.format}`, expected `{expected_format}`. {again}")
    return description


def read_described(path: Path, sha256: str | None, description: str, again: str) -> bytes:
    """The content of a file. Raises UserError where it is missing or has another hash than the description says."""
    try:
        content = read_found(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {again}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path}: not the file that {description} was written for (its hash differs). {again}")
    return content

"""What lies elsewhere than in a folder: object storage and any other file system that fsspec has a library for.

A connection that breaks is tried again, `_TRIES` times in all; what is not there, or not allowed, is said at once.
"""

import errno
import importlib
import logging
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from calibration.errors import UserError

log = logging.getLogger(__name__)

_TRIES, _PAUSE_S = 5, 1.0
_LAST = "task.json"
T = TypeVar("T")


def is_url(place: str) -> bool:
    return "://" in place


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it. Raises UserError where no library is installed for it."""
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError:
        raise UserError(f'{url}: to read it, fsspec is needed: pip install "usthand-live[batch]"') from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UserError(f"{url}: {error}. Install the library that fsspec names with pip.") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{url}: cannot be opened ({error}). Check the address.") from None
    return system, path


def stored_files(url: str) -> Iterator[tuple[str, int, str]]:
    """Name, size and what else tells a change, of each file below it. Raises UserError where there is none."""
    for name, facts in _listed(url).items():
        # A digest where the store keeps one, else its time of change.
        known = (facts.get(key) for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "date_time", "created"))
        yield name, int(facts.get("size") or 0), str(next((each for each in known if each), ""))


def stored_folders(url: str, marks: Collection[str]) -> list[str]:
    """The URLs of the folders directly in it that hold a file of one of these names; none where it holds one itself.

    Raises UserError where there is nothing.
    """
    names = {name for name in _listed(url, maxdepth=2) if name.rpartition("/")[2] in marks}
    if any("/" not in name for name in names):
        return []
    head, chain, rest = url.partition("::")
    head = head if head.endswith("/") else f"{head}/"
    return [f"{head}{folder}{chain}{rest}" for folder in sorted({name.split("/")[0] for name in names})]


def ends_of(url: str, name: str, size: int) -> tuple[bytes, bytes] | None:
    """The first and the last `size` bytes of a file of the session, all of it twice where it is smaller; None where it
    has none of this name. Raises UserError."""
    facts = _listed(url).get(name)
    if facts is None:
        return None
    system, _ = file_system(url)
    path, length = facts["name"], int(facts["size"])
    parts = (0, min(size, length)), (max(0, length - size), length)
    head, tail = (_patiently(url, "read", lambda part=part: system.cat_file(path, *part)) for part in parts)
    return head, tail


def fetch(url: str, folder: Path) -> None:
    """Copies a session that lies elsewhere into `folder`, without hidden files. Raises UserError."""
    system, _ = file_system(url)
    for name, facts in _listed(url).items():
        if any(part.startswith(".") for part in name.split("/")):
            continue  # `..` among them
        target, path = folder / name, facts["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        _patiently(url, "copied", lambda path=path, target=target: system.get_file(path, str(target)))
        if target.stat().st_size != facts["size"]:
            raise UserError(f"{url}: {name} came with {target.stat().st_size} bytes of {facts['size']}. Try again.")


def store(folder: Path, url: str) -> None:
    """Copies the files of `folder`, without links, to the folder `url`; the record of the task last, so that where it
    is, all is. Raises UserError."""
    system, root = file_system(url)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in sorted(files, key=lambda path: (path.name == _LAST, path)):
        target = f"{root.rstrip('/')}/{path.relative_to(folder).as_posix()}"
        if target.startswith("/"):  # the paths of object storage begin with a bucket's name, and have no folders
            parent = target.rpartition("/")[0]
            _patiently(url, "written", lambda parent=parent: system.makedirs(parent, exist_ok=True))
        _patiently(url, "written", lambda path=path, target=target: system.put_file(str(path), target))


def _listed(url: str, maxdepth: int | None = None) -> dict[str, dict[str, Any]]:
    """By its name below the URL, each file's facts."""
    system, root = file_system(url)
    found = _patiently(url, "listed", lambda: system.find(root, maxdepth=maxdepth, detail=True))
    if not found:
        raise UserError(f"{url}: there is no such session. Check the address.")
    return {_within(path, root): facts for path, facts in found.items()}


def _within(path: str, root: str) -> str:
    return path.removeprefix(root.rstrip("/")).lstrip("/") or Path(path).name


def _patiently(url: str, done: str, call: Callable[[], T]) -> T:
    """What the call gives; tried again where it fails of something that may pass."""
    for trial in range(1, _TRIES + 1):
        try:
            return call()
        except Exception as error:  # each library has its own
            told = f"{type(error).__name__}: {error}"
            if trial == _TRIES or not _may_pass(error):
                raise UserError(f"{url}: cannot be {done} ({told}). Check the address, and who may do so.") from None
            log.info("%s: %s; tried again", url, told)
            time.sleep(_PAUSE_S * 2 ** (trial - 1))
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError | ValueError):
        return False
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return not full and "Credential" not in type(error).__name__

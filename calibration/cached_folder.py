"""Folders that take long to make and are kept: rendered images, exported networks."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from calibration.found_files import remove_folder

_KEPT = 3


def user_cache() -> Path:
    """Where this program keeps such folders: `$XDG_CACHE_HOME/usthand`, by default `~/.cache/usthand`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "usthand"


def cached_folder(
    cache: Path, kind: str, key: str, is_whole: Callable[[Path], bool], make: Callable[[Path], object]
) -> Path:
    """The folder `kind-key` in `cache`; where it is not there and whole, `make` is to fill it first.

    It is there whole or not at all, and only the last few of a kind are kept. Raises OSError where nothing can be
    written to `cache`.
    """
    folder = cache / f"{kind}-{key}"
    if is_whole(folder):
        with contextlib.suppress(OSError):  # another user's, or on a disk that is only read
            folder.touch()
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    temporary = cache / f".making-{kind}-{key}-{os.getpid()}"
    remove_folder(temporary)
    temporary.mkdir()
    try:
        make(temporary)
        if not is_whole(folder):
            remove_folder(folder)
            temporary.rename(folder)
    finally:
        remove_folder(temporary)
    kept = [path for path in cache.glob(f"{kind}-*") if path.is_dir()]
    for old in sorted(kept, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        remove_folder(old)
    return folder

"""The sessions of a batch: where they are, what they consist of, and how one that lies elsewhere comes here.

A session is a folder on this machine or a share (`file://` is the same), or a URL of any file system that fsspec has a
library for (`s3://bucket/monday/`). What a session consists of is told by its manifest: names, sizes and times of
change, and the content of `session.yaml` and `rig.yaml` alone. Videos of an hour are gigabytes: to read them for a
digest would take as long as the work. A copy that keeps times of change (`cp -a`, `rsync -a`) stays the same session.
"""

import fnmatch
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.batch.storage import is_url, stored_files, stored_folders
from calibration.errors import UserError
from calibration.found_files import read_found

_MOST_FILES = 100_000
_DIGESTED = ("session.yaml", "rig.yaml", "manifest.json")
_MARKS = ("session.yaml", "manifest.json", "poses.npz")
"""A folder with one of these is a session, a crop cache, or what a replay left."""


@dataclass(frozen=True, kw_only=True)
class SessionManifest:
    """`entries`: a line each file, which says whether it is the same; `size_bytes` of all of them."""

    entries: tuple[str, ...]
    size_bytes: int
    files: int


def find_sessions(given: Sequence[str]) -> list[str]:
    """Absolute paths and URLs, each once, in order; a folder that is no session stands for the sessions in it.

    Raises UserError where there is none.
    """
    found: dict[str, None] = {}
    for each in given:
        if is_url(each) and not each.startswith("file://"):
            inside = stored_folders(each, _MARKS)
            found |= dict.fromkeys(inside or [each.rstrip("/")])
            continue
        path = Path(each.removeprefix("file://")).absolute()
        if not path.exists():
            raise UserError(f"{each}: there is no such session. Give folders that `usthand record` or `import` made.")
        if path.is_file() or _is_session(path):
            found[str(path)] = None
            continue
        inside = [str(folder) for folder in sorted(path.iterdir()) if folder.is_dir() and _is_session(folder)]
        if not inside:
            raise UserError(
                f"{each}: is no session (it has no session.yaml), and holds none. Make one with "
                "`usthand import DIR SESSION`."
            )
        found |= dict.fromkeys(inside)
    return list(found)


def _is_session(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MARKS)


def session_name(session: str) -> str:
    """A name for its folder of results: that of the session, of characters that every file system takes."""
    last = re.split(r"[/\\]", session.split("::")[0].rstrip("/"))[-1] or "session"
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".")[:60] or "session"


def manifest_of(session: str, ignored: Iterable[str]) -> SessionManifest:
    """What the session consists of, without hidden files and those of `ignored` patterns. Raises UserError."""
    ignored = tuple(ignored)
    entries, size, files = [], 0, 0
    for name, of_file, stamp in sorted(stored_files(session) if is_url(session) else _files(Path(session))):
        if any(part.startswith(".") for part in name.split("/")) or _matches(name, ignored):
            continue
        entries.append(f"{name} {of_file} {stamp}")
        size, files = size + of_file, files + 1
        if files > _MOST_FILES:
            raise UserError(f"{session}: more than {_MOST_FILES} files. Give the folder of one session.")
    return SessionManifest(entries=tuple(entries), size_bytes=size, files=files)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _files(session: Path) -> Iterator[tuple[str, int, str]]:
    """Name, size and what else tells a change, of each file; links are followed."""
    if session.is_file():
        yield session.name, session.stat().st_size, str(session.stat().st_mtime_ns)
        return
    for folder, _, names in os.walk(session):
        for file in names:
            path = Path(folder, file)
            name = path.relative_to(session).as_posix()
            try:
                state = path.stat()
                stamp = str(state.st_mtime_ns)
                if name in _DIGESTED:
                    stamp = hashlib.sha256(read_found(path)).hexdigest()
            except OSError:
                yield name, 0, "gone"
                continue
            yield name, state.st_size, stamp


def link_session(session: Path, folder: Path, ignored: Iterable[str]) -> None:
    """A session of links in `folder`, for a command that writes into its session."""
    ignored = tuple(ignored)
    for name, _, _ in _files(session):
        if not any(part.startswith(".") for part in name.split("/")) and not _matches(name, ignored):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to((session / name).resolve())

"""The key of a task: a digest of session, settings and version, so that what is done is known and not done again."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import app
from app.batch.jobs import Job
from app.batch.sessions import SessionManifest, manifest_of
from calibration.found_files import hash_found

_CODE = ("app", "calibration", "deploy", "models")
_LARGE_BYTES = 64 << 20


def task_key(job: Job, manifest: SessionManifest | None, flags: Sequence[str], to: str, seed: int) -> str:
    """Twelve hexadecimal digits. `to`: ending and place of the results, where the job or the batch gives them.

    A flag that names a file or folder counts with what is in it. Of files above 64 MiB, and of those in a folder, size
    and time of change count, as of a session's.
    """
    settings = [[flag, _content(flag)] for flag in flags]
    facts = [job.name, job.words, settings, to, seed, code_version(), manifest.entries if manifest else ()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


@cache
def _content(flag: str) -> str:
    """What the flag's value names, where it names something."""
    value = flag.split("=", 1)[1] if flag.startswith("--") and "=" in flag else flag
    path = Path(value)
    try:
        if path.is_dir():
            return "\n".join(manifest_of(str(path), ()).entries)
        if not path.is_file():
            return ""
        if path.stat().st_size > _LARGE_BYTES:
            return f"{path.stat().st_size} {path.stat().st_mtime_ns}"
        return hash_found(path)
    except OSError:  # such as a name that is too long for one
        return ""


@cache
def code_version() -> str:
    """The version of the package and a digest of its code: all workers must have the same."""
    root = Path(app.__file__).parents[1]
    digest = hashlib.sha256()
    for package in _CODE:
        for folder, folders, names in os.walk(root / package):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if name.endswith(".py"):
                    digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    try:
        version = importlib.metadata.version("usthand-live")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return f"{version}+{digest.hexdigest()[:8]}"

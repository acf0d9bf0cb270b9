"""A disk with little room, for tests of what happens when it is full: see the fixture `disk` of tests/faults."""

import os
import shutil
from pathlib import Path

FULL = "No space left on device"


def fill(disk: Path, left: int = 0) -> Path:
    """Leave so many bytes, in whole pages."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - left))
    return filler


def linked(session: Path, disk: Path) -> Path:
    """The session on the disk, its videos elsewhere."""
    place = disk / "session"
    place.mkdir()
    for path in session.iterdir():
        if path.suffix == ".mp4":
            (place / path.name).symlink_to(path)
        elif path.name != "labels.npz":
            shutil.copy(path, place)
    return place


def left_on(disk: Path) -> list[str]:
    return sorted(path.relative_to(disk).as_posix() for path in disk.rglob("*"))

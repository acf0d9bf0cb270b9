"""Replacing a calibration, or another file that someone may have corrected, without losing the one before."""

import datetime
import shutil
from pathlib import Path

from calibration.rig import Rig, write_rig


def keep_backup(path: Path) -> Path | None:
    """Copy a file beside itself, `rig.yaml` as rig.yaml.bak-2026-01-31; a later copy of the same day is numbered.

    Returns the copy's path, None where there is no file.
    """
    if not path.is_file():
        return None
    name = f"{path.name}.bak-{datetime.date.today().isoformat()}"
    backup, number = path.with_name(name), 2
    while backup.exists():
        backup, number = path.with_name(f"{name}-{number}"), number + 1
    try:
        shutil.copy2(path, backup)
    except OSError:
        backup.unlink(missing_ok=True)  # A part of a copy, on a full disk, is none.
        raise
    return backup


def replace_rig(path: Path, rig: Rig) -> Path | None:
    """Write `rig.yaml` atomically; one that is there is first kept as `keep_backup` does. Returns the copy's path."""
    backup = keep_backup(path)
    write_rig(path, rig)
    return backup

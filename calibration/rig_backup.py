"""Replacing a calibration without losing the one before."""

import datetime
import shutil
from pathlib import Path

from calibration.rig import Rig, write_rig


def replace_rig(path: Path, rig: Rig) -> Path | None:
    """Write `rig.yaml` atomically; one that is there is first copied beside it, as rig.yaml.bak-2026-01-31.

    Returns the copy's path, None where there was nothing to keep. A later copy of the same day is numbered.
    """
    backup = None
    if path.exists():
        name = f"{path.name}.bak-{datetime.date.today().isoformat()}"
        backup, number = path.with_name(name), 2
        while backup.exists():
            backup, number = path.with_name(f"{name}-{number}"), number + 1
        shutil.copy2(path, backup)
    write_rig(path, rig)
    return backup

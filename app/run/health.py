"""`python -m app.run.health`: whether the processes of this user's runs live, for a container's health check.

Exit code 0 where every process of every run goes round its main loop, or no run is under way; 1 where one stands still.
"""

import sys
import time
from pathlib import Path

from app.run.pulse import Watched
from app.run.settings import run_folders

_LIMIT_S, _POLL_S = 12.0, 0.25


def standing_still(folders: list[Path], limit_s: float = _LIMIT_S) -> list[str]:
    """The pulses of living processes that did not beat for so long; those that have yet to begin are not waited for."""
    watched = [Watched(path) for folder in folders for path in sorted(folder.glob("pulse-*")) if _lives(path)]
    now = time.monotonic()
    for each in watched:
        each.look(now)
    waiting = {each.path: each.turns for each in watched if each.turns}
    while waiting and time.monotonic() < now + limit_s:
        time.sleep(_POLL_S)
        for each in watched:
            each.look(time.monotonic())
            if waiting.get(each.path, each.turns) != each.turns or not _lives(each.path):
                waiting.pop(each.path, None)
    return sorted(str(path) for path in waiting)


def _lives(pulse: Path) -> bool:
    return Path("/proc", pulse.name.rpartition("-")[2]).exists()


def main() -> int:
    folders = run_folders()
    still = standing_still(folders)
    sys.stdout.write(f"{len(folders)} runs; {'all alive' if not still else 'standing still: ' + ', '.join(still)}\n")
    return 1 if still else 0


if __name__ == "__main__":
    sys.exit(main())

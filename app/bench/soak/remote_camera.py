"""The process of a camera on "another machine", whose clock jumps when it is told to on its standard input.

Listens to: lines with seconds by which its clock jumps; it ends with its input. Emits: as a remote grabber.
"""

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

_true_ns = time.monotonic_ns
_ahead_ns = 0


def _monotonic_ns() -> int:
    return _true_ns() + _ahead_ns


# Before anything is imported that may keep the function.
time.monotonic_ns = _monotonic_ns

from app.capture.remote import grab_remotely  # noqa: E402
from app.run.process import start_process, stop  # noqa: E402
from app.sources import simulated  # noqa: E402
from app.sources.source import Stamp  # noqa: E402
from app.transport.keys import Keys  # noqa: E402


class _JumpingCapture(simulated.SimulatedCapture):
    """Its pictures come as time passes; their stamps are of the clock that jumps."""

    def grab(self, timeout_s: float) -> Stamp:
        stamp = super().grab(timeout_s)
        return replace(
            stamp,
            capture_time_ns=stamp.capture_time_ns + _ahead_ns,
            grab_time_ns=stamp.grab_time_ns + _ahead_ns,
        )


# What no clock of a camera does: it would wait for a time that was set back.
simulated.__dict__["time"] = SimpleNamespace(monotonic_ns=_true_ns, sleep=time.sleep)


def _obey() -> None:
    global _ahead_ns
    for line in sys.stdin:
        _ahead_ns += round(float(line) * 1e9)
    stop.set()


def main() -> int:
    """Grab one camera for a worker at an address: camera, address, folder of keys."""
    camera_id, address, keys = sys.argv[1:4]
    start_process(f"remote {camera_id}")
    simulated.__dict__["SimulatedCapture"] = _JumpingCapture
    threading.Thread(target=_obey, daemon=True).start()
    grab_remotely(camera_id, address, Keys(Path(keys)), "jpeg", 90, None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Signs of life of a run's processes, and what ends one that is stuck.

Each process counts two numbers in a small file of the run's folder: its turns, and its pieces of work done. The
supervisor reads them: who stands still is named, its stack written to the log, and started again; who died without
having done any work will not get better. Numbers, not times: a wall clock may jump.
"""

import faulthandler
import mmap
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_FORMAT = "=QQ"
_GUARD_S = 1.0


@dataclass(frozen=True, kw_only=True)
class PulseLimits:
    """In seconds. `orphan_s`: a process whose supervisor is gone has so long to finish its files. `blocked_s`: one of
    which no Python thread runs for so long, as in a driver that never returns, ends by itself."""

    orphan_s: float = 15.0
    blocked_s: float = 300.0


class Pulse:
    """A process's own counts. Without a file, where nobody supervises, they are only counted."""

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self.turns = self.done = 0

    def open(self, path: Path) -> None:
        path.write_bytes(struct.pack(_FORMAT, 0, 0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), struct.calcsize(_FORMAT))

    def beat(self) -> None:
        """Its main loop has gone round."""
        self.turns += 1
        self._write()

    def work(self) -> None:
        """It has done what it is there for once: a frame, a set."""
        self.done += 1
        self.beat()

    def _write(self) -> None:
        if self._map is not None:
            struct.pack_into(_FORMAT, self._map, 0, self.turns, self.done)


pulse = Pulse()
"""Of this process."""


@dataclass
class Watched:
    """What a supervisor knows of a process's pulse. Before its first turn it may load."""

    path: Path
    turns: int = 0
    done: int = 0
    changed_s: float = field(default_factory=time.monotonic)

    def look(self, now_s: float) -> None:
        try:
            turns, done = struct.unpack(_FORMAT, self.path.read_bytes())
        except (OSError, struct.error):
            return
        if (turns, done) != (self.turns, self.done):
            self.turns, self.done, self.changed_s = turns, done, now_s

    def stands_still(self, now_s: float, limit_s: float) -> bool:
        return now_s - self.changed_s > limit_s


def explain_on_request() -> None:
    """SIGUSR1 writes every thread's stack to standard error, also while a driver holds the interpreter."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)


def guard(parent: int, on_orphaned: Callable[[], object], limits: PulseLimits = PulseLimits()) -> None:
    """Watch, in a thread, that this process ends when its parent has, and that it is not blocked for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            # Fired by a thread that needs no interpreter, unless this loop comes round again.
            faulthandler.dump_traceback_later(limits.blocked_s, exit=True)
            time.sleep(_GUARD_S)
        faulthandler.dump_traceback_later(2 * limits.orphan_s, exit=True)
        time.sleep(limits.orphan_s)
        sys.stderr.write("still running though its supervisor is gone: it is ended now\n")
        faulthandler.dump_traceback()
        on_orphaned()
        os._exit(1)

    threading.Thread(target=watch, name="guard", daemon=True).start()

"""How many cores each kind of process of a run takes, while it goes on."""

import os
import threading
import time
from collections import defaultdict

from app.bench.soak.processes import cpu_s, family

# The processes start meanwhile.
_BEGINS_S = 5.0


class CpuWatch:
    """Counts, in a thread, the processor time of this process and its descendants by kind, after `begins_s`
    and until the first of them ends."""

    def __init__(self, begins_s: float = _BEGINS_S) -> None:
        self.cores: dict[str, float] = {}
        self._begins_s = begins_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._ended.wait(self._begins_s):
            return
        began_s, before = time.monotonic(), self._look()
        known = set(before)
        while not self._ended.wait(1.0):
            took_s, now = time.monotonic() - began_s, self._look()
            known |= now.keys()
            if known - now.keys():  # the run ends
                return
            kinds: dict[str, float] = defaultdict(float)
            for (pid, name), seconds in now.items():
                kinds[name.partition(" ")[0]] += (seconds - before.get((pid, name), 0.0)) / took_s
            self.cores = {kind: round(cores, 3) for kind, cores in kinds.items()}

    def _look(self) -> dict[tuple[int, str], float]:
        return {(pid, name): cpu_s(pid) for pid, name in family(os.getpid()).items() if name}

    def end(self) -> dict[str, float]:
        self._ended.set()
        self._thread.join()
        return self.cores

"""How far a TensorRT build is: a bar on a terminal, and the interrupt key, which stops it."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from tqdm import tqdm


class BuildProgress:
    """A bar over the steps of a build's outermost phase, with the innermost one named. Entered on the main thread.

    While it is entered, an interrupt asks the build to stop at its next step instead of breaking into TensorRT's call.
    """

    def __init__(self, what: str) -> None:
        self.stopped = False
        self._bar = tqdm(desc=what, total=1, unit="step", leave=False, disable=not sys.stderr.isatty())
        self._lock = threading.Lock()
        self._phases: list[str] = []
        self._before: Any = None

    def __enter__(self) -> "BuildProgress":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        self._bar.close()

    def start(self, phase: str, steps: int) -> None:
        with self._lock:
            if not self._phases:
                self._bar.reset(total=steps)
            self._phases.append(phase)
            self._bar.set_postfix_str(phase)

    def step(self, phase: str) -> bool:
        """False where the build is to stop."""
        with self._lock:
            if self._phases and phase == self._phases[0]:
                self._bar.update()
        return not self.stopped

    def finish(self, phase: str) -> None:
        with self._lock:
            if phase in self._phases:
                self._phases.remove(phase)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True


def progress_monitor(trt: Any, progress: BuildProgress) -> Any:
    """The IProgressMonitor of `trt` that tells `progress`; to be kept for as long as the build runs."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()

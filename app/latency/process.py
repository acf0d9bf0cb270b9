"""The process that measures the cameras' latency: a window shows a code that changes, the cameras film it.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: Pace (through the intake).
"""

import sys
import time
from collections.abc import Iterator

from app.latency.delay import Delay, DelayEstimate, ScreenTimes
from app.latency.filmed_light import LONGEST, FilmedLight, run_latency
from app.latency.reading import CodeSeen, PanelReader
from app.latency.screen import CameraProgress, LatencyScreen, display_period_ms
from app.run.process import stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.wizard.drawn_window import DrawnCheck, open_drawn_window
from calibration.frames import Frame
from calibration.rig import Rig

WINDOW = "Latency"
ASSUMED_PERIOD_MS = 1e3 / 60
_DITHER = (0.7, 1.3)
"""A code stays for a random part or multiple of the step: no camera's rate can keep in step with it."""
_LEAST_STEP_MS = 20.0
_WORDS_S = 0.5
_NEXT_CODE_S = 0.5
_SURE_MS = 0.7
"""Of a mean's standard error: measured so long, but no longer than LONGEST times what was asked for."""


class ShownCode(FilmedLight):
    """A window that shows codes; it ends on a key, too."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        period_ms = display_period_ms()
        self._period_ms, self._period_known = period_ms or ASSUMED_PERIOD_MS, period_ms is not None
        self._times = ScreenTimes()
        self._readers = {camera_id: PanelReader() for camera_id in rig.camera_ids}
        self._estimates = {camera_id: DelayEstimate() for camera_id in rig.camera_ids}
        self._waiting: list[tuple[str, CodeSeen, int, float]] = []
        self._end_at: float | None = None
        super().__init__(rig, settings, folder)
        self._drawn = DrawnCheck()
        self._window = open_drawn_window(WINDOW)

    def _shine(self) -> None:
        """The window's loop: a code, then the next."""
        screen = LatencyScreen(self._window.size)
        step_ms = max(self._period_ms, _LEAST_STEP_MS)
        count, written_at = 0, 0.0
        due = time.monotonic()
        while not (stop.is_set() or self._done.is_set()):
            if screen.size != self._window.size:
                screen = LatencyScreen(self._window.size)
                written_at = 0.0
            if time.monotonic() - written_at > _WORDS_S:
                written_at = time.monotonic()
                screen.write(self._progress(), self._left_s)
            picture = screen.picture(count)
            self._window.show(picture)
            # The window only keeps the picture, and draws it when it handles its events.
            before_ns = time.monotonic_ns()
            keys = self._window.pressed()
            self._drawn.wait()
            after_ns = time.monotonic_ns()
            with self._lock:
                self._times.add(count, before_ns, after_ns)
            # What the window, seldom, has kept to itself is sent now.
            keys += self._window.pressed()
            count += 1
            pulse.beat()
            if "q" in keys:
                return
            due = max(due + self._random.uniform(*_DITHER) * step_ms / 1e3, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    @property
    def _left_s(self) -> float | None:
        return None if self._end_at is None else self._end_at - time.monotonic()

    def _enough(self, now: float) -> bool:
        """So many seconds after a camera saw the code first, or later where a busy machine leaves means unsure."""
        assert self._begun_at is not None and self._end_at is not None
        if now <= self._end_at:
            return False
        self._end_at += self._seconds / 2
        return now > self._begun_at + LONGEST * self._seconds or self._sure()

    def _sure(self) -> bool:
        """Of every camera that sees the code."""
        results = (estimate.result() for estimate in self._estimates.values() if estimate.pictures)
        return all(result is not None and result.error_ms < _SURE_MS for result in results)

    def _take(self, camera_id: str, frame: Frame) -> None:
        seen = self._readers[camera_id].read(frame.pixels)
        if seen is not None and frame.intact():
            self._waiting.append((camera_id, seen, frame.grab_time_ns, time.monotonic()))

    def _settle(self) -> None:
        """Take what was read a moment ago, when the code after it is on the screen as well."""
        now = time.monotonic()
        while self._waiting and now - self._waiting[0][3] > _NEXT_CODE_S:
            camera_id, seen, grab_time_ns, _ = self._waiting.pop(0)
            with self._lock:
                taken = self._estimates[camera_id].add(self._times, seen, grab_time_ns)
            if taken and self._begun_at is None:
                self._begun_at, self._end_at = now, now + self._seconds

    def _progress(self) -> dict[str, CameraProgress]:
        progress = {}
        for camera_id, estimate in self._estimates.items():
            progress[camera_id] = CameraProgress(
                visible=self._readers[camera_id].visible, pictures=estimate.pictures, mean_ms=estimate.median_ms
            )
        return progress

    def _delays(self) -> Iterator[tuple[str, Delay | None, int]]:
        for camera_id, estimate in self._estimates.items():
            yield camera_id, estimate.result(), estimate.pictures

    def _said(self) -> dict:
        return {"display_period_ms": self._period_ms, "display_period_known": self._period_known}

    def _put_out(self) -> None:
        self._window.close()
        self._drawn.close()


if __name__ == "__main__":
    sys.exit(run_latency(ShownCode))

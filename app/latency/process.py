"""The process that measures the cameras' latency: a window shows a code that changes, the cameras film it.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: Pace (through the intake).

It stands where the worker does. The window has the main thread, and the pictures are read in another, so that the code
changes when it is to.
"""

import json
import logging
import random
import sys
import threading
import time

from app.assembly.intake import Intake
from app.latency.delay import DelayEstimate, ScreenTimes
from app.latency.reading import CodeSeen, PanelReader
from app.latency.screen import CameraProgress, LatencyScreen, display_period_ms
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.transport.keys import close_authenticator
from app.wizard.drawn_window import DrawnCheck, open_drawn_window
from calibration.rig import Rig
from calibration.yamlfile import write_atomic

log = logging.getLogger(__name__)

WINDOW = "Latency"
ASSUMED_PERIOD_MS = 1e3 / 60
_DITHER = (0.7, 1.3)
"""A code stays for a random part or multiple of the step: no camera's rate can keep in step with it."""
_LEAST_STEP_MS = 20.0
_WORDS_S = 0.5
_NEXT_CODE_S = 0.5
_SURE_MS = 0.7
"""Of a mean's standard error: measured so long, but no longer than _LONGEST times what was asked for."""
_LONGEST = 4.0


class LatencyProcess:
    """Shows codes and reads them until the time, a key or a signal ends it."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.latency is not None
        self._folder, self._seconds = folder, settings.latency
        period_ms = display_period_ms()
        self._period_ms, self._period_known = period_ms or ASSUMED_PERIOD_MS, period_ms is not None
        self._times, self._lock = ScreenTimes(), threading.Lock()
        self._readers = {camera_id: PanelReader() for camera_id in rig.camera_ids}
        self._estimates = {camera_id: DelayEstimate() for camera_id in rig.camera_ids}
        self._frames = dict.fromkeys(rig.camera_ids, 0)
        self._waiting: list[tuple[str, CodeSeen, int, float]] = []
        self._started_at = time.monotonic()
        self._begun_at: float | None = None
        self._end_at: float | None = None
        self._done = threading.Event()
        self._intake = Intake(rig, settings, folder)
        self._drawn = DrawnCheck()
        self._window = open_drawn_window(WINDOW)
        self._random = random.Random()

    def run(self) -> None:
        self._intake.start()
        self._intake.release()
        reader = threading.Thread(target=self._read, name="read")
        reader.start()
        try:
            self._show()
        finally:
            self._done.set()
            reader.join()
            self._close()

    def _show(self) -> None:
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
            with self._lock:
                self._times.add(count, before_ns, time.monotonic_ns())
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

    def _end_in_time(self) -> None:
        """So many seconds after a camera saw the code first, or later where the machine is busy and means are unsure;
        or after twice as many without."""
        now = time.monotonic()
        if self._begun_at is None or self._end_at is None:
            if now > self._started_at + 2 * self._seconds + 10:
                self._done.set()
        elif now > self._end_at:
            if now > self._begun_at + _LONGEST * self._seconds or self._sure():
                self._done.set()
            self._end_at += self._seconds / 2

    def _sure(self) -> bool:
        """Of every camera that sees the code."""
        results = (estimate.result() for estimate in self._estimates.values() if estimate.pictures)
        return all(result is not None and result.error_ms < _SURE_MS for result in results)

    def _read(self) -> None:
        """The other thread: pictures in, intervals out."""
        try:
            while not self._done.is_set():
                frame_set = self._intake.take(0.05)
                if frame_set is not None:
                    for camera_id, frame in frame_set.frames.items():
                        self._frames[camera_id] += 1
                        seen = self._readers[camera_id].read(frame.pixels)
                        if seen is not None and frame.intact():
                            self._waiting.append((camera_id, seen, frame.grab_time_ns, time.monotonic()))
                    self._intake.done(frame_set)
                    pulse.work()
                elif self._intake.ended:
                    break
                self._settle()
                self._end_in_time()
        finally:
            self._done.set()

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

    def _close(self) -> None:
        try:
            self._intake.stop()
        finally:
            self._window.close()
            self._drawn.close()
            write_atomic(self._folder.summary, json.dumps(self._summary()).encode())
            close_authenticator()

    def _summary(self) -> dict:
        delays = {}
        for camera_id, estimate in self._estimates.items():
            found = estimate.result()
            delays[camera_id] = {
                "frames": self._frames[camera_id],
                "pictures": estimate.pictures,
                "mean_ms": found.mean_ms if found else None,
                "spread_ms": found.spread_ms if found else None,
                "error_ms": found.error_ms if found else None,
                "known_ms": found.known_ms if found else None,
            }
        return {"delays": delays, "display_period_ms": self._period_ms, "display_period_known": self._period_known}


def main() -> int:
    """Measure a run's cameras: started by the supervisor."""

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        LatencyProcess(rig, settings, folder).run()
        return 0

    return run_process("latency", process_parser().parse_args(), work)


if __name__ == "__main__":
    sys.exit(main())

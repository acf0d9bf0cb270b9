"""The process that measures the cameras' latency by an LED: it blinks, the cameras film it.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: Pace (through the intake).

It stands where the worker does. The main thread switches the LED, and another reads the pictures.
"""

import json
import logging
import random
import sys
import threading
import time

from app.assembly.intake import Intake
from app.latency.blinking import Blinking
from app.latency.led import open_led
from app.latency.led_spot import LedSpot
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.transport.keys import close_authenticator
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.yamlfile import write_atomic

log = logging.getLogger(__name__)

_PICTURES, _LONGEST = 150, 4.0


class LedLatencyProcess:
    """Blinks and reads until the time or a signal ends it."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.latency is not None and settings.latency_led is not None
        self._folder, self._seconds, self._port = folder, settings.latency, settings.latency_led
        self._led = open_led(settings.latency_led)
        self._blinking, self._lock = Blinking(), threading.Lock()
        self._spots = {camera_id: LedSpot(self._blinking) for camera_id in rig.camera_ids}
        self._frames = dict.fromkeys(rig.camera_ids, 0)
        self._started_at = time.monotonic()
        self._begun_at: float | None = None
        self._done = threading.Event()
        self._intake = Intake(rig, settings, folder)
        self._random = random.Random()

    def run(self) -> None:
        self._intake.start()
        self._intake.release()
        reader = threading.Thread(target=self._read, name="read")
        reader.start()
        try:
            self._blink()
        finally:
            self._done.set()
            reader.join()
            self._close()

    def _blink(self) -> None:
        low_ms, high_ms = self._blinking.settings.stays_ms
        on = False
        while not (stop.is_set() or self._done.is_set()):
            on = not on
            before_ns = time.monotonic_ns()
            try:
                self._led.switch(on)
            except OSError as error:
                raise UserError(f"`--led {self._port}`: cannot be switched any more ({error.strerror}).") from None
            with self._lock:
                self._blinking.add(on, before_ns, time.monotonic_ns())
            pulse.beat()
            self._done.wait(self._random.uniform(low_ms, high_ms) / 1e3)

    def _read(self) -> None:
        """The other thread: pictures in, levels out."""
        try:
            while not self._done.is_set():
                frame_set = self._intake.take(0.05)
                if frame_set is not None:
                    for camera_id, frame in frame_set.frames.items():
                        self._frames[camera_id] += 1
                        with self._lock:
                            self._spots[camera_id].take(frame.pixels, frame.grab_time_ns)
                    self._intake.done(frame_set)
                    pulse.work()
                elif self._intake.ended:
                    break
                self._end_in_time()
        finally:
            self._done.set()

    def _end_in_time(self) -> None:
        """So many seconds after a camera found the LED first; twice as many where another has not, and up to four times
        on a machine so busy that few pictures came; or after twice as many without."""
        now = time.monotonic()
        if self._begun_at is None and any(spot.found for spot in self._spots.values()):
            self._begun_at = now
            log.info("the LED is seen by %s", ", ".join(name for name, spot in self._spots.items() if spot.found))
        if self._begun_at is None:
            if now > self._started_at + 2 * self._seconds + 10:
                self._done.set()
            return
        took = (now - self._begun_at) / self._seconds
        found = [spot for spot in self._spots.values() if spot.found]
        enough = all(len(spot.pictures[0]) > _PICTURES for spot in found)
        if took > _LONGEST or (took > 1 and enough and (took > 2 or len(found) == len(self._spots))):
            self._done.set()

    def _close(self) -> None:
        try:
            self._intake.stop()
        finally:
            self._led.close()
            write_atomic(self._folder.summary, json.dumps(self._summary()).encode())
            close_authenticator()

    def _summary(self) -> dict:
        delays = {}
        for camera_id, spot in self._spots.items():
            found, pictures = self._blinking.estimate(*spot.pictures) if spot.found else (None, 0)
            delays[camera_id] = {
                "frames": self._frames[camera_id],
                "pictures": pictures,
                "mean_ms": found.mean_ms if found else None,
                "spread_ms": found.spread_ms if found else None,
                "error_ms": found.error_ms if found else None,
                "known_ms": found.known_ms if found else None,
            }
        return {"delays": delays, "led": self._port}


def main() -> int:
    """Measure a run's cameras by an LED: started by the supervisor."""

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        LedLatencyProcess(rig, settings, folder).run()
        return 0

    return run_process("latency", process_parser().parse_args(), work)


if __name__ == "__main__":
    sys.exit(main())

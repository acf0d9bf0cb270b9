"""The process that measures the cameras' latency by an LED: it blinks, the cameras film it.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: Pace (through the intake).
"""

import logging
import sys
import time
from collections.abc import Iterator

from app.latency.blinking import Blinking
from app.latency.delay import Delay
from app.latency.filmed_light import LONGEST, FilmedLight, run_latency
from app.latency.led import open_led
from app.latency.led_spot import LedSpot
from app.run.process import stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from calibration.errors import UserError
from calibration.frames import Frame
from calibration.rig import Rig

log = logging.getLogger(__name__)

_PICTURES = 150


class BlinkingLed(FilmedLight):
    """An LED that is switched at random moments."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.latency_led is not None
        self._port = settings.latency_led
        self._led = open_led(settings.latency_led)
        self._blinking = Blinking()
        self._spots = {camera_id: LedSpot(self._blinking) for camera_id in rig.camera_ids}
        super().__init__(rig, settings, folder)

    def _shine(self) -> None:
        low_ms, high_ms = self._blinking.settings.stays_ms
        on = False
        while not (stop.is_set() or self._done.is_set()):
            on = not on
            before_ns = time.monotonic_ns()
            try:
                self._led.switch(on)
            except OSError as error:
                raise UserError(f"`--led {self._port}`: cannot be switched any more ({error.strerror}).") from None
            after_ns = time.monotonic_ns()
            with self._lock:
                self._blinking.add(on, before_ns, after_ns)
            pulse.beat()
            self._done.wait(self._random.uniform(low_ms, high_ms) / 1e3)

    def _take(self, camera_id: str, frame: Frame) -> None:
        with self._lock:
            self._spots[camera_id].take(frame.pixels, frame.grab_time_ns)

    def _settle(self) -> None:
        if self._begun_at is None and any(spot.found for spot in self._spots.values()):
            self._begun_at = time.monotonic()
            log.info("the LED is seen by %s", ", ".join(name for name, spot in self._spots.items() if spot.found))

    def _enough(self, now: float) -> bool:
        """So many seconds after a camera found the LED first; twice as many where another has not, and up to four times
        on a machine so busy that few pictures came."""
        assert self._begun_at is not None
        took = (now - self._begun_at) / self._seconds
        found = [spot for spot in self._spots.values() if spot.found]
        enough = all(spot.count > _PICTURES for spot in found)
        return took > LONGEST or (took > 1 and enough and (took > 2 or len(found) == len(self._spots)))

    def _delays(self) -> Iterator[tuple[str, Delay | None, int]]:
        for camera_id, spot in self._spots.items():
            found, pictures = self._blinking.estimate(*spot.pictures) if spot.found else (None, 0)
            yield camera_id, found, pictures

    def _said(self) -> dict:
        return {"led": self._port}

    def _put_out(self) -> None:
        self._led.close()


if __name__ == "__main__":
    sys.exit(run_latency(BlinkingLed))

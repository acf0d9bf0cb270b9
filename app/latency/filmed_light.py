"""What measuring latency has in common, whatever light the cameras film.

The process stands where the worker does. The main thread changes the light when it is to change, and another one reads
the pictures, until the time or a signal ends both.
"""

import json
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from app.assembly.intake import Intake
from app.latency.delay import Delay
from app.run.process import process_parser, run_process
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.transport.keys import close_authenticator
from calibration.frames import Frame
from calibration.rig import Rig
from calibration.written_files import write_atomic

LONGEST = 4.0
"""Times as long as what was asked for, at most."""


class FilmedLight(ABC):
    """Changes a light and reads the cameras' pictures of it."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.latency is not None
        self._folder, self._seconds = folder, settings.latency
        self._frames = dict.fromkeys(rig.camera_ids, 0)
        self._started_at = time.monotonic()
        self._begun_at: float | None = None
        """When a camera saw the light first."""
        self._done, self._lock = threading.Event(), threading.Lock()
        self._random = random.Random()
        self._failure: BaseException | None = None
        self._intake = Intake(rig, settings, folder)

    def run(self) -> None:
        self._intake.start()
        self._intake.release()
        reader = threading.Thread(target=self._read, name="read")
        reader.start()
        try:
            self._shine()
        finally:
            self._done.set()
            reader.join()
            self._close()
        if self._failure is not None:
            raise self._failure

    @abstractmethod
    def _shine(self) -> None:
        """Change the light until all is done."""

    @abstractmethod
    def _take(self, camera_id: str, frame: Frame) -> None:
        """What a picture says, in the other thread."""

    @abstractmethod
    def _enough(self, now: float) -> bool:
        """Whether to end, once a camera has seen the light."""

    @abstractmethod
    def _delays(self) -> Iterator[tuple[str, Delay | None, int]]:
        """Each camera's, and how many pictures it is of."""

    @abstractmethod
    def _said(self) -> dict:
        """What else the summary holds."""

    @abstractmethod
    def _put_out(self) -> None:
        """Give back what makes the light."""

    def _read(self) -> None:
        """The other thread: pictures in, intervals out."""
        try:
            while not self._done.is_set():
                frame_set = self._intake.take(0.05)
                if frame_set is not None:
                    for camera_id, frame in frame_set.frames.items():
                        self._frames[camera_id] += 1
                        self._take(camera_id, frame)
                    self._intake.done(frame_set)
                    pulse.work()
                elif self._intake.ended:
                    break
                self._settle()
                now = time.monotonic()
                never = self._begun_at is None and now > self._started_at + 2 * self._seconds + 10
                if never or (self._begun_at is not None and self._enough(now)):
                    self._done.set()
        except BaseException as error:
            self._failure = error
        finally:
            self._done.set()

    @abstractmethod
    def _settle(self) -> None:
        """After each set, or where none came for a moment."""

    def _close(self) -> None:
        try:
            self._intake.stop()
        finally:
            self._put_out()
            write_atomic(self._folder.summary, json.dumps(self._summary()).encode())
            close_authenticator()

    def _summary(self) -> dict:
        delays = {}
        for camera_id, found, pictures in self._delays():
            delays[camera_id] = {
                "frames": self._frames[camera_id],
                "pictures": pictures,
                "mean_ms": found.mean_ms if found else None,
                "spread_ms": found.spread_ms if found else None,
                "error_ms": found.error_ms if found else None,
                "known_ms": found.known_ms if found else None,
            }
        return {"delays": delays, **self._said()}


def run_latency(light: type[FilmedLight]) -> int:
    """Measure a run's cameras: started by the supervisor."""

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        light(rig, settings, folder).run()
        return 0

    return run_process("latency", process_parser().parse_args(), work)

"""A simulated camera that looks at the simulated hands, on time but for its scripted faults.

Frames lie on a grid of whole periods of the host's monotonic clock, so that simulated cameras in several processes are
in phase without talking to one another. A reader that is late misses frames, as with a real camera.
"""

import time
from pathlib import Path

import numpy as np

from app.sources.hand_drawing import HandDrawing
from app.sources.source import FrameCorrupt, Mode, SourceError, SourceLost, SourceTimeout, Stamp, WrongSize
from calibration.camera_source import SimulatedSource
from calibration.errors import UserError
from calibration.rig import RigCamera
from models.simulation.hands import MOST_PEOPLE, hands_of_people_at
from models.simulation.rendered_loop import RenderedLoop

# Jitter beyond this part of a period would put frames out of order.
_MAX_JITTER = 0.45


class SimulatedCapture:
    """Shows `hands_of_people_at` the capture time as the rig's camera would see it.

    Sequences count the grid's periods since the first `open`; the scripted spans count from then too.
    """

    def __init__(self, camera: RigCamera) -> None:
        assert isinstance(camera.source, SimulatedSource)
        self._camera = camera
        self._label = f"camera `{camera.camera_id}`"
        self._source = camera.source
        if not 0 < self._source.fps <= 1000:
            raise SourceError(f"camera `{camera.camera_id}`: fps is {self._source.fps:g}; set it between 0 and 1000.")
        if not 1 <= self._source.people <= MOST_PEOPLE:
            raise SourceError(f"{self._label}: people is {self._source.people}; set it from 1 to {MOST_PEOPLE}.")
        self._period_ns = 1e9 / self._source.fps
        self._drop, self._corrupt = frozenset(self._source.drop), frozenset(self._source.corrupt)
        self._first_open_ns: int | None = None
        self._first_period = 0
        self._stamp: Stamp | None = None
        self._size = (0, 0)
        self._sequence = -1
        self._pictures: HandDrawing | RenderedLoop | None = None

    def open(self) -> Mode:
        self.close()
        now_ns = time.monotonic_ns()
        if self._first_open_ns is None:
            self._first_open_ns = now_ns
            self._first_period = int(np.ceil((now_ns - self._source.phase_ms * 1e6) / self._period_ns))
        if self._in_span(self._source.disconnects, now_ns):
            raise SourceError(f"{self._label} is unplugged, as its `disconnects` in rig.yaml say. It comes back.")
        self._size = self._size_at(now_ns)
        asked = (self._camera.camera.width, self._camera.camera.height)
        if self._size != asked:
            raise WrongSize(
                f"{self._label} delivers {self._size}, as its `resizes` say; rig.yaml: {asked}.", self._size
            )
        self._pictures = self._open_pictures()
        width, height = self._size
        return Mode(width, height, self._source.fps, f"simulated: {width}x{height} at {self._source.fps:g} fps")

    def grab(self, timeout_s: float) -> Stamp:
        if self._pictures is None:
            raise SourceLost(f"simulated {self._label} is not open")
        deadline_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        while True:
            self._sequence = max(self._sequence + 1, self._newest_due(time.monotonic_ns()))
            due_ns = self._capture_time_ns(self._sequence)
            if due_ns > deadline_ns:
                self._sequence -= 1
            self._sleep_until(min(due_ns, deadline_ns))
            if due_ns > deadline_ns:
                raise SourceTimeout(f"simulated {self._label}: no frame in {timeout_s:.3g} s")
            if self._size_at(due_ns) != self._size:
                raise SourceLost(f"simulated {self._label}: its images changed from {self._size}")
            if self._delivers(self._sequence, due_ns):
                line = self._in_span(self._source.line, due_ns) if self._source.line else None
                self._stamp = Stamp(
                    sequence=self._sequence, capture_time_ns=due_ns, grab_time_ns=time.monotonic_ns(), line=line
                )
                return self._stamp

    def retrieve(self, out: np.ndarray) -> None:
        if self._pictures is None or self._stamp is None:
            raise SourceLost(f"simulated {self._label} is not open")
        if self._stamp.sequence in self._corrupt:
            raise FrameCorrupt(f"simulated {self._label}: frame {self._stamp.sequence} is corrupt")
        time_s = self._stamp.capture_time_ns / 1e9
        if isinstance(self._pictures, HandDrawing):
            hands = hands_of_people_at(time_s, self._source.people)
            self._pictures.draw([joints_m for _, joints_m in hands], out)
        else:
            np.copyto(out, self._pictures.image(time_s))

    def close(self) -> None:
        self._pictures = None
        self._stamp = None

    def _open_pictures(self) -> HandDrawing | RenderedLoop:
        if self._source.images is None:
            return HandDrawing(self._camera)
        try:
            loop = RenderedLoop(Path(self._source.images))
        except UserError as error:
            raise SourceError(f"{self._label}: {error}") from None
        height, width = loop.image(0.0).shape[:2]
        if (width, height) != (self._camera.camera.width, self._camera.camera.height):
            raise SourceError(
                f"{self._label}: {self._source.images} holds images of {width}x{height}; rig.yaml says "
                f"{self._camera.camera.width}x{self._camera.camera.height}. Run `usthand demo` again."
            )
        return loop

    def _newest_due(self, now_ns: int) -> int:
        """Number of the newest frame whose place on the grid is past."""
        return int((now_ns - self._source.phase_ms * 1e6) // self._period_ns) - self._first_period

    def _capture_time_ns(self, sequence: int) -> int:
        jitter = 0.0
        if self._source.jitter_ms > 0:
            jitter = self._random(sequence).normal(0, self._source.jitter_ms * 1e6 / self._period_ns)
            jitter = min(max(jitter, -_MAX_JITTER), _MAX_JITTER)
        return round((self._first_period + sequence + jitter) * self._period_ns + self._source.phase_ms * 1e6)

    def _delivers(self, sequence: int, due_ns: int) -> bool:
        if sequence in self._drop or self._in_span(self._source.stalls, due_ns):
            return False
        return self._source.drop_rate <= 0 or self._random(sequence, 1).random() >= self._source.drop_rate

    def _random(self, sequence: int, stream: int = 0) -> np.random.Generator:
        """Of the frame alone, so that a frame's fate does not hang on which frames were read before."""
        return np.random.default_rng((self._source.seed, max(sequence, 0), stream))

    def _size_at(self, now_ns: int) -> tuple[int, int]:
        """(width, height) of the images, as scripted."""
        assert self._first_open_ns is not None
        at_s = (now_ns - self._first_open_ns) / 1e9
        sizes = [(width, height) for start, width, height in self._source.resizes if start <= at_s]
        return sizes[-1] if sizes else (self._camera.camera.width, self._camera.camera.height)

    def _in_span(self, spans: list[tuple[float, float]], now_ns: int) -> bool:
        assert self._first_open_ns is not None
        at_s = (now_ns - self._first_open_ns) / 1e9
        return any(start <= at_s < start + duration for start, duration in spans)

    def _sleep_until(self, wake_ns: int) -> None:
        """Raises SourceLost when a scripted disconnect comes first."""
        assert self._first_open_ns is not None
        starts = [self._first_open_ns + round(start * 1e9) for start, _ in self._source.disconnects]
        now_ns = time.monotonic_ns()
        cut_ns = min([wake_ns, *(start for start in starts if start > now_ns)])
        if cut_ns > now_ns:
            time.sleep((cut_ns - now_ns) / 1e9)
        if self._in_span(self._source.disconnects, max(time.monotonic_ns(), cut_ns)):
            raise SourceLost(f"simulated {self._label} was unplugged")

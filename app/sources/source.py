"""What every capture source does, and how it says that it cannot."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from calibration.errors import UserError


@dataclass(frozen=True)
class Mode:
    """What an opened source really delivers. `fps` is None where the device does not tell."""

    width: int
    height: int
    fps: float | None
    description: str


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A grabbed frame, not yet decoded.

    `sequence` is the device's own counter where it has one, else counts grabs; it rises, and a gap is a lost frame.
    `capture_time_ns` is on the host's monotonic clock (`time.monotonic_ns`), or on the recording's clock where
    `recorded` is True. `grab_time_ns` is when the host got the frame, monotonic. `line`: the level of the camera's
    input that takes of a recording follow; None where it has none.
    """

    sequence: int
    capture_time_ns: int
    grab_time_ns: int
    recorded: bool = False
    line: bool | None = None


@dataclass(frozen=True)
class CameraPacket:
    """A frame as the camera sent it: H.264 in Annex B, with parameter sets before key pictures.

    `size` is the picture's (width, height), which may be another than that of the opened mode.
    """

    stamp: Stamp
    codec: Literal["mjpeg", "h264"]
    data: bytes
    size: tuple[int, int]


class SourceError(UserError):
    """A source that cannot be opened as asked: no such device, a mode it does not have, a missing file."""


class WrongSize(SourceError):
    """It delivers images of another `size` (width, height) than was asked for."""

    def __init__(self, message: str, size: tuple[int, int]) -> None:
        super().__init__(message)
        self.size = size


class SourceLost(Exception):
    """An open source went away (unplugged, stream ended unasked). Close it and open it again."""


class SourceTimeout(Exception):
    """No frame within the time allowed; the source is still open."""


class FrameCorrupt(Exception):
    """This one frame could not be decoded; the source is still open and the next frame may be good."""


class EndOfSource(Exception):
    """A recording has no further frame."""


class Source(Protocol):
    """One camera. Built without touching the device; every method is called from one thread.

    A failed `open` releases everything, and `open` may be called again. `close` may be called at any time, twice too.
    """

    def open(self) -> Mode:
        """Open the device in the mode asked for and start it.

        Raises SourceError where there is no such device or it does not do what was asked (asked against actual).
        """
        ...

    def grab(self, timeout_s: float) -> Stamp:
        """Wait for the next frame and stamp it, before decoding.

        Raises SourceTimeout, SourceLost, EndOfSource.
        """
        ...

    def retrieve(self, out: np.ndarray) -> None:
        """Write the frame last grabbed as BGR uint8 into `out` (height, width, 3), which may be shared memory.

        Raises FrameCorrupt, and SourceLost where the device went away meanwhile.
        """
        ...

    def close(self) -> None:
        """Release the device."""
        ...


def packets_of(source: Source) -> list[CameraPacket]:
    """Every frame since the last call as the camera sent it; none of a source that has no stream of its own."""
    packets = getattr(source, "packets", None)
    return [] if packets is None else packets()

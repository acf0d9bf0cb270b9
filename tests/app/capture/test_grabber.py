"""What a grabber says of a camera that is not there."""

import logging

import pytest

from app.capture.grabber import Grabber, GrabberTuning
from app.run.process import stop
from app.sources.source import Mode, Source, SourceError, SourceLost, Stamp
from app.transport.messages import CameraStatus, FrameHeader


class Returning:
    """A camera that is lost, away for some time, and comes back with images of another size."""

    def __init__(self) -> None:
        self._answers = [None, *["does not answer"] * 3, *["delivers 320x240"] * 3]

    def open(self) -> Mode:
        if not self._answers:
            stop.set()
            raise SourceError("delivers 320x240")
        if (answer := self._answers.pop(0)) is not None:
            raise SourceError(answer)
        return Mode(640, 480, 30.0, "640x480")

    def grab(self, timeout_s: float) -> Stamp:
        raise SourceLost("unplugged")

    def retrieve(self, out: object) -> None:
        """Never reached: no frame is grabbed."""

    def close(self) -> None:
        """Nothing is held."""


class Nowhere:
    clock_offset_ns = clock_error_ns = 0

    def open(self, mode: Mode) -> None: ...

    def frame(self, source: Source, header: FrameHeader) -> None: ...

    def status(self, status: CameraStatus) -> None: ...

    def close(self) -> None: ...


def test_each_reason_why_a_camera_is_not_there_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Only the first was said: why a camera that is there again is not taken could be read nowhere."""
    try:
        with caplog.at_level(logging.WARNING):
            Grabber("cam_0", Returning(), Nowhere(), tuning=GrabberTuning(retry_s=0.001)).run()
    finally:
        stop.clear()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "camera cam_0: lost: unplugged; looking for it again",
        "camera cam_0: lost: does not answer",
        "camera cam_0: lost: delivers 320x240",
    ]

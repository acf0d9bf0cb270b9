"""A source whose images are mirrored or lie on their side: they leave it upright."""

import numpy as np

from app.sources.source import CameraPacket, Mode, Source, SourceLost, Stamp, packets_of
from calibration.image_turn import ImageTurn


class TurnedSource:
    """Another source, with every image turned upright as it is retrieved."""

    def __init__(self, source: Source, turn: ImageTurn) -> None:
        self._source, self._turn = source, turn
        self._delivered: np.ndarray | None = None

    def open(self) -> Mode:
        mode = self._source.open()
        self._delivered = np.empty((mode.height, mode.width, 3), np.uint8)
        width, height = self._turn.exchanged((mode.width, mode.height))
        return Mode(width, height, mode.fps, f"{mode.description}, {self._turn}")

    def grab(self, timeout_s: float) -> Stamp:
        return self._source.grab(timeout_s)

    def retrieve(self, out: np.ndarray) -> None:
        if self._delivered is None:
            raise SourceLost("the source is not open")
        self._source.retrieve(self._delivered)
        self._turn.upright(self._delivered, out)

    def packets(self) -> list[CameraPacket]:
        """As the camera sent them: not turned."""
        return packets_of(self._source)

    def close(self) -> None:
        self._source.close()

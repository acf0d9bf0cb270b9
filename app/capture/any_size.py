"""A camera whose images may be of another size than its rig says: for a recording that looks for nothing in them."""

from dataclasses import replace

import numpy as np

from app.sources import make_source
from app.sources.source import CameraPacket, Mode, Source, Stamp, WrongSize, packets_of
from calibration.rig import Rig, RigCamera


class AnySizeSource:
    """The camera's own source, made anew for the size that it delivers."""

    def __init__(self, camera: RigCamera, rig: Rig, copies: bool = False, decodes: bool = True) -> None:
        self._camera, self._rig, self._copies, self._decodes = camera, rig, copies, decodes
        self._source = self._make(camera)

    def open(self) -> Mode:
        try:
            return self._source.open()
        except WrongSize as error:
            width, height = self._camera.turn.exchanged(error.size)
            lens = replace(self._camera.camera, width=width, height=height)
            self._source.close()
            self._source = self._make(replace(self._camera, camera=lens))
            return self._source.open()

    def _make(self, camera: RigCamera) -> Source:
        return make_source(camera, self._rig, self._copies, self._decodes)

    def grab(self, timeout_s: float) -> Stamp:
        return self._source.grab(timeout_s)

    def retrieve(self, out: np.ndarray) -> None:
        self._source.retrieve(out)

    def packets(self) -> list[CameraPacket]:
        return packets_of(self._source)

    def close(self) -> None:
        self._source.close()

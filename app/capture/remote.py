"""Grabbing for a worker on another machine: frames over TCP with CURVE, time stamps on the worker's clock.

Listens to: the worker's answers. Emits: FrameHeader with its payload, CameraStatus.
"""

import logging
import threading
import time
from typing import Literal

import cv2
import msgspec
import numpy as np

from app.capture.grabber import Grabber
from app.run.process import stop
from app.sources import make_source
from app.sources.source import Mode, Source
from app.transport.clock import ClockOffset
from app.transport.keys import Keys
from app.transport.messages import CameraStatus, FrameHeader
from app.transport.sockets import PAYLOAD_BACKLOG, CommandClient, Publisher, next_port
from calibration.camera import Camera
from calibration.camera_source import CameraSource
from calibration.errors import UserError
from calibration.image_turn import ImageTurn
from calibration.rig import Rig, RigCamera
from calibration.yamlfile import from_data

log = logging.getLogger(__name__)

_CLOCK_S = 0.5
_FIRST_TRIPS = 16
_ANSWER_S = 5.0

Encoding = Literal["jpeg", "raw"]


class _Answer(msgspec.Struct):
    source: CameraSource
    image_size: tuple[int, int]
    mirrored: bool = False
    rotate: Literal[0, 90, 180, 270] = 0


class RemoteOutput:
    """Frames and states to a worker over the network. The clock's offset is measured by a thread of its own."""

    def __init__(self, address: str, keys: Keys | None, encoding: Encoding, quality: int) -> None:
        self._publisher = Publisher(PAYLOAD_BACKLOG, keys)
        self._publisher.connect(address)
        self._encoding: Encoding = encoding
        self._quality = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._pixels: np.ndarray | None = None
        self.clock_offset_ns = 0
        self.clock_error_ns = 0
        self.frames = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow_clock, args=(next_port(address), keys), daemon=True)
        self._known = threading.Event()
        self._thread.start()

    def _follow_clock(self, address: str, keys: Keys | None) -> None:
        client = CommandClient(address, keys)
        clock = ClockOffset(client)
        trips = _FIRST_TRIPS
        while not self._closed.is_set():
            if clock.measure(trips):
                self.clock_offset_ns, self.clock_error_ns = clock.best()
                self._known.set()
                trips = 1
            self._closed.wait(_CLOCK_S)
        client.close()

    def open(self, mode: Mode) -> None:
        self._pixels = np.empty((mode.height, mode.width, 3), np.uint8)

    def frame(self, source: Source, header: FrameHeader) -> None:
        assert self._pixels is not None
        source.retrieve(self._pixels)
        if not self._known.is_set():
            return
        header.height, header.width = self._pixels.shape[:2]
        header.encoding = self._encoding
        if self._encoding == "jpeg":
            payload = cv2.imencode(".jpg", self._pixels, self._quality)[1].tobytes()
        else:
            payload = self._pixels.tobytes()
        header.publish_time_ns = time.monotonic_ns() + self.clock_offset_ns
        self._publisher.send(header, payload)
        self.frames += 1

    def status(self, status: CameraStatus) -> None:
        self._publisher.send(status)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._publisher.close()


def grab_remotely(
    camera_id: str, address: str, keys: Keys | None, encoding: Encoding, quality: int, seconds: float | None
) -> dict:
    """Ask the worker how the camera is opened, then grab it until told to stop.

    Raises UserError where the worker does not answer (absent, or it refuses these keys) or has no such camera.
    """
    source = make_source(*_ask_for_camera(camera_id, address, keys))
    output = RemoteOutput(address, keys, encoding, quality)
    end = threading.Timer(seconds or 0.0, stop.set)
    if seconds is not None:
        end.start()
    try:
        Grabber(camera_id, source, output).run()
    finally:
        end.cancel()  # else the program, told to end before, would wait for it
    return {
        "camera": camera_id,
        "frames": output.frames,
        "clock_offset_ms": output.clock_offset_ns / 1e6,
        "clock_error_ms": output.clock_error_ns / 1e6,
    }


def _ask_for_camera(camera_id: str, address: str, keys: Keys | None) -> tuple[RigCamera, Rig]:
    client = CommandClient(next_port(address), keys)
    try:
        answer = client.ask({"do": "camera", "camera_id": camera_id}, _ANSWER_S)
    finally:
        client.close()
    if answer is None:
        raise UserError(
            f"the worker at {address} did not answer within {_ANSWER_S:.0f} s. Is `usthand live --listen` running "
            f"there, are port {address.rpartition(':')[2]} and the next one open, and are the keys from one folder?"
        )
    if "error" in answer:
        raise UserError(str(answer["error"]))
    if answer["source"] is None:
        raise UserError(f"camera `{camera_id}` has no `source` in the worker's rig.yaml. Add one there.")
    told = from_data({key: answer[key] for key in _Answer.__struct_fields__}, _Answer, "the worker's answer")
    width, height = told.image_size
    # Grabbing needs the image size only: the worker keeps the calibration.
    matrix = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    lens = Camera(width=width, height=height, lens="pinhole5", matrix=matrix, distortion=np.zeros(5))
    turn = ImageTurn(told.mirrored, told.rotate)
    camera = RigCamera(camera_id=camera_id, camera=lens, T_cam_world=np.eye(4), source=told.source, turn=turn)
    return camera, Rig((camera,))

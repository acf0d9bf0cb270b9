"""USB cameras through OpenCV: a V4L2 device by index or path.

A path such as /dev/v4l/by-id/... names the camera itself and survives replugging, an index does not. Frames are
stamped with the driver's time, where it is one of the monotonic clock, else when it hands them over. URLs are
`network_stream`'s, files `video_file`'s.
"""

import os
import sys
from pathlib import Path

import cv2
import numpy as np

from app.sources.latest_frame import LatestFrame
from app.sources.mode_check import require_size, require_value
from app.sources.source import Mode, SourceError, SourceLost, Stamp
from calibration.camera_source import OpenCvSource
from calibration.rig import RigCamera

_TOLERANCE = 0.01
# V4L2_EXPOSURE_MANUAL of the kernel's V4L2_CID_EXPOSURE_AUTO.
_V4L2_MANUAL_EXPOSURE = 1


class OpenCvCapture:
    """A live camera through `cv2.VideoCapture`."""

    def __init__(self, camera: RigCamera) -> None:
        assert isinstance(camera.source, OpenCvSource)
        self._camera = camera
        self._label = f"camera `{camera.camera_id}`"
        self._source = camera.source
        device = camera.source.device
        self._device: int | str = int(device) if isinstance(device, str) and device.isdigit() else device
        self._reader: LatestFrame | None = None
        self._next_sequence = 0

    def open(self) -> Mode:
        self.close()
        self._reader = LatestFrame(self._name, self._open_device, self._next_sequence)
        try:
            return self._reader.start()
        except BaseException:
            self.close()
            raise

    def grab(self, timeout_s: float) -> Stamp:
        if self._reader is None:
            raise SourceLost(f"{self._name} is not open")
        return self._reader.take(timeout_s)

    def retrieve(self, out: np.ndarray) -> None:
        if self._reader is None:
            raise SourceLost(f"{self._name} is not open")
        self._reader.copy_taken(out)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._next_sequence = self._reader.next_sequence
            self._reader = None

    @property
    def _name(self) -> str:
        if isinstance(self._device, int):
            return f"video device {self._device}"
        return str(self._device)

    def _open_device(self) -> tuple[cv2.VideoCapture, Mode]:
        target = self._device
        if isinstance(target, str):
            target = os.path.realpath(target)
        linux = sys.platform == "linux"
        if linux:
            video_node(self._label, self._device)
        capture = cv2.VideoCapture(target, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)  # pyright: ignore[reportCallIssue, reportArgumentType]
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f"{self._label}: {self._name} is there but cannot be opened: it is no capture device, another "
                "program has it, or you lack the right to it. Close the other program, or join the group `video`."
            )
        try:
            self._configure(capture)
        except BaseException:
            capture.release()
            raise
        return self._checked(capture)

    def _configure(self, capture: cv2.VideoCapture) -> None:
        # The order matters: the pixel format decides which sizes there are, and the size which rates.
        if self._source.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, _fourcc_code(self._source.fourcc, self._camera.camera_id))
        width, height = self._camera.source_size
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        if self._source.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, self._source.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        for key, value, properties in (
            ("exposure", self._source.exposure, (cv2.CAP_PROP_AUTO_EXPOSURE, cv2.CAP_PROP_EXPOSURE)),
            ("gain", self._source.gain, (None, cv2.CAP_PROP_GAIN)),
        ):
            if value is None:
                continue
            automatic, own = properties
            if automatic is not None:
                capture.set(automatic, _V4L2_MANUAL_EXPOSURE)
            if not capture.set(own, value):
                raise SourceError(
                    f"{self._label}, {self._name}: asked for {key} {value:g}, but its driver refuses it; "
                    f"it has {capture.get(own):g}. Set `{key}` in rig.yaml to a value in its range, or remove it."
                )

    def _checked(self, capture: cv2.VideoCapture) -> tuple[cv2.VideoCapture, Mode]:
        try:
            return capture, self._check_mode(capture)
        except BaseException:
            capture.release()
            raise

    def _check_mode(self, capture: cv2.VideoCapture) -> Mode:
        source, name = self._source, self._name
        actual = _fourcc_text(capture.get(cv2.CAP_PROP_FOURCC))
        if source.fourcc is not None:
            require_value(self._camera, name, "fourcc", source.fourcc.upper(), actual.upper())
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        require_size(self._camera, name, width, height)
        fps = capture.get(cv2.CAP_PROP_FPS)
        known = 0 < fps < 1000
        if source.fps is not None:
            require_value(self._camera, name, "fps", source.fps, fps, _TOLERANCE)
        if source.exposure is not None:
            require_value(
                self._camera, name, "exposure", source.exposure, capture.get(cv2.CAP_PROP_EXPOSURE), _TOLERANCE
            )
        if source.gain is not None:
            require_value(self._camera, name, "gain", source.gain, capture.get(cv2.CAP_PROP_GAIN), _TOLERANCE)
        return Mode(width, height, fps if known else None, f"{name}: {width}x{height} {actual} at {fps:.4g} fps")


def video_node(label: str, device: int | str) -> str:
    """The file of a device by its index or path. Raises SourceError where there is none."""
    name = str(device)
    node = f"/dev/video{name}" if name.isdigit() else os.path.realpath(name)
    if not Path(node).exists():
        name = f"video device {name}" if name.isdigit() else name
        raise SourceError(f"{label}: there is no {name}. Plug the camera in, or give one that `usthand cameras` lists.")
    return node


def _fourcc_code(text: str, camera_id: str) -> int:
    if len(text) != 4:
        raise SourceError(f"camera `{camera_id}`: fourcc is `{text}`; it has four characters, such as MJPG or YUYV.")
    return cv2.VideoWriter.fourcc(*text)


def _fourcc_text(code: float) -> str:
    value = int(code)
    text = bytes((value >> shift) & 0xFF for shift in (0, 8, 16, 24)) if value >= 0 else b""
    return text.decode("ascii", "replace").strip("\0")

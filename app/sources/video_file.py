"""A video file in place of a camera: it plays at its own rate, and does not wait for a reader that is slow."""

import time
from pathlib import Path

import numpy as np

from app.sources.mode_check import require_size
from app.sources.source import EndOfSource, FrameCorrupt, Mode, SourceError, SourceLost, SourceTimeout, Stamp
from app.sources.video_frames import VideoFrames
from calibration.camera_source import OpenCvSource
from calibration.rig import RigCamera


def is_url(device: int | str) -> bool:
    return isinstance(device, str) and "://" in device


def is_video_file(device: int | str) -> bool:
    """Whether an OpenCV `device` is a file: no index, no URL and nothing under /dev."""
    return isinstance(device, str) and not (device.isdigit() or is_url(device) or device.startswith("/dev/"))


class VideoFileCapture:
    """Plays a file from its start each time it is opened, paced by its rate or by the source's `fps`."""

    def __init__(self, camera: RigCamera) -> None:
        assert isinstance(camera.source, OpenCvSource)
        self._camera = camera
        self._label = f"camera `{camera.camera_id}`"
        self._source = camera.source
        self._path = Path(str(camera.source.device))
        self._video: VideoFrames | None = None
        self._period_ns = 0
        self._start_ns = 0
        self._number = -1
        self._first_sequence = 0

    def open(self) -> Mode:
        self.close()
        for key in ("fourcc", "exposure", "gain"):
            if getattr(self._source, key) is not None:
                raise SourceError(
                    f"{self._label}: `{key}` cannot be set on the file {self._path}. Remove it from rig.yaml."
                )
        video = VideoFrames(self._path)
        fps = self._source.fps or video.fps
        try:
            require_size(self._camera, str(self._path), video.width, video.height)
            if not 0 < fps <= 1000:
                raise SourceError(
                    f"{self._label}: {self._path} states a rate of {fps:g} frames a second. Set `fps` in "
                    "rig.yaml to the rate to play it at."
                )
        except BaseException:
            video.close()
            raise
        self._video = video
        self._period_ns = round(1e9 / fps)
        self._start_ns = time.monotonic_ns()
        self._number = -1
        return Mode(video.width, video.height, fps, f"{self._path}: {video.width}x{video.height} at {fps:.4g} fps")

    def grab(self, timeout_s: float) -> Stamp:
        if self._video is None:
            raise SourceLost(f"{self._path} is not open")
        now_ns = time.monotonic_ns()
        wait_ns = self._start_ns + (self._number + 1) * self._period_ns - now_ns
        if wait_ns > timeout_s * 1e9:
            time.sleep(max(timeout_s, 0))
            raise SourceTimeout(f"{self._path}: no frame in {timeout_s:.3g} s")
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        due = max(self._number + 1, (now_ns - self._start_ns) // self._period_ns)
        while self._number < due:
            number = self._video.grab()
            if number is None:
                raise EndOfSource(f"{self._path} is over after {self._number + 1} frames")
            self._number = number
        now_ns = time.monotonic_ns()
        return Stamp(sequence=self._first_sequence + self._number, capture_time_ns=now_ns, grab_time_ns=now_ns)

    def retrieve(self, out: np.ndarray) -> None:
        if self._video is None:
            raise SourceLost(f"{self._path} is not open")
        if not self._video.retrieve(out):
            raise FrameCorrupt(f"{self._path}: frame {self._number} could not be decoded")

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None
            self._first_sequence += self._number + 1
            self._number = -1

"""One camera of a recorded session, with the times of the recording. Its reader sets the pace."""

import logging
import time
from collections import deque
from pathlib import Path

import numpy as np

from app.sources.mode_check import require_size
from app.sources.source import EndOfSource, FrameCorrupt, Mode, SourceError, SourceLost, Stamp
from app.sources.video_frames import VideoFrames
from calibration.camera_source import RecordedSource
from calibration.errors import UserError
from calibration.played_frames import played_frames
from calibration.rig import RigCamera
from calibration.session import read_session

log = logging.getLogger(__name__)


class RecordedCapture:
    """Every frame of the camera in order, none skipped: sequence counts from 0 in each pass over the recording.

    A frame that cannot be decoded is stamped like the others, and `retrieve` raises FrameCorrupt for it.
    """

    def __init__(self, camera: RigCamera) -> None:
        assert isinstance(camera.source, RecordedSource)
        self._camera = camera
        self._source = camera.source
        self._video: VideoFrames | None = None
        self._video_path = Path()
        self._times_ns: np.ndarray = np.empty(0, np.int64)
        self._played: deque[int] = deque()
        self._number = -1
        self._decodable = -1

    def open(self) -> Mode:
        self.close()
        name = self._source.camera
        try:
            session = read_session(Path(self._source.session))
            if name not in session.camera_ids:
                raise SourceError(
                    f"{session.path}: the session has no camera `{name}`; it has {', '.join(session.camera_ids)}. "
                    f"Correct the `source` of camera `{self._camera.camera_id}` in rig.yaml."
                )
            self._times_ns = session.frame_times_ns(name)
            self._played = deque(played_frames(self._source, self._times_ns).tolist())
        except SourceError:
            raise
        except UserError as error:
            raise SourceError(str(error)) from None
        self._video_path = session.video_path(name)
        video = VideoFrames(self._video_path, len(self._times_ns))
        try:
            require_size(self._camera, str(self._video_path), video.width, video.height)
        except BaseException:
            video.close()
            raise
        self._video = video
        self._number = self._decodable = -1
        fps = _rate(self._times_ns)
        return Mode(
            video.width,
            video.height,
            fps,
            f"{self._video_path}: {len(self._times_ns)} frames of {self._source.session}",
        )

    def grab(self, timeout_s: float) -> Stamp:
        if self._video is None:
            raise SourceLost(f"{self._video_path} is not open")
        if not self._played:
            whole = self._number + 1 == len(self._times_ns) and self._decodable == self._number
            if whole and (found := self._video.grab()) is not None:
                self._decodable = found
                log.warning("%s: has more frames than the session's frames.csv, which ends here", self._video_path)
            raise EndOfSource(f"{self._video_path} is over after {self._number + 1} frames")
        following = self._played.popleft()
        while self._decodable < following:
            found = self._video.grab()
            if found is None:
                log.warning(
                    "%s: ends after %d frames; the session's frames.csv has %d",
                    *(self._video_path, following, len(self._times_ns)),
                )
                raise EndOfSource(f"{self._video_path} is over after {following} frames")
            self._decodable = found
        self._number = following
        time_ns = int(self._times_ns[following])
        return Stamp(sequence=following, capture_time_ns=time_ns, grab_time_ns=time.monotonic_ns(), recorded=True)

    def retrieve(self, out: np.ndarray) -> None:
        if self._video is None:
            raise SourceLost(f"{self._video_path} is not open")
        if self._decodable != self._number or not self._video.retrieve(out):
            raise FrameCorrupt(f"{self._video_path}: frame {self._number} could not be decoded")

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None


def _rate(times_ns: np.ndarray) -> float | None:
    if len(times_ns) < 2 or times_ns[-1] <= times_ns[0]:
        return None
    return float((len(times_ns) - 1) * 1e9 / (times_ns[-1] - times_ns[0]))

"""The board in every view of a frame set, found in parallel."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import cv2
import msgspec
import numpy as np

from calibration.board.board import Board
from calibration.board.detector import BoardDetection
from calibration.board.tracker import BoardTracker
from calibration.board.views import BoardView
from calibration.frames import Frame, FrameSet

_SURE_OF_LAYOUT = 5


@dataclass
class BoardViews:
    """The images of one frame set (BGR, copies), and the board in them."""

    time_ns: int
    images: dict[str, np.ndarray] = field(default_factory=dict)
    views: dict[str, BoardView] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)

    def shift(self, by_ns: int) -> None:
        """Move all times."""
        self.time_ns += by_ns
        self.views = {name: replace(view, time_ns=view.time_ns + by_ns) for name, view in self.views.items()}


class BoardFinder:
    """Looks for the board in the cameras' images. Notices an inverted board, mirrored cameras, and the layout."""

    def __init__(self, board: Board, camera_ids: tuple[str, ...]) -> None:
        self._board = board
        self._trackers = {camera_id: BoardTracker(board) for camera_id in camera_ids}
        self._seen: Counter[str] = Counter()
        self._fronts: Counter[str] = Counter()
        self._layouts: Counter[bool] = Counter()
        self._pool = ThreadPoolExecutor(len(camera_ids), thread_name_prefix="board")
        self._set = 0

    def find(self, frame_set: FrameSet) -> BoardViews:
        """Copies the images and searches them; a frame that was overwritten meanwhile is left out."""
        self._set += 1
        seen = BoardViews(frame_set.reference_time_ns)
        jobs = {camera_id: self._pool.submit(self._look, frame) for camera_id, frame in frame_set.frames.items()}
        for camera_id, job in jobs.items():
            image, found = job.result()
            if image is None or found is None:
                continue
            frame = frame_set.frames[camera_id]
            seen.images[camera_id] = image
            if found.found:
                self._seen[camera_id] += 1
                self._fronts[camera_id] += not found.mirrored
                seen.views[camera_id] = BoardView(
                    camera_id=camera_id,
                    frame=frame.sequence,
                    time_ns=frame.capture_time_ns,
                    corner_ids=found.corner_ids,
                    corners_px=found.corners_px,
                    std_px=found.std_px,
                )
                if found.legacy is not None:
                    self._note_layout(found.legacy)
            elif found.markers or found.rejected != "no board":
                seen.rejected[camera_id] = found.rejected or ""
        return seen

    def _look(self, frame: Frame) -> tuple[np.ndarray | None, BoardDetection | None]:
        image = frame.pixels.copy()
        if not frame.intact():
            return None, None
        return image, self._trackers[frame.camera_id].detect(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))

    def _note_layout(self, legacy: bool) -> None:
        self._layouts[legacy] += 1
        known = self._board.legacy
        if known is None and self._layouts.total() == _SURE_OF_LAYOUT:
            self._board = msgspec.structs.replace(self._board, legacy=self._layouts.most_common(1)[0][0])
            for camera_id, tracker in self._trackers.items():
                self._trackers[camera_id] = tracker.for_board(self._board)

    def resume(self, facts: dict) -> None:
        """Go on with what an earlier run found out."""
        if facts.get("legacy") is not None:
            self._board = msgspec.structs.replace(self._board, legacy=facts["legacy"])
        for camera_id, tracker in self._trackers.items():
            inverted = camera_id in facts.get("inverted", ())
            if camera_id in facts.get("mirrored", ()):
                self._seen[camera_id] += 1
            if inverted:
                self._trackers[camera_id] = BoardTracker(self._board, inverted=not self._board.inverted)
            elif facts.get("legacy") is not None:
                self._trackers[camera_id] = tracker.for_board(self._board)

    @property
    def facts(self) -> dict:
        """What was found out: `legacy`, and the cameras that see the board `inverted` or always `mirrored`.

        `inverted` lists cameras where black and white are not as `board.yaml` says.
        """
        trackers = self._trackers.items()
        legacy = self._layouts.most_common(1)[0][0] if self._layouts else self._board.legacy
        return {
            "legacy": legacy,
            "inverted": [name for name, tracker in trackers if tracker.inverted != self._board.inverted],
            "mirrored": [name for name, _ in trackers if self._seen[name] and not self._fronts[name]],
        }

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

"""The board in every image of a recorded session."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from calibration.board.board import Board, check_board
from calibration.board.detector import LAYOUT, NO_BOARD, BoardDetection
from calibration.board.markers import check_dictionary
from calibration.board.tracker import BoardTracker
from calibration.board.views import BoardView, Detections
from calibration.errors import UserError
from calibration.session import Session

_LOOK_BACK = 7
_LOOK_BACK_BYTES = 24_000_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class _CameraScan:
    """What one camera's video showed: the detections by frame, and how many frames were looked at."""

    by_frame: dict[int, BoardDetection]
    size: tuple[int, int]
    looked_at: int
    inverted: bool


@dataclass
class _Count:
    """Frames done of all cameras, told to `progress` one at a time."""

    total: int
    progress: Progress | None
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self) -> None:
        if self.progress is not None:
            with self.lock:
                self.done += 1
                self.progress(min(self.done, self.total), self.total)


def detect_session(
    session: Session,
    board: Board,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    every: int = 1,
) -> Detections:
    """Find the board in the videos of a session, at every `every`-th frame.

    One thread per camera, at most `workers`; the result does not depend on it. `progress(done, total)` counts frames
    and is called from these threads, one at a time. The board is found from its back too, where its markers are
    mirrored, and with black and white swapped. Raises UserError for a board that cannot exist or a video that cannot be
    read.
    """
    check_board(board, "the board")
    check_dictionary(board, "the board")
    cameras = session.camera_ids
    times = {camera_id: session.frame_times_ns(camera_id) for camera_id in cameras}
    count = _Count(sum(-(-len(times[camera_id]) // every) for camera_id in cameras), progress)

    def scan(camera_id: str) -> _CameraScan:
        return _scan(session, camera_id, board, every, count)

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(min(workers or len(cameras), len(cameras))) as pool:
            seen = dict(zip(cameras, pool.map(scan, cameras), strict=True))
    finally:
        cv2.setNumThreads(threads)
    return _gather(seen, times, board)


def _scan(session: Session, camera_id: str, board: Board, every: int, count: _Count) -> _CameraScan:
    tracker = BoardTracker(board)
    frames = len(session.frame_times_ns(camera_id))
    video = session.open_video(camera_id)
    by_frame: dict[int, BoardDetection] = {}
    passed: deque[tuple[int, np.ndarray]] = deque(maxlen=_LOOK_BACK)
    size, looked_at = (0, 0), 0
    try:
        for frame in range(frames):
            if not video.grab():
                break
            if frame % every:
                continue
            image = video.retrieve()
            if image is None:
                break
            gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            size, looked_at = (gray.shape[1], gray.shape[0]), looked_at + 1
            found = tracker.detect(gray)
            if found.rejected != NO_BOARD:
                by_frame[frame] = found
            if found.found:
                _look_back(tracker, passed, by_frame)
                passed.clear()
            elif board.type != "chessboard":
                passed.append((frame, gray))
                while len(passed) > 1 and len(passed) * gray.size > _LOOK_BACK_BYTES:
                    passed.popleft()
            count.add()
    finally:
        video.close()
    if not looked_at:
        path = session.video_path(camera_id)
        raise UserError(f"{path}: no frame can be read from this video. Check that the file is whole.")
    return _CameraScan(by_frame=by_frame, size=size, looked_at=looked_at, inverted=tracker.inverted)


def _look_back(
    tracker: BoardTracker, passed: deque[tuple[int, np.ndarray]], by_frame: dict[int, BoardDetection]
) -> None:
    """Follow a board that was just found back through the images before, where a search of the whole missed it."""
    back = tracker.copy()
    for frame, gray in reversed(passed):
        found = back.follow(gray)
        if not found.found:
            break
        by_frame[frame] = found


def _gather(seen: dict[str, _CameraScan], times: dict[str, np.ndarray], board: Board) -> Detections:
    accepted = [found for one in seen.values() for found in one.by_frame.values() if found.found]
    layouts = Counter(found.legacy for found in accepted if found.legacy is not None)
    legacy = layouts.most_common(1)[0][0] if layouts else None
    views: dict[str, list[BoardView]] = {}
    fronts: Counter[str] = Counter()
    reasons: dict[str, dict[str, int]] = {}
    for camera_id, one in seen.items():
        views[camera_id] = []
        turned_down: Counter[str] = Counter()
        for frame, found in sorted(one.by_frame.items()):
            if found.rejected is not None or (found.legacy is not None and found.legacy != legacy):
                turned_down[found.rejected or LAYOUT] += 1
                continue
            time_ns = int(times[camera_id][frame])
            fronts[camera_id] += not found.mirrored
            views[camera_id].append(
                BoardView(
                    camera_id=camera_id,
                    frame=frame,
                    time_ns=time_ns,
                    corner_ids=found.corner_ids,
                    corners_px=found.corners_px,
                    std_px=found.std_px,
                )
            )
        turned_down[NO_BOARD] += one.looked_at - len(one.by_frame)
        reasons[camera_id] = {reason: number for reason, number in sorted(turned_down.items()) if number}
    polarity = Counter({True: 0, False: 0})
    for camera_id, one in seen.items():
        polarity[one.inverted] += len(views[camera_id])
    return Detections(
        views=views,
        image_size={camera_id: one.size for camera_id, one in seen.items()},
        looked_at={camera_id: one.looked_at for camera_id, one in seen.items()},
        rejected=reasons,
        legacy=legacy,
        inverted=board.inverted if not polarity.total() else polarity[True] > polarity[False],
        mirrored=tuple(camera_id for camera_id in seen if views[camera_id] and not fronts[camera_id]),
    )


def sample_frames(session: Session, camera_id: str, samples: int) -> list[np.ndarray]:
    """About `samples` images (H, W) uint8 spread evenly over a camera's video."""
    frames = len(session.frame_times_ns(camera_id))
    step = max(1, frames // samples)
    images = []
    video = session.open_video(camera_id)
    try:
        for frame in range(frames):
            if not video.grab():
                break
            if frame % step == 0 and (image := video.retrieve()) is not None:
                images.append(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    finally:
        video.close()
    return images

"""Poses of a run as one NPZ file, kept on disk while the run goes on.

While it runs, rows lie in a folder `.NAME.npz.part` beside the file; at its end they become the file, whoever ends it:
the worker, or the supervisor after a worker that died.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from app.estimators.estimator import Estimate, Hand
from app.transport.messages import HandPose, PoseSet
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.hand import Definition

_HAND = np.dtype(
    [
        ("time", np.int64),
        ("hand", "U5"),
        ("track", np.int64),
        ("joints", np.float32, (21, 3)),
        ("covariance", np.float32, (21, 3, 3)),
        ("confidence", np.float32, (21,)),
        ("views", np.uint64),
    ]
)
_SET = np.dtype([("time", np.int64), ("views", np.uint64), ("held", np.int64), ("predicted", np.int64)])
_FLUSH_S = 0.5
# What a file has besides its rows: the names of its arrays, a few hundred bytes each.
_ROOM = 65536


class PoseFile:
    """Writes rows as they come, so that memory stays flat and a crash loses less than a second, and `path` at the end.

    Arrays, one row a hand: `time` (n,) nanoseconds of the recording's clock, `hand` (n,) "left" or "right", `track`
    (n,), `joints` (n, 21, 3) world metres, `covariance` (n, 21, 3, 3) square metres, `confidence` (n, 21), `views`
    (n, V) whether a camera saw it. One row a set: `set_time` (s,), `set_views` (s, V) whether a camera took part,
    `set_held` and `set_predicted` (s,) hands that were followed and not measured. `cameras` (V,) their names.
    `definition`, a text: where on the hand the joints lie.
    """

    def __init__(self, path: Path, cameras: Sequence[str]) -> None:
        self.path = Path(path)
        self._part = part_of(self.path)
        self._bits = {camera_id: 1 << number for number, camera_id in enumerate(cameras)}
        self._flushed_s = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._part, ignore_errors=True)
            self._part.mkdir()
            self._hands = (self._part / "hands").open("wb")
            self._sets = (self._part / "sets").open("wb")
            # Room for the file itself, so that a full disk is noticed while what was written can still become one.
            self._room = os.open(self._part / "room", os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise UserError(f"{self.path}: cannot write there ({error.strerror}). Give another path.") from None

    def begin(self, definition: Definition) -> None:
        """Before the first set."""
        about = {"definition": definition, "cameras": list(self._bits)}
        self._write(lambda: (self._part / "about.json").write_text(json.dumps(about)))

    def add(self, frame_set: FrameSet, estimate: Estimate) -> None:
        """Raises UserError where the disk is full."""
        for hand in estimate.hands:
            self._add_hand(hand.side, hand, hand.detections_px)
        self._add_set(frame_set.reference_time_ns, frame_set.frames, [hand.state for hand in estimate.unseen])

    def add_message(self, poses: PoseSet) -> None:
        """The same of a set as it was published."""
        for hand in poses.hands:
            self._add_hand(hand.hand, hand, hand.views)
        self._add_set(poses.reference_time_ns, poses.views, [hand.state for hand in poses.unseen])

    def _add_hand(self, side: str, hand: Hand | HandPose, views: Iterable[str]) -> None:
        row = (hand.capture_time_ns, side, hand.track_id, hand.joints_world_m, hand.covariance_m2, hand.confidence)
        row = np.array((*row, self._mask(views)), _HAND)
        self._write(lambda: self._hands.write(row.tobytes()))

    def _add_set(self, time_ns: int, views: Iterable[str], states: Sequence[str]) -> None:
        row = np.array((time_ns, self._mask(views), states.count("held"), states.count("predicted")), _SET)
        self._write(lambda: self._sets.write(row.tobytes()))
        if time.monotonic() - self._flushed_s > _FLUSH_S:
            self._flush()

    def close(self) -> None:
        """Make the file. Raises UserError where it cannot be written."""
        self._flush()
        for file in (self._hands, self._sets):
            file.close()
        os.close(self._room)
        self._write(lambda: finish_poses(self.path))

    def _flush(self) -> None:
        self._flushed_s = time.monotonic()

        def flush() -> None:
            self._sets.flush()
            self._hands.flush()
            rows = self._hands.tell() // _HAND.itemsize
            wider = len(self._bits) * (rows + self._sets.tell() // _SET.itemsize)
            os.posix_fallocate(self._room, 0, self._hands.tell() + self._sets.tell() + wider + _ROOM)

        self._write(flush)

    def _write(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            raise UserError(
                f"{self.path}: the poses could not be written ({error.strerror}). Make room, or give another path."
            ) from None

    def _mask(self, cameras: Iterable[str]) -> int:
        return sum(self._bits.get(camera_id, 0) for camera_id in cameras)


def part_of(path: Path) -> Path:
    """Where the rows lie while a run goes on."""
    return path.with_name(f".{path.name}.part")


def has_rows(path: Path) -> bool:
    """Whether a run left rows that did not become the file."""
    return (part_of(path) / "about.json").is_file()


def finish_poses(path: Path) -> int:
    """Make the file of the rows that there are, and remove those; returns how many hands. Raises OSError."""
    part = part_of(path)
    about = json.loads((part / "about.json").read_text())
    count = len(about["cameras"])
    hands, sets = _rows(part / "hands", _HAND), _rows(part / "sets", _SET)
    arrays = {name: hands[name] for name in _HAND.names or () if name != "views"}
    arrays |= {"views": _bits(hands["views"], count), "cameras": np.array(about["cameras"])}
    arrays |= {f"set_{name}": sets[name] for name in ("time", "held", "predicted")}
    arrays |= {"set_views": _bits(sets["views"], count), "definition": np.array(about["definition"])}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        (part / "room").unlink(missing_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    return len(hands)


def _rows(path: Path, dtype: np.dtype) -> np.ndarray:
    """Whole rows only: a process that was killed may have left a part of one."""
    count = path.stat().st_size // dtype.itemsize
    return np.memmap(path, dtype, "r", shape=(count,)) if count else np.empty(0, dtype)


def _bits(masks: np.ndarray, count: int) -> np.ndarray:
    """(n, count) bool"""
    return (masks[:, None] >> np.arange(count, dtype=np.uint64)) & np.uint64(1) == 1

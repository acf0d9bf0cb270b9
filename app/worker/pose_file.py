"""Poses of a run as one NPZ file."""

import os
import tempfile
from pathlib import Path

import numpy as np

from app.estimators.estimator import Hand
from app.transport.messages import HandPose
from calibration.errors import UserError
from calibration.hand import Definition

_RECORD = np.dtype(
    [
        ("time_ns", np.int64),
        ("hand", "U5"),
        ("track_id", np.int64),
        ("joints_world_m", np.float32, (21, 3)),
        ("covariance_m2", np.float32, (21, 3, 3)),
        ("confidence", np.float32, (21,)),
    ]
)
_NAMES = {
    "time_ns": "time",
    "hand": "hand",
    "track_id": "track",
    "joints_world_m": "joints",
    "covariance_m2": "covariance",
    "confidence": "confidence",
}


class PoseFile:
    """Collects hands on disk, so that memory stays flat, and writes `path` at the end, atomically.

    Arrays, one row a hand: `time` (n,) nanoseconds of the recording's clock, `hand` (n,) "left" or "right", `track`
    (n,), `joints` (n, 21, 3) world metres, `covariance` (n, 21, 3, 3) square metres, `confidence` (n, 21). And
    `definition`, a text: where on the hand the joints lie.
    """

    def __init__(self, path: Path, rows: Path | None = None) -> None:
        """With `rows`, they are in that file until the end, each at once: what a crash left is read from it again."""
        self.path = Path(path)
        self._rows_path = rows
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # They live as long as this object.
            if rows is None:
                self._rows = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
            else:
                self._rows = rows.open("a+b", buffering=0)
        except OSError as error:
            raise UserError(f"{self.path}: cannot write there ({error.strerror}). Give another path.") from None

    def add(self, hand: Hand | HandPose) -> None:
        """Raises UserError where the disk is full."""
        side = hand.hand if isinstance(hand, HandPose) else hand.side
        row = np.array(
            (hand.capture_time_ns, side, hand.track_id, hand.joints_world_m, hand.covariance_m2, hand.confidence),
            _RECORD,
        )
        try:
            self._rows.write(row.tobytes())
        except OSError as error:
            raise UserError(f"{self.path}: the poses could not be written ({error.strerror}).") from None

    def close(self, definition: Definition) -> None:
        """Write the file."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self._rows.seek(0)
            # A crash may have torn the last row.
            content = self._rows.read()
            rows = np.frombuffer(content[: len(content) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)
            with temporary.open("wb") as file:
                arrays = {name: rows[field] for field, name in _NAMES.items()}
                np.savez_compressed(file, **arrays, definition=np.array(definition))  # pyright: ignore[reportArgumentType]
            os.replace(temporary, self.path)
            if self._rows_path is not None:
                self._rows_path.unlink()
        except OSError as error:
            raise UserError(f"{self.path}: the poses could not be written ({error.strerror}).") from None
        finally:
            temporary.unlink(missing_ok=True)
            self._rows.close()

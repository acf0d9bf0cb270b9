"""Poses of a run as one NPZ file."""

import os
import tempfile
from pathlib import Path

import numpy as np

from app.estimators.estimator import Hand
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

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115 - lives as long as this object
        except OSError as error:
            raise UserError(f"{self.path}: cannot write there ({error.strerror}). Give another path.") from None

    def add(self, hand: Hand) -> None:
        """Raises UserError where the disk is full."""
        row = np.array(
            (hand.capture_time_ns, hand.side, hand.track_id, hand.joints_world_m, hand.covariance_m2, hand.confidence),
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
            rows = np.frombuffer(self._rows.read(), _RECORD)
            with temporary.open("wb") as file:
                arrays = {name: rows[field] for field, name in _NAMES.items()}
                np.savez_compressed(file, **arrays, definition=np.array(definition))  # pyright: ignore[reportArgumentType]
            os.replace(temporary, self.path)
        except OSError as error:
            raise UserError(f"{self.path}: the poses could not be written ({error.strerror}).") from None
        finally:
            temporary.unlink(missing_ok=True)
            self._rows.close()

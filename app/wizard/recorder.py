"""The wizard's folder: the journal, and every captured image as a session that can be calibrated again.

Images are appended as JPEG to one Motion JPEG file per camera. The journal is the truth: what a crash left of a capture
that the journal does not have is cut off when the folder is opened again.
"""

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from calibration.board.board import Board, write_board
from calibration.errors import UserError, reason_of, write_error
from calibration.found_files import open_found
from calibration.rig import Rig
from calibration.session import write_session
from calibration.wizard.journal import Journal, read_journal
from calibration.wizard.wizard import Capture
from calibration.written_files import errors_naming

JOURNAL = "journal.jsonl"
_QUALITY = 95
_START = b"\xff\xd8"


class Recorder:
    """Writes captures into `folder`, which is made where it does not exist; `captures` are those it had. `left_out` are
    its cameras that the rig has no longer: what they saw stays in the journal, for a rig that has them again.

    Raises UserError where the folder was begun with another board or other cameras, or cannot be written.
    """

    def __init__(self, folder: Path, rig: Rig, board: Board) -> None:
        self.folder, self._rig = Path(folder), rig
        size = {camera.camera_id: (camera.camera.width, camera.camera.height) for camera in rig.cameras}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(self.folder / JOURNAL, board, size)
            write_board(self.folder / "board.yaml", board)
            whole = read_journal(self._journal.path)
            self.left_out = [camera_id for camera_id in whole.image_size if camera_id not in rig.camera_ids]
            content = whole.of_cameras(rig.camera_ids)
            self.captures, self.facts = content.captures, content.facts
            self._ends: dict[str, list[int]] = {camera_id: [] for camera_id in rig.camera_ids}
            for camera_id in rig.camera_ids:
                self._cut(camera_id)
            self._write_session()
        except OSError as error:
            raise write_error(
                f"{folder}: cannot be written ({reason_of(error)}). Give another folder.", error
            ) from None

    def video_path(self, camera_id: str) -> Path:
        return self.folder / f"{camera_id}.mjpeg"

    def add(self, capture: Capture, images: Sequence[Mapping[str, bytes]], facts: dict) -> None:
        """Keep a capture: `images` are the JPEG files of its sets' views."""
        for views, of_set in zip(capture.sets, images, strict=True):
            for camera_id in views:
                self._append(camera_id, of_set[camera_id])
        self._journal.capture(capture, facts)
        self.captures.append(capture)
        self._write_session()

    def undo(self, capture: Capture) -> None:
        """Take the last capture back, its images too."""
        self._journal.undo(capture)
        self.captures.pop()
        for camera_id in self._ends:
            self._truncate(camera_id)
        self._write_session()

    def _frames(self, camera_id: str) -> int:
        return sum(camera_id in views for capture in self.captures for views in capture.sets)

    def _append(self, camera_id: str, jpeg: bytes) -> None:
        with errors_naming(self.video_path(camera_id)), self.video_path(camera_id).open("ab") as file:
            file.write(jpeg)
            file.flush()
            # On the disk before the journal tells of it.
            os.fsync(file.fileno())
            self._ends[camera_id].append(file.tell())

    def _cut(self, camera_id: str) -> None:
        """Find the images in the file again and cut off what the journal does not know."""
        path = self.video_path(camera_id)
        path.touch()
        self._ends[camera_id] = _jpeg_ends(path)
        if len(self._ends[camera_id]) < self._frames(camera_id):
            raise UserError(
                f"{path}: has {len(self._ends[camera_id])} images; the journal has {self._frames(camera_id)} of this "
                "camera. Put the file back, or begin anew without --resume."
            )
        self._truncate(camera_id)

    def _truncate(self, camera_id: str) -> None:
        ends = self._ends[camera_id]
        del ends[self._frames(camera_id) :]
        os.truncate(self.video_path(camera_id), ends[-1] if ends else 0)

    def _write_session(self) -> None:
        """Bring the three files of the session up to date, of the cameras that saw the board if two did."""
        seen = tuple(camera for camera in self._rig.cameras if self._frames(camera.camera_id))
        rig = replace(self._rig, cameras=seen if len(seen) > 1 else self._rig.cameras)
        times = {
            camera_id: np.array(
                [views[camera_id].time_ns for capture in self.captures for views in capture.sets if camera_id in views],
                dtype=np.int64,
            )
            for camera_id in rig.camera_ids
        }
        write_session(
            self.folder,
            rig,
            {camera_id: self.video_path(camera_id).name for camera_id in rig.camera_ids},
            times,
            clock="monotonic clock of the capturing computer, resumed runs moved to follow one another",
            source="captures of usthand calibrate",
            calibrated=False,
            upright=[camera.camera_id for camera in rig.cameras if camera.turn],
        )


def _jpeg_ends(path: Path) -> list[int]:
    """Where each JPEG of a concatenation of any size ends. Only whole ones count. Raises OSError."""
    ends, at = [], 0
    with open_found(path) as file:
        if not os.fstat(file.fileno()).st_size:  # cannot be mapped
            return ends
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            while data[at : at + 2] == _START:
                end = _jpeg_end(data, at)
                if end is None:
                    break
                ends.append(end)
                at = end
    return ends


def _jpeg_end(data: mmap.mmap, at: int) -> int | None:
    """End of the JPEG at `at`, by its segments' lengths and then the end marker; None where it is cut short.

    Source: ITU-T T.81, annex B: within the scan 0xff is followed by 0x00 or a restart marker until the end marker.
    """
    at += 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    end = data.find(b"\xff\xd9", at)
    return None if end < 0 else end + 2


def encode_jpeg(image: np.ndarray) -> bytes:
    """An image (H, W, 3) BGR as JPEG."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()

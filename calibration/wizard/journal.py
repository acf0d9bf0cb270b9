"""The wizard's journal: one JSON line per event, appended and synced, so that a crash loses nothing captured.

The first line describes the board and the cameras; then come captures and undos in order. A last line that a crash tore
is not read, and cut off before the next one is written.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from calibration.board.board import Board
from calibration.board.views import BoardView
from calibration.errors import UserError, reason_of
from calibration.found_files import read_found
from calibration.plain_json import parse_json
from calibration.wizard.wizard import Capture
from calibration.written_files import errors_naming

JOURNAL_VERSION = 1


@dataclass(frozen=True)
class JournalContent:
    """What a journal holds: the board, the cameras' image sizes, and the captures that were not undone.

    `facts` are what the last capture's writer knew of the board: `legacy`, `inverted` and `mirrored`.
    """

    board: Board
    image_size: dict[str, tuple[int, int]]
    captures: list[Capture]
    facts: dict

    def of_cameras(self, camera_ids: Iterable[str]) -> "JournalContent":
        """What it holds of these cameras. Captures in which none of them saw the board stay, so that each undo in the
        journal takes back the capture that it was meant for."""
        size = {camera_id: self.image_size[camera_id] for camera_id in camera_ids}
        captures = [
            replace(
                capture,
                sets=tuple({name: view for name, view in views.items() if name in size} for views in capture.sets),
            )
            for capture in self.captures
        ]
        facts = {
            name: [each for each in fact if each in size] if isinstance(fact, list) else fact
            for name, fact in self.facts.items()
        }
        return JournalContent(self.board, size, captures, facts)


class Journal:
    """Appends to the journal at `path`, which is made with its first line where it does not exist.

    Raises UserError where it exists and was written with another board or other cameras; the rig may have fewer.
    """

    def __init__(self, path: Path, board: Board, image_size: Mapping[str, tuple[int, int]]) -> None:
        self.path = Path(path)
        if self.path.exists():
            _check_same(self.path, read_journal(self.path), board, image_size)
            whole = read_found(self.path).rfind(b"\n") + 1
            os.truncate(self.path, whole)
        else:
            self._append(
                {
                    "version": JOURNAL_VERSION,
                    "board": msgspec.to_builtins(board),
                    "cameras": {camera_id: list(size) for camera_id, size in image_size.items()},
                }
            )

    def capture(self, capture: Capture, facts: dict | None = None) -> None:
        """Note a capture; it is on the disk when this returns."""
        self._append({"capture": _capture_to_data(capture), "facts": facts or {}})

    def undo(self, capture: Capture) -> None:
        self._append({"undo": capture.number})

    def _append(self, data: dict) -> None:
        with errors_naming(self.path), self.path.open("ab") as file:
            file.write(json.dumps(data, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def read_journal(path: Path) -> JournalContent:
    """Read a journal. Raises UserError where it is missing or is none."""
    try:
        lines = read_found(path).split(b"\n")[:-1]
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Give the folder of a calibration that was begun; it has a journal.jsonl."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)}).") from None
    captures: list[Capture] = []
    facts: dict = {}
    number = 1
    try:
        header = parse_json(lines[0])
        if header["version"] != JOURNAL_VERSION:
            raise UserError(f"{path}: version is {header['version']}; this program reads version {JOURNAL_VERSION}.")
        board = msgspec.convert(header["board"], Board)
        image_size = {camera_id: (int(size[0]), int(size[1])) for camera_id, size in header["cameras"].items()}
        for line in lines[1:]:
            number += 1
            entry = parse_json(line)
            if "undo" in entry:
                captures.pop()
            else:
                captures.append(_capture_from_data(entry["capture"]))
                facts = entry["facts"]
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise UserError(
            f"{path}, line {number}: not a line of a wizard's journal ({error!r}). Remove the lines from there on to "
            "keep the captures before them."
        ) from None
    return JournalContent(board, image_size, captures, facts)


def _check_same(path: Path, content: JournalContent, board: Board, image_size: Mapping[str, tuple[int, int]]) -> None:
    if content.board != board:
        raise UserError(
            f"{path}: was captured with another board ({_words(content.board)}, now {_words(board)}). Resume with the "
            "same board.yaml, or begin anew without --resume."
        )
    if not image_size.items() <= content.image_size.items():
        raise UserError(
            f"{path}: was captured with cameras {_sizes(content.image_size)}; the rig has {_sizes(image_size)}. "
            "Resume with the same rig.yaml, from which cameras may be left out, or begin anew without --resume."
        )


def _words(board: Board) -> str:
    return f"{board.columns}x{board.rows} {board.type}, squares of {board.squares_text_mm} mm"


def _sizes(image_size: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{camera_id} {width}x{height}" for camera_id, (width, height) in image_size.items())


def _capture_to_data(capture: Capture) -> dict:
    return {
        "number": capture.number,
        "time_ns": capture.time_ns,
        "reasons": list(capture.reasons),
        "sets": [[_view_to_data(view) for view in views.values()] for views in capture.sets],
    }


def _capture_from_data(data: dict) -> Capture:
    sets = []
    for views_data in data["sets"]:
        views = [_view_from_data(view) for view in views_data]
        sets.append({view.camera_id: view for view in views})
    return Capture(int(data["number"]), int(data["time_ns"]), tuple(sets), tuple(data["reasons"]))


def _view_to_data(view: BoardView) -> dict:
    return {
        "camera": view.camera_id,
        "frame": view.frame,
        "time_ns": view.time_ns,
        "ids": view.corner_ids.tolist(),
        "px": view.corners_px.tolist(),
        "std_px": view.std_px,
    }


def _view_from_data(data: dict) -> BoardView:
    ids = np.array(data["ids"], dtype=np.int64)
    corners = np.array(data["px"], dtype=np.float64).reshape(len(ids), 2)
    return BoardView(
        camera_id=data["camera"],
        frame=int(data["frame"]),
        time_ns=int(data["time_ns"]),
        corner_ids=ids,
        corners_px=corners,
        std_px=float(data["std_px"]),
    )

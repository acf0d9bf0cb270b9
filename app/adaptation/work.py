"""The folder in which an adaptation lies while it is made: whole steps of it are kept, so that an interrupted one goes
on; it is removed in the end, whatever came of it, and what is good becomes the output."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from app.run.file_lock import locked_folder
from calibration.errors import UserError
from calibration.found_files import hash_found, read_found, remove_folder
from calibration.session import Session
from calibration.written_files import write_atomic

_VERSION = 2
_PLAN = "plan.json"


class WorkFolder:
    """`.adapting-NAME` beside the output `out`. What was made of something else is removed from it first."""

    def __init__(self, out: Path, made_of: Mapping[str, Any]) -> None:
        self.out = out.resolve()
        self.path = _beside(self.out)
        plan = json.dumps({"version": _VERSION, **made_of}, sort_keys=True).encode()
        self.goes_on = (self.path / _PLAN).is_file() and read_found(self.path / _PLAN) == plan
        if not self.goes_on:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / _PLAN).unlink(missing_ok=True)  # first: what is left half removed is no step of it
            for other in self.path.iterdir():
                if other.is_dir() and not other.is_symlink():
                    remove_folder(other)
                else:
                    other.unlink()
            write_atomic(self.path / _PLAN, plan)

    def step(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder of a step, which `make` fills; it is there whole or not at all."""
        folder = self.path / name
        if not folder.is_dir():
            temporary = self.path / f".{name}"
            remove_folder(temporary)
            temporary.mkdir()
            try:
                make(temporary)
                temporary.rename(folder)
            finally:
                remove_folder(temporary)
        return folder

    def figures(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a step found out, kept as JSON."""
        path = self.path / f"{name}.json"
        if not path.is_file():
            write_atomic(path, json.dumps(make()).encode())
        return json.loads(read_found(path))

    def remove(self) -> None:
        remove_folder(self.path)

    def finish(self, result: Path, summary: Mapping[str, Any]) -> None:
        """The step's folder, with the summary in it, becomes the output."""
        write_atomic(result / "adapt.json", (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())
        result.rename(self.out)
        self.remove()


@contextmanager
def own_work_folder(out: Path, made_of: Mapping[str, Any]) -> Iterator[WorkFolder]:
    """A work folder that no other adaptation has in the block. Raises UserError where one has it."""
    path = _beside(out.resolve())
    path.mkdir(exist_ok=True)
    with locked_folder(path) as ours:
        if not ours:
            raise UserError(f"`-o {out}`: another adaptation is making it. Wait until it ends, or give another name.")
        yield WorkFolder(out, made_of)


def _beside(out: Path) -> Path:
    return out.parent / f".adapting-{out.name}"


def check_output(out: Path) -> None:
    """Raises UserError where the output is there already, or cannot be."""
    if out.exists() or out.is_symlink():
        raise UserError(f"`-o {out}`: is there already. Give the name of a new folder.")
    if not out.resolve().parent.is_dir():
        raise UserError(f"`-o {out}`: there is no folder `{out.resolve().parent}`. Make it first.")


def made_of(sessions: list[Session], settings: Any, checkpoint: Path, own_labels: bool = False) -> dict[str, Any]:
    """What an adaptation depends on. Raises UserError where the checkpoint cannot be read."""
    files = []
    for session in sessions:
        digest = hashlib.sha256(read_found(session.path / "frames.csv") + session.rig.rig_id.encode())
        for camera_id in session.camera_ids:
            video = session.video_path(camera_id).stat()
            digest.update(f"{camera_id} {video.st_size} {video.st_mtime_ns}".encode())
        if own_labels:
            digest.update(read_found(session.path / "labels.npz"))
        files.append([str(session.path.resolve()), digest.hexdigest()[:16]])
    try:
        weights = hash_found(checkpoint)[:16]
    except OSError as error:
        raise UserError(f"{checkpoint}: cannot be read ({error.strerror}). Give a checkpoint, a file.") from None
    return {"sessions": files, "checkpoint": weights, "settings": msgspec.to_builtins(settings)}

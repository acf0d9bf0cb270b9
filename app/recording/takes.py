"""The takes of a recording: begun, gone on with in a session of their own where they must be, ended, finished."""

import logging
import re
import time
from pathlib import Path

from app.recording.encoder_link import EncoderReport, Order
from app.recording.encoders import Encoders
from app.recording.take import Take
from app.run.record_settings import RecordSettings
from calibration.errors import UserError, pasted
from calibration.found_files import remove_folder
from calibration.rig import Rig

log = logging.getLogger(__name__)


class Takes:
    """`current` is the one that is recorded. `problem` says why the last one ended early, if it did, and `failed`
    whether one ever did. One that has ended is `unfinished` until every camera's video is; one without a frame
    is not kept then.

    `source` is a note for a person of what recorded.
    """

    def __init__(self, rig: Rig, settings: RecordSettings, encoders: Encoders, source: str) -> None:
        self._rig, self._settings, self._encoders, self._source = rig, settings, encoders, source
        self._sizes = {camera.camera_id: (camera.camera.width, camera.camera.height) for camera in rig.cameras}
        self._open: dict[Path, Take] = {}
        self._finished: list[dict] = []
        self._began_s = 0.0
        self._wanted = Path()
        self.current: Take | None = None
        self.problem = ""
        self.failed = False

    @property
    def seconds(self) -> float:
        """Of the current take."""
        return time.monotonic() - self._began_s if self.current is not None else 0.0

    @property
    def unfinished(self) -> bool:
        return bool(self._open)

    def begin(self, wanted: Path, exactly: bool = False) -> None:
        """A take at `wanted`, or at the next free name after it. Raises UserError."""
        path = wanted if exactly else _free_name(wanted)
        take = Take(
            path,
            self._rig,
            self._sizes,
            calibrated=self._settings.calibrated,
            upright=self._settings.codec != "copy",
            source=self._source,
        )
        self._open[path] = self.current = take
        self._wanted = wanted
        self._began_s, self.problem = time.monotonic(), ""
        for camera_id, size in self._sizes.items():
            self._encoders.send(camera_id, Order(do="start", video=str(take.video(camera_id)), size=size))
        log.info("recording to %s", path)

    def end(self, why: str) -> None:
        if self.current is None:
            return
        log.info("%s ends: %s", self.current.path, why)
        self.current = None
        for camera_id in self._rig.camera_ids:
            self._encoders.send(camera_id, Order(do="stop"))

    def fail(self, problem: str) -> None:
        """The take ends with what it has."""
        log.error("%s. The recording ends with what it has.", problem)
        self.problem, self.failed = problem, True
        self.end("as said above")

    def mark(self, text: str) -> None:
        if self.current is None:
            raise UserError("nothing is being recorded, so there is nothing to mark.")
        try:
            self.current.mark(time.monotonic_ns(), text)
        except OSError as error:
            self.fail(f"{self.current.path}: the mark could not be written ({error.strerror})")
        else:
            log.info("%s: marked%s", self.current.path, f", {text}" if text else "")

    def hear(self, camera_id: str, report: EncoderReport | None) -> None:
        """Take what a camera's encoder says. Raises UserError where it dies again and again."""
        if report is None:
            self._lose_encoder(camera_id)
            return
        if report.size is not None and report.size != self._sizes[camera_id]:
            self._sizes[camera_id] = report.size
            self._go_on(f"camera {camera_id} delivers images of {report.size[0]}x{report.size[1]} now")
        take = self._open.get(Path(report.video).parent) if report.video else None
        if take is None:
            return
        lane, problem = take.lanes[camera_id], report.problem
        lane.counts.dropped, lane.counts.bytes = report.dropped, report.bytes
        lane.open = lane.open and not report.ended
        try:
            if report.times_ns:
                take.add(camera_id, report.times_ns)
        except OSError as error:
            problem = problem or f"{take.path / 'frames.csv'}: cannot be written ({error.strerror})"
        if problem and not self.problem:
            self.fail(problem)

    def sync(self) -> None:
        """Have what is written on the disk itself; called from a thread of its own."""
        for take in list(self._open.values()):
            take.sync()

    def finish_ended(self, give_up: bool = False) -> None:
        """Finish the files of takes of which every video has ended; with `give_up`, of all."""
        for path, take in list(self._open.items()):
            if take is self.current or not (take.ended or give_up):
                continue
            del self._open[path]
            try:
                take.close()
            except (OSError, UserError) as error:
                repair = f"usthand session repair {pasted(path)}"
                log.error("%s: could not be finished (%s). `%s` mends it.", path, error, repair)
                self.failed = True
            else:
                if take.ended and not take.frames:
                    log.warning("%s: no camera delivered a frame; it is not kept", path)
                    remove_folder(path)
                    continue
            self._finished.append(_summary_of(take))

    def unfinished_sessions(self) -> list[str]:
        return [str(path) for path in self._open]

    def summary(self) -> list[dict]:
        return [*self._finished, *(_summary_of(take) for take in self._open.values())]

    def _go_on(self, why: str) -> None:
        """In a session of its own: a video has images of one size, and what a dead process wrote is not appended to."""
        if self.current is None:
            return
        path = self.current.path
        log.warning("%s: %s; the take goes on in a session of its own", path, why)
        try:
            self.begin(self._wanted)
        except UserError as error:
            self.fail(str(error).rstrip("."))

    def _lose_encoder(self, camera_id: str) -> None:
        for take in self._open.values():
            take.lanes[camera_id].open = False
        if not self._encoders.left:
            self._encoders.restart(camera_id)
            self._go_on(f"the encoder of camera {camera_id} died")


def _free_name(path: Path) -> Path:
    """`path` where it is free, else the first of NAME-2, NAME-3 and on, of the program's own `take-N` the next N.

    Other names that end in a number are not counted on: 2026-07-15 is no part of 2026-07-14.
    """
    own = re.fullmatch(r"take-(\d+)", path.name)
    stem, count = ("take", int(own[1])) if own else (path.name, 1)
    while path.exists() and (not path.is_dir() or any(path.iterdir())):
        count += 1
        path = path.with_name(f"{stem}-{count}")
    return path


def _summary_of(take: Take) -> dict:
    counts = {camera_id: lane.counts for camera_id, lane in take.lanes.items()}
    return {
        "session": str(take.path),
        "frames": take.frames,
        "dropped": sum(each.dropped for each in counts.values()),
        "bytes": sum(each.bytes for each in counts.values()),
        "marks": take.marks,
        "cameras": {
            camera_id: {"frames": each.frames, "dropped": each.dropped, "bytes": each.bytes}
            for camera_id, each in counts.items()
        },
    }

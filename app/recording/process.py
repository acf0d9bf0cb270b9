"""The recorder's process: takes of a run as sessions on the disk.

Listens to: requests that begin, end and mark takes; PoseSet and End of the worker, where there is one; its encoders.
Emits: RecordingStatus.

The frames go from the grabbers' shared memory through an encoder process for each camera. A take is a whole session at
every moment: what is told of a frame is told when the frame is in the file. Writes the run's `recording.json`.
"""

import json
import logging
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.recording.disk import DiskSpace
from app.recording.encoders import Encoders
from app.recording.repair import repair_session
from app.recording.takes import Takes
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.transport.messages import End, PoseSet, RecordingStatus
from app.transport.sockets import CommandServer, Publisher, Subscriber, wait
from calibration.errors import UserError, reason_of
from calibration.rig import Rig
from calibration.session import SESSION_FILE
from calibration.written_files import write_atomic

log = logging.getLogger(__name__)

_LONGEST_MARK = 1000
_LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class RecorderTuning:
    """In seconds. `sync_s`: how often tables are put on the disk itself, which bounds what a power loss costs.
    `finish_s`: for the encoders to finish their files, and `last_poses_s` for a worker's last poses, at the end.
    `poses`: so many pose sets may wait; the recorder reads them 50 times a second.
    """

    poll_s: float = 0.02
    status_s: float = 0.25
    summary_s: float = 2.0
    sync_s: float = 0.4
    finish_s: float = 6.0
    last_poses_s: float = 2.0
    poses: int = 1024


class RecorderProcess:
    """Obeys requests until the process is told to stop or, without a worker, no camera delivers any more."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.record is not None
        self._record, self._folder, self._tuning = settings.record, folder, RecorderTuning()
        self._place = Path(settings.record.folder)
        self._disk = DiskSpace(self._place, settings.record.reserve_mb * 10**6)
        self._encoders = Encoders(rig, folder)
        self._takes = Takes(rig, settings.record, self._encoders, _source(settings))
        # Of a recorder of this run that died.
        self._earlier: dict = json.loads(folder.recording.read_text()) if folder.recording.exists() else {}
        self._line = False
        self._worker_ended = settings.record.alone
        self._publisher = Publisher()
        self._publisher.bind(folder.recording_address)
        self._poses = Subscriber(self._tuning.poses)
        if not settings.record.alone:
            self._poses.connect(folder.poses_address)
        self._servers = [CommandServer(folder.control_address, self._answer)]
        if settings.record.control:
            self._servers.append(CommandServer(settings.record.control, self._answer))
            log.info("takes can be asked for at %s", self._servers[-1].address)
        self._status_at = self._summary_at = 0.0

    def run(self) -> int:
        threading.Thread(target=self._keep_synced, daemon=True).start()
        try:
            self._repair_earlier()
            if not self._record.takes:
                self._begin(self._place)
            while not stop.is_set() and not self._over():
                self._step()
            return 2 if self._takes.failed and self._record.alone else 0
        finally:
            self._finish()

    def _repair_earlier(self) -> None:
        """What a recorder of this run that died left; where that cannot be mended, it stays as it is."""
        left = [Path(session) for session in self._earlier.get("unfinished", ())]
        if not self._record.takes and self._place not in left:
            left.append(self._place)
        for path in left:
            if not (path / SESSION_FILE).exists():
                continue
            try:
                frames = repair_session(path).frames
            except (OSError, UserError) as error:
                log.error("%s: could not be repaired (%s); the recording goes on", path, reason_of(error))
                continue
            for take in self._earlier.get("takes", ()):
                if take["session"] == str(path):
                    take["frames"] = sum(frames.values())
                    for camera_id, count in frames.items():
                        take["cameras"][camera_id]["frames"] = count

    def _over(self) -> bool:
        if not self._record.alone:
            return False
        failed = self._takes.failed and not self._takes.unfinished
        return failed or (self._encoders.all_states("ended") and not self._record.takes)

    def _step(self) -> None:
        pulse.beat()
        wait([self._poses], self._servers, self._tuning.poll_s)
        for server in self._servers:
            server.serve()
        self._take_poses()
        for camera_id, report in self._encoders.reports():
            self._takes.hear(camera_id, report)
            if report is not None and report.times_ns:
                pulse.work()
        self._follow_line()
        self._takes.finish_ended()
        if time.monotonic() - self._status_at > self._tuning.status_s:
            self._tell()

    def _answer(self, request: dict) -> dict:
        problem = ""
        try:
            match request.get("do"):
                case "start":
                    self._start(str(request.get("name") or ""))
                case "stop":
                    if self._takes.current is None:
                        raise UserError("nothing is being recorded.")
                    self._takes.end("it was stopped")
                case "mark":
                    self._takes.mark(str(request.get("text") or "")[:_LONGEST_MARK])
                case "state":
                    pass
                case other:
                    problem = f"unknown request `{other}`; known are start, stop, mark, state"
        except UserError as error:
            problem = str(error)
        answer = {"number": request.get("number"), **self._state()}
        return {**answer, "error": problem} if problem else answer

    def _start(self, name: str) -> None:
        if self._takes.current is not None:
            raise UserError(f"`{self._takes.current.name}` is being recorded. Stop it first.")
        if self._disk.left <= 0:
            raise UserError(f"{self._place}: the disk is nearly full. Make room first.")
        if not self._record.takes:
            self._begin(self._place)
        elif name:
            check_take_name(name)
            self._begin(self._place / name, exactly=True)
        else:
            self._begin(self._place / "take-1")

    def _begin(self, wanted: Path, exactly: bool = False) -> None:
        self._takes.begin(wanted, exactly)
        self._write_summary()  # by which it is known where this process dies

    def _take_poses(self) -> None:
        for message, _ in self._poses.receive():
            if isinstance(message, End):
                self._worker_ended = True
            take = self._takes.current
            if take is None or not isinstance(message, PoseSet) or message.set_index < 0:
                continue
            try:
                take.add_poses(message)
            except (OSError, UserError) as error:
                self._takes.fail(f"{take.path}: the poses could not be written ({reason_of(error)})")

    def _follow_line(self) -> None:
        """A camera's input begins and ends takes by its edges."""
        high = any(self._encoders.lines.values())
        if high == self._line:
            return
        self._line = high
        try:
            if high and self._takes.current is None:
                self._start("")
            elif not high:
                self._takes.end("the cameras' line went low")
        except UserError as error:
            log.error("%s", error)

    def _status(self) -> RecordingStatus:
        take = self._takes.current
        return RecordingStatus(
            recording=take is not None,
            take=take.name if take else "",
            path=str(take.path) if take else "",
            seconds=round(self._takes.seconds, 3),
            marks=take.marks if take else 0,
            cameras={camera_id: lane.counts for camera_id, lane in take.lanes.items()} if take else {},
            disk_s=self._disk.seconds_left,
            problem=self._takes.problem,
        )

    def _state(self) -> dict:
        told = msgspec.to_builtins(self._status())
        return {key: value for key, value in told.items() if key not in ("type", "schema_version")}

    def _tell(self) -> None:
        self._status_at = time.monotonic()
        if self._takes.current is not None:
            self._disk.note(sum(lane.counts.bytes for lane in self._takes.current.lanes.values()))
            if self._disk.left <= 0:
                self._takes.fail(f"{self._place}: less than {self._record.reserve_mb} MB of the disk are free")
        begun = self._folder.begun("recorder")
        if not begun.exists() and self._encoders.all_known():
            begun.touch()
        self._publisher.send(self._status())
        if time.monotonic() - self._summary_at > self._tuning.summary_s:
            self._write_summary()

    def _write_summary(self) -> None:
        self._summary_at = time.monotonic()
        codecs = self._encoders.codecs
        summary = {
            "takes": [*self._earlier.get("takes", ()), *self._takes.summary()],
            "unfinished": self._takes.unfinished_sessions(),
            "problem": self._takes.problem,
            "codecs": codecs,
        }
        write_atomic(self._folder.recording, json.dumps(summary).encode())

    def _keep_synced(self) -> None:
        while True:
            time.sleep(self._tuning.sync_s)
            self._takes.sync()

    def _finish(self) -> None:
        try:
            until = time.monotonic() + self._tuning.last_poses_s
            while not self._worker_ended and time.monotonic() < until:
                self._step()
            self._takes.end("the run ends")
            self._encoders.leave()
            until = time.monotonic() + self._tuning.finish_s
            while self._takes.unfinished and time.monotonic() < until:
                self._step()
        finally:
            self._takes.finish_ended(give_up=True)
            self._encoders.wait()
            self._write_summary()
            self._publisher.close()


def _source(settings: RunSettings) -> str:
    if settings.record is not None and settings.record.alone:
        return "usthand record"
    return f"usthand live, estimator {settings.estimator}, seed {settings.seed}"


def check_take_name(name: str) -> None:
    """Raises UserError for what is no name of a folder in the recording's."""
    plain = name.isprintable() and name == Path(name).name and not name.startswith(".")
    if not (plain and 0 < len(name) <= _LONGEST_NAME):
        raise UserError(f"`{name}` is no name for a take. Give up to {_LONGEST_NAME} characters, no `/`, no dot first.")


def main() -> int:
    """Record a run: started by the supervisor."""

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        return RecorderProcess(rig, settings, folder).run()

    return run_process("recorder", process_parser().parse_args(), work)


if __name__ == "__main__":
    sys.exit(main())

"""The process of the view in Rerun: its viewer, or a file for it.

Listens to: PoseSet, End. Reads the frames that a PoseSet names from shared memory.
Emits: Rerun's log.
"""

import logging
import os
import sys
import time
from pathlib import Path

import rerun as rr

from app.rerun_view.log import APPLICATION, RerunLog
from app.rerun_view.viewer import URL, RerunViewer
from app.rerun_view.whole_log import check_whole
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.transport.messages import PoseSet
from app.viewer.live_feed import LiveFeed
from app.viewer.state import Shown
from calibration.errors import WriteError
from calibration.rig import Rig

log = logging.getLogger(__name__)

_WAIT_S = 1 / 60
_LIVE_BACKLOG, _FILE_BACKLOG = 8, 64
_CLOSED_S = 1.0


def main() -> int:
    """Log a run: started by the supervisor."""
    parser = process_parser()
    parser.add_argument("--title", default="UST-Hand live")
    parser.add_argument("--file", type=Path)
    args = parser.parse_args()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        recording = rr.RecordingStream(APPLICATION)
        recording.send_recording_name(args.title)
        feed = LiveFeed(folder, _LIVE_BACKLOG if args.file is None else _FILE_BACKLOG)
        try:
            if args.file is None:
                return _to_viewer(folder, rig, feed, recording)
            partial = args.file.with_name(f".{args.file.name}.{os.getpid()}.partial")
            try:
                recording.save(partial)
                _log(folder, RerunLog(recording, rig, feed), feed, None)
                recording.disconnect()
                partial.replace(args.file)
            finally:
                partial.unlink(missing_ok=True)
            try:
                check_whole(args.file)
            except OSError as error:
                raise WriteError(f"{args.file}: what came last is missing ({error.strerror}). Make room.") from None
            log.info("rerun: %s is written", args.file)
        finally:
            feed.close()
        return 0

    return run_process("rerun", args, work)


def _to_viewer(folder: RunFolder, rig: Rig, feed: LiveFeed, recording: rr.RecordingStream) -> int:
    viewer = RerunViewer()
    while not viewer.started():
        pulse.beat()
        if stop.wait(0.2):
            return 0
    recording.connect_grpc(URL)
    _log(folder, RerunLog(recording, rig, feed), feed, viewer)
    return 0


def _log(folder: RunFolder, rerun_log: RerunLog, feed: LiveFeed, viewer: RerunViewer | None) -> None:
    """Until the run ends or the viewer is closed: for a viewer the newest set at a time, for a file every one."""
    shown = Shown()
    looked_at, begun = time.monotonic(), False
    while not stop.is_set() and shown.ended is None:
        now_ns = time.monotonic_ns()
        messages = feed.poll()
        sets = [message for message in messages if isinstance(message, PoseSet)]
        for message in messages:
            shown.take(message, now_ns)
            if isinstance(message, PoseSet) and (viewer is None or message is sets[-1]):
                rerun_log.add(message, shown, now_ns)
                if not begun:
                    begun = True
                    folder.begun("viewer").touch()
        pulse.beat()
        if viewer is not None and time.monotonic() - looked_at > _CLOSED_S:
            looked_at = time.monotonic()
            if viewer.closed:
                return
        if not messages:
            stop.wait(_WAIT_S)


if __name__ == "__main__":
    sys.exit(main())

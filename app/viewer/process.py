"""The viewer process: a window, or a video without a screen.

Listens to: PoseSet, End, RecordingStatus. Reads the frames that a PoseSet names from shared memory.
Emits: requests to the recorder, where there is one, and to the worker of a replay: to be held and let go.
"""

import contextlib
import functools
import json
import logging
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from app.assembly.recorded_sets import stamps_of
from app.run.policy import ReplayPolicy
from app.run.process import process_parser, run_process
from app.run.settings import RunFolder, RunSettings
from app.viewer.live_feed import LiveFeed
from app.viewer.palette import THEMES
from app.viewer.pictures import write_pictures
from app.viewer.play_control import PlayControl
from app.viewer.redraws import Redraws
from app.viewer.replay import Replay
from app.viewer.saved_views import SavedViews, views_file
from app.viewer.seeker import Seeker
from app.viewer.show import run_viewer
from app.viewer.take_keys import TakeKeys
from calibration.camera_source import RecordedSource
from calibration.rig import Rig
from calibration.session import read_session
from calibration.written_files import write_atomic

log = logging.getLogger(__name__)

VIEWER_HZ = 30.0
_USUAL_FPS = 30.0
# In periods after a set's time: cameras that run freely spread over less than one.
_LAST_FRAME = 0.9
_NICE = 5
# Messages that may wait from one redraw to the next, eight seconds' at 30 Hz: all are read then, the newest is shown.
# Where fewer may wait, the newest of a slow window are those that are lost.
_BACKLOG = 256


def main() -> int:
    """Show a run: started by the supervisor."""
    parser = process_parser()
    parser.add_argument("--title", default="UST-Hand live")
    parser.add_argument("--headless", type=Path)
    parser.add_argument("--snapshot", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--theme", choices=THEMES, default="dark")
    args = parser.parse_args()

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        every_set = settings.policy.shows_every_set
        cv2.setNumThreads(1)
        if not every_set:
            # Where cores are short, poses come before pictures of them.
            os.nice(_NICE)
        redraws = Redraws()
        replay = None if args.headless else replay_of(folder, rig, settings)
        feed = LiveFeed(folder, 64 if every_set else _BACKLOG, with_recorder=settings.record is not None)
        try:
            if args.pictures:
                write_pictures(rig, feed, args.pictures, args.title)
                return 0
            why = run_viewer(
                rig,
                feed,
                headless=args.headless,
                snapshot=args.snapshot,
                title=args.title,
                rate_hz=(rig.sync.fps or VIEWER_HZ) / settings.every if every_set else VIEWER_HZ,
                every_set=every_set,
                theme=args.theme,
                views=SavedViews(views_file(rig.rig_id)),
                replay=replay,
                seeker=None if replay is None else Seeker(rig, settings.phases_ns),
                redraws=redraws,
                on_stay=folder.viewer_stays.touch,
                on_first_picture=folder.begun("viewer").touch,
                more_keys=TakeKeys(folder.control_address).actions if settings.record is not None else None,
            )
        finally:
            feed.close()
            with contextlib.suppress(OSError):  # where the folder is gone already, so is the supervisor
                if redraws.summary():
                    write_atomic(folder.viewing, json.dumps(redraws.summary()).encode())
        log.info("viewer: %s", why)
        return 0

    return run_process("viewer", args, work)


def replay_of(folder: RunFolder, rig: Rig, settings: RunSettings) -> Replay | None:
    """Its time line, where a recording is played."""
    if not isinstance(settings.policy, ReplayPolicy):
        return None
    recorded = [camera for camera in rig.cameras if isinstance(camera.source, RecordedSource)]
    session_of = functools.cache(read_session)
    times_ns = [times for camera in recorded if len(times := stamps_of(camera, session_of).times_ns)]
    if not times_ns:
        return None
    frames_ns = np.unique(np.concatenate(times_ns))
    period_ns = round(settings.every * 1e9 / (rig.sync.fps or _USUAL_FPS))
    # The worker plays frames by the times that were recorded, and a set's time is amid its frames'.
    lead_ns = max(camera.time_offset_ns for camera in recorded) + round(_LAST_FRAME * period_ns)
    control = PlayControl(folder.replay_address)
    if folder.begun("viewer").exists():
        control.play(1.0)  # the window before this one died, and may have held the worker
    return Replay(
        control,
        int(frames_ns[0]),
        int(frames_ns[-1]),
        period_ns,
        frames_ns=frames_ns,
        lead_ns=lead_ns,
    )


if __name__ == "__main__":
    sys.exit(main())

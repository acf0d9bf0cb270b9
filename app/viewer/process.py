"""The viewer process: a window, or a video without a screen.

Listens to: PoseSet, End, RecordingStatus. Reads the frames that a PoseSet names from shared memory.
Emits: requests to the recorder, where there is one.
"""

import logging
import sys
from pathlib import Path

from app.run.process import process_parser, run_process
from app.run.settings import RunFolder, RunSettings
from app.viewer.live_feed import LiveFeed
from app.viewer.palette import THEMES
from app.viewer.saved_views import SavedViews, views_file
from app.viewer.show import run_viewer
from app.viewer.take_keys import TakeKeys
from calibration.rig import Rig

log = logging.getLogger(__name__)

VIEWER_HZ = 30.0


def main() -> int:
    """Show a run: started by the supervisor."""
    parser = process_parser()
    parser.add_argument("--title", default="UST-Hand live")
    parser.add_argument("--headless", type=Path)
    parser.add_argument("--snapshot", type=Path)
    parser.add_argument("--theme", choices=THEMES, default="dark")
    args = parser.parse_args()

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        every_set = settings.policy.shows_every_set
        feed = LiveFeed(folder, backlog=64 if every_set else 8, with_recorder=settings.record is not None)
        try:
            why = run_viewer(
                rig,
                feed,
                headless=args.headless,
                snapshot=args.snapshot,
                title=args.title,
                rate_hz=rig.sync.fps if every_set and rig.sync.fps else VIEWER_HZ,
                every_set=every_set,
                theme=args.theme,
                views=SavedViews(views_file(rig.rig_id)),
                on_first_picture=folder.begun("viewer").touch,
                more_keys=TakeKeys(folder.control_address).actions if settings.record is not None else None,
            )
        finally:
            feed.close()
        log.info("viewer: %s", why)
        return 0

    return run_process("viewer", args, work)


if __name__ == "__main__":
    sys.exit(main())

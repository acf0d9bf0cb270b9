"""Pictures of what the viewer can show, for its documentation."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import msgspec
import numpy as np

from app.run.process import stop
from app.transport.messages import PoseSet, RecordingStatus, UnseenPose
from app.viewer.feed import Feed
from app.viewer.palette import Theme
from app.viewer.replay import Replay
from app.viewer.state import Toggles
from app.viewer.window import ViewerWindow
from calibration.errors import UserError, write_error
from calibration.rig import Rig
from calibration.written_files import write_atomic

SIZE = (1280, 720)
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 80]
_LONGEST_S = 60.0
_OLDEST_NS = 150_000_000
_SETS = 12
_TIPS = (4, 8)


class Photographer:
    """Shows what a live feed gives in one way after another, and writes each as `folder/NAME.jpg`."""

    def __init__(
        self, rig: Rig, feed: Feed, folder: Path, title: str, theme: Theme = "dark", replay: Replay | None = None
    ):
        self._feed, self._folder = feed, folder
        self.window = ViewerWindow(rig, feed, size=SIZE, title=title, screen=False, fine=2, theme=theme, replay=replay)

    def take(self, name: str, prepare: Callable[["Photographer"], None] = lambda _: None, **on: bool) -> None:
        """Wait for the next sets, switch on and off what is said, and write the picture."""
        self.window.toggles = Toggles(**on)
        self.window.measure.joints = []
        self.next_sets()
        prepare(self)
        for _ in range(2):
            self.window.update(time.monotonic_ns())
            picture = self.window.capture()
        data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _QUALITY)[1].tobytes()
        try:
            write_atomic(self._folder / f"{name}.jpg", data)
        except OSError as error:
            raise write_error(
                f"{self._folder}: cannot be written ({error.strerror}). Give another place.", error
            ) from None

    def next_sets(self, count: int = _SETS) -> None:
        """Show so many new sets, and stand still. Raises UserError where none come."""
        shown = self.window.shown
        shown.stand_still(False, 0)
        until, seen = time.monotonic() + _LONGEST_S, 0
        while seen < count and not stop.is_set():
            now_ns = time.monotonic_ns()
            sets = [message for message in self._feed.poll() if isinstance(message, PoseSet)]
            # The images of what waited while the last picture was made are gone.
            sets = [each for each in sets if now_ns - each.hops_ns.get("published", 0) < _OLDEST_NS]
            self.window.receive(sets, now_ns)
            seen += len(sets)
            if time.monotonic() > until:
                raise UserError(f"no frame set came for {_LONGEST_S:g} s. What is said of the cameras above tells why.")
            time.sleep(0.005)
        shown.stand_still(True, time.monotonic_ns())


def write_pictures(rig: Rig, feed: Feed, folder: Path, title: str) -> None:
    """One picture of each mode. Raises UserError where they cannot be written or no set comes."""
    modes: Mapping[str, dict] = {
        "live": {},
        "skeleton": {"mesh": False, "skeleton": True},
        "uncertainty": {"uncertainty": True},
        "ellipsoids": {"ellipsoids": True, "trail": False},
        "cloud": {"cloud": True, "mesh": False},
        "latency": {"latency": True},
        "help": {"help": True},
    }
    of = Photographer(rig, feed, folder, title)
    of.next_sets(3 * _SETS)
    for name, on in modes.items():
        of.take(name, **on)
    of.take("distance", _measure)
    of.take("states", _hide_a_hand)
    of.take("recording", _record)
    of.window.shown.recording = None
    of.window.look_through(2)
    of.take("camera")
    of.window.close()
    of = Photographer(rig, feed, folder, title, theme="light")
    of.take("light")
    of.window.close()
    replay = Replay(_Nobody(), 0, 1, 1)
    of = Photographer(rig, feed, folder, title, replay=replay)
    of.next_sets(4 * _SETS)
    times_ns = replay.history.times_ns
    replay.first_ns, replay.last_ns = times_ns[0], times_ns[0] + 2 * (times_ns[-1] - times_ns[0])
    of.take("replay", lambda _: replay.step(-2 * _SETS))
    of.window.close()


class _Nobody:
    """There is no worker to hold."""

    def play(self, speed: float, time_ns: int | None = None) -> None:
        pass


def _measure(of: Photographer) -> None:
    window = of.window
    for pose in window.shown.drawn_hands()[-1:]:
        for joint in _TIPS:
            window.click(window.view.project(np.array(pose.joints_world_m[joint])))


def _hide_a_hand(of: Photographer) -> None:
    """As if the last hand were not found any more."""
    pose_set = of.window.shown.pose_set
    if pose_set is None or not pose_set.hands:
        return
    hand = pose_set.hands[-1]
    lost = UnseenPose(
        hand=hand.hand,
        track_id=hand.track_id,
        state="held",
        seen_time_ns=hand.capture_time_ns - 200_000_000,
        joints_world_m=hand.joints_world_m,
        covariance_m2=hand.covariance_m2,
    )
    without = msgspec.structs.replace(pose_set, hands=pose_set.hands[:-1], unseen=[lost])
    of.window.receive([without], time.monotonic_ns())


def _record(of: Photographer) -> None:
    """As of a recorder."""
    status = RecordingStatus(recording=True, take="pinch-2", seconds=42.0, marks=2, disk_s=8000.0)
    of.window.receive([status], time.monotonic_ns())

"""What the viewer shows: the newest pose set, whether it is stale or paused, and what is switched on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from app.transport.messages import CameraReport, End, HandPose, PoseSet, RecordingStatus, UnseenPose
from app.viewer.camera_rates import CameraRates, RollingCameraRates
from app.viewer.stats import Figures, RollingStats, is_heartbeat

STALE_NS = 500_000_000
GONE_NS = 3_000_000_000


@dataclass(kw_only=True)
class Toggles:
    """What is drawn; `uncertainty` colours the mesh by it, instead of as skin. `follow`: the eye goes along."""

    mesh: bool = True
    skeleton: bool = False
    trail: bool = True
    uncertainty: bool = False
    ellipsoids: bool = False
    cloud: bool = False
    frusta: bool = True
    images: bool = True
    latency: bool = False
    follow: bool = False
    help: bool = False

    def flip(self, name: str) -> None:
        setattr(self, name, not getattr(self, name))

    def states(self) -> dict[str, bool]:
        """Whether each is on, but for the list that says so."""
        return {name: on for name, on in asdict(self).items() if name != "help"}


class Shown:
    """Keeps the newest pose set and its time of arrival, monotonic ns."""

    def __init__(self) -> None:
        self.pose_set: PoseSet | None = None
        self.newest: PoseSet | None = None
        self.ended: End | None = None
        self.recording: RecordingStatus | None = None
        self._arrived_ns: int | None = None
        self._paused_ns: int | None = None
        self._still_ns: int | None = None
        self._fresh = False
        self._stats = RollingStats()
        self._camera_stats = RollingCameraRates()

    def take(self, message: PoseSet | End | RecordingStatus, now_ns: int, show: bool = True) -> None:
        """A heartbeat brings news of the cameras only; while paused, or where it is not to be shown, so does all."""
        if isinstance(message, End):
            self.ended = message
            return
        if isinstance(message, RecordingStatus):
            self.recording = message
            return
        self.newest = message
        self._stats.add(message)
        self._camera_stats.add(message, now_ns)
        if show and self._paused_ns is None and not is_heartbeat(message):
            self.show(message, now_ns)

    def show(self, pose_set: PoseSet, now_ns: int) -> None:
        """This is the pose set to show from now on."""
        self.pose_set, self._fresh = pose_set, True
        # Where nobody looked, what is shown grows old.
        if pose_set.looked or self._arrived_ns is None:
            self._arrived_ns = now_ns

    def fresh(self) -> PoseSet | None:
        """The pose set to show, once; None where it was given already."""
        fresh, self._fresh = self._fresh, False
        return self.pose_set if fresh else None

    @property
    def paused(self) -> bool:
        return self._paused_ns is not None

    def toggle_pause(self, now_ns: int) -> None:
        self._paused_ns = None if self.paused else now_ns

    def stand_still(self, stands: bool, now_ns: int) -> None:
        """Of a replay that is held: what is shown grows no older."""
        if not stands:
            self._still_ns = None
        elif self._still_ns is None:
            self._still_ns = now_ns

    def clock_ns(self, now_ns: int) -> int:
        """The time that the picture stands for: it stands still while paused."""
        stopped = self._still_ns if self._paused_ns is None else self._paused_ns
        return now_ns if stopped is None else stopped

    def age_ns(self, now_ns: int) -> int | None:
        """How long ago the pose set came; None before the first."""
        return None if self._arrived_ns is None else self.clock_ns(now_ns) - self._arrived_ns

    def is_stale(self, now_ns: int) -> bool:
        age_ns = self.age_ns(now_ns)
        return age_ns is not None and age_ns > STALE_NS

    def is_gone(self, now_ns: int) -> bool:
        age_ns = self.age_ns(now_ns)
        return age_ns is None or age_ns > GONE_NS

    def wrong(self, now_ns: int) -> tuple[Literal["waiting", "stale", "blind"], str] | None:
        """What keeps what is shown from being new, as a kind and in words."""
        age_ns = self.age_ns(now_ns)
        if age_ns is None:
            return "waiting", "waiting for the first pose"
        if self.is_stale(now_ns):
            return "stale", f"no pose for {age_ns / 1e9:.1f} s"
        if self.pose_set is not None and not self.pose_set.looked:
            return "blind", "nobody looks: fewer than two views"
        return None

    def drawn_hands(self) -> list[HandPose]:
        """The hands of the pose set, and where those are expected that it did not see."""
        return [] if self.pose_set is None else drawn_hands(self.pose_set)

    def hands(self, now_ns: int) -> int:
        """How many hands are shown as true."""
        return 0 if self.pose_set is None or self.is_stale(now_ns) else len(self.pose_set.hands)

    def reports(self) -> dict[str, CameraReport]:
        """The newest; of a replay that is held those of the set that is shown."""
        of = self.newest if self._still_ns is None or self.pose_set is None else self.pose_set
        return {} if of is None else of.cameras

    def figures(self, now_ns: int) -> Figures:
        return self._stats.figures(now_ns)

    def camera_rates(self, camera_id: str, now_ns: int) -> CameraRates:
        return self._camera_stats.figures(camera_id, now_ns)

    def stages_ms(self) -> Mapping[str, float]:
        """Medians over the last seconds, with `draw`."""
        return self._stats.stages_ms()

    def drawn(self, pose_set: PoseSet, now_ns: int) -> None:
        """A pose set is on the screen, first at `now_ns`."""
        self._stats.drawn(pose_set, now_ns)


def drawn_hands(pose_set: PoseSet) -> list[HandPose]:
    """The hands of a pose set, and where those are expected that it did not see."""
    return [*pose_set.hands, *(_expected(hand) for hand in pose_set.unseen)]


def _expected(hand: UnseenPose) -> HandPose:
    return HandPose(
        hand=hand.hand,
        track_id=hand.track_id,
        capture_time_ns=hand.seen_time_ns,
        joints_world_m=hand.joints_world_m,
        covariance_m2=hand.covariance_m2,
        confidence=[1.0] * len(hand.joints_world_m),
        views=[],
        state=hand.state,
    )

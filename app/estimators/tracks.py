"""Hands over time: who they are, how they move, which side they are and how long their bones are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from app.estimators.estimator import UnseenHand
from app.estimators.settings import TrackerSettings
from calibration.hand import Side
from models.hand.bone_lengths import BoneLengths


@dataclass(kw_only=True)
class Motion:
    """Each joint's position and velocity: a constant-velocity Kalman filter with white acceleration noise.

    One variance serves the three axes of a joint: `variance` (21, 2, 2) of position and velocity. Source of the noise
    model: Y. Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation", 6.2.2.
    """

    time_ns: int
    position_m: np.ndarray
    velocity_m_s: np.ndarray
    variance: np.ndarray
    settings: TrackerSettings

    @classmethod
    def start(cls, time_ns: int, joints_m: np.ndarray, variance_m2: float, settings: TrackerSettings) -> "Motion":
        variance = np.zeros((len(joints_m), 2, 2))
        variance[:, 0, 0] = variance_m2
        variance[:, 1, 1] = settings.start_speed_sd_m_s**2
        return cls(
            time_ns=time_ns,
            position_m=joints_m,
            velocity_m_s=np.zeros_like(joints_m),
            variance=variance,
            settings=settings,
        )

    def predict(self, time_ns: int) -> "Motion":
        """The state at a later time. Joints stop after a while, since each at its own speed they would fly apart."""
        dt = max((time_ns - self.time_ns) * 1e-9, 1e-4)
        noise = self.settings.acceleration_psd * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        # F V F' with F = [[1, dt], [0, 1]], written out.
        variance = self.variance + noise
        across, speed = dt * self.variance[:, 0, 1], dt * self.variance[:, 1, 1]
        variance[:, 0, 0] += 2 * across + dt * speed
        variance[:, 0, 1] += speed
        variance[:, 1, 0] += speed
        return Motion(
            time_ns=time_ns,
            position_m=self.position_m + min(dt, self.settings.coast_s) * self.velocity_m_s,
            velocity_m_s=self.velocity_m_s,
            variance=variance,
            settings=self.settings,
        )

    def velocity_gain(self, variance_m2: float) -> np.ndarray:
        """Velocity (m/s) that a metre of surprise in each joint's position adds (21,), measured with `variance_m2`."""
        return self.variance[:, 0, 1] / (self.variance[:, 0, 0] + variance_m2)

    def update(self, joints_m: np.ndarray, variance_m2: np.ndarray) -> "Motion":
        """The state after joints (21, 3) were measured with `variance_m2` (21,)."""
        gain = self.variance[:, :, 0] / (self.variance[:, 0, 0] + variance_m2)[:, None]
        surprise = joints_m - self.position_m
        return Motion(
            time_ns=self.time_ns,
            position_m=self.position_m + gain[:, :1] * surprise,
            velocity_m_s=self.velocity_m_s + gain[:, 1:] * surprise,
            variance=self.variance - gain[:, :, None] * self.variance[:, :1, :],
            settings=self.settings,
        )


@dataclass(eq=False, kw_only=True)
class HandTrack:
    """A hand that is followed.

    `right_log_odds` is the evidence that it is a right hand, `presence_log_odds` that it is one at all, of which it is
    some that two views agree. `joints_m` (21, 3) as last seen; `misses` the sets in a row without it; `sure` that the
    last set had it, with small errors; `ended` that it turned out to be none.
    """

    track_id: int
    joints_m: np.ndarray
    motion: Motion
    seen_time_ns: int
    right_log_odds: float = 0.0
    presence_log_odds: float = 2.0
    misses: int = 0
    sure: bool = False
    ended: bool = False
    bones: BoneLengths = field(default_factory=BoneLengths)

    def add_handedness_evidence(self, right_probability: np.ndarray) -> None:
        """The detector's probabilities (n,) that it is a right hand, one for each view."""
        self.right_log_odds = self._with_evidence(self.right_log_odds, right_probability)

    def add_presence_evidence(self, presence: np.ndarray) -> None:
        """The detector's probabilities (n,) that it is a hand at all, one for each view."""
        self.presence_log_odds = self._with_evidence(self.presence_log_odds, presence)

    @property
    def present(self) -> bool:
        return self.presence_log_odds > 0

    def _with_evidence(self, log_odds: float, probability: np.ndarray) -> float:
        settings = self.motion.settings
        odds = np.maximum(probability, 1e-9) / np.maximum(1 - probability, 1e-9)
        most = settings.evidence_limit_per_view
        total = log_odds + settings.evidence_per_view * float(np.clip(np.log(odds), -most, most).sum())
        return min(max(total, -settings.evidence_limit), settings.evidence_limit)

    def see(self, time_ns: int, joints_m: np.ndarray, variance_m2: np.ndarray) -> None:
        """The joints (21, 3) measured at a time, with variances (21,)."""
        settings = self.motion.settings
        measured = np.maximum(variance_m2, settings.measured_sd_m**2)
        self.motion = self.motion.predict(time_ns).update(joints_m, measured)
        self.joints_m, self.seen_time_ns, self.misses = joints_m, time_ns, 0
        self.sure = middle(variance_m2) < settings.sure_sd_m**2

    def restart(self, time_ns: int, joints_m: np.ndarray, variance_m2: float) -> None:
        """The hand was found at a place, by which it is not seen yet: it goes on from there, and at its speed where the
        place is about where its motion says."""
        settings, expected = self.motion.settings, self.motion.predict(time_ns)
        if same_hand(expected.position_m, joints_m, settings):
            self.motion = replace(expected.update(joints_m, np.full(len(joints_m), variance_m2)), position_m=joints_m)
        else:
            self.motion = Motion.start(time_ns, joints_m, variance_m2, settings)
        self.joints_m = joints_m

    def apart_m(self, now_ns: int, joints_m: np.ndarray) -> float:
        """How far the middle of joints (21, 3) is from where this hand is expected now."""
        return middles_apart_m(self.motion.predict(now_ns).position_m, joints_m)

    def is_at(self, now_ns: int, joints_m: np.ndarray) -> bool:
        """Whether joints (21, 3) are where this hand was last, or is expected now."""
        settings = self.motion.settings
        return same_hand(self.joints_m, joints_m, settings) or self.apart_m(now_ns, joints_m) < settings.same_hand_m

    def may_be_at(self, now_ns: int, joints_m: np.ndarray) -> bool:
        """Whether joints (21, 3) are no farther from where this hand was last than a hand can have come since."""
        settings, unseen_s = self.motion.settings, (now_ns - self.seen_time_ns) * 1e-9
        way_m = middles_apart_m(self.joints_m, joints_m)
        return way_m < settings.same_hand_m + settings.max_speed_m_s * max(unseen_s, 0.0)

    def goes_on_as(self, other: "HandTrack") -> bool:
        """Whether another hand, that is new, is likely this one, which was lost a moment before."""
        settings, unseen_s = self.motion.settings, (other.seen_time_ns - self.seen_time_ns) * 1e-9
        same_side = (self.right_log_odds >= 0) == (other.right_log_odds >= 0)
        way_m = middles_apart_m(self.joints_m, other.joints_m)
        near = way_m < settings.reach_m + 2 * settings.start_speed_sd_m_s * unseen_s
        return same_side and near and unseen_s < settings.keep_s

    def miss(self) -> None:
        self.misses += 1
        self.sure = False

    def lost(self, now_ns: int) -> bool:
        settings = self.motion.settings
        unseen_s = (now_ns - self.seen_time_ns) * 1e-9
        keep_s = settings.keep_s if self.misses else settings.forget_s
        missed = self.misses >= settings.misses_to_lose and unseen_s >= settings.lose_after_s
        return self.ended or missed or unseen_s >= keep_s

    def unseen(self, side: Side, now_ns: int, looked: bool) -> UnseenHand:
        """The hand in a set that did not measure it, `looked` for or not."""
        motion = self.motion.predict(now_ns)
        return UnseenHand(
            side=side,
            track_id=self.track_id,
            state="held" if looked else "predicted",
            seen_time_ns=self.seen_time_ns,
            joints_world_m=motion.position_m,
            covariance_m2=motion.variance[:, 0, 0, None, None] * np.eye(3),
        )


TrackT = TypeVar("TrackT", bound=HandTrack)


class HandTracks(Generic[TrackT]):
    """The hands that are followed, at most `limit`: each keeps its number as long as it is followed.

    One that was lost for a moment has its number again. Up to two hands are one person's: one that comes back soon
    takes up what was learnt of the bones of that side.
    """

    def __init__(self, limit: int, settings: TrackerSettings) -> None:
        self.limit, self.settings = limit, settings
        self._tracks: list[TrackT] = []
        self._lost: list[TrackT] = []
        self._known_bones: dict[bool, tuple[BoneLengths, int]] = {}
        self._numbers = 0

    def __iter__(self) -> Iterator[TrackT]:
        return iter(self._tracks)

    def __len__(self) -> int:
        return len(self._tracks)

    def __getitem__(self, index: int) -> TrackT:
        return self._tracks[index]

    @property
    def full(self) -> bool:
        return len(self._tracks) >= self.limit

    def add(self, track: TrackT) -> None:
        bones, seen_ns = self._known_bones.pop(track.right_log_odds >= 0, (track.bones, track.seen_time_ns))
        if track.seen_time_ns - seen_ns < self.settings.same_person_s * 1e9:
            track.bones = bones
        same = [lost for lost in self._lost if lost.goes_on_as(track)]
        if same:
            before = min(same, key=lambda lost: middles_apart_m(lost.joints_m, track.joints_m))
            self._lost.remove(before)
            track.track_id = before.track_id
        self._tracks.append(track)

    def new(self, kind: type[TrackT], time_ns: int, joints_m: np.ndarray, variance_m2: float, **more: object) -> TrackT:
        """A track with the next number, for joints (21, 3) of that variance; it is not followed before `add`."""
        self._numbers += 1
        return kind(
            track_id=self._numbers,
            joints_m=joints_m,
            motion=Motion.start(time_ns, joints_m, variance_m2, self.settings),
            seen_time_ns=time_ns,
            **more,  # pyright: ignore[reportArgumentType]
        )

    def put_first(self, seen: Sequence[TrackT]) -> None:
        """Of the tracks that are not among these only as many stay as the limit leaves room for."""
        order = [*seen, *(track for track in self._tracks if track not in seen)]
        self._keep(order[: self.limit], order[self.limit :])

    def drop_lost(self, now_ns: int) -> list[TrackT]:
        """Those that are not followed any more."""
        lost = [track for track in self._tracks if track.lost(now_ns)]
        self._keep([track for track in self._tracks if track not in lost], lost)
        return lost

    def _keep(self, kept: list[TrackT], lost: list[TrackT]) -> None:
        self._tracks = kept
        # One that ended was a second number of a hand that is followed.
        self._lost = [*self._lost, *(track for track in lost if not track.ended)][-self.limit :]
        if self.limit <= 2:
            self._known_bones |= {track.right_log_odds >= 0: (track.bones, track.seen_time_ns) for track in lost}

    def near(self, now_ns: int, joints_m: np.ndarray) -> bool:
        """Whether a hand that is followed is where these joints (21, 3) are."""
        return any(track.is_at(now_ns, joints_m) for track in self._tracks)

    def link(
        self, predicted_m: Sequence[np.ndarray], centres_m: np.ndarray, rights: list[bool], now_ns: int
    ) -> list[int]:
        """The track of each hand, its index or -1 for a new one: by place, and by side where that is evident.

        `predicted_m` are the tracks' joints (21, 3) now, `centres_m` (H, 3) the hands' middles.
        """
        cost = np.full((len(rights), len(self._tracks)), np.inf)
        settings = self.settings
        for index, (track, joints_m) in enumerate(zip(self._tracks, predicted_m, strict=True)):
            unseen_s = (now_ns - track.seen_time_ns) * 1e-9
            distance = np.linalg.norm(centres_m - joints_m.mean(0), axis=-1)
            against = np.maximum(0.0, np.where(rights, -track.right_log_odds, track.right_log_odds))
            there = distance < settings.reach_m + settings.max_speed_m_s * unseen_s
            cost[there, index] = (distance + settings.m_per_log_odds * against)[there]
        links = [-1] * len(rights)
        while np.isfinite(cost).any():
            hand, index = np.unravel_index(cost.argmin(), cost.shape)
            links[hand] = int(index)
            cost[hand], cost[:, index] = np.inf, np.inf
        return links


def same_hand(joints_m: np.ndarray, other_m: np.ndarray, settings: TrackerSettings) -> bool:
    """Whether joints (21, 3) and others are one hand's, by how near their middles are."""
    return middles_apart_m(joints_m, other_m) < settings.same_hand_m


def middles_apart_m(joints_m: np.ndarray, other_m: np.ndarray) -> float:
    """How far the middles of joints (21, 3) and others are apart."""
    return float(np.linalg.norm(joints_m.mean(0) - other_m.mean(0)))


def decide_sides(right_log_odds: Sequence[float], settings: TrackerSettings) -> list[bool]:
    """Whether each hand is a right one: what is likeliest of all together, as people have one of each."""
    evidence = np.array(right_log_odds)
    order, count = np.argsort(-evidence, kind="stable"), len(evidence)
    # The hands with the strongest evidence are right, so many that evidence less unlikely sides is largest.
    rights = np.arange(count + 1)
    agreed = 2 * np.append(0.0, np.cumsum(evidence[order])) - evidence.sum()
    agreed -= settings.same_side_log_odds * (np.abs(2 * rights - count) // 2)
    most = rights[::-1][agreed[::-1].argmax()]
    right = np.zeros(count, bool)
    right[order[:most]] = True
    return right.tolist()


def middle(values: np.ndarray) -> float:
    """The median of one value per joint (21,), NaN counting as large."""
    return float(np.sort(values)[len(values) // 2])


def miss_all(tracks: Iterable[HandTrack]) -> None:
    for track in tracks:
        track.miss()

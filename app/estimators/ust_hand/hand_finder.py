"""Finders: where hands are that nobody follows yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.estimators.estimator import Estimator
from app.estimators.settings import FinderSettings, JudgeSettings, TrackerSettings
from app.estimators.tracks import same_hand
from app.estimators.ust_hand.hand_views import HandViews, show_a_hand
from calibration.frames import FrameSet
from calibration.hand import Side, bone_lengths
from calibration.rig import Rig
from calibration.triangulation import nearest_to_lines
from deploy.batches import CropBatch, empty_crops
from deploy.pipeline.pipeline import Pipeline
from models.hand.crop import hand_box


@dataclass(frozen=True)
class Found:
    """A hand with its joints (21, 3), world metres, and the evidence that it is of this side."""

    side: Side
    joints_m: np.ndarray
    side_log_odds: float = 3.0

    @property
    def right_log_odds(self) -> float:
        return self.side_log_odds if self.side == "right" else -self.side_log_odds


class HandFinder(Protocol):
    """`views_with_hand` is of the last `find`, as in an Estimate; 0 where no view is looked at by itself."""

    views_with_hand: int

    def find(
        self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()
    ) -> list[Found]:
        """Hands in the set. `followed_m`: the joints (21, 3) of the hands that are followed already; `lost_m`: of those
        that were followed a moment ago."""
        ...

    def close(self) -> None: ...


class DetectorFinder:
    """Hands as another estimator over a 2D detector finds them."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.views_with_hand = 0

    def find(
        self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()
    ) -> list[Found]:
        estimate = self._estimator.estimate(frame_set)
        self.views_with_hand = estimate.views_with_hand
        return [
            Found(hand.side, hand.joints_world_m, hand.right_log_odds * (1 if hand.side == "right" else -1))
            for hand in estimate.hands
            if np.isfinite(hand.joints_world_m).all()
        ]

    def close(self) -> None:
        self._estimator.close()


class VolumeSearch:
    """Hands where the network itself says that one is: it looks, a few places per set, through the working volume.

    The working volume is where at least two cameras look; its places are tried in turn, as a right and as a left hand,
    after those where a hand was lost a moment ago.
    A place holds a hand where the views' keypoints agree on joints whose bones are as long as a hand's, and still do
    when looked at once more with the crop centred on them.
    """

    views_with_hand = 0

    def __init__(
        self,
        rig: Rig,
        pipeline: Pipeline,
        settings: FinderSettings = FinderSettings(),  # noqa: B008 - frozen
        tracker: TrackerSettings = TrackerSettings(),  # noqa: B008 - frozen
        judge: JudgeSettings = JudgeSettings(),  # noqa: B008 - frozen
    ) -> None:
        self._rig = rig
        self._pipeline = pipeline
        self._settings, self._tracker, self._judge = settings, tracker, judge
        self._places = working_volume(rig, settings)
        self._crops = empty_crops(settings.at_once, pipeline.views, pipeline.engine.shape.crop_px)
        self._next = 0

    def find(
        self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()
    ) -> list[Found]:
        sides: tuple[Side, Side] = ("right", "left")
        tries: list[tuple[Side, np.ndarray, float]] = []
        for target_m in self._turn(lost_m):
            if any(np.linalg.norm(joints.mean(0) - target_m) < self._settings.step_m for joints in followed_m):
                continue
            tries.extend((side, target_m, self._settings.half_width_m) for side in sides)
            if len(tries) >= self._settings.at_once:
                break
        again: list[tuple[Side, np.ndarray, float]]
        again = [(side, *hand_box(joints)) for side, joints, _ in self._hands(frame_set, tries)]
        hands: list[Found] = []
        # A right hand is a left one in mirrored crops, though a less likely one: each place is given to one of them.
        for side, joints, _ in sorted(self._hands(frame_set, again), key=lambda hand: hand[2]):
            if not any(same_hand(hand.joints_m, joints, self._tracker) for hand in hands):
                hands.append(Found(side, joints))
        return hands

    def close(self) -> None:
        """The pipeline is its owner's."""

    def _turn(self, lost_m: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Places (3,) to look at: first those of hands that were lost, then the volume's, once around."""
        yield from (joints.mean(0) for joints in lost_m)
        for _ in range(len(self._places)):
            self._next = (self._next + 1) % len(self._places)
            yield self._places[self._next - 1]

    def _hands(
        self, frame_set: FrameSet, tries: Sequence[tuple[Side, np.ndarray, float]]
    ) -> list[tuple[Side, np.ndarray, float]]:
        """Of places to look at (side, target (3,), half width) those that hold a hand: its side, joints (21, 3) and
        how far the views disagree."""
        looks = []
        for index, (side, target_m, half_width_m) in enumerate(tries):
            into = self._crops.hand(index)
            looks.append(
                HandViews.look(self._rig, frame_set, target_m, np.zeros(3), half_width_m, side == "left", into)
            )
        if not any(len(views.cameras) >= 2 for views in looks):
            return []
        clouds = self._pipeline.probe(CropBatch(*(array[: len(tries)] for array in self._crops)))
        hands = []
        for index, ((side, _, _), views) in enumerate(zip(tries, looks, strict=True)):
            count = len(views.cameras)
            if count < 2 or not show_a_hand(clouds.presence[index, :count], self._judge):
                continue
            joints_m = views.to_world_m(clouds.queries_m[index].astype(np.float64))
            apart = np.median(views.crop_distance(clouds.keypoints_px[index, :count], joints_m))
            apart /= self._pipeline.engine.shape.crop_px
            shortest_m, longest_m = self._settings.bones_sum_m
            if apart < self._settings.agreement and shortest_m < bone_lengths(joints_m).sum() < longest_m:
                hands.append((side, joints_m, float(apart)))
        return hands


def working_volume(rig: Rig, settings: FinderSettings) -> np.ndarray:
    """Places (n, 3) in world metres, a step apart, that at least two cameras see, the most central first.

    They lie within reach of the point that is nearest to all optical axes and, since the axes of cameras side by side
    hardly say how far away it is, a little towards a likely distance.
    """
    axes = np.stack([camera.T_cam_world[2, :3] for camera in rig.cameras])
    centres = np.stack([camera.centre_world_m for camera in rig.cameras])
    likely = (centres + settings.likely_distance_m * axes).mean(0)
    middle = nearest_to_lines(centres, axes, np.ones(len(axes)), likely, settings.trust_of_distance)
    reach = np.arange(-settings.reach_m, settings.reach_m + settings.step_m / 2, settings.step_m)
    places = middle + np.stack(np.meshgrid(reach, reach, reach), axis=-1).reshape(-1, 3)
    seen = np.zeros(len(places), int)
    for camera in rig.cameras:
        pixels = camera.project(places)
        lens = camera.camera
        # NaN, behind the camera, compares as outside.
        seen += ((pixels >= 0) & (pixels < (lens.width, lens.height))).all(1)
    distance_m = np.linalg.norm(places - middle, axis=1)
    kept = np.flatnonzero((seen >= 2) & (distance_m <= settings.reach_m))
    return places[kept[np.argsort(distance_m[kept], kind="stable")]]

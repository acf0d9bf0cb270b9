"""Looks at the views that hands have put aside: whether they agree again, or two cameras were exchanged."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from app.estimators.settings import JudgeSettings
from app.estimators.ust_hand.hand_in_crops import HandInCrops
from app.estimators.ust_hand.view_trust import HandLook
from app.estimators.view_watch import Sight, ViewWatch
from calibration.frames import FrameSet
from calibration.rig import Rig
from deploy.batches import empty_crops
from deploy.pipeline.pipeline import Pipeline


class SecondLook:
    """Gathers for a ViewWatch what the cameras saw of each hand."""

    def __init__(self, rig: Rig, pipeline: Pipeline, watch: ViewWatch, judge: JudgeSettings) -> None:
        self._rig, self._pipeline, self._watch, self._judge = rig, pipeline, watch, judge
        self._sets = self._pairs_tried = 0
        self._sights: dict[str, list[Sight]] = {}

    def where_due(
        self, tracks: Sequence[HandInCrops], frame_set: FrameSet, places_m: dict[int, np.ndarray]
    ) -> dict[int, HandLook]:
        """By track number a look at all views, of the hands that look in this set at what they have put aside.

        `places_m`: by slot where their joints (21, 3) are to be expected.
        """
        self._sets += 1
        if tracks and self._sets % self._judge.longest_wait == 0:
            self._try_exchange(tracks, frame_set, places_m)
        due = [track for track in tracks if track.trust.look_due()]
        if not due:
            return {}
        looks = self._looks(due, frame_set, places_m)
        for track, look in zip(due, looks, strict=True):
            track.trust.keep([camera.camera_id for camera in look.views.cameras])
        return {track.track_id: look for track, look in zip(due, looks, strict=True)}

    def learn(self, track: HandInCrops, look: HandLook, joints_m: np.ndarray) -> None:
        """What each view saw of a hand with joints (21, 3); one that this hand has put aside sees what it last did."""
        sights = look.sights(joints_m, self._pipeline.engine.shape.crop_px, self._judge)
        track.trust.learn(sights, [camera.camera_id for camera in look.views.cameras])
        left_out = self._watch.left_out(self._rig.camera_ids)
        aside: dict[str, Sight] = {
            camera_id: saw for camera_id, saw in track.trust.aside.items() if camera_id not in left_out
        }
        for camera_id, sight in (aside | sights).items():
            self._sights.setdefault(camera_id, []).append(sight)

    def tell_watch(self) -> None:
        """What was learnt in a set. A camera that agrees on one hand stands where it is said to."""
        kinds: tuple[Sight, ...] = ("agrees", "elsewhere", "nothing")
        self._watch.learn({name: next(k for k in kinds if k in sights) for name, sights in self._sights.items()})
        self._sights = {}

    def _looks(
        self, tracks: Sequence[HandInCrops], frame_set: FrameSet, places_m: dict[int, np.ndarray]
    ) -> list[HandLook]:
        shape = self._pipeline.engine.shape
        crops = empty_crops(len(tracks), self._pipeline.views, shape.crop_px)
        views = [
            track.look(self._rig, frame_set, places_m[track.slot], shape.upright, crops.hand(index))
            for index, track in enumerate(tracks)
        ]
        clouds = self._pipeline.probe(crops)
        return [
            HandLook(
                each, *(array[index, : len(each.cameras)].copy() for array in (clouds.keypoints_px, clouds.presence))
            )
            for index, each in enumerate(views)
        ]

    def _try_exchange(
        self, tracks: Sequence[HandInCrops], frame_set: FrameSet, places_m: dict[int, np.ndarray]
    ) -> None:
        """Note two cameras at odds as exchanged where both see a hand where it is to be expected once each is shown
        the other's picture: one pair each time."""
        doubtful = [camera_id for camera_id in self._watch.doubtful if camera_id in frame_set.frames]
        pairs = list(combinations(sorted(doubtful), 2))
        if not pairs or self._watch.exchanged:
            return
        one, other = pairs[self._pairs_tried % len(pairs)]
        self._pairs_tried += 1
        exchanged = {one: frame_set.frames[other], other: frame_set.frames[one]}
        shown = replace(frame_set, frames={**frame_set.frames, **exchanged})
        for track, look in zip(tracks, self._looks(tracks, shown, places_m), strict=True):
            apart = look.apart(places_m[track.slot], self._pipeline.engine.shape.crop_px)
            there = (look.presence >= self._judge.least_presence) & (apart < self._judge.view_elsewhere)
            seeing = {camera.camera_id for camera, sees in zip(look.views.cameras, there, strict=True) if sees}
            if {one, other} <= seeing:
                self._watch.exchanged = one, other

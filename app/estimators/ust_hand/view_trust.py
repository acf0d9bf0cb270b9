"""Which views of a hand are put aside: those that see it elsewhere than the others do, until they agree again."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from app.estimators.settings import JudgeSettings
from app.estimators.ust_hand.hand_views import HandViews
from app.estimators.view_watch import Sight
from calibration.triangulation import triangulate


@dataclass(kw_only=True)
class _Aside:
    """`wait`: sets between looks; `left`: those until the next; `saw`: what the last one did."""

    wait: int
    left: int
    saw: Sight = "elsewhere"


class ViewTrust:
    """Of one hand. A view that is put aside is looked at again now and then, ever more rarely."""

    def __init__(self, judge: JudgeSettings) -> None:
        self._judge = judge
        self._aside: dict[str, _Aside] = {}

    def _fresh(self) -> _Aside:
        return _Aside(wait=self._judge.first_wait, left=self._judge.first_wait)

    @property
    def aside(self) -> dict[str, Sight]:
        """The cameras that are left out, and what each saw of the hand when it was last looked at."""
        return {camera_id: each.saw for camera_id, each in self._aside.items()}

    def look_due(self) -> bool:
        """Whether to look at what is put aside in this set: to be asked once a set."""
        for each in self._aside.values():
            each.left -= 1
        due = any(each.left <= 0 for each in self._aside.values())
        if due:
            for each in self._aside.values():
                each.left = each.wait
        return due

    def put_aside(self, camera_ids: Iterable[str]) -> None:
        for camera_id in camera_ids:
            self._aside.setdefault(camera_id, self._fresh())

    def learn(self, sights: Mapping[str, Sight], looked_at: Collection[str]) -> None:
        """Of the cameras that were `looked_at` in a set. Three stay, as of two that disagree either may be wrong."""
        trusted = len(set(looked_at) - self._aside.keys())
        for camera_id, sight in sights.items():
            before = self._aside.get(camera_id)
            if sight == "agrees":
                self._aside.pop(camera_id, None)
            elif before is not None:
                before.saw = sight
                before.wait = before.left = min(2 * before.wait, self._judge.longest_wait)
            elif sight == "elsewhere" and trusted > 3:
                self._aside[camera_id] = self._fresh()
                trusted -= 1

    def keep(self, looked_at: Collection[str]) -> None:
        """Of a look at all views: one that has no picture of the hand's place any more is no longer put aside."""
        self._aside = {camera_id: each for camera_id, each in self._aside.items() if camera_id in looked_at}

    def clear(self) -> None:
        """Trust every view again, as where too few are left."""
        self._aside.clear()


@dataclass(frozen=True)
class HandLook:
    """What a network said of a hand's views: `keypoints_px` (V, J, 2), crop pixels, and `presence` (V,).

    `agreed_world_m` (J, 3), where it is known: the joints that the views agree on which show a hand.
    """

    views: HandViews
    keypoints_px: np.ndarray
    presence: np.ndarray
    agreed_world_m: np.ndarray | None = None

    def apart(self, joints_world_m: np.ndarray, crop_px: int) -> np.ndarray:
        """Median distance (V,) from the projections of joints (J, 3), as a share of the crop."""
        return np.median(self.views.crop_distance(self.keypoints_px, joints_world_m), axis=1) / crop_px

    def sights(self, joints_world_m: np.ndarray, crop_px: int, judge: JudgeSettings) -> dict[str, Sight]:
        """What each view saw of the hand with joints (J, 3), by camera: only those of which two other views tell.

        Where a view is far off, it may have moved the joints, too: then what counts is where the views that agree say.
        """
        shows = self.presence >= judge.least_presence_of_view
        apart = self.apart(joints_world_m, crop_px)
        if shows.sum() >= 3 and apart[shows].max() > judge.view_agrees / 2:
            agreed_m = self.agreed_world_m
            if agreed_m is None:
                agreed_m = self._agreed_m(shows, judge.alike_px(crop_px))
            apart = self.apart(agreed_m, crop_px)
        sights: dict[str, Sight] = {}
        for view, camera in enumerate(self.views.cameras):
            others = shows & (self.presence >= judge.least_presence) & (apart < judge.view_elsewhere)
            others[view] = False
            if others.sum() < 2:
                continue
            if not shows[view]:
                sights[camera.camera_id] = "nothing"
            elif apart[view] > max(judge.view_elsewhere, judge.view_ratio * np.median(apart[others])):
                sights[camera.camera_id] = "elsewhere"
            elif apart[view] < judge.view_agrees:
                sights[camera.camera_id] = "agrees"
        return sights

    def _agreed_m(self, shows: np.ndarray, std_px: float) -> np.ndarray:
        """Joints (J, 3) from the views that agree, of those that show a hand (V,)."""
        observed = self.views.observations(self.keypoints_px, np.full(self.keypoints_px.shape[:2], std_px), shows)
        return self.views.to_world_m(triangulate(observed, iterations=2).points_m[0])

"""A hand that is followed by the network of this project: where its crops lie, and in which views."""

from dataclasses import dataclass, field

import numpy as np

from app.estimators.tracks import HandTrack
from app.estimators.ust_hand.hand_views import HandViews
from app.estimators.ust_hand.view_choice import SeenIn
from app.estimators.ust_hand.view_trust import ViewTrust
from calibration.frames import FrameSet
from calibration.hand import Side
from calibration.rig import Rig
from deploy.batches import CropBatch
from models.hand.crop import hand_box
from models.hand.fit import PoseFit


@dataclass(eq=False, kw_only=True)
class HandInCrops(HandTrack):
    """Besides the track, its slot in the pipeline, what its crops show, and which views are trusted."""

    side: Side
    slot: int
    half_width_m: float
    trust: ViewTrust
    views: HandViews = field(default_factory=HandViews)
    seen_in: SeenIn = field(default_factory=SeenIn)
    pose: PoseFit | None = None
    """The built-in hand's, as last fitted."""

    @property
    def mirror(self) -> bool:
        return self.side == "left"

    def look(self, rig: Rig, frame_set: FrameSet, joints_m: np.ndarray, upright: bool, into: CropBatch) -> HandViews:
        """All views of the hand, whose joints (21, 3) are expected there, drawn into one hand's arrays."""
        target_m, _ = hand_box(joints_m)
        velocity_m_s, upright_m = self.motion.velocity_m_s.mean(0), joints_m if upright else None
        return HandViews.look(
            rig,
            frame_set,
            target_m,
            velocity_m_s,
            self.half_width_m,
            self.mirror,
            into,
            upright_m,
            self.seen_in,
        )

    def look_where_trusted(
        self, rig: Rig, frame_set: FrameSet, joints_m: np.ndarray, upright: bool, into: CropBatch
    ) -> HandViews:
        """As `look`, without the views that are put aside, as long as two others show the place."""
        if aside := self.trust.aside:
            views = self.look(rig, frame_set.without(aside), joints_m, upright, into)
            if len(views.cameras) >= 2:
                return views
            self.trust.clear()
        return self.look(rig, frame_set, joints_m, upright, into)

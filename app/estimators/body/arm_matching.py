"""Which arm of which person is a hand's, in each view: the one whose wrist is where the hand's is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.estimators.body.body_landmarks import BodyView
from app.estimators.body.settings import BodySettings
from app.estimators.multiview.assignment import best_assignment
from calibration.hand import Side
from calibration.rig import RigCamera

SIDES: tuple[Side, Side] = ("left", "right")
SHOULDERS, ELBOWS, WRISTS = (11, 12), (13, 14), (15, 16)
"""The person's own left one, then the right one, among MediaPipe's 33 points."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmView:
    """An arm in one view: `points_px` (2, 2) of shoulder and elbow, `visibility` (2,), and the body crop's side."""

    side: Side
    points_px: np.ndarray
    visibility: np.ndarray
    crop_side_px: float


def arms_of(body: BodyView) -> list[ArmView]:
    """Left and right."""
    arms = []
    for number, side in enumerate(SIDES):
        points = [SHOULDERS[number], ELBOWS[number]]
        arms.append(
            ArmView(
                side=side,
                points_px=body.points_px[points],
                visibility=body.visibility[points],
                crop_side_px=body.next_crop.side_px,
            )
        )
    return arms


def match_arms(
    cameras: Mapping[str, RigCamera],
    bodies: Mapping[str, Sequence[BodyView]],
    wrists_world_m: np.ndarray,
    settings: BodySettings,
) -> list[dict[str, ArmView]]:
    """For each hand, whose wrists are `wrists_world_m` (H, 3), its arm in each camera that shows it. In a view no arm
    is two hands'."""
    hands = len(wrists_world_m)
    found: list[dict[str, ArmView]] = [{} for _ in range(hands)]
    for camera_id, of_view in bodies.items():
        if not of_view or not hands:
            continue
        wrists_px = cameras[camera_id].project(wrists_world_m)
        places_px = np.stack([body.points_px[list(WRISTS)] for body in of_view])
        sides_px = np.array([body.next_crop.side_px for body in of_view])
        apart = np.linalg.norm(wrists_px[:, None, None] - places_px, axis=-1) / sides_px[:, None]
        # An arm is worth the more the nearer it is; as many columns more stand for none.
        worth = settings.reach - apart.reshape(hands, -1)
        worth = np.where(worth > 0, worth, -np.inf)
        chosen = best_assignment(np.concatenate([worth, np.zeros((hands, hands))], axis=1))
        arms = [arm for body in of_view for arm in arms_of(body)]
        for hand, column in enumerate(chosen):
            if column < len(arms):
                found[hand][camera_id] = arms[column]
    return found

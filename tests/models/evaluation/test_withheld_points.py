"""The withheld view of crops: what the other views say is where it is, and a view's own points have no part in it."""

import numpy as np
import pytest

from models.data.crop_cache import Shard
from models.evaluation.withheld_points import withheld_distances_px
from models.hand.crop import to_pixels
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, REST_ANGLES_RAD, chain

FRAMES, VIEWS = 3, 4


def test_only_the_other_views_points_say_where_a_joint_is() -> None:
    joints_m = chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m
    joints_m = joints_m - joints_m.mean(0)
    K = np.array([[900.0, 0, 140], [0, 900, 140], [0, 0, 1]])
    cameras = []
    for angle in np.deg2rad([-50, -15, 20, 60]):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        cameras.append(K @ np.column_stack([turn, [0, 0, 0.8]]))
    P_crop = np.tile(np.array(cameras, np.float32), (FRAMES, 1, 1))
    true_px = np.stack([to_pixels(P, joints_m) for P in P_crop])
    shard = Shard(
        crops_rgb=np.zeros((FRAMES * VIEWS, 1, 1, 3), np.uint8),
        P_crop=P_crop,
        labels_px=(true_px + [3.0, 4.0]).astype(np.float32),
        label_confidence=np.ones((FRAMES * VIEWS, 21), np.float32),
        rows=np.arange(FRAMES * VIEWS, dtype=np.int32).reshape(FRAMES, VIEWS),
        sequence=np.zeros(FRAMES, np.int32),
        time_ns=np.arange(FRAMES) * 33_000_000,
        targets_m=np.zeros((FRAMES, 3)),
    )
    distances = withheld_distances_px(true_px, shard)
    assert distances.shape == (FRAMES * VIEWS * 21,) and distances == pytest.approx(5.0, abs=1e-2)
    # A view without a crop neither has labels nor says anything; with two views left nothing is withheld.
    shard.rows[0, 1] = -1
    assert withheld_distances_px(true_px, shard) == pytest.approx(np.full(11 * 21, 5.0), abs=1e-2)
    shard.rows[0, 2] = -1
    assert len(withheld_distances_px(true_px, shard)) == 8 * 21

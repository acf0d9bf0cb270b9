"""Arms of a real recording: `python -m pytest -s tests/app/estimators/body/test_real_arms.py` prints the figures."""

from pathlib import Path

import numpy as np
import pytest

from app.estimators.body.arm_matching import match_arms
from app.estimators.body.body_views import BodyViews
from app.estimators.body.settings import BODY
from app.estimators.detectors.mediapipe_hands import MediaPipeHands
from app.estimators.multiview.estimator import MultiViewEstimator
from app.worker.arm_poses import ArmPoses
from calibration.triangulation import Observations, triangulate
from tests.support.real_rig import read_rig, read_sets

SETS = 111
ELBOW, SHOULDER = 1, 0


@pytest.fixture(scope="module")
def followed(real_rig_dir: Path) -> list[tuple]:
    """Of each set its hands, the people in its images, and the arms as published, by track."""
    rig = read_rig(real_rig_dir)
    estimator = MultiViewEstimator(rig, MediaPipeHands())
    poses = ArmPoses(rig, hands=2, definition="detector", engine="auto", waits=True)
    views, found = BodyViews(), []
    for frame_set in read_sets(real_rig_dir, SETS):
        hands = estimator.estimate(frame_set).hands
        found.append((hands, views.read(views.take(frame_set)).bodies, poses.of(frame_set, hands)))
    for each in (estimator, poses, views):
        each.close()
    return found


@pytest.mark.slow
def test_views_that_did_not_take_part_see_the_elbow_there(followed, real_rig_dir: Path) -> None:
    cameras = {camera.camera_id: camera for camera in read_rig(real_rig_dir).cameras}
    errors_px: dict[int, list[float]] = {ELBOW: [], SHOULDER: []}
    shares: dict[int, list[float]] = {ELBOW: [], SHOULDER: []}
    for hands, bodies, _ in followed:
        wrists = np.array([hand.joints_world_m[0] for hand in hands]).reshape(-1, 3)
        for arm in match_arms(cameras, bodies, wrists, BODY):
            for point in errors_px:
                visible = {name: each for name, each in arm.items() if each.visibility[point] >= BODY.least_visibility}
                for withheld in visible:
                    others = {name: each for name, each in visible.items() if name != withheld}
                    if len(others) < 2:
                        continue
                    P = np.stack([cameras[name].T_cam_world[:3] for name in others])[None, None]
                    seen = [cameras[name].camera.undistort(each.points_px[point]) for name, each in others.items()]
                    std = [each.crop_side_px / cameras[name].camera.focal_px for name, each in others.items()]
                    shape = np.ones((1, 1, len(others)), bool)
                    obs = Observations(P, np.stack(seen)[None, None], BODY.point_error * np.array([[std]]), shape)
                    there_px = cameras[withheld].project(triangulate(obs).points_m[0, 0])
                    errors_px[point].append(float(np.linalg.norm(there_px - visible[withheld].points_px[point])))
                    shares[point].append(errors_px[point][-1] / visible[withheld].crop_side_px)
    for point, name in ((ELBOW, "elbow"), (SHOULDER, "shoulder")):
        apart, share = np.array(errors_px[point]), np.array(shares[point])
        print(
            f"\n{name}: {len(apart)} withheld, median {np.median(apart):.0f} px of 1280, "
            f"{100 * np.median(share):.1f} % of the body's crop, 90 % within {np.percentile(apart, 90):.0f} px"
        )
    assert len(errors_px[ELBOW]) > 300
    assert np.median(shares[ELBOW]) < 0.035 and np.median(shares[SHOULDER]) < 0.035


@pytest.mark.slow
def test_arms_are_on_the_hands_own_side_and_forearms_keep_their_length(followed) -> None:
    arms = [(hand, of_set.get(hand.track_id)) for hands, _, of_set in followed for hand in hands]
    known = [(hand, arm) for hand, arm in arms if arm is not None]
    own = np.mean([arm.side == hand.side for hand, arm in known])
    lengths = {
        side: np.array([np.linalg.norm(arm.elbow_world_m - h.joints_world_m[0]) for h, arm in known if h.side == side])
        for side in ("left", "right")
    }
    sd_mm = 1e3 * np.median([np.sqrt(np.trace(arm.elbow_covariance_m2) / 3) for _, arm in known])
    wrist_deg = np.rad2deg([arm.wrist_rad for _, arm in known])
    std_deg = np.median(np.rad2deg([arm.wrist_std_rad for _, arm in known]), axis=0)
    print(f"\narms of {len(known)} of {len(arms)} hands, {100 * own:.0f} % of the own side; elbow to {sd_mm:.0f} mm")
    for side, each in lengths.items():
        print(f"{side} forearm {1e3 * np.median(each):.0f} mm, standard deviation {1e3 * each.std():.0f} mm")
    low, high = np.percentile(wrist_deg, [5, 95], axis=0)
    print(f"wrist: flexion {low[0]:.0f} to {high[0]:.0f}, give or take {std_deg[0]:.0f} degrees; "
          f"deviation {low[1]:.0f} to {high[1]:.0f}, give or take {std_deg[1]:.0f}")  # fmt: skip
    assert len(known) > 0.8 * len(arms) and own > 0.97
    for each in lengths.values():
        assert 0.22 < np.median(each) < 0.34 and each.std() < 0.03
    # What a wrist can do: flexion 80, extension 70, ulnar deviation 35 and radial 20, and the errors.
    assert np.mean((np.abs(wrist_deg[:, 0]) < 90) & (np.abs(wrist_deg[:, 1]) < 50)) > 0.97

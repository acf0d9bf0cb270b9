"""A keypoint's confidence follows its true error, as far as the other views can tell."""

import numpy as np
import pytest
from scipy.stats import rankdata

from app.labelling.agreement import joint_velocities, view_agreement
from app.labelling.stretch import Stretch, empty_hands
from calibration.hand import JOINTS, hand_size_px
from calibration.rig import Rig
from models.simulation.detector_noise import GRADES, detect
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

FPS = 30


def stretch(rig: Rig, sets: int = 12, lag_s: float = 0.0, fps: float = FPS) -> Stretch:
    """Right hands as the rig's cameras see them exactly, each camera `lag_s` later than the one before it."""
    views = len(rig.cameras)
    hands = empty_hands(sets, views)
    for row in range(sets):
        time_s = row / fps
        hands["time_ns"][row] = round(1e9 * time_s)
        hands["joints_m"][row] = hands_at(time_s)["right"]
        for view, camera in enumerate(rig.cameras):
            own_s = time_s + lag_s * (view - (views - 1) / 2)
            hands["seen"][row, view] = True
            hands["frame_time_ns"][row, view] = round(1e9 * own_s)
            px = camera.project(hands_at(own_s)["right"])
            hands["keypoints_px"][row, view], hands["presence"][row, view] = px, 1.0
            hands["std_px"][row, view] = 0.036 * hand_size_px(px)
    hands["right"][:] = True
    none = np.zeros(1, int)
    return Stretch(
        **hands, sets=none, sets_with_hand=none, unmatched=none, images=np.zeros(views), found=np.zeros(views),
        detector_s=np.zeros(1), definition=np.array(["anatomical"]),
    )  # fmt: skip


def noisy(hands: Stretch, seed: int = 0, share: float = 0.3) -> Stretch:
    random = np.random.default_rng(seed)
    hands.keypoints_px[:] += share * hands.std_px[..., None] * random.normal(size=hands.keypoints_px.shape)
    return hands


def test_what_all_views_agree_on_is_trusted():
    found = view_agreement(ring_rig(4), noisy(stretch(ring_rig(4)), share=1.0))
    assert np.median(found.confidence) == pytest.approx(1, abs=0.1)
    assert (found.confidence > 0.3).mean() > 0.9


def test_a_joint_that_the_others_contradict_counts_little_and_theirs_still_count():
    rig = ring_rig(4)
    hands = noisy(stretch(rig))
    hands.keypoints_px[:, 1, 8] += 60
    found = view_agreement(rig, hands)
    assert found.confidence[:, 1, 8].max() < 0.05
    assert np.median(found.residual_px[:, 1, 8]) == pytest.approx(np.hypot(60, 60), rel=0.1)
    others = [0, 2, 3]
    # One of three others contradicts them.
    assert np.median(found.confidence[:, others, 8]) == pytest.approx(2 / 3, abs=0.1)
    assert np.median(found.confidence[:, :, 7]) > 0.9


def test_a_joint_that_two_views_contradict_counts_little_though_a_third_agrees():
    """Two pairs of views that are each at one, in two places: neither is believed."""
    rig = ring_rig(4)
    hands = noisy(stretch(rig))
    aside_m = hands.joints_m[:, 8] + [0.0, 0.0, 0.05]
    for view in (2, 3):
        hands.keypoints_px[:, view, 8] = rig.cameras[view].project(aside_m)
    assert view_agreement(rig, hands).confidence[:, :, 8].max() < 0.2


def test_two_views_that_agree_are_half_believed():
    rig = ring_rig(2)
    found = view_agreement(rig, noisy(stretch(rig)))
    assert np.median(found.confidence) == pytest.approx(0.5, abs=0.02)
    assert found.confidence.max() <= 0.5


def test_what_one_view_alone_has_is_hardly_believed_and_what_is_not_seen_not_at_all():
    rig = ring_rig(3)
    hands = noisy(stretch(rig))
    hands.seen[:, 1:] = False
    found = view_agreement(rig, hands)
    assert found.confidence[:, 0] == pytest.approx(0.1, rel=0.05)
    assert (found.confidence[:, 1:] == 0).all()


def test_a_detector_that_is_unsure_of_a_joint_is_not_overruled_by_agreement():
    rig = ring_rig(4)
    hands = noisy(stretch(rig), share=0.1)
    hands.std_px[:, :, 4] *= 2
    assert np.median(view_agreement(rig, hands).confidence[:, :, 4]) == pytest.approx(0.25, abs=0.03)


def test_views_of_a_moving_hand_are_compared_at_their_own_times():
    """Cameras 8 ms apart: what moves 20 px between the first and the last still agrees, as it does at rest."""
    rig = ring_rig(4, 1280, 960)
    late = stretch(rig, sets=40, lag_s=0.008)
    moved = view_agreement(rig, late)
    still = Stretch(**{**late.__dict__, "track": np.arange(len(late))})
    unaware = view_agreement(rig, still)
    assert np.nanpercentile(moved.residual_px[1:-1], 90) < 0.2 * np.nanpercentile(unaware.residual_px[1:-1], 90)


def test_velocities_are_those_of_the_same_hand_and_stop_at_gaps():
    hands = stretch(ring_rig(2), sets=3, fps=10)
    hands.joints_m[:] = np.arange(3)[:, None, None] * 0.1
    assert joint_velocities(hands, 0.35) == pytest.approx(np.ones((3, JOINTS, 3)))
    hands.time_ns[2] += 10**9
    assert joint_velocities(hands, 0.35) == pytest.approx(
        np.array([1.0, 1.0, 0.0])[:, None, None] * np.ones((JOINTS, 3))
    )
    hands.track[1] = 5
    assert not joint_velocities(hands, 0.35).any()


@pytest.mark.parametrize("grade", ["moderate", "noisy"])
def test_confidence_says_more_of_the_true_error_than_the_detectors_own(grade):
    """The simulated detector's own confidence has a rank correlation of about -0.65 with its error (docs/labels.md)."""
    rig = ring_rig(4)
    hands = stretch(rig, sets=300)
    truth_px = hands.keypoints_px.copy()
    visible = np.ones((300, JOINTS), bool)
    for view in range(4):
        said = detect(truth_px[:, view], visible, np.arange(300), [7, view], GRADES[grade])
        hands.keypoints_px[:, view] = np.where(said.found[:, None, None], said.keypoints_px, 0)
        hands.seen[:, view] = said.found
    confidence = view_agreement(rig, hands).confidence[hands.seen]
    error = (np.linalg.norm(hands.keypoints_px - truth_px, axis=-1) / hands.std_px)[hands.seen]
    assert np.corrcoef(rankdata(confidence), rankdata(error))[0, 1] < -0.3
    assert np.median(error[confidence < 0.1]) > 3 * np.median(error[confidence > 0.5])
    # What is far off is hardly ever believed.
    assert (confidence[error > 8] > 0.3).mean() < 0.02

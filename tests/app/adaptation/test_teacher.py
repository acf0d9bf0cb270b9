"""The teacher is nearer to the truth than what it is made of."""

from dataclasses import replace

import numpy as np
import pytest

from app.adaptation.teacher import detected, fuse, observations, seen_again, smoothed, teach, without_each_view
from app.labelling.stretch import Stretch, empty_hands
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

SETS, VIEWS, FPS = 40, 4, 25
NOISE_PX = 4.0


def truth_m() -> np.ndarray:
    return np.stack([hands_at(number / FPS)["right"] for number in range(SETS)])


def seen_hands(rig, seed: int = 0) -> Stretch:
    """A right hand, seen by all cameras with noise, each camera's picture a little later than the one's before it."""
    random = np.random.default_rng(seed)
    rows = empty_hands(SETS, VIEWS)
    rows["time_ns"][:] = np.arange(SETS) * 10**9 // FPS
    rows["right"][:], rows["seen"][:], rows["presence"][:], rows["std_px"][:] = True, True, 1.0, NOISE_PX
    for view, camera in enumerate(rig.cameras):
        rows["frame_time_ns"][:, view] = rows["time_ns"] + view * 4_000_000
        for number in range(SETS):
            there_px = camera.project(hands_at(rows["frame_time_ns"][number, view] * 1e-9)["right"])
            rows["keypoints_px"][number, view] = there_px + random.normal(0, NOISE_PX, (21, 2))
    rows["joints_m"] = truth_m() + random.normal(0, 0.006, (SETS, 21, 3))
    none = np.zeros(1, int)
    return Stretch(
        **rows, sets=none + SETS, sets_with_hand=none + SETS, unmatched=none, images=np.zeros(VIEWS, int),
        found=np.full(VIEWS, SETS), detector_s=np.zeros(1), definition=np.array(["anatomical"]),
    )  # fmt: skip


def error_mm(joints_m: np.ndarray) -> float:
    return 1e3 * float(np.linalg.norm(joints_m - truth_m(), axis=-1).mean())


@pytest.fixture(scope="module")
def rig():
    return ring_rig(VIEWS, 1280, 720, fps=FPS)


def test_bones_and_time_take_a_good_part_of_the_triangulations_error(rig):
    hands = seen_hands(rig)
    obs = observations(rig, hands, [detected(hands)], np.zeros((SETS, 21, 3)))
    plain_m = np.nanmean(without_each_view(obs, VIEWS), axis=0)
    assert error_mm(teach(rig, hands).joints_m) < 0.6 * error_mm(plain_m)


def test_a_view_that_is_wrong_does_not_count(rig):
    hands = seen_hands(rig)
    wrong = hands.keypoints_px.copy()
    wrong[10:20, 2] += 80.0
    assert error_mm(teach(rig, replace(hands, keypoints_px=wrong)).joints_m) < 1.3 * error_mm(
        teach(rig, hands).joints_m
    )


def test_where_the_two_teachers_disagree_both_are_in_doubt(rig):
    hands = seen_hands(rig)
    by_detector = teach(rig, hands)
    off_m = hands.joints_m.copy()
    off_m[:, 8] += [0.0, 0.0, 0.06]
    agreed, doubted = fuse(hands, by_detector), fuse(replace(hands, joints_m=off_m), by_detector)
    variance = [np.einsum("hjaa->hj", each.covariance_m2).mean(0) for each in (agreed, doubted)]
    assert variance[1][8] > 2 * variance[0][8]
    assert variance[1][12] == pytest.approx(variance[0][12])
    assert error_mm(agreed.joints_m) < 0.7 * error_mm(hands.joints_m)


def test_a_hand_that_is_seen_again_is_taken_from_there(rig):
    hands = seen_hands(rig)
    again = replace(hands, joints_m=truth_m())
    assert np.array_equal(seen_again(hands, again).joints_m, truth_m())
    left = replace(again, right=~again.right)
    assert np.array_equal(seen_again(hands, left).joints_m, hands.joints_m)


def test_the_smoother_agrees_with_the_solution_of_all_times_at_once():
    """Against the normal equations of the same model over all states."""
    random = np.random.default_rng(3)
    times_s, q, noise = np.cumsum(random.uniform(0.05, 0.15, 6)), 1.5, 0.01
    measured_m = random.normal(0, 0.05, (6, 1, 3))
    mean_m, cov_m2, velocity = smoothed(times_s, measured_m, np.broadcast_to(noise**2 * np.eye(3), (6, 1, 3, 3)), q)
    A, b = np.zeros((12, 12)), np.zeros((12, 3))
    A[1, 1] += 1.0  # the first velocity is within 1 m/s of none
    for number in range(6):
        A[2 * number, 2 * number] += noise**-2
        b[2 * number] += measured_m[number, 0] * noise**-2
        if number:
            dt = times_s[number] - times_s[number - 1]
            information = np.linalg.inv(q**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]))
            step = np.array([[-1, -dt, 1, 0], [0, -1, 0, 1.0]])
            at = slice(2 * number - 2, 2 * number + 2)
            A[at, at] += step.T @ information @ step
    solved = np.linalg.solve(A, b)
    assert mean_m[:, 0] == pytest.approx(solved[0::2], abs=1e-9)
    assert velocity[:, 0] == pytest.approx(solved[1::2], abs=1e-8)
    assert cov_m2[:, 0, 0, 0] == pytest.approx(np.linalg.inv(A).diagonal()[0::2], rel=1e-6)

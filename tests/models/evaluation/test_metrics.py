"""Evaluation metrics against hand-computed cases and known transformations."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.spatial.transform import Rotation

from models.evaluation.metrics import (
    acceleration_error_mm,
    auc,
    coverage,
    joint_errors_mm,
    pck,
    procrustes_aligned,
    root_aligned,
    summary,
)

RANDOM = np.random.default_rng(5)
TRUTH_M = RANDOM.normal(0, 0.05, (7, 21, 3))


def test_errors_of_a_shift_are_its_length_and_vanish_when_the_root_is_aligned():
    moved = TRUTH_M + [0.003, 0, 0.004]
    assert joint_errors_mm(moved, TRUTH_M) == pytest.approx(5.0)
    assert root_aligned(moved, TRUTH_M) == pytest.approx(TRUTH_M)
    assert summary(moved, TRUTH_M)["root_aligned_mpjpe_mm"] == pytest.approx(0, abs=1e-9)


def test_procrustes_undoes_any_similarity_but_no_reflection():
    rotation = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix()
    assert procrustes_aligned(1.3 * TRUTH_M @ rotation.T + [0.1, -0.2, 0.3], TRUTH_M) == pytest.approx(TRUTH_M)
    mirrored = TRUTH_M * [-1, 1, 1]
    assert joint_errors_mm(procrustes_aligned(mirrored, TRUTH_M), TRUTH_M).mean() > 10


def test_procrustes_is_the_best_similarity():
    noisy = TRUTH_M[0] + RANDOM.normal(0, 0.01, (21, 3))
    best = np.square(procrustes_aligned(noisy, TRUTH_M[0]) - TRUTH_M[0]).sum()
    aligned = procrustes_aligned(noisy, TRUTH_M[0])
    for _ in range(50):
        small = Rotation.from_rotvec(RANDOM.normal(0, 0.02, 3)).as_matrix()
        other = (1 + RANDOM.normal(0, 0.02)) * aligned @ small.T + RANDOM.normal(0, 0.001, 3)
        assert np.square(other - TRUTH_M[0]).sum() > best


def test_auc_is_the_area_under_the_pck_curve():
    errors = RANDOM.gamma(2, 5, 4000)
    thresholds = np.linspace(0, 20, 20001)
    assert auc(errors, 20) == pytest.approx(trapezoid(pck(errors, thresholds), thresholds) / 20, abs=1e-4)
    assert auc(np.array([0.0, 20.0]), 20) == pytest.approx(0.5)
    assert pck(np.array([1.0, 3.0, 5.0]), np.array([3.0])) == pytest.approx(2 / 3)


def test_acceleration_of_one_bad_frame_and_of_constant_velocity():
    times = np.arange(5) / 30
    moving = TRUTH_M[:1] + np.arange(5)[:, None, None] * 0.01
    assert acceleration_error_mm(moving, np.repeat(TRUTH_M[:1], 5, 0), times) == pytest.approx(0, abs=1e-9)
    jumped = np.repeat(TRUTH_M[:1], 5, 0)
    jumped[2, :, 0] += 0.001
    # Second differences 1, -2, 1 mm.
    assert acceleration_error_mm(jumped, np.repeat(TRUTH_M[:1], 5, 0), times) == pytest.approx(4 / 3)
    assert np.isnan(acceleration_error_mm(jumped[:2], jumped[:2], times[:2]))
    assert np.isnan(acceleration_error_mm(jumped[:3], jumped[:3], np.array([0, 0.03, 0.2])))


def test_coverage_of_errors_drawn_from_their_own_covariance():
    factor = RANDOM.normal(0, 0.004, (4000, 21, 3, 3))
    errors = (factor @ RANDOM.normal(size=(4000, 21, 3, 1)))[..., 0]
    held = coverage(errors, np.zeros_like(errors), factor @ np.swapaxes(factor, -1, -2))
    assert held[0.5] == pytest.approx(0.5, abs=0.01)
    assert held[0.9] == pytest.approx(0.9, abs=0.01)

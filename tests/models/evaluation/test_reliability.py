"""Reliability of probabilities whose truth is drawn from them, and its cure."""

import numpy as np
import pytest

from models.evaluation.reliability import Said, reliability
from models.training.calibrate import fit_calibration


def test_probabilities_that_hold_have_no_calibration_error():
    random = np.random.default_rng(0)
    probability = random.random(100_000)
    figures = reliability(Said(probability, random.random(100_000) < probability))
    assert figures["expected_calibration_error"] < 0.01
    assert figures["brier"] == pytest.approx(1 / 6, abs=0.005)  # the integral of p (1 - p)
    assert figures["n"] == 100_000
    assert len(figures["bins"]) == 10


def test_probabilities_that_are_off_are_found_out():
    said = Said(np.full(1000, 0.9), np.arange(1000) < 600)
    figures = reliability(said)
    assert figures["expected_calibration_error"] == pytest.approx(0.3)
    assert figures["wrong"] == pytest.approx(0.4)


def test_a_fit_recovers_the_sigmoid_that_drew_the_truth():
    random = np.random.default_rng(1)
    logit = random.normal(0, 3, 50_000)
    true = random.random(50_000) < 1 / (1 + np.exp(-(0.5 * logit + 1.2)))
    scale, shift = fit_calibration(logit, true.astype(float), np.ones(50_000))
    assert scale == pytest.approx(0.5, abs=0.03)
    assert shift == pytest.approx(1.2, abs=0.05)

"""A small simulated rig taken as a real one: labels from its pictures alone, the truth only to judge by."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app import cli
from app.adaptation import adapt
from app.adaptation.adapt import WEIGHTS
from app.adaptation.footage import Footage, plan_footage
from app.adaptation.settings import FootageSettings
from app.estimators import make_estimator
from calibration.session import check_session
from models.files.truth import read_truth
from models.hand.definition import convert
from tests.support.live_run import last_json

FEWER = {"people": 3, "clips": 2}


def true_errors_mm(footage: Footage, engine: str) -> dict[tuple[int, str], float]:
    """Of each hand on the sets that were held out: how far its joints are from the truth, in the mean."""
    truth = read_truth(footage.session.path / "truth.npz", len(footage.session.camera_ids))
    estimator, errors = make_estimator("ust-hand", footage.rig, checkpoint=engine), {}
    for frame_set in footage.sets_between(*footage.held_out(1000), 2.0):
        for hand in estimator.estimate(frame_set).hands:
            mirror = np.array([1.0 if hand.side == "right" else -1.0, 1.0, 1.0])
            joints_m = mirror * convert(mirror * hand.joints_world_m, estimator.definition, "anatomical")
            at = int(np.argmin(np.abs(truth.times_ns - hand.capture_time_ns)))
            error_mm = 1e3 * np.linalg.norm(joints_m - truth.hands[hand.side].joints_world_m[at], axis=1)
            if frame_set.reference_time_ns >= footage.held_ns and np.median(error_mm) < 60:
                errors[frame_set.reference_time_ns, hand.side] = float(error_mm.mean())
    estimator.close()
    return errors


@pytest.mark.slow
def test_adapting_lowers_the_true_error_on_what_was_held_out(tmp_path: Path, monkeypatch, capsys) -> None:
    session = tmp_path / "session"
    words = ["--sets", "150", "--cameras", "4", "--fps", "10", "--seed", "71"]
    assert cli.main(["simulate", str(session), *words]) == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("REHEARSAL", "WINDOWS", "TEST"):
        monkeypatch.setattr(adapt, name, msgspec.structs.replace(getattr(adapt, name), **FEWER))
    out = tmp_path / "mine"
    capsys.readouterr()
    assert cli.main(["adapt", str(session), "-o", str(out), "--rounds", "1", "--json"]) == 0
    summary = last_json(capsys.readouterr().out)
    held = summary["held_out"]
    assert summary["refused"] is None and json.loads((out / "adapt.json").read_text()) == summary
    assert held["adapted"]["withheld_px_median"] < held["packaged"]["withheld_px_median"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mine", "session"]
    assert (out / WEIGHTS).is_file()

    footage = plan_footage(check_session(session), 600, FootageSettings())
    before, after = (true_errors_mm(footage, source) for source in ("shipped", str(out)))
    both = before.keys() & after.keys()
    assert len(both) > 30
    assert np.mean([after[key] for key in both]) < 0.92 * np.mean([before[key] for key in both])

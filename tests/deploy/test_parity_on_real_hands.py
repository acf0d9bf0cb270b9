"""The packaged checkpoint's engines against torch on a real recording: the same crops, the same joints."""

from pathlib import Path

import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.bench.live import read_sets
from app.estimators import make_estimator
from app.estimators.ust_hand.hand_views import HandViews
from calibration.frames import FrameSet
from calibration.rig import Rig
from calibration.session import check_session
from deploy.artefact.cached_export import cached_export
from deploy.batches import empty_crops
from deploy.engines import has_bf16, make_engine
from deploy.export.parity import LANDMARK_RUNTIMES, STAGE1, Window, compare, run_window
from models.hand.crop import hand_box
from tests.support.live_run import usthand

FRAMES, CROP_PX = 5, 224


@pytest.fixture(scope="module")
def recorded(real_rig_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, list[FrameSet]]:
    session_dir = tmp_path_factory.mktemp("real") / "session"
    done = usthand("import", real_rig_dir, session_dir)
    assert done.returncode == 0, done.stderr
    session = check_session(session_dir)
    rig = recorded_rig(session)
    return rig, read_sets(session, rig, recorded_phases_of(session, rig))


@pytest.fixture(scope="module")
def windows(recorded: tuple[Rig, list[FrameSet]]) -> list[Window]:
    """Five sets after one another, cropped where MediaPipe finds each hand in the last; 40 sets, both hands."""
    rig, sets = recorded
    sets = sets[:40]
    finder = make_estimator("mediapipe", rig)
    found = []
    for number, frame_set in enumerate(sets):
        hands = finder.estimate(frame_set).hands
        if number % 8 != 7:
            continue
        for hand in hands:
            target_m, half_width_m = hand_box(hand.joints_world_m)
            crops = empty_crops(FRAMES, len(rig.cameras), CROP_PX)
            for t, earlier in enumerate(sets[number - FRAMES + 1 : number + 1]):
                left = hand.side == "left"
                into, joints_m = crops.hand(t), hand.joints_world_m
                HandViews.look(rig, earlier, target_m, np.zeros(3), half_width_m, left, into, joints_m)
            there = crops.view_mask.sum(1) >= 2
            window = dict(zip(STAGE1, crops, strict=True))
            found.append(window | {"origins_m": np.zeros((FRAMES, 3), np.float32), "frame_mask": there})
    finder.close()
    assert len(found) >= 5 and np.mean([window["frame_mask"].mean() for window in found]) > 0.9
    return found


@pytest.mark.slow
def test_every_engine_gives_the_joints_of_torch_on_real_hands(windows: list[Window]) -> None:
    directory = cached_export("shipped")
    assert directory is not None
    reference = make_engine("shipped", "torch")
    expected_m = np.stack([run_window(reference, window) for window in windows])
    for name, tolerance in LANDMARK_RUNTIMES.items():
        if name == "openvino-bf16" and not has_bf16():
            continue
        engine = make_engine(str(directory), name)
        engine.prepare([1], 4)
        joints_m = np.stack([run_window(engine, window) for window in windows])
        found = compare(engine.name, 4, joints_m, expected_m, tolerance._replace(error_percent=None))
        assert found.holds, found
        assert found.mean_mm > 0  # another program did calculate it


@pytest.mark.slow
def test_bfloat16_gives_hands_whose_views_agree_as_well(recorded: tuple[Rig, list[FrameSet]]) -> None:
    """From end to end: as many hands, and a leave-one-out error that is at most 2 % larger."""
    if not has_bf16():
        pytest.skip("this processor has no bfloat16")
    directory = cached_export("shipped")
    assert directory is not None
    rig, sets = recorded
    counts, errors_px = [], []
    for name in ("openvino", "openvino-bf16"):
        estimator = make_estimator("ust-hand", rig, checkpoint=str(directory), engine=name)
        hands = [hand for frame_set in sets for hand in estimator.estimate(frame_set).hands]
        estimator.close()
        counts.append(len(hands))
        errors_px.append(np.median(np.concatenate([hand.leave_one_out_px for hand in hands])))
    assert counts[1] >= 0.98 * counts[0] > len(sets)
    assert errors_px[1] <= 1.02 * errors_px[0], errors_px

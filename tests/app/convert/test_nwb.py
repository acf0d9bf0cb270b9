"""NWB, read back by pynwb and checked by its validator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from app.convert.hand_recording import HandRecording
from app.convert.skeleton_animation import NODE_NAMES
from tests.support.arm_files import DEVIATION_DEG, FLEXION_DEG, KNOWN


@contextmanager
def behavior_in(recording: HandRecording, path: Path) -> Iterator:
    """Written, found to be valid, and read back: the file's module of behaviour."""
    pynwb = pytest.importorskip("pynwb", reason="needs pynwb and ndx-pose: pip install 'usthand-live[nwb]'")
    pytest.importorskip("ndx_pose", reason="needs pynwb and ndx-pose: pip install 'usthand-live[nwb]'")
    from app.convert.nwb import write_nwb

    write_nwb(path, recording)
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        assert pynwb.validate(io=io) == []
        yield io.read().processing["behavior"]


@pytest.mark.slow
def test_nwb_is_valid_and_has_positions_confidence_and_angles(recording, tmp_path):
    with behavior_in(recording, tmp_path / "hands.nwb") as behavior:
        for hand in recording.hands:
            poses = behavior[hand.name]
            assert list(poses.skeleton.nodes[:]) == list(NODE_NAMES)
            for joint, name in enumerate(NODE_NAMES):
                series = poses[name]
                assert series.unit == "meters"
                np.testing.assert_array_equal(series.data[:], hand.joints_world_m[:, joint])
                np.testing.assert_array_equal(series.confidence[:], hand.confidence[:, joint])
                np.testing.assert_allclose(series.timestamps[:], recording.times_ns / 1e9)
            np.testing.assert_array_equal(behavior[f"{hand.name}_angles"].data[:], np.rad2deg(hand.fit.angles_rad))
            assert behavior[f"{hand.name}_validity"].data[20:34].sum() == 0 or hand.side == "right"


@pytest.mark.slow
def test_nwb_has_elbow_and_shoulder_as_nodes_and_the_wrists_angles(with_arms, tmp_path):
    with behavior_in(with_arms, tmp_path / "hands.nwb") as behavior:
        for hand in with_arms.hands:
            poses = behavior[hand.name]
            nodes = list(poses.skeleton.nodes[:])
            assert nodes == [*NODE_NAMES, "elbow", "shoulder"]
            edges = [(nodes[a], nodes[b]) for a, b in poses.skeleton.edges[:]]
            assert edges[-2:] == [("wrist", "elbow"), ("elbow", "shoulder")]
            for number, name in enumerate(("elbow", "shoulder")):
                np.testing.assert_array_equal(poses[name].data[:], hand.arm.points_world_m[:, number])
                assert np.flatnonzero(np.isfinite(poses[name].data[:, 0])).tolist() == list(KNOWN[hand.side][number])
            angles = behavior[f"{hand.name}_wrist_angles"].data[list(KNOWN[hand.side][0])]
            np.testing.assert_allclose(angles, [[FLEXION_DEG, DEVIATION_DEG]] * len(angles), atol=0.1)
            assert np.isfinite(behavior[f"{hand.name}_wrist_angles_std"].data[list(KNOWN[hand.side][0])]).all()

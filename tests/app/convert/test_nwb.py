"""NWB, read back by pynwb and checked by its validator."""

import numpy as np
import pytest

from app.convert.skeleton_animation import NODE_NAMES


@pytest.mark.slow
def test_nwb_is_valid_and_has_positions_confidence_and_angles(recording, tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="needs pynwb and ndx-pose: pip install 'usthand-live[nwb]'")
    pytest.importorskip("ndx_pose", reason="needs pynwb and ndx-pose: pip install 'usthand-live[nwb]'")
    from app.convert.nwb import write_nwb

    path = tmp_path / "hands.nwb"
    write_nwb(path, recording)
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        assert pynwb.validate(io=io) == []
        behavior = io.read().processing["behavior"]
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

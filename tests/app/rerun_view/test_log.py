"""A run's Rerun log: the arm of a hand is drawn while it is known and cleared once when it is not."""

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from app.transport.messages import PoseSet
from tests.support.streamed_hands import TRACKS, arm_set, pose_set
from tests.support.viewer_scene import make_rig

rr = pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'usthand-live[rerun]'")


def test_arms_are_drawn_while_they_are_known_and_then_cleared(tmp_path) -> None:
    from rerun.chunk import RrdReader

    from app.rerun_view.log import TIMELINE, RerunLog

    recording = rr.RecordingStream("usthand")
    recording.save(tmp_path / "run.rrd")
    no_pictures: Any = SimpleNamespace(image=lambda slot, width: None)
    log = RerunLog(recording, make_rig(), no_pictures)
    with_arms, forearms, without = arm_set(), arm_set(shoulder=False), pose_set()
    only_left = msgspec.structs.replace(without, hands=without.hands[:1])
    for number, poses in enumerate((with_arms, forearms, without, without, only_left)):
        recording.set_time(TIMELINE, duration=np.timedelta64(number, "ns"))
        log._add_hands(shown(poses))
    recording.disconnect()

    place = f"/world/right_{TRACKS['right']}"
    points, cleared = {}, []
    for chunk in RrdReader(tmp_path / "run.rrd").store().stream().to_chunks():
        if chunk.is_static or not chunk.entity_path.startswith(place):
            continue
        batch = chunk.to_record_batch()
        times = batch.column(TIMELINE).cast("int64").to_pylist()
        for name in batch.schema.names:
            known = [(t, v) for t, v in zip(times, batch.column(name).to_pylist(), strict=True) if v is not None]
            if (chunk.entity_path, name) == (f"{place}/arm/joints", "Points3D:positions"):
                points |= dict(known)
            if chunk.entity_path in (place, f"{place}/arm") and name.startswith("Clear"):
                cleared += [(time, chunk.entity_path) for time, _ in known]
    (arm,) = (hand.arm for hand in with_arms.hands if hand.hand == "right")
    assert arm is not None and arm.shoulder_world_m is not None
    assert sorted(points) == [0, 1]
    np.testing.assert_allclose(points[0], [arm.elbow_world_m, arm.shoulder_world_m], atol=1e-6)
    np.testing.assert_allclose(points[1], [arm.elbow_world_m], atol=1e-6)
    assert sorted(cleared) == [(2, f"{place}/arm"), (4, place)]


def test_a_file_of_which_the_end_is_missing_is_not_whole(tmp_path) -> None:
    from app.rerun_view.whole_log import check_whole

    recording = rr.RecordingStream("usthand")
    recording.save(tmp_path / "run.rrd")
    recording.log("points", rr.Points3D(np.zeros((1000, 3))))
    recording.disconnect()
    check_whole(tmp_path / "run.rrd")
    content = (tmp_path / "run.rrd").read_bytes()
    for size in (0, len(content) // 2, len(content) - 20):
        (tmp_path / "run.rrd").write_bytes(content[:size])
        with pytest.raises(OSError, match="No space left"):
            check_whole(tmp_path / "run.rrd")


def shown(poses: PoseSet) -> Any:
    """What a viewer shows of a set."""
    return SimpleNamespace(drawn_hands=lambda: poses.hands)

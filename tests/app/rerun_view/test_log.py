"""A run's Rerun log: arms, ellipsoids and pictures are there while they are known, and no longer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from app.transport.messages import CameraReport, PoseSet
from app.transport.ring import SlotRef
from app.viewer.state import Shown
from tests.support.streamed_hands import TRACKS, arm_set, pose_set, true_joints_m
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


def test_ellipsoids_are_cleared_where_the_covariance_is_not_known(tmp_path) -> None:
    from app.rerun_view.hands import log_hand

    recording = rr.RecordingStream("usthand")
    recording.save(tmp_path / "run.rrd")
    joints_m, known = true_joints_m("right"), np.broadcast_to(1e-6 * np.eye(3), (21, 3, 3))
    for number, covariance_m2 in enumerate((known, np.full((21, 3, 3), np.nan))):
        recording.set_time("capture_time", duration=np.timedelta64(number, "ns"))
        log_hand(recording, "hand", "right", joints_m, covariance_m2)
    recording.disconnect()
    assert logged(tmp_path / "run.rrd", "/hand/uncertainty", "Ellipsoids3D:half_sizes").keys() == {0}
    assert logged(tmp_path / "run.rrd", "/hand/uncertainty", "Clear:is_recursive").keys() == {1}


@pytest.mark.parametrize("last", [1, 3])
def test_the_last_picture_of_a_camera_that_is_lost_turns_grey(tmp_path, last: int) -> None:
    """Also where all are lost after set 1: then heartbeats alone say so."""
    from app.rerun_view.log import RerunLog

    recording = rr.RecordingStream("usthand")
    recording.save(tmp_path / "run.rrd")
    slot = SlotRef(pid=1, fd=0, slot=0, ticket=0, height=48, width=64, slots=1)
    red: Any = SimpleNamespace(image=lambda slot, width: np.full((48, 64, 3), (0, 0, 200), np.uint8))
    log, looked = RerunLog(recording, make_rig(), red), Shown()
    reports = [CameraReport(state="streaming", slot=slot), CameraReport(state="streaming")]
    reports += [CameraReport(state="lost")] * 2
    for number, report in enumerate(reports):
        hops_ns = pose_set(number).hops_ns if number <= last else {}
        log.add(msgspec.structs.replace(pose_set(number), cameras={"cam_1": report}, hops_ns=hops_ns), looked, 0)
    recording.disconnect()

    blobs = logged(tmp_path / "run.rrd", "/world/cam_1", "EncodedImage:blob")
    spread = {}
    for time_ns, blob in blobs.items():
        picture = cv2.imdecode(np.array(blob, np.uint8).ravel(), cv2.IMREAD_COLOR)
        assert picture is not None
        spread[time_ns] = int(np.ptp(picture.reshape(-1, 3).astype(int), axis=1).max())
    grey = min(last, 2)
    assert sorted(spread) == [0, grey]
    assert spread[0] > 100 and spread[grey] < 5


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


def logged(path: Path, entity: str, component: str) -> dict[int, Any]:
    """The values of a component by time."""
    from rerun.chunk import RrdReader

    values = {}
    for chunk in RrdReader(path).store().stream().to_chunks():
        if chunk.is_static or chunk.entity_path != entity:
            continue
        batch = chunk.to_record_batch()
        if component in batch.schema.names:
            times = batch.column("capture_time").cast("int64").to_pylist()
            values |= dict(zip(times, batch.column(component).to_pylist(), strict=True))
    return {time_ns: value for time_ns, value in values.items() if value is not None}


def shown(poses: PoseSet) -> Any:
    """What a viewer shows of a set."""
    return SimpleNamespace(drawn_hands=lambda: poses.hands)

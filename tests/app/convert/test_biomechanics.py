"""C3D, TRC and .mot, read back: what went in, within a format's precision."""

from dataclasses import replace

import numpy as np
import pytest

from app.convert.skeleton_animation import NODE_NAMES
from app.convert.trc import write_mot, write_trc
from models.hand.joint_angles import JOINT_ANGLE_NAMES


def read_trc(path):
    """Names (M,), times (F,) and points (F, M, 3) of a TRC file: a reader of the format's description."""
    lines = path.read_text().split("\n")
    assert lines[0].startswith("PathFileType\t4\t(X/Y/Z)")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    names = [name for name in lines[3].split("\t")[2:] if name]
    # A row whose last field is empty ends in one more tab, without which OpenSim misses the field.
    rows = [line.split("\t")[: 2 + 3 * len(names)] for line in lines[6:] if line]
    values = np.array([[float(field) if field else np.nan for field in row] for row in rows])
    return header, names, values[:, 1], values[:, 2:].reshape(len(rows), -1, 3)


def test_trc_has_the_joints_in_millimetres_y_up(recording, tmp_path):
    write_trc(tmp_path / "hands.trc", recording)
    header, names, times_s, points_mm = read_trc(tmp_path / "hands.trc")
    assert (header["Units"], float(header["DataRate"]), int(header["NumFrames"])) == ("mm", 50, 40)
    assert int(header["NumMarkers"]) == len(names) == 42
    np.testing.assert_allclose(times_s, np.arange(40) / 50, atol=1e-6)
    for number, hand in enumerate(recording.hands):
        assert names[21 * number : 21 * number + 21] == [f"{hand.name}_{name}" for name in NODE_NAMES]
        x, y, z = np.moveaxis(points_mm[:, 21 * number : 21 * number + 21], -1, 0)
        np.testing.assert_allclose(np.stack([x, -z, y], -1), 1e3 * hand.joints_world_m, atol=1e-4)


def test_mot_has_the_angles_in_degrees(recording, tmp_path):
    write_mot(tmp_path / "hands.mot", recording)
    header, table = (tmp_path / "hands.mot").read_text().split("endheader\n")
    assert "inDegrees=yes" in header
    assert "nRows=40" in header
    names = table.split("\n")[0].split("\t")
    assert f"nColumns={len(names)}" in header
    values = np.array([[float(field) for field in line.split("\t")] for line in table.split("\n")[1:] if line])
    for number, hand in enumerate(recording.hands):
        first = 1 + 22 * number
        assert names[first : first + 22] == [f"{hand.name}_{name}" for name in JOINT_ANGLE_NAMES]
        np.testing.assert_allclose(values[:, first : first + 22], np.rad2deg(hand.fit.angles_rad), atol=1e-5)


def test_a_joint_that_is_very_sure_is_no_interpolated_one_in_c3d(recording, tmp_path):
    ezc3d = pytest.importorskip("ezc3d", reason="needs ezc3d: pip install 'usthand-live[c3d]'")
    from app.convert.c3d import write_c3d

    right = replace(recording.hands[0], covariance_m2=np.zeros_like(recording.hands[0].covariance_m2))
    write_c3d(tmp_path / "hands.c3d", replace(recording, hands=(right,)))
    residuals = ezc3d.c3d(str(tmp_path / "hands.c3d"))["data"]["meta_points"]["residuals"][0, :21]
    np.testing.assert_allclose(residuals, 0.1, atol=1e-6)


def test_a_joint_whose_deviation_is_not_known_is_not_missing_in_c3d(recording, tmp_path):
    ezc3d = pytest.importorskip("ezc3d", reason="needs ezc3d: pip install 'usthand-live[c3d]'")
    from app.convert.c3d import write_c3d

    right = replace(recording.hands[0], covariance_m2=np.full_like(recording.hands[0].covariance_m2, np.nan))
    write_c3d(tmp_path / "hands.c3d", replace(recording, hands=(right,)))
    data = ezc3d.c3d(str(tmp_path / "hands.c3d"))["data"]
    np.testing.assert_allclose(data["points"][:3, :21].T, 1e3 * right.joints_world_m, atol=1e-3)
    np.testing.assert_allclose(data["meta_points"]["residuals"][0, :21], 12.7, atol=1e-5)


def test_c3d_has_joints_and_angles_and_says_what_is_missing(recording, tmp_path):
    ezc3d = pytest.importorskip("ezc3d", reason="needs ezc3d: pip install 'usthand-live[c3d]'")
    from app.convert.c3d import write_c3d

    write_c3d(tmp_path / "hands.c3d", recording)
    file = ezc3d.c3d(str(tmp_path / "hands.c3d"))
    point = file["parameters"]["POINT"]
    assert point["UNITS"]["value"] == ["mm"]
    assert point["RATE"]["value"][0] == 50
    assert point["ANGLE_UNITS"]["value"] == ["deg"]
    notes = file["parameters"]["USTHAND"]["NOTES"]["value"]
    assert notes == [f"{key}: {value}" for key, value in recording.notes().items()]
    labels = point["LABELS"]["value"]
    points, residuals = file["data"]["points"], file["data"]["meta_points"]["residuals"][0]
    for hand in recording.hands:
        mine = [labels.index(f"{hand.name}_{name}") for name in NODE_NAMES]
        got_mm = points[:3, mine].transpose(2, 1, 0)
        # Single precision.
        np.testing.assert_allclose(got_mm, 1e3 * hand.joints_world_m, atol=1e-3)
        np.testing.assert_array_equal(residuals[mine].T < 0, np.repeat(~hand.valid[:, None], 21, axis=1))
        std_mm = 1e3 * np.sqrt(np.trace(hand.covariance_m2, axis1=2, axis2=3) / 3)
        measured = hand.valid & ~hand.filled
        # In steps of 0.1 mm.
        np.testing.assert_allclose(residuals[mine].T[measured], std_mm[measured], atol=0.051)
        assert (residuals[mine].T[hand.filled] == 0).all()
        label = f"{hand.name}_middle_MCP_angles"
        assert label in point["ANGLES"]["value"]
        bend = [JOINT_ANGLE_NAMES.index(f"middle_MCP_{turn}") for turn in ("flexion", "abduction")]
        got_deg = points[:2, labels.index(label)].T
        np.testing.assert_allclose(got_deg, np.rad2deg(hand.fit.angles_rad[:, bend]), atol=1e-3)


def test_c3d_can_have_more_points_than_a_parameter_has_room_for(recording, tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    from app.convert.c3d import write_c3d

    many = replace(recording, hands=tuple(replace(recording.hands[0], track_id=track) for track in range(1, 19)))
    write_c3d(tmp_path / "many.c3d", many)
    back = ezc3d.c3d(str(tmp_path / "many.c3d"))
    points = back["parameters"]["POINT"]
    labels = [*points["LABELS"]["value"], *points["LABELS2"]["value"], *points["LABELS3"]["value"]]
    angles = [*points["ANGLES"]["value"], *points["ANGLES2"]["value"]]
    assert len(labels) == 18 * 36 and angles == labels[18 * 21 :]
    assert len(points["DESCRIPTIONS3"]["value"]) == 18 * 36 - 2 * 255
    last = 1e3 * many.hands[-1].joints_world_m.transpose(2, 1, 0)
    np.testing.assert_allclose(back["data"]["points"][:3, 17 * 21 : 18 * 21], last, atol=1e-3)

"""CSV, Parquet, JSON lines and NPZ, read back by the libraries that people read them with."""

import csv
import json

import numpy as np
import pytest

from app.convert.json_lines import write_json_lines
from app.convert.npz import write_npz_file
from app.convert.reading import read_recording
from app.convert.skeleton_animation import NODE_NAMES
from app.convert.tables import write_csv, write_parquet, write_wide_csv, write_wide_parquet
from models.hand.joint_angles import JOINT_ANGLE_NAMES


def hand_named(recording, name):
    return next(hand for hand in recording.hands if hand.name == name)


def number(text):
    return float(text) if text else np.nan


def test_tidy_csv_has_a_row_for_each_joint_hand_and_frame(recording, tmp_path):
    write_csv(tmp_path / "hands.csv", recording)
    with (tmp_path / "hands.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 40 * 21
    for hand in recording.hands:
        mine = [row for row in rows if row["track"] == str(hand.track_id)]
        places = np.array([[number(row[f"{axis}_m"]) for axis in "xyz"] for row in mine]).reshape(40, 21, 3)
        np.testing.assert_allclose(places, hand.joints_world_m, atol=1e-8)
        assert [row["joint"] for row in mine[:21]] == list(NODE_NAMES)
        assert [int(row["valid"]) for row in mine[::21]] == hand.valid.astype(int).tolist()
        assert [int(row["filled"]) for row in mine[::21]] == hand.filled.astype(int).tolist()
        np.testing.assert_allclose([float(row["time_s"]) for row in mine[::21]], np.arange(40) * 0.02, atol=1e-9)
        bends = np.array([number(row["flexion_deg"]) for row in mine]).reshape(40, 21)
        angle = JOINT_ANGLE_NAMES.index("ring_PIP_flexion")
        expected = np.rad2deg(hand.fit.angles_rad[:, angle])
        np.testing.assert_allclose(bends[:, NODE_NAMES.index("ring_PIP")], expected, rtol=1e-6)
        assert np.isnan(bends[:, NODE_NAMES.index("ring_tip")]).all()
        assert float(mine[2]["bone_m"]) == pytest.approx(hand.fit.shape[1], rel=1e-6)


def test_a_long_table_is_written_part_after_part(recording, tmp_path, monkeypatch):
    write_csv(tmp_path / "whole.csv", recording)
    monkeypatch.setattr("app.convert.tables._ROWS_AT_ONCE", 100)
    write_csv(tmp_path / "parts.csv", recording)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_wide_csv_has_a_row_for_each_frame(recording, tmp_path):
    write_wide_csv(tmp_path / "hands.wide.csv", recording)
    with (tmp_path / "hands.wide.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(40))
    left = hand_named(recording, "left_4")
    tip = [[number(row[f"left_4_index_tip_{axis}_m"]) for axis in "xyz"] for row in rows]
    np.testing.assert_allclose(tip, left.joints_world_m[:, 8], atol=1e-8)
    bend = [number(row["left_4_index_DIP_flexion_deg"]) for row in rows]
    angle = JOINT_ANGLE_NAMES.index("index_DIP_flexion")
    np.testing.assert_allclose(bend, np.rad2deg(left.fit.angles_rad[:, angle]), atol=1e-6)
    std = [number(row["left_4_index_DIP_flexion_std_deg"]) for row in rows]
    np.testing.assert_allclose(std, np.rad2deg(left.fit.angles_std_rad[:, angle]), atol=1e-6)


def test_parquet_has_the_same_columns_typed_and_the_notes(recording, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'usthand-live[parquet]'")
    write_parquet(tmp_path / "hands.parquet", recording)
    table = parquet.read_table(tmp_path / "hands.parquet")
    notes = json.loads(table.schema.metadata[b"usthand"])
    assert notes["rate_hz"] == 50
    assert "z up" in notes["axes"]
    mine = table.filter(np.array(table["track"]) == 4)
    x_m = mine["x_m"].to_numpy().reshape(40, 21)
    np.testing.assert_array_equal(x_m, hand_named(recording, "left_4").joints_world_m[..., 0])
    assert mine["x_m"].null_count == 14 * 21
    write_wide_parquet(tmp_path / "hands.wide.parquet", recording)
    wide = parquet.read_table(tmp_path / "hands.wide.parquet")
    assert wide.num_rows == 40
    y_m = wide["right_2_wrist_y_m"].to_numpy()
    np.testing.assert_array_equal(y_m, hand_named(recording, "right_2").joints_world_m[:, 0, 1])


def test_json_lines_list_the_hands_of_each_frame(recording, tmp_path):
    write_json_lines(tmp_path / "hands.jsonl", recording)
    header, *frames = [json.loads(line) for line in (tmp_path / "hands.jsonl").read_text().splitlines()]
    assert header["rate_hz"] == 50
    assert header["angles"] == list(JOINT_ANGLE_NAMES)
    assert [frame["frame"] for frame in frames] == list(range(40))
    for hand in recording.hands:
        for frame in frames:
            said = [each for each in frame["hands"] if each["track"] == hand.track_id]
            assert len(said) == hand.valid[frame["frame"]]
            for each in said:
                np.testing.assert_allclose(each["joints_world_m"], hand.joints_world_m[frame["frame"]], atol=1e-7)
                angles = np.rad2deg(hand.fit.angles_rad[frame["frame"]])
                np.testing.assert_allclose(each["angles_deg"], angles, atol=1e-4)
                assert each["filled"] == hand.filled[frame["frame"]]


def test_npz_can_be_converted_again(recording, tmp_path):
    write_npz_file(tmp_path / "again.npz", recording)
    again = read_recording(tmp_path / "again.npz")
    assert again.rate_hz == recording.rate_hz
    np.testing.assert_array_equal(again.times_ns, recording.times_ns)
    assert again.notes() == recording.notes()
    for one, other in zip(again.hands, recording.hands, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.joints_world_m, other.joints_world_m, atol=1e-7)
        np.testing.assert_array_equal(one.filled, other.filled)
    with np.load(tmp_path / "again.npz") as arrays:
        assert arrays["angles_deg"].shape == (len(arrays["time"]), 22)
        assert arrays["filled"].sum() == 3
        assert arrays["rest_joints_m"].shape == (2, 21, 3)

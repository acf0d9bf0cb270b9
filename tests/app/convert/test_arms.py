"""Arms in the files of other programs: known elbows and wrist angles come back, frames without an arm stay empty."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import ezc3d
import numpy as np
import pytest

from app.convert.conversion import convert, prepare
from app.convert.formats import format_of
from app.convert.reading import read_recording
from calibration.errors import UserError
from calibration.hand import Side
from tests.support.arm_files import DEVIATION_DEG, FLEXION_DEG, FRAMES, write_arm_file
from tests.support.pose_files import GAPS, TRACKS, write_pose_file

WITH_ARM = range(5, 30)
"""Frames in which the right hand's elbow is known; its shoulder is from the tenth on."""
FIRST_SHOULDER = 10


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pose file with arms of the right hand."""
    known: dict[Side, tuple[range, range]] = {"right": (WITH_ARM, range(FIRST_SHOULDER, FRAMES))}
    return write_arm_file(tmp_path_factory.mktemp("arms") / "poses.npz", known)


@pytest.fixture(scope="module")
def elbows_m(poses: Path) -> np.ndarray:
    """(n, 3)"""
    with np.load(poses) as file:
        return file["arm_elbow"].astype(float)


@pytest.fixture(scope="module")
def converted(poses: Path) -> Callable[[str], Path]:
    """Writes a file of that name; the hands are fitted once for all."""
    recording = prepare(read_recording(poses))

    def write(name: str) -> Path:
        out = poses.with_name(name)
        format_of(out).writer()(out, recording)
        return out

    return write


def test_a_tidy_table_has_the_arm_as_rows_and_the_wrists_angles_at_the_wrist(converted, elbows_m: np.ndarray) -> None:
    rows = list(csv.DictReader(converted("hands.csv").open()))
    of = {name: [row for row in rows if row["joint"] == name and row["hand"] == "right"] for name in ("elbow", "wrist")}
    assert [int(row["valid"]) for row in of["elbow"]] == [int(frame in WITH_ARM) for frame in range(FRAMES)]
    known = [row for row in of["elbow"] if row["valid"] == "1"]
    np.testing.assert_allclose([[float(row[f"{axis}_m"]) for axis in "xyz"] for row in known], elbows_m, atol=1e-6)
    assert {row["std_x_m"] for row in known} == {"0.02"}
    bent = [row for row in of["wrist"] if row["flexion_deg"]]
    assert [int(row["frame"]) for row in bent] == list(WITH_ARM)
    np.testing.assert_allclose([float(row["flexion_deg"]) for row in bent], FLEXION_DEG, atol=0.05)
    np.testing.assert_allclose([float(row["abduction_deg"]) for row in bent], DEVIATION_DEG, atol=0.05)
    # 20 mm across 260 are 4.4 degrees; the hand's own error comes to that.
    assert all(4.3 < float(row["flexion_std_deg"]) < 6 for row in bent)
    shoulders = [row for row in rows if row["joint"] == "shoulder" and row["x_m"]]
    assert [int(row["frame"]) for row in shoulders] == list(range(FIRST_SHOULDER, WITH_ARM.stop))
    assert not [row for row in rows if row["hand"] == "left" and row["joint"] in ("elbow", "shoulder")]


def test_a_wide_table_names_the_wrists_angles(converted) -> None:
    rows = list(csv.DictReader(converted("hands.wide.csv").open()))
    name = f"right_{TRACKS['right']}"
    assert [int(bool(row[f"{name}_elbow_x_m"])) for row in rows] == [int(frame in WITH_ARM) for frame in range(FRAMES)]
    there = [row for number, row in enumerate(rows) if number in WITH_ARM]
    np.testing.assert_allclose([float(row[f"{name}_wrist_deviation_deg"]) for row in there], DEVIATION_DEG, atol=0.05)
    assert not any("elbow" in column or "wrist_flexion" in column for column in rows[0] if column.startswith("left"))


def test_npz_can_be_converted_again_with_its_arms(converted, elbows_m: np.ndarray) -> None:
    once = converted("once.npz")
    convert(once, once.with_name("twice.npz"))
    with np.load(once) as first, np.load(once.with_name("twice.npz")) as second:
        assert {name for name in first.files if name.startswith("arm_")} > {"arm_elbow", "arm_wrist_deg", "arm_side"}
        np.testing.assert_allclose(first["arm_elbow"], elbows_m, atol=1e-7)
        np.testing.assert_allclose(first["arm_wrist_deg"], [[FLEXION_DEG, DEVIATION_DEG]] * len(elbows_m), atol=0.05)
        for name in first.files:
            if name.startswith("arm_"):
                np.testing.assert_array_equal(first[name], second[name])


def test_a_hand_that_is_not_joined_leaves_its_arm_out(poses: Path, elbows_m: np.ndarray, tmp_path: Path) -> None:
    """In three frames another right hand is there, with an arm of its own."""
    with np.load(poses) as file:
        arrays = dict(file)
    right, arms = arrays["hand"] == "right", arrays["arm_hand"] == "right"
    times = np.unique(arrays["arm_time"])[2:5]
    for end, of_side, rows in (("", right, "time"), ("arm_", arms, "arm_time")):
        other = of_side & np.isin(arrays[rows], times)
        arrays |= {
            name: np.concatenate([values, values[other]])
            for name, values in arrays.items()
            if values.ndim and name.startswith("arm_") == bool(end)
        }
        arrays[f"{end}track"][-3:] = 99
    arrays["joints"][-3:] += 0.3
    arrays["arm_elbow"][-3:] += 0.3
    joined = read_recording(write_pose_file(tmp_path / "poses.npz", arrays), join=True)
    arm = joined.hands[0].arm
    assert arm is not None
    np.testing.assert_allclose(arm.points_world_m[list(WITH_ARM), 0], elbows_m)


def test_json_lines_have_the_arm_of_each_hand_that_has_one(converted, elbows_m: np.ndarray) -> None:
    header, *frames = map(json.loads, converted("hands.jsonl").read_text().splitlines())
    assert header["wrist_angles"] == ["wrist_flexion", "wrist_deviation"]
    arms = {f["frame"]: hand["arm"] for f in frames for hand in f["hands"] if "arm" in hand}
    assert list(arms) == list(WITH_ARM)
    np.testing.assert_allclose([arm["elbow_world_m"] for arm in arms.values()], elbows_m, atol=1e-6)
    assert arms[5]["shoulder_world_m"] == [None] * 3 and arms[12]["shoulder_std_m"] == [0.03] * 3
    np.testing.assert_allclose(arms[7]["wrist_deg"], [FLEXION_DEG, DEVIATION_DEG], atol=0.05)


def test_c3d_trc_and_mot_have_them_too(converted, elbows_m: np.ndarray) -> None:
    name = f"right_{TRACKS['right']}"
    file = ezc3d.c3d(str(converted("hands.c3d")))
    labels = file["parameters"]["POINT"]["LABELS"]["value"]
    elbow, angles = (labels.index(f"{name}_{what}") for what in ("elbow", "wrist_angles"))
    points, residuals = file["data"]["points"], file["data"]["meta_points"]["residuals"][0]
    np.testing.assert_allclose(points[:3, elbow, WITH_ARM].T / 1e3, elbows_m, atol=1e-6)
    assert (residuals[elbow, : WITH_ARM.start] == -1).all() and residuals[elbow, WITH_ARM.start] > 12.5
    np.testing.assert_allclose(points[:2, angles, 7], [FLEXION_DEG, DEVIATION_DEG], atol=0.05)
    assert f"{name}_wrist_angles" in file["parameters"]["POINT"]["ANGLES"]["value"]

    lines = converted("hands.trc").read_text().splitlines()
    column = 2 + lines[3].split("\t")[2::3].index(f"{name}_elbow") * 3
    x, y, z = map(float, lines[6 + WITH_ARM.start].split("\t")[column : column + 3])
    np.testing.assert_allclose([x / 1e3, -z / 1e3, y / 1e3], elbows_m[0], atol=1e-6)

    motion = converted("hands.mot").read_text().splitlines()
    head = motion.index("endheader") + 1
    flexion = motion[head].split("\t").index(f"{name}_wrist_flexion")
    assert float(motion[head + 1 + 7].split("\t")[flexion]) == pytest.approx(FLEXION_DEG, abs=0.05)
    assert motion[head + 1].split("\t")[flexion] == "nan"


def test_arms_that_do_not_go_with_the_file_are_refused(poses: Path, tmp_path: Path) -> None:
    with np.load(poses) as file:
        arrays = dict(file)
    bad = write_pose_file(tmp_path / "bad.npz", arrays, arm_elbow=np.zeros((3, 3)))
    with pytest.raises(UserError, match="`arm_elbow` does not go with the arms"):
        read_recording(bad)
    assert GAPS["right"] == (), "the right hand is there in every frame"

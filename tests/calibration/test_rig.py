"""rig.yaml: what is written is read back exactly, and each mistake is named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.camera import Camera
from calibration.camera_source import OpenCvSource, PylonSource, RecordedSource, SimulatedSource
from calibration.errors import UserError
from calibration.measured_latency import MeasuredLatency
from calibration.plain_yaml import parse_yaml
from calibration.rig import (
    CalibrationRecord,
    Rig,
    RigCamera,
    SyncSettings,
    read_rig,
    read_uncalibrated_rig,
    write_latencies,
    write_rig,
    write_uncalibrated_rig,
)
from models.simulation.simulated_rig import look_at, ring_rig


def varied_rig() -> Rig:
    """Four cameras with numbers that have no short decimal form, every lens model and every kind of source."""
    random = np.random.default_rng(7)
    lenses = {"pinhole5": 5, "pinhole8": 8, "fisheye4": 4, "pinhole5 ": 5}
    sources = [
        OpenCvSource(device="/dev/v4l/by-id/usb-cam", fourcc="MJPG", fps=30.0, exposure=-6.0),
        PylonSource(serial="0815-0000", trigger="line", features={"Gamma": 0.7, "ReverseX": True}),
        RecordedSource(session="sessions/a", camera="cam_2"),
        SimulatedSource(stalls=[(1.0, 2.5)], drop=[3, 4]),
    ]
    cameras = []
    for (lens, count), source in zip(lenses.items(), sources, strict=True):
        fx, fy, cx, cy = random.uniform(400, 900, 4)
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        camera = Camera(
            width=1280,
            height=720,
            lens=lens.strip(),  # pyright: ignore[reportArgumentType]
            matrix=matrix,
            distortion=random.normal(scale=0.1, size=count),
        )
        pose = look_at(random.normal(size=3) + np.array([0, 0, 2]), np.zeros(3))
        name = f"cam_{len(cameras)}"
        cameras.append(
            RigCamera(
                camera_id=name,
                camera=camera,
                T_cam_world=pose,
                time_offset_ns=int(random.integers(-(10**8), 10**8)),
                source=source,
                rmse_px=random.random(),
            )
        )
    calibration = CalibrationRecord(date="2026-01-31", tool="a tool", board="charuco 4x5", rmse_px=random.random())
    return Rig(tuple(cameras), SyncSettings("trigger", 29.97, 4.5, 20.0), calibration, time_offsets_known=True)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    rig = varied_rig()
    write_rig(tmp_path / "rig.yaml", rig)
    read = read_rig(tmp_path)
    assert read.camera_ids == rig.camera_ids
    assert (read.sync, read.calibration, read.time_offsets_known) == (rig.sync, rig.calibration, True)
    assert read.rig_id == rig.rig_id
    for got, wanted in zip(read.cameras, rig.cameras, strict=True):
        np.testing.assert_array_equal(got.T_cam_world, wanted.T_cam_world)
        np.testing.assert_array_equal(got.camera.matrix, wanted.camera.matrix)
        np.testing.assert_array_equal(got.camera.distortion, wanted.camera.distortion)
        assert (got.camera.lens, got.camera.width, got.camera.height) == (wanted.camera.lens, 1280, 720)
        assert (got.time_offset_ns, got.source, got.rmse_px) == (wanted.time_offset_ns, wanted.source, wanted.rmse_px)


def test_offsets_that_are_not_known_stay_so(tmp_path: Path) -> None:
    write_rig(tmp_path / "rig.yaml", replace(varied_rig(), time_offsets_known=False))
    assert "time_offset" not in (tmp_path / "rig.yaml").read_text()
    assert not read_rig(tmp_path / "rig.yaml").time_offsets_known


def test_rig_id_follows_the_geometry_alone() -> None:
    rig = varied_rig()
    moved = rig.cameras[0].T_cam_world.copy()
    moved[0, 3] += 1e-6
    other_pose = replace(rig, cameras=(replace(rig.cameras[0], T_cam_world=moved), *rig.cameras[1:]))
    other_source = replace(rig, cameras=(replace(rig.cameras[0], source=None), *rig.cameras[1:]))
    assert other_pose.rig_id != rig.rig_id == other_source.rig_id


def test_project_is_pose_then_lens() -> None:
    camera = varied_rig().cameras[0]
    points = np.random.default_rng(2).uniform(-0.2, 0.2, (10, 3))
    homogeneous = np.hstack([points, np.ones((10, 1))])
    points_cam = (camera.T_cam_world @ homogeneous.T).T[:, :3]
    np.testing.assert_allclose(camera.project(points), camera.camera.project(points_cam), atol=1e-9)
    np.testing.assert_allclose(camera.T_cam_world @ [*camera.centre_world_m, 1], [0, 0, 0, 1], atol=1e-12)


def set_pose(rotation: list[list[float]]) -> Callable[[dict], None]:
    def change(file: dict) -> None:
        for row, values in zip(file["cameras"][1]["T_cam_world"], rotation, strict=False):
            row[:3] = values

    return change


def change_key(old: str, new: str, *path: str | int) -> Callable[[dict], None]:
    def change(file: dict) -> None:
        for step in path:
            file = file[step]
        file[new] = file.pop(old, 1)

    return change


def set_value(value: object, *path: str | int) -> Callable[[dict], None]:
    def change(file: dict) -> None:
        for step in path[:-1]:
            file = file[step]
        file[path[-1]] = value

    return change


MISTAKES = {
    "key of the file": (change_key("cameras", "camera"), ["`camera`", "`cameras`"]),
    "key of a camera": (change_key("matrix", "matrx", "cameras", 1), ["`matrx`", "`matrix`"]),
    "key of a source": (change_key("fps", "fpss", "cameras", 1, "source"), ["`fpss`", "`fps`"]),
    "key of sync": (change_key("mode", "mod", "sync"), ["`mod`", "`mode`"]),
    "missing key": (lambda file: file["cameras"][1].pop("matrix"), ["matrix", "missing"]),
    "scaled": (set_pose([[2, 0, 0], [0, 2, 0], [0, 0, 2]]), ["`cam_1`", "not a rotation", "R R^T"]),
    "mirrored": (set_pose([[-1, 0, 0], [0, 1, 0], [0, 0, 1]]), ["`cam_1`", "not a rotation", "-1.000"]),
    "NaN": (set_pose([[float("nan"), 0, 0]]), ["`cam_1`", "NaN"]),
    "last row": (set_value([0, 0, 1, 1], "cameras", 1, "T_cam_world", 3), ["`cam_1`", "last row", "[0, 0, 0, 1]"]),
    "3x4 pose": (lambda file: file["cameras"][1]["T_cam_world"].pop(), ["`cam_1`", "`T_cam_world` must be 4x4"]),
    "2x3 matrix": (lambda file: file["cameras"][1]["matrix"].pop(), ["`cam_1`", "`matrix` must be 3x3"]),
    "listed twice": (set_value("cam_0", "cameras", 1, "id"), ["`cam_0`", "twice"]),
    "no file name": (set_value("a/b", "cameras", 1, "id"), ["'a/b'", "cannot name a file"]),
    "more than 32 bytes": (set_value("\U0001f590" * 9, "cameras", 1, "id"), ["cannot name a file", "count twice"]),
    "coefficients": (set_value([0.1] * 4, "cameras", 1, "distortion"), ["`cam_1`", "takes 5 coefficients", "got 4"]),
    "lens": (set_value("pinhole", "cameras", 1, "lens"), ["pinhole", "cameras[1].lens"]),
    "image size": (set_value([640], "cameras", 1, "image_size"), ["image_size"]),
    "text for a number": (set_value("wide", "cameras", 1, "matrix", 0, 0), ["matrix", "float"]),
    "one camera": (lambda file: file["cameras"].pop(), ["1 cameras", "2 to 16"]),
    "too many cameras": (
        lambda file: file["cameras"].extend({**file["cameras"][0], "id": f"more_{n}"} for n in range(15)),
        ["17 cameras", "2 to 16"],
    ),
    "version": (set_value(99, "version"), ["version is 99", "version 1"]),
    "kind of source": (set_value("webcam", "cameras", 1, "source", "kind"), ["`kind: webcam`", "`opencv` (A USB"]),
    "kind that is a protocol": (set_value("rtsp", "cameras", 1, "source", "kind"), ["a network camera by its URL"]),
    "kind misspelt": (set_value("opncv", "cameras", 1, "source", "kind"), ["Did you mean `opencv`?"]),
    "no kind": (lambda file: file["cameras"][1]["source"].pop("kind"), ["no `kind` in `cameras[1].source`", "`pylon`"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    write_rig(path, ring_rig(2))
    file = yaml.safe_load(path.read_text())
    change, expected = MISTAKES[mistake]
    change(file)
    path.write_text(yaml.safe_dump(file))
    with pytest.raises(UserError) as error:
        read_rig(path)
    for part in [str(path), *expected]:
        assert part in str(error.value)


def test_what_is_spelled_like_nothing_known_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text("version: 1\ncameras:\n- {id: a, source: {kind: opencv, device: 0, latency: 3}}\n")
    with pytest.raises(UserError, match=r"unknown key `latency` in `cameras\[0\].source`. Known keys: ") as error:
        read_rig(path)
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cameras: [", "not valid YAML"),
        ("", "empty"),
        (None, "no such file"),
        ("- cam_0\n", "holds a list, expected entries `key: value` of `cameras`"),
        ("[cam_0]\ntext", "not valid YAML"),
        ("size = 4\n", "holds text"),
        ("4\n", "holds a number"),
    ],
)
def test_a_file_that_is_no_rig(text: str | None, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as error:
        read_rig(path)
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_a_rig_that_is_not_calibrated_is_read_for_its_cameras_only(tmp_path):
    path = tmp_path / "rig.yaml"
    source = {"kind": "opencv", "device": 0}
    entries = [{"id": name, "image_size": [640, 480], "source": source} for name in ("a", "b")]
    path.write_text(yaml.safe_dump({"version": 1, "sync": {"fps": 25}, "cameras": entries}))
    with pytest.raises(UserError, match=r"camera `a`: missing required field `lens`, `matrix`, .* `usthand calibrate"):
        read_rig(path)
    rig = read_uncalibrated_rig(path)
    assert rig.camera_ids == ("a", "b") and rig.sync.fps == 25
    assert rig["a"].source == OpenCvSource(device=0)
    assert (rig["a"].camera.width, rig["a"].camera.height) == (640, 480)
    assert rig["a"].project(np.array([0.0, 0.0, 1.0])) == pytest.approx([319.5, 239.5])
    # What a calibrated file says of the calibration is not taken over.
    write_rig(path, rig.with_time_offsets({"b": 5_000_000}))
    assert read_rig(path)["b"].time_offset_ns == 5_000_000
    assert read_uncalibrated_rig(path)["b"].time_offset_ns == 0
    entries[1]["id"] = "a"
    path.write_text(yaml.safe_dump({"version": 1, "cameras": entries}))
    with pytest.raises(UserError, match="listed twice"):
        read_uncalibrated_rig(path)


def test_a_hash_that_looks_like_a_number_is_read_where_another_program_wrote_it_unquoted():
    """PyYAML, of YAML 1.1, quotes no 8081e6192082."""
    assert parse_yaml("rig_id: 8081e6192082")["rig_id"] == "8081e6192082"
    assert parse_yaml("fps: 3e1")["fps"] == 30.0


LATENCY = MeasuredLatency(light_to_grab_ms=41.5, spread_ms=2.25, uncertainty_ms=16.75, date="2026-11-28")


def test_measured_latencies_are_kept_and_change_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    rig = varied_rig()
    write_rig(path, rig)
    before = yaml.safe_load(path.read_text())
    write_latencies(path, {rig.camera_ids[1]: LATENCY})
    after = yaml.safe_load(path.read_text())
    assert after["cameras"][1].pop("latency") == {
        "light_to_grab_ms": 41.5, "spread_ms": 2.25, "uncertainty_ms": 16.75, "date": "2026-11-28",
    }  # fmt: skip
    assert after == before
    write_latencies(path, {rig.camera_ids[1]: LATENCY})
    read = read_rig(path)
    assert read.rig_id == rig.rig_id
    assert [camera.latency for camera in read.cameras] == [None, LATENCY, None, None]
    write_rig(path, read)
    assert read_rig(path).cameras[1].latency == LATENCY
    write_uncalibrated_rig(path, read)
    write_latencies(path, {rig.camera_ids[0]: LATENCY})
    assert [camera.latency for camera in read_uncalibrated_rig(path).cameras] == [LATENCY, LATENCY, None, None]


@pytest.mark.parametrize(
    ("key", "value"),
    [("light_to_grab_ms", -40.0), ("light_to_grab_ms", 1e9), ("spread_ms", -1.0), ("uncertainty_ms", float("nan"))],
)
def test_a_latency_that_is_none_is_named(tmp_path: Path, key: str, value: float) -> None:
    path = tmp_path / "rig.yaml"
    rig = varied_rig()
    write_rig(path, replace(rig, cameras=(replace(rig.cameras[0], latency=LATENCY), *rig.cameras[1:])))
    data = yaml.safe_load(path.read_text())
    data["cameras"][0]["latency"][key] = value
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=key):
        read_rig(path)

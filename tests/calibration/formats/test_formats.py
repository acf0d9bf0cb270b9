"""Rigs in other programs' formats: a round trip loses nothing, and each format means what its own documents say.

What a file means is worked out here from the file alone, by the formulas of its own program, and compared with
RigCamera.project on points. `data/formats` has a calibration that aniposelib 0.8.0 dumped and a model that pycolmap
4.2.1 wrote, with the pixels to which these libraries project points.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from app.cli import main
from calibration.camera import Camera
from calibration.camera_source import OpenCvSource, PylonSource
from calibration.errors import UserError
from calibration.formats import FORMATS, WRITTEN, detect_format, read_any, write_any
from calibration.image_turn import ImageTurn
from calibration.measured_latency import MeasuredLatency
from calibration.rig import CalibrationRecord, Rig, RigCamera, SyncSettings, write_rig
from tests.conftest import ROOT

DATA = ROOT / "tests" / "data" / "formats"
NAMES = {
    "usthand": "rig.yaml",
    "caliscope": "camera_array.toml",
    "anipose": "calibration.toml",
    "pose2sim": "Calib_scene.toml",
    "opencv": "cameras.yml",
    "opencv xml": "cameras.xml",
    "opencv json": "cameras.json",
    "kalibr": "camchain.yaml",
    "colmap": "sparse",
}
COEFFICIENTS = {
    "pinhole5": [-0.31, 0.08, 0.0011, -0.0023, 0.0123],
    "pinhole5 without k3": [-0.31, 0.08, 0.0011, -0.0023, 0.0],
    "pinhole8": [0.21, -0.08, 0.0011, -0.0023, 0.0123, 0.31, -0.04, 0.007],
    "pinhole8 without k3": [0.21, -0.08, 0.0011, -0.0023, 0.0, 0.0, 0.0, 0.0],
    "fisheye4": [0.031, -0.0123, 0.0023, -0.00051],
}
SHORT = ("pinhole5 without k3", "pinhole8 without k3", "fisheye4")
HELD = {
    **dict.fromkeys(NAMES, tuple(COEFFICIENTS)),
    "pose2sim": tuple(name for name in COEFFICIENTS if name != "fisheye4"),
    "kalibr": SHORT,
}
# Identity, a quarter and a half turn, nearly a half turn, and two without any symmetry.
ROTATIONS = [[0, 0, 0], [np.pi / 2, 0, 0], [0, np.pi, 0], [0, 0, np.pi - 1e-7], [1.1, -0.7, 0.3], [-2.0, 1.5, 0.4]]
AWKWARD_IDS = ["left", "cam_3", "cäm 1", "a,b", "0", 'with "quotes" # and', "cam_0", "true"]
POINTS_CAM_M = np.random.default_rng(2).uniform([-0.3, -0.2, 0.5], [0.3, 0.2, 1.5], (40, 3))


def make_rig(lenses: list[str], ids: list[str] | None = None, plain: bool = False) -> Rig:
    """A rig with these lenses; with everything else that a rig can hold unless `plain`."""
    cameras = []
    for index, lens in enumerate(lenses):
        matrix = np.array([[613.7 + index, 0, 322.1 / 3], [0, 611.3 - index, 239.9], [0, 0, 1]])
        camera = Camera(
            width=640,
            height=480,
            lens=lens.split()[0],  # pyright: ignore[reportArgumentType]
            matrix=matrix,
            distortion=np.array(COEFFICIENTS[lens]) * (1 - 0.1 * index),
        )
        T_cam_world = np.eye(4)
        T_cam_world[:3, :3] = cv2.Rodrigues(np.array(ROTATIONS[index % len(ROTATIONS)], dtype=float))[0]
        T_cam_world[:3, 3] = [0.1 + index / 3, -0.2 * index, 0.7]
        camera_id = ids[index] if ids else f"cam_{index}"
        cameras.append(RigCamera(camera_id=camera_id, camera=camera, T_cam_world=T_cam_world))
    rig = Rig(tuple(cameras))
    if plain:
        return rig
    extras = [
        {"time_offset_ns": -12_345_678, "source": OpenCvSource(device="rtsp://köln/a?b=1&c='2'", exposure=-6.0)},
        {"time_offset_ns": 1, "rmse_px": 1 / 3, "remote": True, "turn": ImageTurn(mirrored=True, rotate=270)}
        | {"latency": MeasuredLatency(light_to_grab_ms=41.7, spread_ms=2.5, uncertainty_ms=0.3, date="2026-01-31")},
        {"source": PylonSource(serial="0815", features={f"Feature{n}": "<a & 'b'> \"c\" \\ é" for n in range(300)})},
    ]
    cameras = [replace(camera, **extra) for camera, extra in zip(cameras, (extras * 3)[: len(cameras)], strict=True)]
    record = CalibrationRecord("2026-01-31", "a tool", "charuco 4x5", 0.1 + 0.2)
    return Rig(tuple(cameras), SyncSettings("trigger", 29.97, 4.5), record, time_offsets_known=True)


def assert_same(rig: Rig, back: Rig) -> None:
    assert back.camera_ids == rig.camera_ids
    for a, b in zip(rig.cameras, back.cameras, strict=True):
        assert (b.camera.width, b.camera.height, b.camera.lens) == (a.camera.width, a.camera.height, a.camera.lens)
        np.testing.assert_allclose(b.camera.matrix, a.camera.matrix, rtol=0, atol=1e-9)
        np.testing.assert_allclose(b.camera.distortion, a.camera.distortion, rtol=0, atol=1e-9)
        np.testing.assert_allclose(b.T_cam_world, a.T_cam_world, rtol=0, atol=1e-9)
        assert (b.time_offset_ns, b.source, b.rmse_px, b.remote) == (a.time_offset_ns, a.source, a.rmse_px, a.remote)
        assert (b.turn, b.latency) == (a.turn, a.latency)
    assert (back.sync, back.time_offsets_known) == (rig.sync, rig.time_offsets_known)
    if rig.calibration:
        assert back.calibration == rig.calibration


@pytest.mark.parametrize(
    ("name", "lens"), [(name, lens) for name in NAMES for lens in COEFFICIENTS if lens in HELD[name]]
)
def test_a_round_trip_loses_nothing(name: str, lens: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / NAMES[name]
    for rig in (make_rig([lens] * 6), make_rig([lens] * 2, plain=True)):
        write_any(path, rig)
        assert detect_format(path) == name.split()[0]
        assert_same(rig, read_any(path))
    assert not caplog.records


@pytest.mark.parametrize("name", NAMES)
def test_lines_that_end_as_windows_ends_them_and_a_byte_order_mark(name: str, tmp_path: Path) -> None:
    rig = make_rig([HELD[name][0]] * 3)
    path = tmp_path / NAMES[name]
    write_any(path, rig)
    for file in path.iterdir() if path.is_dir() else [path]:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert detect_format(path) == name.split()[0]
    assert_same(rig, read_any(path))


@pytest.mark.parametrize("name", NAMES)
def test_mixed_lenses_and_awkward_names(name: str, tmp_path: Path) -> None:
    rig = make_rig([HELD[name][index % len(HELD[name])] for index in range(8)], AWKWARD_IDS)
    write_any(tmp_path / NAMES[name], rig)
    assert_same(rig, read_any(tmp_path / NAMES[name]))


@pytest.mark.parametrize(("name", "lens"), [("pose2sim", "fisheye4"), ("kalibr", "pinhole5"), ("kalibr", "pinhole8")])
def test_a_lens_that_a_format_cannot_hold_is_refused(name: str, lens: str, tmp_path: Path) -> None:
    rig = make_rig([HELD[name][0], lens])
    with pytest.raises(UserError, match=rf"camera `cam_1`.*{'lens' if name == 'pose2sim' else 'distortion'}.*{lens}"):
        write_any(tmp_path / NAMES[name], rig)
    assert list(tmp_path.iterdir()) == []


def pinhole_px(points_cam: np.ndarray, fx: float, fy: float, cx: float, cy: float, coefficients: list) -> np.ndarray:
    """The rational model as in OpenCV's documentation of calib3d; k1 k2 p1 p2 [k3 [k4 k5 k6]]."""
    k1, k2, p1, p2, k3, k4, k5, k6 = [*coefficients, *[0.0] * 8][:8]
    x, y = points_cam[:, 0] / points_cam[:, 2], points_cam[:, 1] / points_cam[:, 2]
    r2 = x**2 + y**2
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return np.stack([fx * u + cx, fy * v + cy], axis=-1)


def fisheye_px(points_cam: np.ndarray, fx: float, fy: float, cx: float, cy: float, coefficients: list) -> np.ndarray:
    """The equidistant model: theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8) along the image ray."""
    radius = np.hypot(points_cam[:, 0], points_cam[:, 1])
    theta = np.arctan2(radius, points_cam[:, 2])
    bent = theta * (1 + sum(k * theta ** (2 * n) for n, k in enumerate(coefficients, 1)))
    return points_cam[:, :2] / radius[:, None] * bent[:, None] * [fx, fy] + [cx, cy]


NO_TURN = np.zeros(3)
Project = Callable[[np.ndarray], np.ndarray]
Model = Callable[..., np.ndarray]


def toml_projections(path: Path) -> Iterator[Project]:
    content = tomllib.loads(path.read_text())
    for key, table in content.get("cameras", content).items():
        if key in ("metadata", "usthand"):
            continue
        (fx, _, cx), (_, fy, cy), _ = table["matrix"]
        vector, t = np.array(table["rotation"]), np.array(table["translation"])
        angle = np.linalg.norm(vector)
        axis = vector / angle if angle else vector
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        R = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        model: Model = fisheye_px if table.get("fisheye") else pinhole_px
        yield lambda x, R=R, t=t, m=model, a=(fx, fy, cx, cy, table["distortions"]): m(x @ R.T + t, *a)


def opencv_projections(path: Path) -> Iterator[Project]:
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    Ks, Rs, Ts, row, models = (file.getNode(key).mat() for key in ("Ks", "Rs", "Ts", "distortions", "models"))
    fisheyes = int(models.sum())
    each = (row.size - 4 * fisheyes) // (models.size - fisheyes)
    start = 0
    for K, R, t, model in zip(Ks, Rs, Ts, models.ravel(), strict=True):
        d = row.ravel()[start : start + (4 if model else each)]
        start += len(d)
        project = cv2.fisheye.projectPoints if model else cv2.projectPoints
        # Points are turned here: cv2.Rodrigues loses half of the digits near half a turn.
        yield lambda x, f=project, R=R, t=t, K=K, d=d: f((x @ R.T + t)[:, None], NO_TURN, NO_TURN, K, d)[0][:, 0]


def kalibr_projections(path: Path) -> Iterator[Project]:
    content = yaml.safe_load(path.read_text())
    chain = np.array(content["cam0"].get("T_cam0_world", np.eye(4)))
    for index in range(len(content)):
        entry = content[f"cam{index}"]
        assert entry["camera_model"] == "pinhole"
        if index:
            chain = np.array(entry["T_cn_cnm1"]) @ chain
        model: Model = {"radtan": pinhole_px, "equidistant": fisheye_px}[entry["distortion_model"]]
        arguments = (*entry["intrinsics"], entry["distortion_coeffs"])
        yield lambda x, T=chain, m=model, a=arguments: m(x @ T[:3, :3].T + T[:3, 3], *a)


def colmap_projections(path: Path) -> Iterator[Project]:
    """https://colmap.github.io/format.html and cameras.html; pixels begin at the corner of the image."""
    lenses = {}
    for line in (path / "cameras.txt").read_text().splitlines():
        if not line.startswith("#"):
            lens_id, lens, _, _, *values = line.split()
            lenses[lens_id] = lens, [float(value) for value in values]
    lines = [line for line in (path / "images.txt").read_text().split("\n") if not line.startswith("#")]
    for line in lines[0:-1:2]:
        _, *numbers, lens_id, _ = line.split(maxsplit=9)
        w, x, y, z, *t = map(float, numbers)
        R = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        name, values = lenses[lens_id]
        model: Model = fisheye_px if name == "OPENCV_FISHEYE" else pinhole_px
        assert len(values) == {"OPENCV": 8, "FULL_OPENCV": 12, "OPENCV_FISHEYE": 8}[name]
        a = (*values[:4], values[4:])
        yield lambda x, R=R, t=t, m=model, a=a: m(x @ R.T + t, *a) - 0.5


PROJECTIONS = {
    "caliscope": toml_projections,
    "anipose": toml_projections,
    "pose2sim": toml_projections,
    "opencv": opencv_projections,
    "kalibr": kalibr_projections,
    "colmap": colmap_projections,
}


@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_written_file_means_the_same_points(name: str, tmp_path: Path) -> None:
    rig = make_rig([HELD[name][index % len(HELD[name])] for index in range(6)])
    path = tmp_path / NAMES[name]
    write_any(path, rig)
    projections = list(PROJECTIONS[name](path))
    assert len(projections) == 6
    for camera, project in zip(rig.cameras, projections, strict=True):
        points_world_m = (POINTS_CAM_M - camera.T_cam_world[:3, 3]) @ camera.T_cam_world[:3, :3]
        np.testing.assert_allclose(project(points_world_m), camera.project(points_world_m), rtol=0, atol=1e-8)


def test_what_aniposelib_wrote() -> None:
    truth = json.loads((DATA / "aniposelib.json").read_text())
    with pytest.raises(UserError, match=r"unit of its translations is not known.*--unit-mm"):
        read_any(DATA / "aniposelib.toml")
    rig = read_any(DATA / "aniposelib.toml", unit_mm=1.0)
    assert rig.camera_ids == tuple(truth["pixels"]) == ("side 0", "overhead", "side 2")
    assert [camera.camera.lens for camera in rig.cameras] == ["pinhole5", "fisheye4", "pinhole5"]
    for camera in rig.cameras:
        pixels = camera.project(np.array(truth["points_mm"]) / 1000)
        np.testing.assert_allclose(pixels, truth["pixels"][camera.camera_id], rtol=0, atol=1e-9)


def test_what_colmap_wrote() -> None:
    truth = json.loads((DATA / "colmap.json").read_text())
    with pytest.raises(UserError, match=r"images.txt.*--unit-mm"):
        read_any(DATA / "colmap")
    rig = read_any(DATA / "colmap", unit_mm=250.0)
    assert rig.camera_ids == tuple(truth["pixels"])
    for camera in rig.cameras:
        pixels = camera.project(np.array(truth["points"]) * 0.25)
        np.testing.assert_allclose(pixels, np.array(truth["pixels"][camera.camera_id]) - 0.5, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in PROJECTIONS if name != "kalibr"])
def test_the_real_rig_through_every_format(name: str, real_rig_dir: Path, tmp_path: Path) -> None:
    rig = read_any(real_rig_dir / "camera_array.toml")
    write_any(tmp_path / NAMES[name], rig)
    back = read_any(tmp_path / NAMES[name])
    assert_same(rig, back)
    tables = tomllib.loads((real_rig_dir / "camera_array.toml").read_text())["cameras"]
    for camera, table in zip(back.cameras, tables.values(), strict=True):
        points_world_m = (POINTS_CAM_M - camera.T_cam_world[:3, 3]) @ camera.T_cam_world[:3, :3]
        R, t, K, d = (np.array(table[key], dtype=float) for key in ("rotation", "translation", "matrix", "distortions"))
        expected = cv2.projectPoints(points_world_m.astype(float), cv2.Rodrigues(R)[0], t, K, d)[0][:, 0]
        np.testing.assert_allclose(camera.project(points_world_m), expected, rtol=0, atol=1e-8)


def test_what_a_rig_has_no_place_for_is_named(real_rig_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_any(real_rig_dir / "camera_array.toml")
    for key in ("exposure", "grid_count", "verified_resolutions"):
        assert f"`{key}`" in caplog.text


def test_a_stereo_calibration_of_opencv(tmp_path: Path) -> None:
    rotation, translation_mm = cv2.Rodrigues(np.array([0.02, -0.3, 0.01]))[0], np.array([[-120.0], [1.5], [4.0]])
    K = np.array([[500.0, 0, 320], [0, 501, 240], [0, 0, 1]])
    K2 = np.array([[505.0, 0, 320], [0, 506, 240], [0, 0, 1]])
    D = np.array([[-0.2, 0.03, 0.001, 0.002, 0.01, 0.1, 0.02, 0.003, 0, 0, 0, 0, 0, 0]])
    for name, matrices in (
        ("intrinsics.yml", {"M1": K, "D1": D, "M2": K2, "D2": D[:, :5]}),
        ("extrinsics.yml", {"R": rotation, "T": translation_mm, "Q": np.eye(4)}),
    ):
        file = cv2.FileStorage(str(tmp_path / name), cv2.FILE_STORAGE_WRITE)
        for key, matrix in matrices.items():
            file.write(key, matrix)
        file.release()
    with pytest.raises(UserError, match="--unit-mm"):
        read_any(tmp_path / "intrinsics.yml", image_size=(640, 480))
    with pytest.raises(UserError, match="--image-size"):
        read_any(tmp_path / "intrinsics.yml", unit_mm=1.0)
    rig = read_any(tmp_path / "extrinsics.yml", unit_mm=1.0, image_size=(640, 480))
    second = rig.cameras[1]
    rvec = cv2.Rodrigues(rotation)[0]
    expected = cv2.projectPoints(POINTS_CAM_M * 1000, rvec, translation_mm, K2, D[:, :5])
    np.testing.assert_allclose(second.project(POINTS_CAM_M), expected[0][:, 0], rtol=0, atol=1e-9)
    assert [camera.camera.lens for camera in rig.cameras] == ["pinhole8", "pinhole5"]


def test_kalibr_against_an_imu(tmp_path: Path) -> None:
    rig = make_rig(["fisheye4", "fisheye4"], plain=True)
    path = tmp_path / "camchain-imucam.yaml"
    write_any(path, rig)
    content = yaml.safe_load(path.read_text())
    del content["cam0"]["T_cam0_world"]
    content["cam0"]["timeshift_cam_imu"], content["cam1"]["timeshift_cam_imu"] = 0.002, -0.0035
    path.write_text(yaml.safe_dump(content))
    back = read_any(path)
    # t_imu = t_cam + shift, and the true time is the stamped one less the offset.
    assert [camera.time_offset_ns for camera in back.cameras] == [-2_000_000, 3_500_000]
    assert back.time_offsets_known
    np.testing.assert_array_equal(back.cameras[0].T_cam_world, np.eye(4))
    expected = rig.cameras[1].T_cam_world @ np.linalg.inv(rig.cameras[0].T_cam_world)
    np.testing.assert_allclose(back.cameras[1].T_cam_world, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["caliscope", "anipose", "pose2sim", "opencv", "kalibr", "colmap"])
def test_lengths_in_millimetres(name: str, tmp_path: Path) -> None:
    rig = make_rig([SHORT[0]] * 3, plain=True)
    in_mm = []
    for camera in rig.cameras:
        T_cam_world = camera.T_cam_world.copy()
        T_cam_world[:3, 3] *= 1000
        in_mm.append(replace(camera, T_cam_world=T_cam_world))
    path = tmp_path / NAMES[name]
    with pytest.raises(UserError, match=r"m apart.*likely millimetres"):
        write_any(path, Rig(tuple(in_mm)))
    write = FORMATS[name].write
    assert write is not None
    write(path, Rig(tuple(in_mm)))
    with pytest.raises(UserError, match=r"m apart.*--unit-mm 1"):
        read_any(path)
    assert_same(rig, read_any(path, unit_mm=1.0))


MISTAKES: dict[str, tuple[str, str, str, str]] = {
    "three distortions": (
        "caliscope",
        "    0.08,\n    0.0011,\n",
        "",
        "camera `cam_0`: a pinhole lens has 0, 4, 5",
    ),
    "no rotation matrix": ("opencv", "Rs:", "Rx:", "neither `Ks`, `Rs`"),
    "another unit": ("opencv", "unit: m", "unit: inch", "`unit` is 'inch'; expected one of m, cm, mm"),
    "cut short": ("opencv", "Ts:", "[", "FileStorage cannot read"),
    "a camera twice": ("anipose", '"cam_1"', '"cam_0"', "camera `cam_0` is there twice"),
    "no matrix": ("pose2sim", "matrix", "matirx", "camera `cam_0`: `matrix` is missing"),
    "extras that are none": ("anipose", 'usthand = "', 'usthand = "x', "the entry `usthand` cannot be read"),
    "another lens": (
        "kalibr",
        "camera_model: pinhole",
        "camera_model: omni",
        "camera `cam0`: a rig has no lens `omni`",
    ),
    "a gap in the chain": ("kalibr", "cam1:", "cam5:", "expected the entries cam0, cam1"),
    "no link": ("kalibr", "T_cn_cnm1", "T_c", "camera `cam1`: `T_cn_cnm1` is missing"),
    "an unknown model": ("colmap", "OPENCV", "FOV", "cameras.txt, line 2: expected CAMERA_ID MODEL"),
    "too many parameters": ("colmap", "OPENCV", "PINHOLE", "PINHOLE has 4 parameters"),
    "no length 1": ("colmap", "\n1 1.0 0.0", "\n1 2.0 0.0", "the quaternion [2.0, 0.0, 0.0, 0.0] is not of length 1"),
    "one line an image": ("colmap", ".png\n\n", ".png\n", "every image takes two lines"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_file_is_named(mistake: str, tmp_path: Path) -> None:
    name, old, new, expected = MISTAKES[mistake]
    path = tmp_path / NAMES[name]
    write_any(path, make_rig(["pinhole5 without k3"] * 2 if name in ("kalibr", "colmap") else ["pinhole5"] * 2))
    files = sorted(path.glob("[ci]*.txt")) if path.is_dir() else [path]
    texts = {file: file.read_text() for file in files}
    assert any(old in text for text in texts.values())
    for file, text in texts.items():
        file.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        read_any(path, name)
    assert expected in str(error.value)
    assert str(tmp_path) in str(error.value)


def usthand(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "app", "rig", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_command(real_rig_dir: Path, tmp_path: Path) -> None:
    shown = usthand("show", real_rig_dir / "camera_array.toml", "--json")
    assert shown.returncode == 0, shown.stderr
    summary = json.loads(shown.stdout.splitlines()[-1])
    # Camera distances of the published calibration.
    published_mm = {"01": 1132, "02": 550, "03": 426, "12": 918, "13": 1433, "23": 626}
    for pair, distance_mm in published_mm.items():
        assert summary["distances_m"][f"cam_{pair[0]}-cam_{pair[1]}"] * 1000 == pytest.approx(distance_mm, abs=0.6)
    assert summary["cameras"]["cam_2"]["rmse_px"] == 0.366
    converted = usthand("convert", real_rig_dir / "camera_array.toml", tmp_path / "sparse", "--json")
    assert converted.returncode == 0, converted.stderr
    assert "`exposure`" in converted.stderr
    back = usthand("convert", tmp_path / "sparse", tmp_path / "rig.yaml")
    assert back.returncode == 0, back.stderr
    assert_same(read_any(real_rig_dir / "camera_array.toml"), read_any(tmp_path / "rig.yaml"))


def test_the_command_refuses_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rig = tmp_path / "rig.yaml"
    write_rig(rig, make_rig(["pinhole5", "fisheye4"]))
    (tmp_path / "notes.txt").write_text("no calibration")
    for arguments, expected in (
        (("show", tmp_path / "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("show", tmp_path / "notes.txt"), "not a calibration in any known format"),
        (("show", rig, "--unit-mm", 1), "is in metres"),
        (("show", rig, "--image-size", "640"), "640 is not a size"),
        (("convert", rig, tmp_path / "out.toml"), "--to caliscope"),
        (("convert", rig, tmp_path / "out.csv"), "no format of rigs ends in `.csv`"),
        (("convert", rig, tmp_path / "Calib.toml"), "camera `cam_1`: Pose2Sim"),
        (("convert", rig, rig), "is the calibration that is read"),
        (("convert", rig, tmp_path, "--to", "opencv"), "is a directory"),
        (("convert", rig, tmp_path / "x", "--to", "nothing"), "invalid choice: 'nothing'"),
    ):
        try:
            code = main(["rig", *map(str, arguments)])
        except SystemExit as refused:
            code = refused.code
        assert code == 2, arguments
        assert expected in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"rig.yaml", "notes.txt"}


@pytest.mark.parametrize("name", ["rig.yaml", "cameras.yml", "sparse"])
def test_a_calibration_that_is_replaced_is_kept(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rigs = [make_rig(["pinhole5"] * count) for count in (2, 3)]
    for count, rig in zip((2, 3), rigs, strict=True):
        write_rig(tmp_path / f"{count}.yaml", rig)
        assert main(["rig", "convert", str(tmp_path / f"{count}.yaml"), str(tmp_path / name), "--json"]) == 0
    kept = [Path(path) for path in json.loads(capsys.readouterr().out.splitlines()[-1])["rig_before"]]
    assert len(kept) == (3 if name == "sparse" else 1) and all(".bak-" in path.name for path in kept)
    assert len(read_any(tmp_path / name).cameras) == 3
    for path in kept:
        path.replace(path.with_name(path.name.split(".bak-")[0]))
    assert_same(rigs[0], read_any(tmp_path / name))


def test_every_format_is_tested() -> None:
    assert set(WRITTEN) == {name.split()[0] for name in NAMES} == {*PROJECTIONS, "usthand"}


def test_a_model_of_colmap_is_not_mixed_with_another(tmp_path: Path) -> None:
    (tmp_path / "frames.txt").write_text("# of another model")
    with pytest.raises(UserError, match=r"holds frames.txt of another model"):
        write_any(tmp_path, make_rig(["pinhole5"] * 2))
    assert [path.name for path in tmp_path.iterdir()] == ["frames.txt"]

"""Files that other programs wrote: what each means is worked out here from its own documents and compared by pixels."""

import json
import re
import struct
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tomli_w
import yaml
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.formats import detect_format, read_any, read_lenses, write_any
from calibration.formats.file_storage import Storage
from calibration.rig import RigCamera
from tests.calibration.formats.test_formats import DATA, NO_TURN, POINTS_CAM_M, fisheye_px, make_rig, pinhole_px

R_MADE = cv2.Rodrigues(np.array([0.1, -0.4, 0.2]))[0]
T_MADE = np.array([-0.35, 0.02, 0.11])
K_MADE = np.array([[613.7, 0, 322.1], [0, 611.3, 239.9], [0, 0, 1]])
RADTAN = [-0.31, 0.08, 0.0011, -0.0023, 0.0123]


def assert_projects(camera: RigCamera, expected_px: np.ndarray, points_world_m: np.ndarray) -> None:
    np.testing.assert_allclose(camera.project(points_world_m), expected_px, rtol=0, atol=1e-6)


def second_camera_px(points_world_m: np.ndarray) -> np.ndarray:
    points_cam = points_world_m @ R_MADE.T + T_MADE
    return pinhole_px(points_cam, 613.7, 611.3, 322.1, 239.9, RADTAN)


def points_before_both() -> np.ndarray:
    return POINTS_CAM_M + [0, 0, 0.6]


def test_openvins(calibration_cases_dir: Path) -> None:
    path = calibration_cases_dir / "13_foreign_files" / "openvins_t265.yaml"
    rig = read_any(path)
    assert rig.camera_ids == ("cam0", "cam1")
    content = yaml.safe_load(path.read_text().partition("\n")[2])["cam1"]
    points_world_m = POINTS_CAM_M
    T_1_0 = np.array(content["T_cn_cnm1"])
    fx, fy, cx, cy = content["intrinsics"]
    points_cam = points_world_m @ T_1_0[:3, :3].T + T_1_0[:3, 3]
    expected = fisheye_px(points_cam, fx, fy, cx, cy, content["distortion_coeffs"])
    assert_projects(rig.cameras[1], expected, points_world_m)
    assert rig.cameras[1].time_offset_ns == -5_583_860


def test_openvins_without_a_chain(calibration_cases_dir: Path, tmp_path: Path) -> None:
    text = (calibration_cases_dir / "13_foreign_files" / "openvins_t265.yaml").read_text()
    chained = read_any(calibration_cases_dir / "13_foreign_files" / "openvins_t265.yaml").cameras[1]
    content = yaml.safe_load(text.partition("\n")[2])
    del content["cam1"]["T_cn_cnm1"]
    path = tmp_path / "kalibr_imucam_chain.yaml"
    path.write_text("%YAML:1.0\n" + yaml.safe_dump(content))
    # The file has both, and they agree to its digits.
    np.testing.assert_allclose(read_any(path).cameras[1].T_cam_world, chained.T_cam_world, atol=1e-4)
    for entry in content.values():
        entry["T_imu_cam"] = np.linalg.inv(entry.pop("T_cam_imu")).tolist()
    path.write_text("%YAML:1.0\n" + yaml.safe_dump(content))
    np.testing.assert_allclose(read_any(path).cameras[1].T_cam_world, chained.T_cam_world, atol=1e-4)


def test_a_stereo_calibration_with_k1_k2(calibration_cases_dir: Path) -> None:
    path = calibration_cases_dir / "13_foreign_files" / "opencv_K1_K2.yml"
    with pytest.raises(UserError, match=r"image size.*usthand rig convert.*--image-size"):
        read_any(path, unit_mm=1)
    rig = read_any(path, unit_mm=1, image_size=(1280, 960))
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    K, D, R = (file.getNode(key).mat() for key in ("K2", "D2", "R"))
    T_mm = np.array([-59.835947362699066, 0.023205250763192315, -0.40240075032462863])
    points_mm = points_before_both() * 1000
    expected = cv2.projectPoints((points_mm @ R.T + T_mm)[:, None], NO_TURN, NO_TURN, K, D)[0][:, 0]
    assert_projects(rig.cameras[1], expected, points_mm / 1000)


def test_an_old_file_of_pose2sim(calibration_cases_dir: Path) -> None:
    folder = calibration_cases_dir / "13_foreign_files"
    assert detect_format(folder / "p2s_qca_old.toml") == detect_format(folder / "p2s_extrandom_old.toml") == "pose2sim"
    rig = read_any(folder / "p2s_qca_old.toml")
    assert rig.camera_ids == ("cam01", "cam02", "cam03", "cam04")
    np.testing.assert_allclose(
        rig.cameras[3].T_cam_world[:3, 3], [0.5030217200000006, 0.04894934000000085, 4.406564460000002]
    )
    with pytest.raises(UserError, match=r"all cameras are in one place.*--intrinsics"):
        read_any(folder / "p2s_extrandom_old.toml")
    lenses = read_lenses(folder / "p2s_extrandom_old.toml", dict.fromkeys(("cam_1", "cam_2"), (1920, 1080)))
    assert lenses["cam_2"].matrix[0, 0] == 1201.3535871331092


def test_easymocap(calibration_cases_dir: Path, tmp_path: Path) -> None:
    given = calibration_cases_dir / "13_foreign_files" / "easymocap_intri.yml"
    assert detect_format(given) == "easymocap"
    lenses = read_lenses(given, {"cam_1": (1920, 1080), "cam_2": (1920, 1080)})
    assert list(lenses) == ["cam_1"] and lenses["cam_1"].focal_px == (909 + 924) / 2

    names = 'names:\n   - "1"\n   - "left"\n'
    matrix = "{}: !!opencv-matrix\n   rows: {}\n   cols: {}\n   dt: d\n   data: {}\n"
    intri = extri = f"%YAML:1.0\n---\n{names}"
    for name, R, T in (("1", np.eye(3), np.zeros(3)), ("left", R_MADE, T_MADE)):
        intri += matrix.format(f"K_{name}", 3, 3, K_MADE.ravel().tolist())
        intri += matrix.format(f"dist_{name}", 1, 5, RADTAN) + f"H_{name}: 480\nW_{name}: 640\n"
        extri += matrix.format(f"R_{name}", 3, 1, cv2.Rodrigues(R)[0].ravel().tolist())
        extri += matrix.format(f"Rot_{name}", 3, 3, R.ravel().tolist())
        extri += matrix.format(f"T_{name}", 3, 1, T.tolist())
    (tmp_path / "intri.yml").write_text(intri)
    (tmp_path / "extri.yml").write_text(extri)
    for path in (tmp_path, tmp_path / "intri.yml", tmp_path / "extri.yml"):
        rig = read_any(path)
        assert rig.camera_ids == ("1", "left")
        assert (rig.cameras[1].camera.width, rig.cameras[1].camera.height) == (640, 480)
        assert_projects(rig.cameras[1], second_camera_px(points_before_both()), points_before_both())


def test_camera_info_of_ros(tmp_path: Path) -> None:
    """A rectified pair, 0.12 m apart: its points lie on equal rows, shifted by the disparity."""
    R_left, R_right = (cv2.Rodrigues(np.array(vector))[0] for vector in ([0.02, 0.01, -0.01], [0.01, -0.03, 0.02]))
    for name, R, shift in (("left", R_left, 0.0), ("right", R_right, -0.12)):
        content = {
            "image_width": 640,
            "image_height": 480,
            "camera_name": name,
            "camera_matrix": {"rows": 3, "cols": 3, "data": K_MADE.ravel().tolist()},
            "distortion_model": "plumb_bob",
            "distortion_coefficients": {"rows": 1, "cols": 5, "data": RADTAN},
            "rectification_matrix": {"rows": 3, "cols": 3, "data": R.ravel().tolist()},
            "projection_matrix": {
                "rows": 3,
                "cols": 4,
                "data": [600.0, 0, 320, 600 * shift, 0, 600, 240, 0, 0, 0, 1, 0],
            },
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    rig = read_any(tmp_path)
    assert rig.camera_ids == ("left", "right")
    centres = [camera.centre_world_m for camera in rig.cameras]
    np.testing.assert_allclose(centres[1] - centres[0], [0.12, 0, 0], atol=1e-12)
    for camera, R, shift in zip(rig.cameras, (R_left, R_right), (0.0, -0.12), strict=True):
        pixels = camera.project(points_before_both())
        rectified = cv2.undistortPoints(pixels[:, None], K_MADE, np.array(RADTAN), None, R)[:, 0]
        expected = (points_before_both() + [shift, 0, 0])[:, :2] / points_before_both()[:, 2:]
        np.testing.assert_allclose(rectified, expected, atol=1e-4)
    with pytest.raises(UserError, match=r"1 calibrated cameras.*--intrinsics"):
        read_any(tmp_path / "left.yaml")
    assert read_lenses(tmp_path / "left.yaml", {"left": (640, 480)})["left"].matrix[0, 2] == 322.1


def test_basalt(tmp_path: Path) -> None:
    quaternion, position = Rotation.from_matrix(R_MADE.T).as_quat(), -R_MADE.T @ T_MADE
    intrinsics = {"fx": 613.7, "fy": 611.3, "cx": 322.1, "cy": 239.9}
    kb4 = [0.031, -0.0123, 0.0023, -0.00051]
    radtan8 = dict(zip(("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"), [*RADTAN, 0.31, -0.04, 0.007], strict=True))
    poses = [
        dict(zip(("px", "py", "pz", "qx", "qy", "qz", "qw"), [0, 0, 0, 0, 0, 0, 1], strict=True)),
        dict(zip(("px", "py", "pz", "qx", "qy", "qz", "qw"), [*position, *quaternion], strict=True)),
    ]
    content = {
        "T_imu_cam": poses,
        "intrinsics": [
            {"camera_type": "kb4", "intrinsics": {**intrinsics, **{f"k{i}": k for i, k in enumerate(kb4, 1)}}},
            {"camera_type": "pinhole-radtan8", "intrinsics": {**intrinsics, **radtan8, "rpmax": 2.0}},
        ],
        "resolution": [[640, 480], [640, 480]],
        "vignette": [],
    }
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"value0": content}))
    rig = read_any(path)
    points = points_before_both()
    assert_projects(rig.cameras[0], fisheye_px(points, 613.7, 611.3, 322.1, 239.9, kb4), points)
    points_cam = points @ R_MADE.T + T_MADE
    assert_projects(rig.cameras[1], pinhole_px(points_cam, 613.7, 611.3, 322.1, 239.9, list(radtan8.values())), points)
    content["intrinsics"][0]["camera_type"] = "ds"
    path.write_text(json.dumps({"value0": content}))
    with pytest.raises(UserError, match=r"camera `cam0`: a rig has no lens `ds`"):
        read_any(path)


@pytest.mark.parametrize("master", [False, True])
def test_multical(master: bool, tmp_path: Path) -> None:
    camera = {"model": "standard", "image_size": [640, 480], "K": K_MADE.tolist(), "dist": [RADTAN]}
    poses = {
        "left": {"R": np.eye(3).tolist(), "T": [0, 0, 0]},
        "right_to_left" if master else "right": {"R": R_MADE.tolist(), "T": T_MADE.tolist()},
    }
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"cameras": {"left": camera, "right": camera}, "camera_poses": poses}))
    rig = read_any(path)
    assert rig.camera_ids == ("left", "right")
    assert_projects(rig.cameras[1], second_camera_px(points_before_both()), points_before_both())
    path.write_text(json.dumps({"cameras": {"left": camera}}))
    assert list(read_lenses(path, {"left": (640, 480)})) == ["left"]


@pytest.mark.parametrize("key", ["extrinsics", "rt_cam_ref"])
def test_mrcal(key: str, tmp_path: Path) -> None:
    lens = [613.7, 611.3, 322.1, 239.9]
    for name, model, numbers, pose in (
        ("camera-0", "LENSMODEL_PINHOLE", lens, np.zeros(6)),
        ("camera-1", "LENSMODEL_OPENCV5", lens + RADTAN, np.append(cv2.Rodrigues(R_MADE)[0], T_MADE)),
    ):
        (tmp_path / f"{name}.cameramodel").write_text(
            f"# generated on 2026-01-31\n{{\n    'lensmodel':  '{model}',\n\n"
            f"    # intrinsics are fx,fy,cx,cy,distortion0,distortion1,....\n    'intrinsics': {numbers},\n\n"
            f"    '{key}': {pose.tolist()},\n\n    'imagersize': [ 640, 480,]\n}}\n"
        )
    rig = read_any(tmp_path)
    assert rig.camera_ids == ("camera-0", "camera-1")
    points = points_before_both()
    assert_projects(rig.cameras[0], pinhole_px(points, 613.7, 611.3, 322.1, 239.9, []), points)
    assert_projects(rig.cameras[1], second_camera_px(points), points)
    spline = tmp_path / "camera-0.cameramodel"
    spline.write_text(spline.read_text().replace("LENSMODEL_PINHOLE", "LENSMODEL_SPLINED_STEREOGRAPHIC_order=3"))
    with pytest.raises(UserError, match=r"no lens `LENSMODEL_SPLINED.*mrcal-convert-lensmodel"):
        read_any(tmp_path)
    spline.write_text(re.sub("'LENS.*'", "{}", spline.read_text()))
    with pytest.raises(UserError, match="no lens"):
        read_any(tmp_path)
    spline.write_text("__import__('os').system('true')")
    with pytest.raises(UserError, match="is not as mrcal writes it"):
        read_any(tmp_path)


def test_a_binary_model_of_colmap(tmp_path: Path) -> None:
    """The text model that pycolmap wrote, packed as the format's document says, means the same rig."""
    models = ["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV"]
    lenses = [line.split() for line in (DATA / "colmap" / "cameras.txt").read_text().splitlines() if line[0] != "#"]
    packed = struct.pack("<Q", len(lenses))
    for lens_id, model, width, height, *values in lenses:
        packed += struct.pack("<IiQQ", int(lens_id), models.index(model), int(width), int(height))
        packed += struct.pack(f"<{len(values)}d", *map(float, values))
    (tmp_path / "cameras.bin").write_bytes(packed)
    lines = [line for line in (DATA / "colmap" / "images.txt").read_text().splitlines() if line[:1] != "#"][::2]
    packed = struct.pack("<Q", len(lines))
    for line in lines:
        image_id, *numbers, lens_id, name = line.split(maxsplit=9)
        packed += struct.pack("<I7dI", int(image_id), *map(float, numbers), int(lens_id)) + name.encode() + b"\0"
        packed += struct.pack("<Qddqddq", 2, 1.5, 2.5, -1, 3.5, 4.5, 7)
    (tmp_path / "images.bin").write_bytes(packed)
    text, binary = read_any(DATA / "colmap", unit_mm=250.0), read_any(tmp_path, unit_mm=250.0)
    assert text.rig_id == binary.rig_id
    assert read_any(tmp_path / "images.bin", unit_mm=250.0).rig_id == text.rig_id
    (tmp_path / "images.bin").write_bytes(packed[:-30])
    with pytest.raises(UserError, match=r"images.bin: ends too early"):
        read_any(tmp_path, unit_mm=250.0)


def test_one_camera_of_opencvs_sample(tmp_path: Path) -> None:
    for ending in (".xml", ".yml"):
        path = tmp_path / f"out_camera_data{ending}"
        file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
        file.write("image_width", 640)
        file.write("image_height", 480)
        file.write("camera_matrix", K_MADE)
        file.write("distortion_coefficients", np.array([RADTAN]).T)
        file.write("fisheye_model", 0)
        file.release()
        lenses = read_lenses(path, {"out_camera_data": (640, 480)})
        np.testing.assert_allclose(lenses["out_camera_data"].distortion, RADTAN)


# Where the unit is wrong: by what the lengths in the file are multiplied, the unit given, and what is likely. The rig
# is 1.9 m wide.
UNITS = {
    "metres read as millimetres": (1.0, 1.0, ["metres (`usthand rig convert FILE rig.yaml --unit-mm 1000`)"]),
    "millimetres read as metres": (1000.0, None, ["millimetres (`usthand rig convert FILE rig.yaml --unit-mm 1`)"]),
    "centimetres read as metres": (100.0, None, ["--unit-mm 1`", "centimetres", "--unit-mm 10`"]),
    "3 mm wide": (1.0, 1.6, ["cameras are 0.00297", "--unit-mm 1000"]),
}


@pytest.mark.parametrize("case", UNITS)
def test_a_rig_of_another_unit_is_refused_with_the_likely_one(case: str, tmp_path: Path) -> None:
    factor, unit_mm, expected = UNITS[case]
    path = tmp_path / "Calib.toml"
    write_any(path, make_rig(["pinhole5"] * 3, plain=True))
    content = tomllib.loads(path.read_text())
    for key in ("cam_0", "cam_1", "cam_2"):
        content[key]["translation"] = (np.array(content[key]["translation"]) * factor).tolist()
    path.write_text(tomli_w.dumps(content))
    with pytest.raises(UserError, match="cannot be in the unit") as error:
        read_any(path, unit_mm=unit_mm)
    for part in expected:
        assert part in str(error.value)


def test_two_cameras_in_one_place_are_named(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    camera = {"model": "standard", "image_size": [640, 480], "K": K_MADE.tolist(), "dist": [RADTAN]}
    pose = {"R": np.eye(3).tolist(), "T": [0, 0, 0]}
    poses = {"a": pose, "b": {**pose, "T": [0.4, 0, 0]}, "c": pose}
    path.write_text(json.dumps({"cameras": dict.fromkeys("abc", camera), "camera_poses": poses}))
    with pytest.raises(UserError, match=r"cameras `a` and `c` are 0 mm apart"):
        read_any(path)


SIZES = {f"cam_{number}": (1280, 720) for number in range(4)}


@pytest.mark.parametrize(
    ("name", "cameras", "focal_px"),
    [
        ("calibration_nounit.toml", ["cam_0", "cam_1", "cam_2", "cam_3"], 903.550124089999),
        ("p2s229_intrinsics_only.toml", ["cam_0", "cam_1"], 1503.8279560192498),
        ("io.toml", ["cam_0", "cam_1"], 1503.8279560192498),
        ("camchain1.yaml", ["cam_0"], 903.5),
    ],
)
def test_lenses_need_no_unit_no_pose_and_no_second_camera(
    name: str, cameras: list[str], focal_px: float, calibration_cases_dir: Path
) -> None:
    lenses = read_lenses(calibration_cases_dir / "08_intrinsics_dead_end" / name, SIZES)
    assert list(lenses) == cameras
    assert lenses["cam_0"].matrix[0, 0] == focal_px


def test_lenses_from_a_rig_of_one_camera(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    write_any(path, make_rig(["pinhole5"] * 2, ["left", "right"], plain=True))
    content = yaml.safe_load(path.read_text())
    del content["cameras"][0], content["cameras"][0]["T_cam_world"]
    path.write_text(yaml.safe_dump(content))
    assert list(read_lenses(path, {"left": (640, 480), "right": (640, 480)})) == ["right"]
    with pytest.raises(UserError, match=r"has lenses of right, the session has top, bottom"):
        read_lenses(path, {"top": (640, 480), "bottom": (640, 480)})


def test_lenses_without_a_size_or_without_images(tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    write_any(path, make_rig(["pinhole5"] * 2, plain=True))
    content = tomllib.loads(path.read_text())
    for key in ("cam_0", "cam_1"):
        del content[key]["size"]
    path.write_text(tomli_w.dumps(content))
    assert (lens := read_lenses(path, {"cam_1": (1280, 720)})["cam_1"]).matrix[0, 0] == 614.7
    assert (lens.width, lens.height) == (1280, 720)
    assert read_any(path, image_size=(640, 480)).camera_ids == ("cam_0", "cam_1")

    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 613.7 611.3 322.6 240.4\n")
    lens = read_lenses(tmp_path / "cameras.txt", {"cam_1": (640, 480), "cam_2": (640, 480)})["cam_1"]
    np.testing.assert_allclose(lens.matrix, K_MADE, atol=1e-9)
    with pytest.raises(UserError, match="--intrinsics"):
        read_any(tmp_path / "cameras.txt", unit_mm=1)


@pytest.mark.parametrize(
    "damaged",
    [
        f"%YAML:1.0\n---\nK_1: !!binary {'A' * 100}\nnames: 1\n",
        "%YAML:1.0\n   - '1'\n---\n   - '1'\nK_1: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   d-\n   - '1'\n",
    ],
)
def test_what_opencvs_parser_reads_for_ever_is_refused(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "intri.yml").write_text(damaged)
    with pytest.raises(UserError, match=r"intri\.yml: OpenCV's FileStorage cannot read it"):
        Storage(tmp_path / "intri.yml")


CAMERA = {"image_size": [640, 480], "K": K_MADE.tolist(), "dist": [RADTAN]}
POSE = {"R": np.eye(3).tolist(), "T": [0, 0, 1]}
TEXTS = {
    "basalt.json": json.dumps(
        {
            "value0": {
                "T_imu_cam": [{"px": 0, "py": 0, "pz": 0, "qx": 0, "qy": 0, "qz": 0, "qw": 1}],
                "intrinsics": [{"camera_type": "pinhole", "intrinsics": {"fx": 613, "fy": 611, "cx": 322, "cy": 239}}],
                "resolution": [[640, 480]],
            }
        }
    ),
    "multical.json": json.dumps({"cameras": {"left": CAMERA}, "camera_poses": {"left": POSE}}),
    "one.cameramodel": "{'lensmodel': 'LENSMODEL_PINHOLE', 'intrinsics': [613.0, 611.0, 322.0, 239.0], "
    "'extrinsics': [0, 0, 0, 0, 0, 1], 'imagersize': [640, 480]}",
    "left.yaml": "image_width: 640\nimage_height: 480\ncamera_name: left\ncamera_matrix: {data: [613, 0, 322, 0, 611, "
    "239, 0, 0, 1]}\ndistortion_model: plumb_bob\ndistortion_coefficients: {data: [0, 0, 0, 0, 0]}\n"
    "rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n"
    "projection_matrix: {data: [600, 0, 320, 0, 0, 600, 240, 0, 0, 0, 1, 0]}\n",
    "camera_array.toml": "",
    "calibration.toml": "",
    "camchain.yaml": "",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_whole_number_beyond_all_floats_is_refused_wherever_it_stands(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if TEXTS[name]:
        path.write_text(TEXTS[name])
    else:
        write_any(path, make_rig(["pinhole5 without k3"] * 2, plain=True))
    text, refused = path.read_text(), 0
    for number in list(re.finditer(r"(?<=[ \[=])-?\d+(\.\d+)?(e-?\d+)?(?=[,\]}\n])", text)):
        path.write_text(text[: number.start()] + "1" + "0" * 400 + text[number.end() :])
        try:
            read_any(path)
        except UserError as error:
            refused += name in str(error)
    assert refused > 10

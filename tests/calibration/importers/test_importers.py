"""Recordings of other programs become sessions, number by number; what is wrong with them is said."""

import csv
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import UserError
from calibration.importers import import_recording
from calibration.session import check_session
from tests.conftest import ROOT

POINTS_WORLD_M = np.random.default_rng(4).uniform([-0.15, -0.15, 0.1], [0.15, 0.15, 0.4], (50, 3))
FRAMES = 5


def usthand(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_real_rig(real_rig_dir: Path, tmp_path: Path) -> None:
    done = usthand("import", real_rig_dir, tmp_path / "real", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {camera: counts["frames"] for camera, counts in summary["cameras"].items()} == {
        f"cam_{number}": 111 for number in range(4)
    }
    session = check_session(tmp_path / "real", deep=True)
    assert session.camera_ids == ("cam_0", "cam_1", "cam_2", "cam_3")
    assert session.rig.rig_id == summary["rig_id"]
    assert summary["fps"] == pytest.approx(6, abs=0.1)
    assert not session.rig.time_offsets_known

    tables = tomllib.loads((real_rig_dir / "camera_array.toml").read_text())["cameras"]
    with (real_rig_dir / "calibration" / "extrinsic" / "timestamps.csv").open() as file:
        rows = list(csv.DictReader(file))
    for number in range(4):
        table, camera = tables[str(number)], session.rig[f"cam_{number}"]
        assert [camera.camera.width, camera.camera.height] == table["size"]
        assert camera.camera.matrix.tolist() == table["matrix"]
        assert camera.camera.distortion.tolist() == table["distortions"]
        assert camera.T_cam_world[:3, :3].tolist() == table["rotation"]
        assert camera.T_cam_world[:3, 3].tolist() == table["translation"]
        assert camera.rmse_px == table["error"]
        centre = np.array([0, 0, 0.5])  # a point in front of each camera: somewhere along the axis
        points_cam = POINTS_WORLD_M * 0.3 + centre
        points_world = np.dot(points_cam - camera.T_cam_world[:3, 3], camera.T_cam_world[:3, :3])
        rotation, matrix = np.array(table["rotation"]), np.array(table["matrix"])
        distortions, translation = np.array(table["distortions"]), np.array(table["translation"])
        expected = cv2.projectPoints(points_world, cv2.Rodrigues(rotation)[0], translation, matrix, distortions)[0]
        np.testing.assert_allclose(camera.project(points_world), expected[:, 0], atol=1e-6)

        of_camera = sorted((int(row["frame_index"]), row["frame_time"]) for row in rows if row["cam_id"] == str(number))
        times_ns = session.frame_times_ns(camera.camera_id)
        assert of_camera[0][0] == 26
        assert len(times_ns) == 111
        assert times_ns.tolist() == [round(float(text) * 1e9) for _, text in of_camera]
        video = session.video_path(camera.camera_id)
        assert video.is_symlink()
        assert video.samefile(real_rig_dir / "calibration" / "extrinsic" / f"cam_{number}.mp4")


def table_text(header: str, number: int, unit: float, **more: object) -> str:
    """A camera as TOML, on a circle of 0.9 m, looking at (0, 0, 0.25); `unit` in units of a metre."""
    angle = 1.3 * number
    rotation = cv2.Rodrigues(np.array([1.9 * np.cos(angle / 2), 1.9 * np.sin(angle / 2), 0.1 * number]))[0]
    translation = (np.array([0.02 * number, -0.01, 0.9]) - rotation @ [0, 0, 0.25]) / unit
    values = {
        "size": [64, 48],
        "matrix": [[61.5 + number, 0.0, 31.25], [0.0, 62.5 - number, 23.75], [0.0, 0.0, 1.0]],
        "distortions": [-0.31 + 0.01 * number, 0.05, 0.001, -0.002, 0.003],
        "rotation": cv2.Rodrigues(rotation)[0].ravel().tolist(),
        "translation": translation.tolist(),
        **more,
    }
    return "\n".join([f"[{header}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]) + "\n"


def freemocap_tree(root: Path, write_video: Callable[..., Path], cameras: int = 3) -> Path:
    """A recording as FreeMoCap keeps it, calibrated in millimetres; camera 1 is a fisheye, the names are shuffled."""
    names = [f"Camera_00{number}_synchronized" for number in (2, 0, 1)][:cameras]
    text = ""
    for number, name in enumerate(names):
        more: dict = {"name": name}
        if number == 1:
            more |= {"distortions": [0.03, -0.01, 0.002, 0.0005], "fisheye": True}
        text += table_text(f"cam_{number}", number, 0.001, **more)
        write_video(root / "synchronized_videos" / f"{name}.mp4", frames=FRAMES, fps=25.0)
    text += '[metadata]\ncharuco_square_size = 58.0\ndate_time_calibrated = "2025-03-11T14:19:33"\n'
    (root / "hands_camera_calibration.toml").write_text(text)
    return root


def caliscope_tree(root: Path, write_video: Callable[..., Path], recording: str = "recordings/a") -> Path:
    """A workspace as older versions of caliscope kept it: `port` for `cam_id`; camera 2 is ignored."""
    folder = root / recording
    text, rows = "", []
    for number in range(3):
        text += table_text(f"cameras.{number}", number, 1.0, port=number, ignore=number == 2, error=0.25)
        write_video(folder / f"port_{number}.mp4", frames=FRAMES)
        rows += [(frame, number, frame + 7, round(3.0 + 0.1 * frame + 0.01 * number, 3)) for frame in range(FRAMES)]
    (root / "camera_array.toml").write_text(text)
    lines = ["sync_index,port,frame_index,frame_time", *(",".join(map(str, row)) for row in rows)]
    (folder / "frame_time_history.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_caliscope_workspace_of_older_days(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    session = import_recording(caliscope_tree(tmp_path / "w", write_video), tmp_path / "s", copy=True)
    check_session(session.path, deep=True)
    assert session.camera_ids == ("cam_0", "cam_1")
    for number in range(2):
        camera_id = f"cam_{number}"
        expected = [round((3.0 + 0.1 * frame + 0.01 * number) * 1e9) for frame in range(FRAMES)]
        np.testing.assert_array_equal(session.frame_times_ns(camera_id), expected)
        video = session.video_path(camera_id)
        assert not video.is_symlink()
        assert video.read_bytes() == (tmp_path / "w" / "recordings" / "a" / f"port_{number}.mp4").read_bytes()


def test_a_freemocap_recording(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    root = freemocap_tree(tmp_path / "rec", write_video)
    session = import_recording(root, tmp_path / "s")
    check_session(session.path, deep=True)
    assert session.rig.calibration is not None
    assert session.rig.calibration.date == "2025-03-11"
    tables = tomllib.loads((root / "hands_camera_calibration.toml").read_text())
    for camera_id in ("cam_0", "cam_1", "cam_2"):
        table, camera = tables[camera_id], session.rig[camera_id]
        r, t, K, d = (np.array(table[key]) for key in ("rotation", "translation", "matrix", "distortions"))
        project = cv2.fisheye.projectPoints if table.get("fisheye") else cv2.projectPoints
        expected = project(POINTS_WORLD_M[:, None] * 1000, r, t, K, d)[0].reshape(-1, 2)
        np.testing.assert_allclose(camera.project(POINTS_WORLD_M), expected, atol=1e-9)
        assert session.video_path(camera_id).resolve().stem == table["name"]
        np.testing.assert_array_equal(session.frame_times_ns(camera_id), np.arange(FRAMES) * 40_000_000)


def write_times(path: Path, column: str, values: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([f"frame_number,{column}", *(f"{n},{value}" for n, value in enumerate(values))]) + "\n")
    return path


def test_freemocap_times_per_camera_and_for_all(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    root = freemocap_tree(tmp_path / "rec", write_video)
    stamps = root / "synchronized_videos" / "timestamps"
    write_times(stamps / "rec_timestamps.csv", "timestamp.from_recording_start.ms", [0.5, 33.25, 67, 100.125, 133])
    session = import_recording(root, tmp_path / "all")
    for camera_id in session.camera_ids:
        expected = [500_000, 33_250_000, 67_000_000, 100_125_000, 133_000_000]
        assert session.frame_times_ns(camera_id).tolist() == expected

    for number in range(3):
        times = [123456789012345 + 33_333_333 * frame + 1000 * number for frame in range(FRAMES)]
        path = stamps / "camera_timestamps" / f"rec_camera_{number}_timestamps.csv"
        write_times(path, "timestamp.perf_counter_ns.ns", times)
    session = import_recording(root, tmp_path / "each")
    for camera_id, number in (("cam_0", 2), ("cam_1", 0), ("cam_2", 1)):
        assert session.frame_times_ns(camera_id)[0] == 123456789012345 + 1000 * number


@pytest.mark.parametrize("unit_mm", [58.0, 10.0])
def test_a_calibration_of_another_unit(unit_mm: float, tmp_path: Path, write_video: Callable[..., Path]) -> None:
    root = freemocap_tree(tmp_path / "rec", write_video)
    path = root / "hands_camera_calibration.toml"
    path.write_text(path.read_text().replace("charuco_square_size = 58.0", "charuco_square_size = 1"))
    with pytest.raises(UserError, match=r"`charuco_square_size` is 1.*--unit-mm"):
        import_recording(root, tmp_path / "s")
    session = import_recording(root, tmp_path / "s", unit_mm=unit_mm)
    table = tomllib.loads(path.read_text())["cam_2"]
    np.testing.assert_allclose(
        session.rig["cam_2"].T_cam_world[:3, 3], np.array(table["translation"]) * unit_mm / 1000, rtol=1e-12
    )


def test_importing_twice(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    one = caliscope_tree(tmp_path / "one", write_video)
    two = freemocap_tree(tmp_path / "two", write_video)
    import_recording(one, tmp_path / "s")
    (tmp_path / "s" / "poses.npz").write_bytes(b"kept")
    import_recording(one, tmp_path / "s", copy=True)
    assert not (tmp_path / "s" / "cam_0.mp4").is_symlink()
    assert (tmp_path / "s" / "poses.npz").read_bytes() == b"kept"
    with pytest.raises(UserError, match=r"is a session already, from caliscope recording.*--force"):
        import_recording(two, tmp_path / "s")
    assert check_session(tmp_path / "s").source.startswith("caliscope")
    import_recording(two, tmp_path / "s", force=True)
    assert check_session(tmp_path / "s").source.startswith("FreeMoCap")
    with pytest.raises(UserError, match="is not empty and not a session"):
        import_recording(one, two)


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    def apply(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return apply


def add_recording(root: Path) -> None:
    shutil.copytree(root / "recordings" / "a", root / "recordings" / "b")


def add_a_quote(path: Path) -> None:
    """A line with a quote that does not end, before more than the csv module takes as one field."""
    path.write_text(path.read_text() + '"1,2,3,4\n' + "1,2,3,4\n" * 20_000)


HISTORY = "recordings/a/frame_time_history.csv"
CALISCOPE_MISTAKES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no video": (lambda root: (root / "recordings/a/port_1.mp4").unlink(), ["no video", "camera 1", "cam_1.mp4"]),
    "no column": (
        edit(HISTORY, "frame_time", "time"),
        ["no column `frame_time`", "sync_index, port, frame_index, time"],
    ),
    "no camera column": (edit(HISTORY, ",port,", ",kamera,"), ["no column `cam_id` or `port`"]),
    "no number": (edit(HISTORY, "3.1\n", "soon\n"), [HISTORY, "line", "`soon` is not a time"]),
    "more than 64 bits": (edit(HISTORY, "3.1\n", "1e12\n"), [HISTORY, "line", "`1e12` is not a time"]),
    "more than a machine has": (edit(HISTORY, "3.1\n", "1e999999\n"), [HISTORY, "`1e999999` is not a time"]),
    "an open quote": (lambda root: add_a_quote(root / HISTORY), [f"{HISTORY}, line 17: ", "expected whole numbers"]),
    "a row missing": (edit(HISTORY, "4,1,11,3.41\n", ""), ["port_1.mp4", "5 frames", "4 rows"]),
    "a frame twice": (edit(HISTORY, "4,1,11,", "4,1,10,"), ["camera 1", "frame_index twice"]),
    "times that fall": (edit(HISTORY, "4,1,11,3.41", "4,1,11,3.2"), [HISTORY, "`cam_1`", "must rise"]),
    "another size": (edit("camera_array.toml", "[64, 48]", "[640, 480]"), ["64x48", "camera_array.toml says 640x480"]),
    "one camera": (edit("camera_array.toml", "port = 1\nignore = false", "port = 1\nignore = true"), ["2 to 16"]),
    "not TOML": (edit("camera_array.toml", "[cameras.0]", "[cameras.0"), ["camera_array.toml", "TOML"]),
    "an uncalibrated video": (
        lambda root: (root / "recordings/a/port_1.mp4").rename(root / "recordings/a/port_8.mp4"),
        ["port_8.mp4", "camera_array.toml", "no camera"],
    ),
    "two recordings": (add_recording, ["2 recordings", "recordings/a", "recordings/b", "Give one"]),
    "nothing": (
        lambda root: shutil.rmtree(root / "recordings"),
        ["no recording in caliscope or freemocap", "videos layout"],
    ),
}
FREEMOCAP_MISTAKES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no video": (
        lambda root: (root / "synchronized_videos/Camera_001_synchronized.mp4").unlink(),
        ["2 videos", "3 cameras", "Camera_001_synchronized", "missing"],
    ),
    "two calibrations": (
        lambda root: shutil.copy(root / "hands_camera_calibration.toml", root / "b_camera_calibration.toml"),
        ["2 calibrations", "b_camera_calibration.toml", "--calibration FILE"],
    ),
    "unknown unit": (
        edit("hands_camera_calibration.toml", "charuco_square_size = 58.0\n", ""),
        ["no `charuco_square_size`", "--unit-mm"],
    ),
    "no time column": (
        lambda root: write_times(root / "synchronized_videos/timestamps/r_timestamps.csv", "seconds", [1, 2, 3, 4, 5]),
        ["r_timestamps.csv", "no column", "timestamp.perf_counter_ns.ns"],
    ),
    "too few times": (
        lambda root: write_times(
            root / "synchronized_videos/timestamps/r_timestamps.csv", "timestamp.utc.seconds", [1, 2, 3, 4]
        ),
        ["5 frames", "r_timestamps.csv has 4 rows"],
    ),
    "an open quote": (
        lambda root: add_a_quote(
            write_times(root / "synchronized_videos/timestamps/r_timestamps.csv", "timestamp.utc.seconds", [1])
        ),
        ["r_timestamps.csv, line 3: ", "is not a time"],
    ),
}
MISTAKES = {
    **{("caliscope", name): value for name, value in CALISCOPE_MISTAKES.items()},
    **{("freemocap", name): value for name, value in FREEMOCAP_MISTAKES.items()},
}


@pytest.mark.parametrize(("layout", "mistake"), MISTAKES)
def test_a_mistake_is_named_and_no_session_made(
    layout: str, mistake: str, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    make = {"caliscope": caliscope_tree, "freemocap": freemocap_tree}[layout]
    root = make(tmp_path / "deeply" / "nested" / "recording", write_video)
    break_it, expected = MISTAKES[layout, mistake]
    break_it(root)
    with pytest.raises(UserError) as error:
        import_recording(root, tmp_path / "s")
    for part in expected:
        assert part in str(error.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("damage", ["more than the file has", "named fields", "no number", "no header"])
def test_times_that_numpy_did_not_save_are_named(damage: str, tmp_path: Path, write_video: Callable[..., Path]) -> None:
    root = freemocap_tree(tmp_path / "rec", write_video)
    stamps = root / "synchronized_videos" / "timestamps"
    stamps.mkdir()
    for number in range(3):
        np.save(stamps / f"camera_{number}.npy", np.arange(FRAMES) * 40_000_000)
    assert import_recording(root, tmp_path / "whole").frame_times_ns("cam_1").tolist() == [
        number * 40_000_000 for number in range(FRAMES)
    ]
    damaged = stamps / "camera_1.npy"
    with damaged.open("wb") as file:
        if damage == "more than the file has":
            header = {"descr": "<i8", "fortran_order": False, "shape": (10**13,)}
            np.lib.format.write_array_header_1_0(file, header)
        elif damage == "named fields":
            np.save(file, np.zeros(FRAMES, [("camera", "i8"), ("time", "i8")]))
        elif damage == "no number":
            np.save(file, np.full(FRAMES, np.nan))
        else:
            file.write(b"\x93NUMPY\x01\x00\x04\x00{((\n")
    with pytest.raises(UserError, match=r"camera_1\.npy: is no array of times"):
        import_recording(root, tmp_path / "s")


def test_a_calibration_from_elsewhere(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    root = freemocap_tree(tmp_path / "rec", write_video)
    moved = (root / "hands_camera_calibration.toml").rename(tmp_path / "moved.toml")
    session = import_recording(root / "synchronized_videos", tmp_path / "s", calibration=moved)
    assert session.camera_ids == ("cam_0", "cam_1", "cam_2")


def test_the_command_refuses_without_a_traceback(tmp_path: Path) -> None:
    done = usthand("import", tmp_path / "nowhere", tmp_path / "s")
    assert done.returncode == 2
    assert "nowhere: no such directory" in done.stderr
    assert "Traceback" not in done.stderr

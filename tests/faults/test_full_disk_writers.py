"""Every other command that writes, and the writers that commands share, on a full disk: see test_full_disk.py.

They run in this process, as each new one imports for seconds; what a command would compute for minutes before it
writes is given to its writer.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from app.cli import main
from app.commands.calibrate_summary import write_files
from app.convert.conversion import convert
from app.convert.formats import FORMATS
from app.doctor.bundle import write_bundle
from app.doctor.finding import Machine
from app.viewer.video import Mp4Writer
from app.wizard.recorder import Recorder, encode_jpeg
from calibration.board.board import Board
from calibration.board.views import BoardView, Detections
from calibration.errors import WriteError
from calibration.measured_latency import MeasuredLatency
from calibration.programs import exit_code
from calibration.rig import read_rig, write_latencies, write_rig
from calibration.wizard.wizard import Capture
from calibration.written_files import write_atomic
from calibration.written_together import written_together
from deploy.export import onnx_export
from models.data.generate import GenerateSettings, generate
from models.evaluation.__main__ import main as evaluate
from models.network.checkpoint import CheckpointInfo, save_checkpoint
from models.network.config import recipe
from models.network.ust_hand import UstHand
from models.simulation.simulated_rig import ring_rig
from tests.calibration.report.test_calibration_report import synthetic_result
from tests.conftest import ROOT
from tests.models.data.test_windows import shard_of, write_cache
from tests.support.full_disk import FULL, fill, left_on, linked
from tests.support.live_run import usthand
from tests.support.pose_files import pose_arrays, write_pose_file

pytestmark = pytest.mark.slow


@pytest.fixture
def rig_path(tmp_path: Path) -> Path:
    path = tmp_path / "rig.yaml"
    write_rig(path, ring_rig(3))
    return path


def tiny_checkpoint(path: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(path, UstHand(recipe("tiny")).state_dict(), CheckpointInfo(recipe("tiny"), 0, {}))
    return path


def content_of(disk: Path) -> dict[str, bytes]:
    return {
        path.relative_to(disk).as_posix(): path.read_bytes()
        for path in disk.rglob("*")
        if path.is_file() and path.name not in ("filler", ".batch")  # which is a lock
    }


def full_says(work: Callable[[], int], named: str, capsys: pytest.CaptureFixture) -> None:
    capsys.readouterr()
    assert exit_code(work) == 1
    error = capsys.readouterr().err
    assert named in next(line for line in error.splitlines() if FULL in line)
    assert "Traceback" not in error


WRITERS = {
    "board.pdf": "board -o {disk}/board",
    "keys": "keys {disk}/keys",
    "out.toml": "rig convert {rig} {disk}/out.toml --to pose2sim",
    "other.yaml": "rig convert {rig} {disk}/other.yaml",
    "images.txt": "rig convert {rig} {disk}/sparse --to colmap",
    "stands.png": "rig show {rig} --picture {disk}/stands.png",
    "part_0": "batch convert {poses} -o {disk}/part_0",
    "crops": "simulate-crops {disk}/crops --people 1 --clips 1 --frames 2 --views 2 --size 32",
}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("named", WRITERS)
def test_a_command_says_what_it_could_not_write(
    named: str,
    before: bool,
    disk: Path,
    rig_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """`before`: of what an earlier one wrote."""
    poses = write_pose_file(tmp_path / "poses.npz", pose_arrays(20))
    words = WRITERS[named].format(disk=disk, rig=rig_path, poses=poses).split()
    if before:
        if named in ("keys", "part_0", "crops"):
            pytest.skip("it is never replaced")
        assert main(words) == 0
        write_rig(rig_path, ring_rig(4))
        words += ["--columns", "6"] if named == "board.pdf" else []
    kept = content_of(disk)
    fill(disk, 0)
    full_says(lambda: main(words), "disk", capsys)
    assert content_of(disk) == kept
    assert {Path(name).name for name in left_on(disk) if Path(name).name.startswith(".")} <= {".batch"}


def test_a_session_is_imported_whole_or_not_at_all(
    session: Path,
    disk: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("cam_0", "cam_1"):
        (videos / f"{name}.mp4").symlink_to(session / f"{name}.mp4")
    for copies in ([], ["--copy"]):
        filler = fill(disk, 4096)
        full_says(lambda: main(["import", str(videos), str(disk / "mine"), *copies]), "mine", capsys)  # noqa: B023
        assert left_on(disk) == ["filler"]
        filler.unlink()
    assert main(["import", str(videos), str(disk / "mine")]) == 0
    kept = content_of(disk)
    fill(disk)
    full_says(lambda: main(["import", str(videos), str(disk / "mine")]), "mine", capsys)
    assert content_of(disk) == kept


def test_a_repair_changes_nothing(
    session: Path,
    disk: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    place = linked(session, disk)
    (place / "session.yaml").unlink()
    kept = content_of(disk)
    filler = fill(disk)
    full_says(lambda: main(["session", "repair", str(place)]), "session", capsys)
    assert content_of(disk) == kept
    filler.unlink()
    assert main(["session", "repair", str(place)]) == 0


def test_what_is_measured_of_cameras_stays_as_it_was(disk: Path, capsys: pytest.CaptureFixture) -> None:
    """As `usthand latency` keeps it, and `usthand calibrate` its rig and report."""
    path = disk / "rig.yaml"
    write_rig(path, ring_rig(3))
    kept = content_of(disk)
    filler = fill(disk)
    late = MeasuredLatency(light_to_grab_ms=30.0, spread_ms=1.0, uncertainty_ms=16.0, date="2026-01-31")
    full_says(lambda: write_latencies(path, {"cam_0": late}) or 0, "rig.yaml", capsys)
    assert content_of(disk) == kept
    filler.unlink()
    write_latencies(path, {"cam_0": late})
    assert read_rig(path)["cam_0"].latency == late


def test_a_calibration_and_its_report(disk: Path, capsys: pytest.CaptureFixture) -> None:
    result, detections = synthetic_result(2, sets=10), Detections(views={}, image_size={})
    output, report = disk / "rig.yaml", disk / "report.html"
    output.write_text("from before")
    report.write_text("from before")
    kept = content_of(disk)

    def write(output: Path | None, report: Path | None) -> int:
        write_files(result, detections, output=output, report=report, session=disk, command="usthand")
        return 0

    filler = fill(disk)
    full_says(lambda: write(output, None), "rig.yaml", capsys)
    assert content_of(disk) == kept
    full_says(lambda: write(None, report), "report.html", capsys)
    assert content_of(disk) == kept
    filler.unlink()


def test_a_bundle(disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = disk / "bundle.zip"
    path.write_text("from before")
    fill(disk)
    full_says(lambda: len(write_bundle(path, [], None, tmp_path, Machine(), True)), "bundle.zip", capsys)
    assert path.read_text() == "from before"
    assert left_on(disk) == ["bundle.zip", "filler"]


def test_a_video_of_the_viewer(disk: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (60, 480, 640, 3), np.uint8)
    writer = Mp4Writer(disk / "demo.mp4", 640, 480, 30)
    with pytest.raises(WriteError, match=f"demo.mp4: .*{FULL}"):
        for number, picture in enumerate(pictures):
            writer.write(picture, number)
        writer.close()
    assert left_on(disk) == []


@pytest.mark.parametrize("room", [0, 8192])
@pytest.mark.parametrize("ending", sorted(FORMATS))
def test_every_format(ending: str, room: int, disk: Path, tmp_path: Path) -> None:
    poses = write_pose_file(tmp_path / "poses.npz", pose_arrays(40))
    out = disk / f"hands{ending}"
    out.write_text("from before")
    fill(disk, room)
    try:
        with pytest.raises(WriteError, match=f"hands.*{FULL}"):
            convert(poses, out)
    except ImportError as error:
        pytest.skip(str(error))
    assert left_on(disk) == ["filler", out.name] and out.read_text() == "from before"


@pytest.mark.parametrize("ending", [".nwb", ".rrd"])
def test_a_library_that_writes_ends_no_program_its_own_way(ending: str, disk: Path, tmp_path: Path) -> None:
    FORMATS[ending].writer()
    poses = write_pose_file(tmp_path / "poses.npz", pose_arrays(40))
    fill(disk, 8192)
    done = usthand("convert", poses, disk / f"hands{ending}")
    assert done.returncode == 1 and f"hands{ending}: the file could not be written ({FULL})" in done.stderr
    assert left_on(disk) == ["filler"]


def test_an_engine_directory(
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Of `usthand export`: the one before stays usable. The conversion to ONNX takes half a minute: it is left out."""
    checkpoint = tiny_checkpoint(disk.parent / "tiny.safetensors")
    sizes = [100_000, 100_000]
    monkeypatch.setattr(onnx_export, "_to_onnx", lambda *_: bytes(sizes.pop()))
    onnx_export.export(str(checkpoint), disk / "engine")
    kept = content_of(disk)
    sizes[:] = [90_000, 950_000]
    full_says(lambda: onnx_export.export(str(checkpoint), disk / "engine") and 0, "stage1.onnx", capsys)
    assert content_of(disk) == kept
    sizes[:] = [90_000, 950_000]
    full_says(lambda: onnx_export.export(str(checkpoint), disk / "other") and 0, "other/stage1.onnx", capsys)
    assert content_of(disk) == kept and not (disk / "other").exists()


def test_an_evaluations_report(
    disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """The figures, which took long, are printed before it."""
    cache, checkpoint = tmp_path / "data", tiny_checkpoint(tmp_path / "tiny.safetensors")
    list(generate(cache, GenerateSettings(people=1, clips=1, frames=6, views=2, size_px=80, split="test")))
    report = disk / "report.html"
    report.write_text("from before")
    fill(disk)
    words = ["evaluate", "--checkpoint", checkpoint, "--data", cache, "--report", report, "--windows", "1"]
    monkeypatch.setattr("sys.argv", [*map(str, words)])
    assert evaluate() == 1
    told = capsys.readouterr()
    assert FULL in told.err and "report.html" in told.err and "Traceback" not in told.err
    assert "mpjpe" in told.out.lower() or "mm" in told.out
    assert left_on(disk) == ["filler", "report.html"] and report.read_text() == "from before"


@pytest.mark.parametrize("left", [0, 20_000, 1_000_000])
def test_a_training(left: int, disk: Path, tmp_path: Path) -> None:
    """Its curves do not fit, or its first checkpoint."""
    write_cache(tmp_path / "cache", [shard_of(True), shard_of(False)])
    config = tmp_path / "train.yaml"
    config.write_text(
        f"output: {disk / 'run'}\ndata: {{train: [cache], validation: [cache], views: [2]}}\n"
        "network: {recipe: tiny, crop_px: 32}\n"
        "steps: 2\nbatch: 2\nlog_every: 1\nvalidate_every: 1\nvalidation_windows: 2\nworkers: 0\n"
    )
    if left < 1_000_000:
        fill(disk, left)
    done = usthand("train", config)
    assert done.returncode == 1, done.stderr[-2000:]
    assert FULL in done.stderr and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert [name for name in left_on(disk) if Path(name).name.startswith(".")] == ["run/.lock"], "and it is empty"
    assert not [name for name in left_on(disk) if name.endswith(".safetensors")], "no checkpoint by halves"


def test_several_files_are_written_or_none(disk: Path) -> None:
    place = disk / "set"
    with pytest.raises(OSError, match=FULL) as failed, written_together(place) as folder:
        (folder / "small").write_bytes(bytes(1000))
        fill(disk)
        write_atomic(folder / "large", bytes(10_000))
    assert failed.value.filename == str(place / "large")
    assert left_on(disk) == ["filler"]


def test_an_output_that_is_redirected_there(disk: Path) -> None:
    fill(disk)
    with (disk / "told").open("wb") as told:
        command = [sys.executable, "-m", "app", "completion", "bash"]
        done = subprocess.run(command, cwd=ROOT, stdout=told, stderr=subprocess.PIPE, text=True, timeout=200)
    assert done.returncode == 1
    assert FULL in done.stderr and "Traceback" not in done.stderr


def test_captures_of_the_wizard(disk: Path, capsys: pytest.CaptureFixture) -> None:
    """The ones before can be gone on with."""
    rig = ring_rig(2, width=64, height=48)
    board = Board(type="charuco", columns=7, rows=5, square_m=0.03, marker_m=0.022, dictionary="DICT_4X4_50")
    recorder = Recorder(disk / "captures", rig, board)
    views = {
        name: BoardView(camera_id=name, frame=0, time_ns=1, corner_ids=np.arange(4), corners_px=np.ones((4, 2)))
        for name in rig.camera_ids
    }
    jpeg = encode_jpeg(np.zeros((48, 64, 3), np.uint8))
    images = [dict.fromkeys(rig.camera_ids, jpeg)]
    recorder.add(Capture(1, 1, (views,)), images, {})
    filler = fill(disk)
    many = [images[0]] * 20

    def add() -> int:
        recorder.add(Capture(2, 2, (views,) * 20), many, {})
        return 0

    full_says(add, ".mjpeg", capsys)
    filler.unlink()
    assert [capture.number for capture in Recorder(disk / "captures", rig, board).captures] == [1]

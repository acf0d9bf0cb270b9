"""A recording whose processes are killed: at most a second is lost, and what there is can be played."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from av.packet import Packet

from app.cli import main
from app.recording.repair import repair_session
from app.recording.take import Take
from app.recording.video_encoder import VideoEncoder
from app.recording.video_file import RecordedVideo
from app.run.record_settings import RecordSettings
from app.run.settings import RunSettings, run_folder
from calibration.camera_source import OpenCvSource, SimulatedSource
from calibration.errors import UserError
from calibration.image_turn import ImageTurn
from calibration.rig import Rig, write_rig
from calibration.session import check_session, read_session
from models.simulation.simulated_rig import ring_rig
from tests.conftest import ROOT
from tests.support.live_run import last_json, simulated_rig, slowness, usthand

SIZE: dict[str, Any] = {"width": 160, "height": 120}
KILLS = int(os.environ.get("USTHAND_TEST_KILLS", "4"))


def begin(*arguments: str | Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows(session: Path, camera_id: str = "") -> int:
    """Whole lines, of one camera or of all."""
    table = session / "frames.csv"
    lines = table.read_bytes().splitlines(keepends=True) if table.exists() else []
    return sum(line.endswith(b"\n") and line.startswith(camera_id.encode()) for line in lines)


def wait_for_rows(session: Path, count: int, camera_id: str = "") -> None:
    until = time.monotonic() + 120
    while rows(session, camera_id) < count:
        assert time.monotonic() < until, f"{rows(session, camera_id)} rows in {session} after 120 s"
        time.sleep(0.02)


def kill_all(process: subprocess.Popen) -> int:
    """SIGKILL to every process of a run, stopped first so that none sees another die; returns when, monotonic ns."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    killed_ns = time.monotonic_ns()
    for each in family:
        each.suspend()
    for each in family:
        each.kill()
    process.wait(30)
    psutil.wait_procs(family, 30)
    return killed_ns


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--lossless"]])
def test_killed_at_any_moment_it_loses_at_most_a_second(tmp_path: Path, flags: list[str]) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    random = np.random.default_rng(len(flags))
    for number in range(KILLS):
        folder = tmp_path / f"session-{number}"
        process = begin("record", rig, folder, *flags)
        wait_for_rows(folder, 2)
        time.sleep(random.uniform(0.0, 2.0))
        busy = slowness()
        killed_ns = kill_all(process)
        session = check_session(folder, deep=True)
        for camera_id in session.camera_ids:
            lost_s = (killed_ns - int(session.frame_times_ns(camera_id)[-1])) / 1e9
            assert lost_s < 1.0 * busy, f"kill {number}: {camera_id} lost {lost_s:.2f} s"
        done = usthand("replay", folder, "--fast", "--no-viewer", "--estimator", "simulated", "--json")
        assert done.returncode == 0, done.stderr
        played = last_json(done.stdout)["cameras"]
        assert all(played[c]["frames"] == len(session.frame_times_ns(c)) for c in session.camera_ids)
        assert all(counts["corrupt"] == 0 for counts in played.values())


@pytest.mark.parametrize(
    "victim", ["app.recording.encoder", pytest.param("app.recording.process", marks=pytest.mark.slow)]
)
def test_the_recording_goes_on_when_a_process_of_it_is_killed(tmp_path: Path, victim: str) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    process = begin("record", rig, tmp_path / "session")
    for camera_id in ("cam_0", "cam_1"):
        wait_for_rows(tmp_path / "session", 10, camera_id)
    family = psutil.Process(process.pid).children(recursive=True)
    next(child for child in family if victim in child.cmdline()).kill()
    for camera_id in ("cam_0", "cam_1"):  # on a busy machine a new encoder takes longer than the other's 60 rows
        wait_for_rows(tmp_path / "session-2", 10, camera_id)
    assert main(["session", "repair", str(tmp_path / "session-2")]) == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert main(["session", "repair", str(tmp_path / "session-2")]) == 0
    first, second = (check_session(tmp_path / name, deep=True) for name in ("session", "session-2"))
    for camera_id in first.camera_ids:
        gap_s = (second.frame_times_ns(camera_id)[0] - first.frame_times_ns(camera_id)[-1]) / 1e9
        assert 0 < gap_s < 10 * slowness()


def test_a_recorder_goes_on_after_one_that_died_before_there_were_frames(tmp_path: Path) -> None:
    """Nothing can be repaired then: that would need two cameras with frames."""
    rig = ring_rig(2, 160, 120)
    place = tmp_path / "session"
    Take(place, rig, dict.fromkeys(rig.camera_ids, (160, 120)), calibrated=True, upright=True, source="a test")
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    settings = RunSettings(estimator="simulated", record=RecordSettings(folder=str(place)))
    with run_folder(rig, settings) as folder:
        command = [sys.executable, "-m", "app.recording.process", str(folder.path), str(os.getpid())]
        recorder = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while not (tmp_path / "session-2" / "session.yaml").exists():
            assert recorder.poll() is None, recorder.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.02)
        recorder.terminate()
        _, told = recorder.communicate(timeout=60)
    assert recorder.returncode == 0, told
    assert "a session needs two" in told
    assert before == {path.name: path.read_bytes() for path in place.iterdir()}


FRAMES = 30


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cameras, thirty frames each, as the recorder's processes write them."""
    path = tmp_path_factory.mktemp("repair") / "session"
    record(path, ring_rig(3, 160, 120), RecordSettings(folder=""))
    return path


def record(path: Path, rig: Rig, settings: RecordSettings) -> None:
    """As the recorder's processes do; what is copied is Motion JPEG."""
    copies = settings.codec == "copy"
    sizes = {camera.camera_id: (camera.camera.width, camera.camera.height) for camera in rig.cameras}
    take = Take(path, rig, sizes, calibrated=True, upright=not copies, source="a test")
    random = np.random.default_rng(2)
    times_ns = 10**12 + np.cumsum(random.integers(25_000_000, 42_000_000, FRAMES))
    for camera in rig.cameras:
        size = camera.source_size if copies else sizes[camera.camera_id]
        encoder = VideoEncoder(settings, size, Fraction(30))
        stream, copied = (None, ("mjpeg", *size)) if copies else (encoder.stream, None)
        with RecordedVideo(take.video(camera.camera_id), Fraction(30), stream, copied) as video:
            for time_ns in times_ns:
                image = random.integers(0, 255, (size[1], size[0], 3), np.uint8)
                if copies:
                    video.write(Packet(cv2.imencode(".jpg", image)[1].tobytes()))
                    continue
                for packed in encoder.encode(image, int(time_ns)):
                    video.write(packed.packet)
    for at in range(0, FRAMES, 3):
        for camera_id in rig.camera_ids:
            take.add(camera_id, times_ns[at : at + 3].tolist())
    take.close()


@pytest.fixture
def session(recorded: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-r", recorded, tmp_path / "session"], check=True)
    return tmp_path / "session"


def cut(path: Path, share: float) -> None:
    os.truncate(path, round(path.stat().st_size * share))


DAMAGE = {
    "a video cut short": lambda s: cut(s / "cam_1.mkv", 0.4),
    "two videos cut short": lambda s: (cut(s / "cam_0.mkv", 0.9), cut(s / "cam_2.mkv", 0.2)),
    "a table cut short": lambda s: cut(s / "frames.csv", 0.53),
    "zeros at the table's end": lambda s: (s / "frames.csv").write_bytes((s / "frames.csv").read_bytes() + bytes(512)),
    "a time of more than 64 bits": lambda s: (s / "frames.csv").open("a").write(f"cam_0,999,{10**30}\n"),
    "a video gone": lambda s: (s / "cam_1.mkv").unlink(),
    "an empty video": lambda s: os.truncate(s / "cam_1.mkv", 0),
    "no session.yaml": lambda s: (s / "session.yaml").unlink(),
    "a torn session.yaml": lambda s: cut(s / "session.yaml", 0.5),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_repair_makes_a_session_of_what_is_left(session: Path, damage: str) -> None:
    times_ns = read_session(session)._times_ns
    DAMAGE[damage](session)
    done = repair_session(session)
    assert done.notes
    mended = check_session(session, deep=True)
    for camera_id in mended.camera_ids:
        kept = mended.frame_times_ns(camera_id)
        assert 2 < len(kept) == done.frames[camera_id]
        np.testing.assert_array_equal(kept, times_ns[camera_id][: len(kept)])
    whole = {"a table cut short", "zeros at the table's end", "a time of more than 64 bits"}
    gone = {"a video gone", "an empty video"}
    assert mended.camera_ids == (("cam_0", "cam_2") if damage in gone else ("cam_0", "cam_1", "cam_2"))
    if damage in gone or "session.yaml" in damage:
        assert all(len(mended.frame_times_ns(c)) == len(times_ns[c]) for c in mended.camera_ids)
    elif damage in whole:
        assert all(0 < done.frames[c] <= len(times_ns[c]) for c in mended.camera_ids)
    assert repair_session(session).notes == []


def test_cut_anywhere_it_is_repaired_or_says_why_not(session: Path) -> None:
    """As a power loss may leave it: the table and a video each end anywhere."""
    random = np.random.default_rng(5)
    table, video = (session / "frames.csv").read_bytes(), (session / "cam_0.mkv").read_bytes()
    described = {name: (session / name).read_bytes() for name in ("session.yaml", "rig.yaml")}
    for _ in range(10):
        for name, content in described.items():
            (session / name).write_bytes(content)
        (session / "frames.csv").write_bytes(table[: random.integers(0, len(table))])
        (session / "cam_0.mkv").write_bytes(video[: random.integers(0, len(video))])
        # cam_1's and cam_2's videos are whole: without them, the table is too short.
        told = (session / "frames.csv").read_bytes()
        if all(told.count(f"\n{camera_id},0,".encode()) == 0 for camera_id in ("cam_1", "cam_2")):
            with pytest.raises(UserError, match="needs two"):
                repair_session(session)
            continue
        done = repair_session(session)
        assert {c: len(check_session(session, deep=True).frame_times_ns(c)) for c in done.frames} == done.frames


def test_what_cannot_be_repaired_says_so_and_stays(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("cam_0.mkv", "cam_1.mkv"):
        os.truncate(session / name, 0)
    before = {path.name: path.read_bytes() for path in session.iterdir() if path.is_file()}
    assert main(["session", "repair", str(session)]) == 2
    assert "1 of 3 cameras" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in session.iterdir() if path.is_file()}
    assert main(["session", "repair", str(tmp_path / "nowhere")]) == 2


def test_what_is_being_recorded_is_not_repaired(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Frames that come after would be written to a table that is no longer the session's."""
    rig = ring_rig(3, 160, 120)
    sizes = dict.fromkeys(rig.camera_ids, (160, 120))
    path = tmp_path / "recorded"
    take = Take(path, rig, sizes, calibrated=True, upright=True, source="a test")
    for camera_id in rig.camera_ids:
        shutil.copy(session / f"{camera_id}.mkv", path)
        take.add(camera_id, range(10**9, 10**9 + 10))
    assert main(["session", "repair", str(path)]) == 2
    assert "is being recorded" in capsys.readouterr().err
    for camera_id in rig.camera_ids:
        take.add(camera_id, range(10**9 + 10, 10**9 + 20))
    assert rows(path) == 1 + 3 * 20
    del take  # as when its process ends
    assert repair_session(path).frames == dict.fromkeys(rig.camera_ids, 20)


USB = OpenCvSource(device=0, fourcc="MJPG")
NETWORK = OpenCvSource(device="rtsp://10.0.0.7/live")
UPRIGHT_OR_NOT = {
    "turned, by its size": (ImageTurn(rotate=90), NETWORK, "h264"),
    "copied on its side, by its size": (ImageTurn(rotate=90), NETWORK, "copy"),
    "copied, by its codec": (ImageTurn(mirrored=True), NETWORK, "copy"),
    "lossless, by its codec": (ImageTurn(mirrored=True), NETWORK, "ffv1"),
    "of a camera that sends another": (ImageTurn(rotate=180), USB, "h264"),
    "of a simulated camera": (ImageTurn(mirrored=True), SimulatedSource(), "h264"),
}


@pytest.mark.parametrize("case", UPRIGHT_OR_NOT)
def test_without_session_yaml_videos_stay_as_they_were_recorded(tmp_path: Path, case: str) -> None:
    turn, source, codec = UPRIGHT_OR_NOT[case]
    first, second = ring_rig(2, 160, 120).cameras
    rig = Rig((first, replace(second, turn=turn, source=source)))
    record(tmp_path / "session", rig, RecordSettings(folder="", codec=codec))
    before = read_session(tmp_path / "session")
    assert before.upright == (set() if codec == "copy" else {second.camera_id})
    (tmp_path / "session" / "session.yaml").unlink()
    done = repair_session(tmp_path / "session")
    assert done.frames == dict.fromkeys(rig.camera_ids, FRAMES)
    assert check_session(tmp_path / "session", deep=True).upright == before.upright


def test_cameras_with_commas_in_their_names_are_repaired(tmp_path: Path) -> None:
    first, second = ring_rig(2, 160, 120).cameras
    rig = Rig((replace(first, camera_id="left, top"), replace(second, camera_id='the "best"')))
    record(tmp_path / "session", rig, RecordSettings(folder=""))
    (tmp_path / "session" / "session.yaml").unlink()
    assert repair_session(tmp_path / "session").frames == dict.fromkeys(rig.camera_ids, FRAMES)
    check_session(tmp_path / "session", deep=True)


def test_without_session_yaml_it_is_not_guessed_whether_a_video_is_upright(session: Path) -> None:
    rig = read_session(session).rig
    first, *others = rig.cameras
    write_rig(session / "rig.yaml", Rig((replace(first, turn=ImageTurn(mirrored=True), source=NETWORK), *others)))
    (session / "session.yaml").unlink()
    before = {path.name: path.read_bytes() for path in session.iterdir()}
    with pytest.raises(
        UserError, match=r"cam_0.mkv: without session.yaml nothing tells .*`mirrored: true` in rig.yaml"
    ):
        repair_session(session)
    assert before == {path.name: path.read_bytes() for path in session.iterdir()}
    text = (ROOT / "docs" / "recording.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    (session / "session.yaml").write_text(f"{example}  cam_2: {{video: cam_2.mkv}}\n")
    assert repair_session(session).notes == []
    assert check_session(session, deep=True).upright == {"cam_0"}


def test_a_rig_of_another_size_is_not_taken_for_the_sessions(session: Path) -> None:
    rig = session / "rig.yaml"
    rig.write_text(rig.read_text().replace("[160, 120]", "[320, 240]"))
    with pytest.raises(UserError, match="not the rig of this session"):
        repair_session(session)
    with pytest.raises(UserError, match=r"160x120, but .* says 320x240"):
        check_session(session)

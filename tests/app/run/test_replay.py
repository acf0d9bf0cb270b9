"""`usthand replay`: nothing skipped, the same every time, refused with a reason where it cannot be."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from calibration.session import Session, write_session
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.support.live_run import ROOT, command_line, last_json, usthand
from tests.support.simulated_session import SETS, START_NS, write_simulated_session


@pytest.fixture
def simulated_session(tmp_path, write_video) -> Session:
    return write_simulated_session(tmp_path / "session", write_video)


def replay(session: Session, *arguments: str | Path):
    return usthand("replay", session.path, "--estimator", "simulated", "--json", *arguments)


@pytest.mark.parametrize("pace", [[], ["--fast"]])
def test_every_set_is_estimated_once_and_written(simulated_session, tmp_path, pace):
    poses = tmp_path / "poses.npz"
    done = replay(simulated_session, "--no-viewer", "--poses", poses, *pace)
    assert done.returncode == 0, done.stderr
    # As fast as possible, it is how long frames wait for the estimator.
    assert ("from grab to pose" in done.stdout) == (not pace)
    summary = last_json(done.stdout)
    assert summary["frame_sets"] == SETS
    assert summary["poses"] == str(poses)
    assert all(
        c["frames"] == SETS and c["dropped"] == c["late"] == c["stale"] == 0 for c in summary["cameras"].values()
    )
    with np.load(poses) as written:
        assert sorted(set(written["time"])) == list(START_NS + np.arange(SETS) * 33_333_333)
        assert written["definition"] == "anatomical"
        assert written["joints"].shape == (len(written["time"]), 21, 3)
        assert written["covariance"].shape == (len(written["time"]), 21, 3, 3)
        errors = [
            np.linalg.norm(joints - dict(hands_at(time / 1e9))[hand], axis=1).mean()
            for joints, time, hand in zip(written["joints"], written["time"], written["hand"], strict=True)
        ]
    assert np.mean(errors) < 0.005
    assert summary["mpjpe_mm"] == pytest.approx(np.mean(errors) * 1e3, rel=0.01)


@pytest.mark.parametrize("within_ns", [200_000, 3_000_000])
def test_a_camera_whose_frames_came_in_bursts_makes_no_sets_of_its_own_rate(tmp_path, write_video, within_ns):
    """As over Wi-Fi: the time between most of its frames was taken for the rig's period, and nearly no set had two
    views; a traceback, where that was more than 1000 frames/s."""
    session = write_simulated_session(tmp_path / "session", write_video)
    times = {camera_id: session.frame_times_ns(camera_id) for camera_id in session.camera_ids}
    number = np.arange(SETS)
    times["cam_1"] = times["cam_1"] + 12_000_000
    times["cam_2"] = times["cam_2"][number // 3 * 3 + 2] + number % 3 * within_ns
    videos = {camera_id: f"{camera_id}.mp4" for camera_id in session.camera_ids}
    bursting = write_session(session.path, session.rig, videos, times)
    done = replay(bursting, "--no-viewer", "--fast")
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["sets_with_hand"] > 0.8 * SETS


def test_two_replays_give_the_same_poses(simulated_session, tmp_path):
    for name in ("first.npz", "second.npz"):
        assert replay(simulated_session, "--no-viewer", "--fast", "--poses", tmp_path / name).returncode == 0
    with np.load(tmp_path / "first.npz") as first, np.load(tmp_path / "second.npz") as second:
        assert all(np.array_equal(first[key], second[key]) for key in first.files)


@pytest.mark.slow
def test_a_replay_into_a_file_for_rerun_has_every_set(simulated_session, tmp_path):
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'usthand-live[rerun]'")
    from rerun.chunk import RrdReader

    poses, out = tmp_path / "poses.npz", tmp_path / "out.rrd"
    done = replay(simulated_session, "--fast", "--view", out, "--poses", poses)
    assert done.returncode == 0, done.stderr
    joints, pictures = {}, 0
    for chunk in RrdReader(out).store().stream().to_chunks():
        batch = None if chunk.is_static else chunk.to_record_batch()
        if batch is not None and chunk.entity_path.startswith("/world/right_") and chunk.entity_path.endswith("joints"):
            times = batch.column("capture_time").cast("int64").to_pylist()
            joints |= dict(zip(times, batch.column("Points3D:positions").to_pylist(), strict=True))
        elif batch is not None and chunk.entity_path == "/world/cam_1":
            pictures += batch.num_rows
    assert 0 < pictures <= SETS  # a picture whose place was taken by the next one is left out
    with np.load(poses) as written:
        right = written["hand"] == "right"
        assert sorted(joints) == sorted(written["time"][right])
        for time, expected in zip(written["time"][right], written["joints"][right], strict=True):
            np.testing.assert_allclose(joints[time], expected, atol=1e-6)


def test_a_headless_replay_draws_every_set(simulated_session, tmp_path):
    video, picture = tmp_path / "out.mp4", tmp_path / "out.png"
    done = replay(simulated_session, "--fast", "--sets", "20", "--headless", video, "--snapshot", picture)
    assert done.returncode == 0, done.stderr
    with av.open(str(video)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        assert container.streams.video[0].average_rate == pytest.approx(30, rel=0.01)
    assert frames == 20
    assert picture.stat().st_size > 10_000


def test_a_headless_replay_of_one_set_of_three_is_no_quicker_than_the_recording(simulated_session, tmp_path):
    done = replay(simulated_session, "--fast", "--every", "3", "--headless", tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == SETS // 3
        assert container.streams.video[0].average_rate == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("victim", ["app.worker.process", "app.capture.grabber", "app.viewer.process"])
def test_a_replay_that_loses_a_process_says_so_and_fails(simulated_session, tmp_path, victim):
    arguments = ["--estimator", "simulated", "--headless", str(tmp_path / "out.mp4")]
    command = [sys.executable, "-m", "app", "replay", str(simulated_session.path), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found: list[psutil.Process] = []
    while not found and process.poll() is None:
        children = psutil.Process(process.pid).children()
        found = [child for child in children if victim in command_line(child)]
    found[0].kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "died (killed by SIGKILL): the " in said
    assert "Start it again." in said
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("pace", [[], ["--fast"]])
def test_jumping_times_and_a_pause_skip_nothing_and_stop_nothing(tmp_path, write_video, pace):
    """One camera's times jump by most of a period, and it pauses for a second; every frame is still played."""
    path = tmp_path / "session"
    rig = ring_rig(3)
    rig = replace(rig, cameras=tuple(replace(camera, source=None) for camera in rig.cameras))
    even = START_NS + np.arange(SETS) * 33_333_333
    jumping = even.copy()
    jumping[3::8] -= 25_000_000
    jumping[30:] += 1_000_000_000
    for camera_id in rig.camera_ids:
        write_video(path / f"{camera_id}.mp4", 640, 480, SETS)
    videos = {camera_id: f"{camera_id}.mp4" for camera_id in rig.camera_ids}
    session = write_session(path, rig, videos, {"cam_0": jumping, "cam_1": even, "cam_2": even})
    done = replay(session, "--no-viewer", *pace)
    assert done.returncode == 0, done.stderr
    summary = last_json(done.stdout)
    assert all(camera["frames"] == SETS and camera["late"] == 0 for camera in summary["cameras"].values())
    if not pace:
        # The others do not stand still for the whole second that one camera pauses.
        assert summary["stage_p99_ms"]["transport"] < 950


def test_a_damaged_frame_is_left_out_and_the_rest_is_played(simulated_session):
    """Bytes in the middle of one video are overwritten: its damaged frames go, no other camera loses any."""
    video = simulated_session.video_path("cam_1")
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    video.write_bytes(data)
    done = replay(simulated_session, "--no-viewer", "--fast")
    assert done.returncode == 0, done.stderr
    summary = last_json(done.stdout)
    assert summary["frame_sets"] == SETS
    assert summary["cameras"]["cam_0"]["frames"] == SETS
    assert summary["cameras"]["cam_1"]["frames"] + summary["cameras"]["cam_1"]["corrupt"] == SETS


def test_what_cannot_be_replayed_is_refused_with_exit_code_2(simulated_session, tmp_path, write_video):
    video = simulated_session.video_path("cam_1")
    kept = tmp_path / "kept.mp4"
    shutil.move(video, kept)
    missing = replay(simulated_session, "--no-viewer")
    write_video(video, 320, 240, SETS)
    small = replay(simulated_session, "--no-viewer")
    shutil.copy(kept, video)
    for arguments, says in (
        (["--poses", tmp_path / "poses.txt"], ".npz"),
        (["--headless", tmp_path / "no" / "folder.mp4"], "no folder"),
        (["--no-viewer", "--snapshot", tmp_path / "a.png"], "--no-viewer"),
        (["--sets", "0"], "at least 1"),
    ):
        refused = replay(simulated_session, *arguments)
        assert refused.returncode == 2
        assert says in refused.stderr
    assert missing.returncode == small.returncode == 2
    assert "cam_1.mp4" in missing.stderr
    assert "missing" in missing.stderr
    assert "320x240" in small.stderr
    assert "640x480" in small.stderr
    assert "Traceback" not in missing.stderr + small.stderr
    assert usthand("replay", tmp_path / "nowhere").returncode == 2


@pytest.mark.slow
def test_the_real_recording_shows_both_hands(real_rig_dir, tmp_path):
    """All 111 sets of a real four-camera recording, against what was measured on it with the same detector by a plain
    triangulation: 0.910 of the sets with a hand, 0.874 with both, reprojection 3.81 px, leave-one-out 6.61 px, bone
    lengths varying by 0.12."""
    assert usthand("import", real_rig_dir, tmp_path / "session").returncode == 0
    poses = tmp_path / "poses.npz"
    arguments = ["--fast", "--no-viewer", "--estimate-offsets", "--poses", poses, "--json"]
    done = usthand("replay", tmp_path / "session", *arguments, timeout=280)
    assert done.returncode == 0, done.stderr
    summary = last_json(done.stdout)
    assert summary["frame_sets"] == 111
    assert summary["sets_with_hand"] / 111 > 0.910
    assert summary["sets_with_both_hands"] / 111 > 0.874
    assert summary["reprojection_px_median"] < 3.81
    assert summary["leave_one_out_px_median"] < 6.4
    assert summary["bone_length_cv_mean"] < 0.08
    assert "jitter_at_rest_mm" in summary
    assert summary["detections_used"] / summary["detections"] > 755 / 783 - 0.02
    with np.load(poses) as written:
        wrists = {side: written["joints"][written["hand"] == side][:, 0] for side in ("left", "right")}
    # The person sits in front of the cameras; his hands do not change places.
    assert np.linalg.norm(np.median(wrists["left"], 0) - np.median(wrists["right"], 0)) > 0.05

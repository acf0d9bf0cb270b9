"""`usthand label` from the outside."""

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest

from app import cli
from app.estimators.detectors import mediapipe_hands
from app.evaluation.evaluation import Recording
from calibration import written_files
from calibration.session import write_session
from calibration.video import video_properties
from models.files.labels import read_labels
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.support.dot_networks import painted, write_network
from tests.support.exact_footage import FPS, FRAMES, ExactDetector, make_session
from tests.support.live_run import last_json, usthand
from tests.support.openpose_files import write_openpose


@pytest.fixture
def recording(tmp_path: Path, write_video) -> Recording:
    return make_session(tmp_path / "session", write_video)


def test_openpose_folders_become_labels_that_are_shown_in_the_pictures(recording, tmp_path):
    session = recording.session
    folder, video = write_openpose(tmp_path / "json", session, missing=(4,)), tmp_path / "labels.mp4"
    done = usthand("label", session.path, "--from", "openpose", folder, "--overlay", video, "--json")
    assert done.returncode == 0, done.stderr
    (summary,) = last_json(done.stdout)["sessions"]
    assert summary["labels"] == 2 * 3 * FRAMES
    assert summary["definition"] == "anatomical"
    assert summary["dropped"]["joints_without_label"] == summary["labels"]
    assert set(summary["cameras"]) == set(session.camera_ids)
    labels = read_labels(session.path / "labels.npz", 3)
    assert labels.source == "OpenPose"
    assert (labels.confidence[:, 4] == 0).all()
    # All views agree, so OpenPose's own confidence is left, but for the hand's size without its thumb's tip.
    assert np.median(np.delete(labels.confidence, 4, axis=1)) == pytest.approx(0.7, rel=0.05)
    assert video_properties(video) == (1280, 960, FRAMES)
    assert "no second view confirms" in done.stdout


def test_of_several_sessions_one_without_hands_does_not_end_the_others(recording, tmp_path, write_video):
    other = make_session(tmp_path / "second", write_video)
    write_openpose(tmp_path / "json" / "session", recording.session)
    folder = write_openpose(tmp_path / "json" / "second", other.session)
    for file in folder.rglob("*.json"):
        file.write_text('{"people": []}')
    words = ["--from", "openpose", tmp_path / "json", "--json"]
    done = usthand("label", other.session.path, recording.session.path, *words)
    assert done.returncode == 2
    assert "second: no hand is seen in any view" in done.stderr
    empty, labelled = last_json(done.stdout)["sessions"]
    assert "no hand is seen" in empty["error"]
    assert labelled["labels"] == 2 * 3 * FRAMES


def test_bad_input_is_one_line_and_exit_code_2(recording, tmp_path, capsys):
    path = str(recording.session.path)
    for words, message in (
        ([str(tmp_path)], "is not a session"),
        ([path, "--from", "vitpose", path], "known is `--from openpose DIR`"),
        ([path, "--from", "openpose", str(tmp_path / "no")], "no such folder"),
        ([path, "--from", "openpose", path, "--detector", "ust-hand"], "Leave one of them out"),
        ([path, "--detector", "hand.onnx"], "--detector hand.onnx"),
        ([path, "--overlay", "labels.avi"], "must end in `.mp4`"),
        ([path, "--overlay", str(tmp_path / "no" / "labels.mp4")], "in a folder that is there"),
        ([path, path], "named twice"),
        ([path, "--checkpoint", "mine.safetensors"], "is of `--detector ust-hand`"),
    ):
        assert cli.main(["label", *words]) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


def test_pictures_without_hands_are_refused_by_the_real_detector(recording, capsys):
    assert cli.main(["label", str(recording.session.path)]) == 2
    assert "no hand is seen in any view" in capsys.readouterr().err


def test_a_full_disk_is_exit_code_1(recording, tmp_path, monkeypatch, capsys):
    folder = write_openpose(tmp_path / "json", recording.session)

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(written_files.os, "fsync", full)
    assert cli.main(["label", str(recording.session.path), "--from", "openpose", str(folder)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (recording.session.path / "labels.npz").exists()


def test_an_interrupt_is_exit_code_1_and_says_how_to_go_on(recording, tmp_path, monkeypatch, caplog):
    folder = write_openpose(tmp_path / "json", recording.session)

    def interrupt(file: int) -> None:
        raise KeyboardInterrupt

    words = ["label", str(recording.session.path), "--from", "openpose", str(folder)]
    caplog.set_level("INFO")
    monkeypatch.setattr(written_files.os, "fsync", interrupt)
    assert cli.main(words) == 1
    assert "the same command goes on where it was" in caplog.text
    monkeypatch.undo()
    assert cli.main(words) == 0
    assert len(read_labels(recording.session.path / "labels.npz", 3)) == 2 * 3 * FRAMES


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["mediapipe", "ust-hand"])
def test_real_hands_are_labelled_in_all_views(real_rig_dir, tmp_path, detector):
    session = tmp_path / "session"
    assert usthand("import", real_rig_dir, session).returncode == 0
    done = usthand("label", session, "--detector", detector, "--json", timeout=900)
    assert done.returncode == 0, done.stderr
    (summary,) = last_json(done.stdout)["sessions"]
    assert 98 <= summary["sets_with_hand"] <= 106
    # 102 sets with 1.8 hands, each in up to four views.
    assert 600 < summary["labels"] < 820
    assert summary["residual_px_median"] < 8
    assert summary["definition"] == "detector"


def test_a_network_of_the_users_own_says_where_the_joints_are(tmp_path, monkeypatch):
    """Its keypoints are painted into the pictures; what finds hands puts them a little aside."""
    rig = ring_rig(3, 640, 480, fps=FPS)
    folder, times_ns = tmp_path / "session", np.arange(6) * 10**9 // FPS
    folder.mkdir()
    truth_px = {}
    for camera in rig.cameras:
        video = cv2.VideoWriter(
            str(folder / f"{camera.camera_id}.avi"), cv2.VideoWriter.fourcc(*"FFV1"), FPS, (640, 480)
        )
        truth_px[camera.camera_id] = [camera.project(hands_at(time * 1e-9)["right"]) for time in times_ns.tolist()]
        for keypoints_px in truth_px[camera.camera_id]:
            video.write(painted(keypoints_px, 640, 480))
        video.release()
    write_session(
        folder, rig, {name: f"{name}.avi" for name in rig.camera_ids}, dict.fromkeys(rig.camera_ids, times_ns)
    )

    class Finder(ExactDetector):
        def detect(self, frames, regions, searched):
            return [
                [each for each in found if each.right_probability]
                for found in super().detect(frames, regions, searched)
            ]

    monkeypatch.setattr(mediapipe_hands, "MediaPipeHands", lambda engine="auto": Finder(rig, shift_px=(6.0, 6.0)))
    network = write_network(tmp_path / "dots.onnx", "coordinates")
    assert cli.main(["label", str(folder), "--detector", str(network)]) == 0
    labels = read_labels(folder / "labels.npz", 3)
    assert labels.source == "dots" and labels.right.all() and len(labels) > 12
    for row in range(len(labels)):
        there_px = truth_px[rig.camera_ids[labels.camera[row]]][int(np.searchsorted(times_ns, labels.time_ns[row]))]
        off_px = np.linalg.norm(labels.keypoints_px[row] - there_px, axis=1)
        assert np.median(off_px) < 2.0

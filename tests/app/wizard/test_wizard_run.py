"""The wizard's window on real processes: a recording played as live cameras, video files in place of cameras."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from app.transport.messages import CameraReport
from app.wizard.process import recordings_ended
from app.wizard.recorder import JOURNAL
from calibration.board.board import Board, write_board
from calibration.board.rendering import BoardRenderer
from calibration.rig import read_rig
from calibration.session import check_session
from calibration.wizard.journal import JournalContent, read_journal
from tests.calibration.wizard.test_wizard import board_at
from tests.support.board_scene import arc_rig
from tests.support.live_run import LiveRun, last_json, usthand

BOARD = Board(type="charuco", columns=5, rows=7, square_m=0.04, dictionary="DICT_4X4_50", marker_m=0.03)
REAL_BOARD = Board(
    type="charuco", columns=4, rows=5, square_m=0.054, dictionary="DICT_4X4_1000", marker_m=0.0405, inverted=True
)
# Of the calibration that was published with the recording.
REAL_DISTANCES_M = {"0-1": 1.132, "0-2": 0.550, "0-3": 0.426, "1-2": 0.918, "1-3": 1.433, "2-3": 0.626}


def press(display: str, *keys: str) -> None:
    search = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "Calibration wizard", "windowfocus", "--sync"]
    subprocess.run([*search, "key", *keys], env={**os.environ, "DISPLAY": display}, check=True, timeout=60)


class WizardRun(LiveRun):
    """`usthand calibrate RIG` in the background."""

    def __init__(self, folder: Path, display: str, *flags: str | Path) -> None:
        super().__init__(
            folder,
            *("calibrate", folder / "rig.yaml", "--board", folder / "board.yaml", "-o", folder / "out.yaml", *flags),
            env={"DISPLAY": display},
            publish=False,
        )
        self.folder = folder

    def captures_folder(self) -> Path:
        (found,) = self.folder.glob("captures-*")
        return found

    def wait(self, until: Callable[[JournalContent], bool], seconds: float = 90) -> JournalContent:
        """Wait until the journal is as wanted; fails with the run's log where it never is."""
        end = time.monotonic() + seconds
        while True:
            journals = list(self.folder.glob(f"captures-*/{JOURNAL}"))
            if journals and until(content := read_journal(journals[0])):
                return content
            assert self.process.poll() is None, f"the run ended; log:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"waited {seconds} s in vain; log:\n{self.log.read_text()}"
            time.sleep(0.1)

    def wait_for_log(self, text: str, count: int = 1, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while self.log.read_text().count(text) < count:
            assert self.process.poll() is None, f"the run ended; log:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"`{text}` never came; log:\n{self.log.read_text()}"
            time.sleep(0.1)

    def finish(self) -> tuple[int, dict, str]:
        """Wait for the end; returns the exit code, the summary and all of standard output."""
        output = self.process.communicate(timeout=60)[0].decode()
        return self.process.returncode, last_json(output), output


@pytest.mark.slow
def test_a_recording_played_as_live_cameras_is_calibrated(real_rig_dir, tmp_path, x_display):
    """The recording's own pace; its board moves slowly and never rests. Every set is looked at, so this repeats."""
    assert usthand("import", real_rig_dir, tmp_path / "session").returncode == 0
    cameras = [
        {
            "id": f"cam_{number}",
            "image_size": [1280, 720],
            "source": {"kind": "recorded", "session": str(tmp_path / "session"), "camera": f"cam_{number}"},
        }
        for number in range(4)
    ]
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump({"version": 1, "cameras": cameras}))
    write_board(tmp_path / "board.yaml", REAL_BOARD)
    with WizardRun(tmp_path, x_display, "--report", tmp_path / "report.html") as run:
        run.wait_for_log("ended: the recording ended", 4)
        # The last sets are still on their way.
        run.wait(lambda content: len(content.captures) >= 8)
        press(x_display, "h", "h", "c")
        run.children()
        code, summary, _ = run.finish()
        assert run.left_behind() == []
    assert code == 0
    assert summary["captures"] >= 8
    assert summary["verdict"] != "poor"
    for pair, published_m in REAL_DISTANCES_M.items():
        first, second = (f"cam_{number}" for number in pair.split("-"))
        assert summary["distances_m"][f"{first}-{second}"] == pytest.approx(published_m, rel=0.03), pair
    rig = read_rig(tmp_path / "out.yaml")
    assert rig.rig_id == summary["rig_id"]
    assert [camera.source for camera in rig.cameras] != [None] * 4, "the sources are kept"
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert f"usthand calibrate --session {summary['session']} -o" in page, "the line that makes the report again"

    offline = usthand("calibrate", "--session", summary["session"], "-o", tmp_path / "offline.yaml", "--json")
    again = last_json(offline.stdout)
    for pair, distance_m in summary["distances_m"].items():
        assert again["distances_m"][pair] == pytest.approx(distance_m, rel=0.01), "the stored images say the same"


TURNS = [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (-0.6, 0.0), (0.0, -0.6), (0.45, 0.45), (-0.45, 0.45), (0.45, -0.45)]


@pytest.fixture(scope="module")
def board_videos(tmp_path_factory) -> Path:
    """A folder with a rig of two video files that show a board at rest for two seconds at a time, and the board."""
    folder = tmp_path_factory.mktemp("videos")
    rig = arc_rig(2, size=(640, 360), focal_px=450, span_deg=40)
    renderer = BoardRenderer(BOARD)
    entries = []
    for camera in rig.cameras:
        path = folder / f"{camera.camera_id}.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (640, 360))
        for number, turn in enumerate(TURNS * 3):
            place = (0.05 * np.sin(number), 0.03 * np.cos(number), 0.1 * np.sin(0.5 * number))
            image = renderer.render(camera.camera, camera.T_cam_world @ board_at(place, (*turn, 0)), supersample=1)
            for _ in range(20):
                writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
        writer.release()
        source = {"kind": "opencv", "device": str(path)}
        entries.append({"id": camera.camera_id, "image_size": [640, 360], "source": source})
    (folder / "rig.yaml").write_text(yaml.safe_dump({"version": 1, "cameras": entries}))
    write_board(folder / "board.yaml", BOARD)
    return folder


@pytest.fixture
def videos(board_videos, tmp_path) -> Path:
    for name in ("rig.yaml", "board.yaml"):
        (tmp_path / name).write_bytes((board_videos / name).read_bytes())
    return tmp_path


@pytest.mark.slow
def test_a_killed_wizard_goes_on_with_what_it_had_and_undo_and_quit_work(videos, x_display):
    with WizardRun(videos, x_display) as run:
        run.wait(lambda content: len(content.captures) >= 3)
        run.children()
        run.process.send_signal(signal.SIGKILL)
        run.process.wait(10)
        assert run.left_behind() == []
        folder = run.captures_folder()
    before = read_journal(folder / JOURNAL).captures
    assert len(before) >= 3

    with WizardRun(videos, x_display, "--resume", folder) as run:
        run.wait(lambda content: len(content.captures) >= len(before) + 2)
        os.kill(run.child("app.wizard.process").pid, signal.SIGSTOP)
        count = len(read_journal(folder / JOURNAL).captures)
        os.kill(run.child("app.wizard.process").pid, signal.SIGCONT)
        press(x_display, "u")
        run.wait_for_log("undid capture")
        press(x_display, "q")
        code, summary, text = run.finish()
        assert run.left_behind() == []
    assert code == 0
    assert summary == {"captures": summary["captures"], "session": str(folder), "verdict": None}
    assert summary["captures"] >= count - 1
    assert f"--resume {folder}" in text
    assert not (videos / "out.yaml").exists()
    after = read_journal(folder / JOURNAL).captures
    assert len(after) == summary["captures"]
    assert [capture.time_ns for capture in after[: len(before)]] == [capture.time_ns for capture in before]
    assert '"undo"' in (folder / JOURNAL).read_text()
    session = check_session(folder, deep=True, calibrated=False)
    for camera_id in session.camera_ids:
        frames = sum(camera_id in views for capture in after for views in capture.sets)
        assert len(session.frame_times_ns(camera_id)) == frames


def test_the_others_go_on_while_a_camera_is_lost_and_a_window_that_dies_is_opened_again(videos, x_display):
    data = yaml.safe_load((videos / "rig.yaml").read_text())
    data["cameras"].append(
        {**data["cameras"][0], "id": "gone", "source": {"kind": "opencv", "device": "not-there.mp4"}}
    )
    (videos / "rig.yaml").write_text(yaml.safe_dump(data))
    with WizardRun(videos, x_display) as run:
        run.wait_for_log("camera gone: failed")
        had = len(run.wait(lambda content: len(content.captures) >= 1).captures)
        wizard = run.child("app.wizard.process")
        wizard.kill()
        wizard.wait(5)
        content = run.wait(lambda content: len(content.captures) > had)
        assert {name for capture in content.captures for name in capture.views} == {"cam_0", "cam_1"}
        press(x_display, "q")
        code, summary, text = run.finish()
        assert run.left_behind() == []
    assert code == 0
    assert summary["captures"] > had
    folder, without = summary["session"], videos / "out-of-2-cameras.yaml"
    assert f"usthand calibrate {videos}/rig.yaml --resume {folder} --output {videos}/out.yaml" in text
    assert f"usthand calibrate --session {folder} -o {without}" in text
    assert check_session(Path(folder), deep=True, calibrated=False).camera_ids == ("cam_0", "cam_1")


@pytest.mark.parametrize(
    ("display", "flags", "expected"),
    [
        ("", [], "needs a screen, but DISPLAY is not set"),
        (":4711", [], "needs a screen, but the display `:4711` does not answer"),
        (None, ["--resume", "nothing-here"], "holds no captures of a calibration"),
    ],
)
def test_what_cannot_start_says_why(videos, x_display, display, flags, expected):
    done = usthand(
        "calibrate", videos / "rig.yaml", "--board", videos / "board.yaml", *flags,
        env={"DISPLAY": x_display if display is None else display},
    )  # fmt: skip
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(videos.glob("captures-*"))


@pytest.mark.parametrize(
    ("states", "ended"),
    [
        (["ended", "ended"], True),
        (["ended", "failed"], True),
        (["ended", "lost"], True),
        (["failed", "lost"], False),
        (["ended", "streaming"], False),
        (["ended", "starting"], False),
    ],
)
def test_recordings_have_ended_whatever_became_of_one_that_failed(states, ended):
    assert recordings_ended({str(n): CameraReport(state=state) for n, state in enumerate(states)}) == ended


def test_a_rig_that_is_not_calibrated_is_sent_to_the_wizard(videos):
    done = usthand("live", videos / "rig.yaml", "--no-viewer")
    assert done.returncode == 2
    assert "is not calibrated" in done.stderr and "usthand calibrate" in done.stderr

"""Takes: asked for through the request socket, by a camera's line, and gone on with where they must be."""

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import zmq

from app.recording.encoder_link import EncoderReport
from app.recording.encoders import Encoders
from app.recording.take import Take
from app.recording.takes import Takes
from app.run.record_settings import RecordSettings
from app.run.settings import RunSettings, run_folder
from calibration.camera_source import OpenCvSource
from calibration.errors import UserError
from calibration.published_sets import read_published_sets
from calibration.rig import read_rig
from calibration.session import check_session
from tests.support.live_run import LiveRun, free_port, last_json, simulated_rig, usthand
from tests.support.viewer_scene import make_pose, make_rig, make_set, report

SIZE: dict[str, Any] = {"width": 160, "height": 120}


class Requests:
    """A program of the user's: a REQ socket and msgpack, as docs/messages.md has it."""

    def __init__(self, address: str) -> None:
        self._socket = zmq.Context.instance().socket(zmq.REQ)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVTIMEO, 60_000)
        self._socket.connect(address)

    def ask(self, do: str, **more: str) -> dict:
        self._socket.send(msgspec.msgpack.encode({"do": do, **more}))
        return msgspec.msgpack.decode(self._socket.recv())

    def wait(self, until: Callable[[dict], bool]) -> dict:
        end = time.monotonic() + 60
        while not until(state := self.ask("state")):
            assert time.monotonic() < end, state
            time.sleep(0.05)
        return state

    def wait_for_frames(self, count: int) -> dict:
        return self.wait(lambda s: bool(s["cameras"]) and min(c["frames"] for c in s["cameras"].values()) >= count)


def test_sets_and_hands_of_a_worker_that_was_started_again_are_not_those_of_before(tmp_path: Path) -> None:
    rig = make_rig()
    sizes = {camera.camera_id: (camera.camera.width, camera.camera.height) for camera in rig.cameras}
    take = Take(tmp_path / "take", rig, sizes, calibrated=True, upright=True, source="")
    indices = [0, 1, 3, 0, 1, 0, 2]
    for number, index in enumerate(indices):
        hands = [make_pose("left", np.full((21, 3), float(number)))]
        cameras = {
            name: msgspec.structs.replace(report(at), capture_time_ns=number) for at, name in enumerate(rig.camera_ids)
        }
        take.add_poses(msgspec.structs.replace(make_set(number, 0, hands, cameras), set_index=index))
    take.close()
    sets = read_published_sets(tmp_path / "take")
    assert [set(each.times_ns.values()) for each in sets] == [{number} for number in range(len(indices))]
    with np.load(tmp_path / "take" / "poses.npz") as poses:
        assert [len(set(poses["track"][part])) for part in (slice(0, 3), slice(3, 5), slice(5, 7))] == [1, 1, 1]
        assert len(set(poses["track"])) == 3


def test_a_take_keeps_no_password_of_its_cameras(tmp_path: Path) -> None:
    rig = read_rig(simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE))
    device = "rtsp://admin:hunter2@10.0.0.7/live?fps=5"
    cameras = tuple(replace(camera, source=OpenCvSource(device=device)) for camera in rig.cameras)
    sizes = dict.fromkeys(rig.camera_ids, (160, 120))
    Take(tmp_path / "take", replace(rig, cameras=cameras), sizes, calibrated=True, upright=False, source="")
    for camera in read_rig(tmp_path / "take" / "rig.yaml").cameras:
        assert camera.source == OpenCvSource(device="rtsp://***@10.0.0.7/live?fps=5")


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["2026-07-14", "2026-07-14-2", "2026-07-14-4"], ["2026-07-14-3"]),
        (["subject-07", "subject-07-2", "subject-07-3"], []),
        (["take-1", "take-2", "take-4"], ["take-3"]),
        (["plain", "plain-2", "plain-3"], []),
    ],
)
def test_a_take_goes_on_under_a_name_of_its_own(tmp_path: Path, names: list[str], others: list[str]) -> None:
    rig = read_rig(simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE))
    settings = RecordSettings(folder=str(tmp_path))
    for name in others:
        (tmp_path / name).touch()
    with run_folder(rig, RunSettings(estimator="", record=settings)) as folder:
        encoders = Encoders(rig, folder)
        takes = Takes(rig, settings, encoders, "a test")
        takes.begin(tmp_path / names[0])
        begun = [takes.current]
        for width in (128, 192):
            takes.hear("cam_0", EncoderReport(size=(width, 96)))
            begun.append(takes.current)
        takes.end("the test is over")
        encoders.leave()
        encoders.wait()
    assert [take and take.name for take in begun] == names


def test_a_take_whose_recorder_is_killed_is_repaired_and_told_of(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    control = f"tcp://127.0.0.1:{free_port()}"
    recording = ["--record", tmp_path / "takes", "--takes", "--control", control]
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", *recording) as run:
        requests = Requests(control)
        requests.ask("start", name="first")
        requests.wait_for_frames(60)
        family = psutil.Process(run.process.pid).children(recursive=True)
        recorder = next(child for child in family if "app.recording.process" in child.cmdline())
        recorder.kill()
        psutil.wait_procs([recorder], 60)
        requests = Requests(control)
        assert requests.ask("start", name="second")["take"] == "second"
        requests.wait_for_frames(10)
        code, summary = run.interrupt()
    assert code == 0, run.log.read_text()
    takes = summary["recording"]["takes"]
    assert [Path(take["session"]).name for take in takes] == ["first", "second"]
    first = check_session(tmp_path / "takes" / "first", deep=True)
    assert takes[0]["frames"] == sum(len(first.frame_times_ns(camera_id)) for camera_id in first.camera_ids) >= 120
    with np.load(first.path / "poses.npz") as poses:
        assert len(poses["set_time"])


def test_takes_are_asked_for_by_a_socket(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, **SIZE)
    control = f"tcp://127.0.0.1:{free_port()}"
    arguments = ["record", rig, tmp_path / "takes", "--takes", "--pre-roll", "1", "--control", control]
    with LiveRun(tmp_path, *arguments, publish=False) as run:
        requests = Requests(control)
        idle = requests.ask("state")
        assert (idle["recording"], idle["take"], idle["cameras"]) == (False, "", {})
        assert "nothing is being recorded" in requests.ask("mark")["error"]
        assert "nothing is being recorded" in requests.ask("stop")["error"]
        assert "no name for a take" in requests.ask("start", name="../outside")["error"]
        assert "known are start, stop, mark, state" in requests.ask("pause")["error"]
        time.sleep(3)
        began_ns = time.monotonic_ns()
        assert requests.ask("start", name="first")["take"] == "first"
        assert "Stop it first" in requests.ask("start", name="second")["error"]
        requests.wait_for_frames(60)
        marked_ns = time.monotonic_ns()
        assert requests.ask("mark", text="pinch, left")["marks"] == 1
        assert not requests.ask("stop")["recording"]
        assert "there already" in requests.ask("start", name="first")["error"]
        for name in ("take-1", "take-2"):
            assert requests.ask("start")["take"] == name
            requests.wait_for_frames(10)
            requests.ask("stop")
        code, summary = run.interrupt()
        assert code == 0, run.log.read_text()
    names = [Path(take["session"]).name for take in summary["takes"]]
    assert names == ["first", "take-1", "take-2"]
    for name in names:
        check_session(tmp_path / "takes" / name, deep=True)
    first = check_session(tmp_path / "takes" / "first", deep=True)
    for camera_id in first.camera_ids:
        times_ns = first.frame_times_ns(camera_id)
        # From the last key frame, one in 30 frames, that is a second older than what the encoder had at the request.
        assert times_ns[0] < began_ns - 0.9e9
        assert np.sum(times_ns < began_ns - 1e9) <= 30 + 32
        assert len(times_ns) >= 60
        assert summary["takes"][0]["cameras"][camera_id]["dropped"] <= np.sum(np.diff(times_ns) > 40e6) * 30
    with (first.path / "marks.csv").open() as file:
        (mark,) = csv.DictReader(file)
    assert mark["text"] == "pinch, left"
    assert abs(int(mark["time_ns"]) - marked_ns) < 5e9


@pytest.mark.slow
def test_takes_follow_a_line_of_a_camera(tmp_path: Path) -> None:
    spans = [(2.0, 1.5), (5.0, 1.0)]
    faults = {"cam_0": {"line": spans}, "cam_1": {"line": spans}}
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, faults=faults, **SIZE)
    done = usthand("record", rig, tmp_path / "takes", "--takes", "--pre-roll", "0.5", "--seconds", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert [Path(take["session"]).name for take in last_json(done.stdout)["takes"]] == ["take-1", "take-2"]
    starts_ns = []
    for name, (_, length_s) in zip(("take-1", "take-2"), spans, strict=True):
        session = check_session(tmp_path / "takes" / name, deep=True)
        times_ns = session.frame_times_ns("cam_0")
        assert length_s < (times_ns[-1] - times_ns[0]) / 1e9 < length_s + 3
        starts_ns.append(times_ns[0])
    assert 1 < (starts_ns[1] - starts_ns[0]) / 1e9 < 5


def test_a_camera_that_changes_its_size_loses_nothing(tmp_path: Path) -> None:
    faults = {"cam_1": {"resizes": [[6.0, 128, 96]]}}
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, faults=faults, **SIZE)
    done = usthand("record", rig, tmp_path / "session", "--seconds", "9", "--json")
    assert done.returncode == 0, done.stderr
    first, second = last_json(done.stdout)["takes"]
    before = check_session(tmp_path / "session", deep=True)
    after = check_session(tmp_path / "session-2", deep=True, calibrated=False)
    assert (after.rig["cam_0"].camera.width, after.rig["cam_1"].camera.width) == (160, 128)
    with pytest.raises(UserError, match="not calibrated"):
        check_session(after.path)
    assert first["cameras"]["cam_0"]["dropped"] + second["cameras"]["cam_0"]["dropped"] == 0
    # The other camera's frames go on without a gap.
    both = np.concatenate([before.frame_times_ns("cam_0"), after.frame_times_ns("cam_0")])
    assert np.diff(both).max() < 60e6
    gap_s = (after.frame_times_ns("cam_1")[0] - before.frame_times_ns("cam_1")[-1]) / 1e9
    assert 0 < gap_s < 3


@pytest.mark.slow
def test_without_a_worker_a_recording_ends_with_its_cameras(tmp_path: Path, write_video) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, width=64, height=48)
    text = rig.read_text()
    for n in range(2):
        write_video(tmp_path / f"film_{n}.mp4", 64, 48, 240)
    data = msgspec.yaml.decode(text)
    for n, camera in enumerate(data["cameras"]):
        camera["source"] = {"kind": "opencv", "device": str(tmp_path / f"film_{n}.mp4")}
    rig.write_bytes(msgspec.yaml.encode(data))
    done = usthand("record", rig, tmp_path / "session", "--json")
    assert done.returncode == 0, done.stderr
    session = check_session(tmp_path / "session", deep=True)
    assert all(20 < len(session.frame_times_ns(camera_id)) <= 240 for camera_id in session.camera_ids)

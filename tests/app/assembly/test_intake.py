"""The intake's choice among closed sets, without sockets."""

from pathlib import Path

import numpy as np
import pytest

from app.assembly.intake import Intake
from app.run.policy import LivePolicy, ReplayPolicy
from app.run.settings import RunFolder, RunSettings
from calibration.frames import Frame, FrameSet
from models.simulation.simulated_rig import ring_rig


def closed_set(index: int, cameras: list[str], now_ns: int) -> FrameSet:
    frames = {
        camera: Frame(
            camera_id=camera,
            sequence=index,
            capture_time_ns=now_ns,
            grab_time_ns=now_ns,
            publish_time_ns=now_ns,
            pixels=np.zeros((1, 1, 3), np.uint8),
        )
        for camera in cameras
    }
    return FrameSet(index, now_ns, frames, now_ns)


def intake_of(policy, sets: list[FrameSet], monkeypatch: pytest.MonkeyPatch) -> Intake:
    intake = Intake(ring_rig(3), RunSettings(estimator="simulated", policy=policy), RunFolder(Path("/nowhere")))
    monkeypatch.setattr(intake._synchroniser, "pop", lambda now_ns: sets.pop(0) if sets else None)
    monkeypatch.setattr("app.assembly.intake.time.monotonic_ns", lambda: 1_000_000_000)
    return intake


def test_a_set_of_one_view_takes_the_place_of_none_with_two(monkeypatch):
    now_ns = 1_000_000_000
    views = [["cam_0", "cam_1", "cam_2"], ["cam_1", "cam_2"], ["cam_0"]]
    intake = intake_of(LivePolicy(), [closed_set(*each, now_ns) for each in enumerate(views)], monkeypatch)
    intake._close_sets()
    taken = intake.take(0)
    assert taken is not None
    assert taken.index == 1
    assert intake.take(0) is None
    assert [intake._synchroniser.counters[camera].dropped for camera in ("cam_0", "cam_1", "cam_2")] == [2, 1, 1]


def test_a_replay_keeps_every_set(monkeypatch):
    views = [["cam_0", "cam_1"], ["cam_0"]]
    intake = intake_of(ReplayPolicy(), [closed_set(*each, 0) for each in enumerate(views)], monkeypatch)
    intake._close_sets()
    taken = [intake.take(0), intake.take(0)]
    assert [frame_set.index for frame_set in taken if frame_set] == [0, 1]


def test_what_was_taken_too_long_ago_is_stale_though_it_came_just_now(monkeypatch):
    frame_set = closed_set(0, ["cam_0", "cam_1"], 1_000_000_000)
    object.__setattr__(frame_set.frames["cam_0"], "capture_time_ns", 400_000_000)
    intake = intake_of(LivePolicy(max_age_ms=500), [frame_set], monkeypatch)
    intake._close_sets()
    taken = intake.take(0)
    assert taken is not None
    assert list(taken.frames) == ["cam_1"]
    assert intake._synchroniser.counters["cam_0"].stale == 1


def test_a_camera_of_which_nothing_was_ever_heard_says_so(monkeypatch, caplog):
    intake = intake_of(LivePolicy(), [], monkeypatch)
    intake._note_silence()
    assert intake.reports(None)["cam_1"].detail == ""
    intake._cameras["cam_1"].heard_s -= 60
    for _ in range(2):
        intake._note_silence()
    reports = intake.reports(None)
    assert (reports["cam_1"].state, reports["cam_1"].detail) == ("starting", "it is not opened yet")
    assert reports["cam_0"].detail == ""
    assert caplog.text.count("cam_1: it is not opened yet") == 1

"""Parts of a session, the sets as they were published, and the hands drawn into the images."""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_sets
from app.assembly.session_part import SessionPart, cameras_named
from app.cli import main
from app.viewer.pose_overlay import write_pose_overlay
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.rig import read_rig, write_rig
from calibration.session import Session, write_session
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.support.live_run import last_json, simulated_rig, usthand

START_NS, PERIOD_NS, SETS = 5_000_000_000, 33_333_333, 60


@pytest.fixture
def session(tmp_path: Path, write_video: Callable[..., Path]) -> Session:
    """Three cameras, two seconds at 30 Hz."""
    path, rig = tmp_path / "session", ring_rig(3, 64, 48)
    times_ns = START_NS + np.arange(SETS) * PERIOD_NS
    videos = {name: write_video(path / f"{name}.mp4", 64, 48, SETS).name for name in rig.camera_ids}
    return write_session(path, rig, videos, dict.fromkeys(rig.camera_ids, times_ns))


def played(session: Session, part: SessionPart) -> list[FrameSet]:
    part.check(session)
    rig = part.rig(session)
    return list(recorded_sets(session, rig, part.phases_ns(session, rig)))


def test_a_part_has_the_whole_ones_sets(session: Session) -> None:
    whole = played(session, SessionPart())
    part = SessionPart(from_s=0.5, to_s=1.0, cameras=("cam_2", "cam_0"))
    sets = played(session, part)
    expected = [each for each in whole if 0.5 <= (each.reference_time_ns - START_NS) / 1e9 < 1.0]
    assert [each.reference_time_ns for each in sets] == [each.reference_time_ns for each in expected]
    for got, of_whole in zip(sets, expected, strict=True):
        assert list(got.frames) == ["cam_0", "cam_2"]
        for camera_id, frame in got.frames.items():
            assert frame.sequence == of_whole.frames[camera_id].sequence
            np.testing.assert_array_equal(frame.pixels, of_whole.frames[camera_id].pixels)
    assert part.sets(session, part.rig(session)) == len(sets)


@pytest.mark.parametrize("to_s", [1.967, 2.0, 1e12, 1e308])
def test_beyond_its_last_frame_is_a_sessions_end(session: Session, tmp_path: Path, to_s: float) -> None:
    part = SessionPart(from_s=1.0, to_s=to_s)
    part.check(session)
    write_rig(tmp_path / "rig.yaml", part.rig(session))
    rig = read_rig(tmp_path / "rig.yaml")  # so are the processes of a run told of it
    times_ns = [each.reference_time_ns for each in recorded_sets(session, rig, part.phases_ns(session, rig))]
    assert times_ns == [each.reference_time_ns for each in played(session, SessionPart(from_s=1.0))]
    assert max(times_ns) == START_NS + (SETS - 1) * PERIOD_NS


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (SessionPart(cameras=("cam_0", "cam_9")), "no camera `cam_9`"),
        (SessionPart(cameras=("cam_0",)), "two cameras at least"),
        (SessionPart(every=0), "--every 0"),
        (SessionPart(from_s=1.5, to_s=1.0), "--to 1"),
        (SessionPart(from_s=99.0), "has 2.0 s"),
        (SessionPart(from_s=math.nan), "--from nan"),
        (SessionPart(from_s=math.inf), "--from inf"),
        (SessionPart(to_s=math.nan), "--to nan"),
        (SessionPart(to_s=math.inf), "--to inf"),
        (SessionPart(to_s=-math.inf), "--to -inf"),
        (SessionPart(published=True), "--as-published"),
    ],
)
def test_what_is_no_part_is_refused(session: Session, part: SessionPart, says: str) -> None:
    with pytest.raises(UserError, match=says):
        part.check(session)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cam_0,cam_2", ("cam_0", "cam_2")),
        ("cam_2, cam_0", ("cam_2", "cam_0")),
        ('"left, front",cam_2', ("left, front", "cam_2")),
        ('cam_2, "left, front"', ("cam_2", "left, front")),
        ("cam_0\ncam_2", ("cam_0\ncam_2",)),
    ],
)
def test_cameras_are_named_as_in_the_tables_of_a_session(text: str, names: tuple[str, ...]) -> None:
    assert cameras_named(text) == names


def test_a_camera_with_a_comma_in_its_name_can_be_chosen(
    tmp_path: Path, write_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rig, path = ring_rig(3, 64, 48), tmp_path / "session"
    cameras = (replace(rig.cameras[0], camera_id="left, front"), *rig.cameras[1:])
    rig = replace(rig, cameras=cameras)
    videos = {name: write_video(path / f"{name}.mp4", 64, 48, 3).name for name in rig.camera_ids}
    session = write_session(path, rig, videos, dict.fromkeys(rig.camera_ids, np.arange(3) * PERIOD_NS))
    sets = played(session, SessionPart(cameras=cameras_named('"left, front",cam_2')))
    assert {tuple(each.frames) for each in sets} == {("left, front", "cam_2")}
    assert main(["replay", str(path), "--cameras", "left, front,cam_2", "--no-viewer"]) == 2
    assert 'no camera `left`; it has "left, front", cam_1, cam_2. One with a comma' in capsys.readouterr().err


def test_sets_are_formed_as_they_were_published(session: Session) -> None:
    """Sets that no synchroniser would form: cameras left out, frames of different moments together."""
    sets = {3: {"cam_0": 2, "cam_1": 2}, 7: {"cam_0": 5, "cam_1": 5, "cam_2": 6}, 8: {"cam_1": 9, "cam_2": 9}}
    rows = [f"{s},{c},{START_NS + n * PERIOD_NS}\n" for s, frames in sets.items() for c, n in frames.items()]
    (session.path / "sets.csv").write_text("set,camera,time_ns\n" + "".join(rows))
    got = played(session, SessionPart(published=True))
    assert {each.index: {c: f.sequence for c, f in each.frames.items()} for each in got} == sets


def test_hands_are_drawn_where_they_are(session: Session, tmp_path: Path) -> None:
    rig = SessionPart().rig(session)
    sets = played(session, SessionPart())
    joints_m = hands_at(0.0)["left"]
    drawn = [each.reference_time_ns for each in sets[10:20]]
    np.savez(
        tmp_path / "poses.npz",
        time=np.array(drawn[:5]),
        hand=np.array(["left"] * 5),
        joints=np.stack([joints_m] * 5),
        set_time=np.array(drawn),
    )
    assert write_pose_overlay(rig, sets, tmp_path / "poses.npz", tmp_path / "out.mp4") == 10
    with av.open(str(tmp_path / "out.mp4")) as container:
        pictures = [frame.to_ndarray(format="bgr24").astype(int) for frame in container.decode(video=0)]
    assert [picture.shape for picture in pictures] == [(96, 128, 3)] * 10
    # Each camera has its tile; a joint's place in it is coloured where there is a hand, and grey where there is none.
    for number, camera in enumerate(rig.cameras):
        row, column = divmod(number, 2)
        places = camera.project(joints_m) + [column * 64, row * 48]
        x, y = np.round(places[[4, 8, 12, 16, 20]]).astype(int).T
        with_hand, without = (np.ptp(pictures[n][y, x], axis=1).mean() for n in (2, 8))
        assert with_hand > without + 20


@pytest.mark.slow
def test_a_lossless_recording_replays_to_what_was_published(tmp_path: Path) -> None:
    """Also with one core, and at recorded speed: to the byte."""
    size: dict[str, Any] = {"width": 160, "height": 120}
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=3, **size)
    arguments = ["--estimator", "simulated", "--no-viewer", "--overlap", "off", "--seconds", "3", "--json"]
    done = usthand("live", rig, "--record", tmp_path / "session", "--lossless", *arguments)
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["recording"]["takes"][0]["dropped"] == 0, "the machine is too busy to record"
    cores = sorted(os.sched_getaffinity(0))
    for name, pace, usable in (("a", ["--fast"], cores), ("b", ["--fast"], cores[:1]), ("c", [], cores)):
        os.sched_setaffinity(0, usable)
        try:
            again = usthand(
                *("replay", tmp_path / "session", "--as-published", *pace, "--no-viewer", "--estimator", "simulated"),
                *("--poses", tmp_path / f"{name}.npz", "--json"),
            )
        finally:
            os.sched_setaffinity(0, cores)
        assert again.returncode == 0, again.stderr
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    with np.load(tmp_path / "session" / "poses.npz") as live, np.load(tmp_path / "a.npz") as replayed:
        assert len(live["time"]) > 10
        for key in live.files:
            np.testing.assert_array_equal(live[key], replayed[key])


@pytest.mark.slow
def test_the_flags_of_a_part(session: Session, tmp_path: Path) -> None:
    arguments = ["--fast", "--no-viewer", "--estimator", "simulated", "--json", "--overlay", tmp_path / "out.mp4"]
    part = ["--from", "0.5", "--to", "1.5", "--every", "3", "--cameras", "cam_0,cam_1"]
    done = usthand("replay", session.path, *part, *arguments)
    assert done.returncode == 0, done.stderr
    summary = last_json(done.stdout)
    assert summary["frame_sets"] == summary["overlay"]["pictures"] == 10
    assert list(summary["cameras"]) == ["cam_0", "cam_1"]
    assert "poses" not in summary
    refused = usthand("replay", session.path, "--cameras", "cam_0", "--no-viewer")
    assert refused.returncode == 2

"""Sessions: written and read back, a torn frames.csv, and each mistake that `check_session` names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import UserError
from calibration.session import Session, check_session, read_session, write_session
from models.simulation.simulated_rig import ring_rig

FRAMES = 6


@pytest.fixture
def session(tmp_path: Path, write_video: Callable[..., Path]) -> Session:
    """Two cameras, six frames each, at times that no rate explains."""
    folder = tmp_path / "hands"
    random = np.random.default_rng(3)
    times = {f"cam_{n}": 10**15 + np.cumsum(random.integers(10**7, 10**8, FRAMES)) for n in range(2)}
    videos = {camera_id: write_video(folder / f"{camera_id}.mp4", frames=FRAMES).name for camera_id in times}
    return write_session(folder, ring_rig(2, 64, 48), videos, times, clock="seconds since boot", source="a test")


def test_round_trip(session: Session) -> None:
    read = check_session(session.path, deep=True)
    assert (read.name, read.clock, read.source) == ("hands", "seconds since boot", "a test")
    assert read.created == session.created
    assert read.camera_ids == ("cam_0", "cam_1")
    assert read.rig.rig_id == ring_rig(2, 64, 48).rig_id
    random = np.random.default_rng(3)
    for camera_id in read.camera_ids:
        expected = 10**15 + np.cumsum(random.integers(10**7, 10**8, FRAMES))
        assert read.frame_times_ns(camera_id).dtype == np.int64
        np.testing.assert_array_equal(read.frame_times_ns(camera_id), expected)
        assert read.video_path(camera_id) == session.path / f"{camera_id}.mp4"
    assert [path.name for path in sorted(session.path.iterdir())] == [
        "cam_0.mp4",
        "cam_1.mp4",
        "frames.csv",
        "rig.yaml",
        "session.yaml",
    ]


@pytest.mark.parametrize("torn", [1, 3, 20])
def test_a_torn_last_line_is_not_read(session: Session, torn: int) -> None:
    whole = {camera_id: session.frame_times_ns(camera_id) for camera_id in session.camera_ids}
    path = session.path / "frames.csv"
    text = path.read_text()
    last_camera = text.splitlines()[-1].split(",")[0]
    path.write_text(text[:-torn])
    read = read_session(session.path)
    for camera_id, times in whole.items():
        kept = times[:-1] if camera_id == last_camera else times
        np.testing.assert_array_equal(read.frame_times_ns(camera_id), kept)


def edit(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Session], None]:
    def apply(session: Session) -> None:
        path = session.path / name
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))

    return apply


def without_last_row_of(camera_id: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [line for line in lines if not line.startswith(f"{camera_id},{FRAMES - 1},")]


def replace_video(session: Session, write_video: Callable[..., Path], **properties: int) -> None:
    write_video(session.path / "cam_1.mp4", **{"frames": FRAMES, **properties})


MISTAKES: dict[str, tuple[Callable[[Session], object], list[str]]] = {
    "no session.yaml": (lambda s: (s.path / "session.yaml").unlink(), ["hands", "is not a session", "usthand import"]),
    "a list as session.yaml": (
        lambda s: (s.path / "session.yaml").write_text("- hands\n"),
        ["session.yaml", "holds a list", "Give a recorded session"],
    ),
    "no rig.yaml": (lambda s: (s.path / "rig.yaml").unlink(), ["rig.yaml", "no such file"]),
    "no frames.csv": (lambda s: (s.path / "frames.csv").unlink(), ["frames.csv", "no such file"]),
    "no video": (lambda s: (s.path / "cam_1.mp4").unlink(), ["cam_1.mp4", "missing"]),
    "a dead link": (
        lambda s: (s.path / "cam_1.mp4").unlink() or (s.path / "cam_1.mp4").symlink_to("/nowhere/port_1.mp4"),
        ["cam_1.mp4", "missing", "/nowhere/port_1.mp4", "--copy"],
    ),
    "not a video": (lambda s: (s.path / "cam_1.mp4").write_text("hello"), ["cam_1.mp4", "cannot be read as a video"]),
    "a row too many": (
        edit("frames.csv", lambda lines: [*lines, "cam_1,6,9000000000000000"]),
        ["cam_1.mp4", "6 frames", "7 rows"],
    ),
    "times that do not rise": (
        edit(
            "frames.csv", lambda lines: [f"cam_1,4,{10**15}" if line.startswith("cam_1,4,") else line for line in lines]
        ),
        ["frames.csv", "`cam_1`", "must rise", "frame 4"],
    ),
    "a frame left out": (
        edit("frames.csv", lambda lines: [line for line in lines if not line.startswith("cam_1,2,")]),
        ["frames.csv, line", "frame 3 of camera `cam_1`", "expected frame 2"],
    ),
    "no numbers": (edit("frames.csv", lambda lines: [*lines, "cam_1,six,1"]), ["frames.csv, line 14", "cam_1,six,1"]),
    "other columns": (edit("frames.csv", lambda lines: ["cam,frame,time", *lines[1:]]), ["camera,frame,time_ns"]),
    "a camera without rows": (
        edit("frames.csv", lambda lines: [line for line in lines if not line.startswith("cam_1")]),
        ["rig.yaml has camera `cam_1`", "frames.csv has not"],
    ),
    "rows without a camera": (
        edit("frames.csv", lambda lines: [*lines, "cam_7,0,1"]),
        ["frames.csv has camera `cam_7`", "rig.yaml has not"],
    ),
    "a camera only in rig.yaml": (
        edit("session.yaml", lambda lines: [line for line in lines if "cam_1" not in line]),
        ["rig.yaml has camera `cam_1`", "session.yaml has not"],
    ),
    "a wrong key": (edit("session.yaml", lambda lines: [*lines, "clok: x"]), ["session.yaml", "`clok`", "`clock`"]),
    "a later version": (
        edit("session.yaml", lambda lines: [line.replace("version: 1", "version: 2") for line in lines]),
        ["session.yaml", "version is 2", "version 1"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str, session: Session) -> None:
    check_session(session.path)
    break_it, expected = MISTAKES[mistake]
    break_it(session)
    with pytest.raises(UserError) as error:
        check_session(session.path)
    for part in expected:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"width": 96}, ["cam_1.mp4", "96x48", "rig.yaml says 64x48"]),
        ({"frames": FRAMES - 2}, ["cam_1.mp4", "4 frames", "6 rows", "Remove the last rows"]),
    ],
)
def test_another_video(
    properties: dict[str, int], expected: list[str], session: Session, write_video: Callable[..., Path]
) -> None:
    replace_video(session, write_video, **properties)
    with pytest.raises(UserError) as error:
        check_session(session.path)
    for part in expected:
        assert part in str(error.value)


def test_a_table_that_a_crash_cut_short_is_enough(session: Session, write_video, caplog) -> None:
    replace_video(session, write_video, frames=FRAMES + 2)
    assert check_session(session.path).camera_ids == session.camera_ids
    assert "cam_1.mp4: the video of camera `cam_1` has 8 frames" in caplog.text
    assert "6 rows" in caplog.text


def test_deep_counts_what_can_be_decoded(session: Session) -> None:
    """The container still states six frames where the data of the later ones are lost."""
    video = session.path / "cam_1.mp4"
    content = video.read_bytes()
    middle, end = (content.index(b"mdat") + content.index(b"moov")) // 2, content.index(b"moov")
    video.write_bytes(content[:middle] + bytes(end - middle) + content[end:])
    check_session(session.path)
    with pytest.raises(UserError, match=r"cam_1\.mp4.* has [1-5] frames, but .*frames\.csv has 6 rows"):
        check_session(session.path, deep=True)


def test_a_camera_that_the_session_does_not_have(session: Session) -> None:
    with pytest.raises(UserError, match=r"no row of camera `cam_9`.*`cam_0`, `cam_1`"):
        session.frame_times_ns("cam_9")


def test_no_session_is_written_for_other_cameras(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`cam_1`"):
        write_session(tmp_path / "s", ring_rig(2), {"cam_0": "a.mp4"}, {"cam_0": np.arange(3)})
    assert not (tmp_path / "s").exists()


def test_exchanged_videos_of_other_lengths_are_named(tmp_path: Path, write_video) -> None:
    for camera_id, frames in (("cam_0", 6), ("cam_1", 4)):
        write_video(tmp_path / f"{camera_id}.mp4", 64, 48, frames)
    times = {"cam_0": np.arange(4) * 100_000_000, "cam_1": np.arange(6) * 100_000_000}
    write_session(tmp_path, ring_rig(2, 64, 48), {name: f"{name}.mp4" for name in times}, times)
    with pytest.raises(UserError, match="videos of `cam_1` and `cam_0` fit each other's places: they look exchanged"):
        check_session(tmp_path)

"""Any place of a recording is shown at once: the very pictures that playing gives there."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from av.packet import Packet

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig, recorded_sets
from app.recording.video_encoder import VideoEncoder
from app.recording.video_file import RecordedVideo
from app.run.policy import ReplayPolicy
from app.run.record_settings import RecordSettings
from app.run.settings import RunFolder, RunSettings
from app.sources.video_frames import VideoFrames
from app.viewer.process import replay_of
from app.viewer.replay import Replay
from app.viewer.seeker import Seeker
from calibration.camera_source import RecordedSource
from calibration.rig import Rig
from calibration.session import Session, read_session, write_session
from models.simulation.simulated_rig import ring_rig
from tests.support.viewer_scene import make_set

FRAMES, SIZE, STEP_NS = 90, (64, 48), 33_333_333
CODECS = ("h264", "ffv1", "mjpeg")


def pictures(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (FRAMES, 6, 8, 3), np.uint8)
    return [cv2.resize(picture, SIZE, interpolation=cv2.INTER_CUBIC) for picture in small]


def write_recording(path: Path, codec: str, seed: int) -> None:
    if codec == "mjpeg":
        with RecordedVideo(path, Fraction(30), None, ("mjpeg", *SIZE)) as video:
            for picture in pictures(seed):
                packet = Packet(cv2.imencode(".jpg", picture)[1].tobytes())
                packet.is_keyframe = True
                video.write(packet)
        return
    encoder = VideoEncoder(RecordSettings(folder="", codec=codec), SIZE, Fraction(30))  # pyright: ignore[reportArgumentType]
    with RecordedVideo(path, Fraction(30), encoder.stream, None) as video:
        for picture in pictures(seed):
            for image in encoder.encode(picture, 0):
                video.write(image.packet)
        for image in encoder.flush():
            video.write(image.packet)


def played(path: Path) -> list[np.ndarray | None]:
    """Every picture by its number, as a replay reads them; None of one that cannot be decoded."""
    video = VideoFrames(path, FRAMES)
    found: list[np.ndarray | None] = [None] * FRAMES
    while (number := video.grab()) is not None:
        image = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
        if video.retrieve(image):
            found[number] = image
    video.close()
    return found


def assert_same_when_sought(path: Path, order: list[int]) -> None:
    wanted, video = played(path), VideoFrames(path, FRAMES)
    for number in order:
        found, expected = video.picture_at(number), wanted[number]
        assert (found is None) == (expected is None), f"frame {number}"
        if found is not None and expected is not None:
            np.testing.assert_array_equal(found, expected, f"frame {number}")
    video.close()


ORDER = [*np.random.default_rng(5).permutation(FRAMES).tolist()[:30], 0, FRAMES - 1, 1, 0, 0, 30, 29, 31, 60]


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_that_is_sought_is_the_frame_that_playing_gives(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "cam_0.mkv"
    write_recording(path, codec, 1)
    assert len({picture.tobytes() for picture in played(path) if picture is not None}) == FRAMES
    assert_same_when_sought(path, ORDER)


def test_a_frame_of_a_lossless_recording_is_decoded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cam_0.mkv"
    write_recording(path, "ffv1", 4)
    wanted, video = pictures(4), VideoFrames(path, FRAMES)
    monkeypatch.setattr(VideoFrames, "seek", lambda *_: pytest.fail("it was read to"))
    for number in ORDER:
        np.testing.assert_array_equal(video.picture_at(number), wanted[number], f"frame {number}")
    video.close()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(3)
    for at in random.integers(len(data) // 4, len(data) * 3 // 4, 6):
        data[at : at + 40] = random.integers(0, 256, 40, np.uint8).tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("codec", ["ffv1", "mjpeg"])
@pytest.mark.parametrize("spoil", [cut, damage])
def test_what_is_cut_or_damaged_is_found_where_playing_finds_it(
    tmp_path: Path, codec: str, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "cam_0.mkv"
    write_recording(path, codec, 2)
    spoil(path)
    assert_same_when_sought(path, [number for number in ORDER if number < FRAMES // 2] + [50, 45, 60])


def recording(folder: Path) -> Session:
    folder.mkdir()
    rig = ring_rig(3, *SIZE)
    names, times = {}, {}
    for number, (camera, codec) in enumerate(zip(rig.cameras, CODECS, strict=True)):
        names[camera.camera_id] = f"{camera.camera_id}.mkv"
        write_recording(folder / names[camera.camera_id], codec, number)
        jitter_ns = np.random.default_rng(number).integers(-2_000_000, 2_000_000, FRAMES)
        times[camera.camera_id] = 10**9 + np.arange(FRAMES) * STEP_NS + number * 3_000_000 + jitter_ns
    rig = replace(rig, cameras=tuple(replace(camera, source=None) for camera in rig.cameras))
    write_session(folder, rig, names, times)
    return read_session(folder)


def publish(session: Session, rig: Rig, phases_ns: dict[str, int] | None) -> Rig:
    """The rig that plays sets which a live run is said to have published: two of three, some without a camera."""
    lines = ["set,camera,time_ns"]
    for number, each in enumerate(recorded_sets(session, rig, phases_ns)):
        frames = list(each.frames.values())[: 2 if number % 5 == 0 else 3]
        lines += [f"{number},{frame.camera_id},{frame.capture_time_ns}" for frame in frames if number % 3]
    (session.path / "sets.csv").write_text("\n".join(lines) + "\n")
    cameras = []
    for camera in rig.cameras:
        assert isinstance(camera.source, RecordedSource)
        cameras.append(replace(camera, source=msgspec.structs.replace(camera.source, published=True)))
    return replace(rig, cameras=tuple(cameras))


@pytest.mark.parametrize("published", [False, True])
def test_a_set_that_is_sought_has_the_pictures_of_the_set_that_a_replay_forms(tmp_path: Path, published: bool) -> None:
    session = recording(tmp_path / "session")
    rig = recorded_rig(session)
    phases_ns = recorded_phases_of(session, rig)
    if published:
        rig = publish(session, rig, phases_ns)
    sets = [
        (each.reference_time_ns, {camera_id: frame.pixels.copy() for camera_id, frame in each.frames.items()})
        for each in recorded_sets(session, rig, phases_ns)
    ]
    assert len(sets) >= (FRAMES // 3 * 2 - 1 if published else FRAMES - 1)
    seeker = Seeker(rig, phases_ns)
    for number in np.random.default_rng(0).permutation(len(sets))[:20]:
        time_ns, wanted = sets[number]
        found = seeker.look_up(time_ns + 5_000_000)
        assert found is not None and found.pose_set.reference_time_ns == time_ns
        assert set(found.pose_set.cameras) == set(wanted)
        again = seeker.look_up(found.pose_set)
        for camera_id, report in found.pose_set.cameras.items():
            assert report.slot is not None and again is not None
            for each in (found, again):
                image = each.image(report.slot, SIZE[0])
                assert image is not None
                np.testing.assert_array_equal(image, wanted[camera_id])
    assert seeker.look_up(sets[-1][0] + 5_000_000_000) is None


class Worker:
    """Makes each set when the last of its frames is played, by the time that was recorded."""

    def __init__(self) -> None:
        self.played_ns, self.speeds = 0, []

    def play(self, speed: float, time_ns: int | None = None) -> None:
        self.speeds.append(speed)
        self.played_ns = max(self.played_ns, time_ns or 0)


@pytest.mark.parametrize("offsets_ms", [(0, 0, 0), (90, 60, 140), (-120, -150, -100)])
def test_the_worker_comes_to_every_set_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offsets_ms: tuple[int, ...]
) -> None:
    """Of cameras that run freely and are late, in a recording with a gap: what was asked for was played up to the set's
    own time, when its last frames were not due yet."""
    session, worker = recording(tmp_path / "session"), Worker()
    times = {}
    for number, camera_id in enumerate(session.camera_ids):
        gap_ns = np.where(np.arange(FRAMES) < 50, 0, 7_000_000_000)
        times[camera_id] = session.frame_times_ns(camera_id) + number * 5_000_000 + gap_ns
    names = {camera_id: f"{camera_id}.mkv" for camera_id in session.camera_ids}
    write_session(session.path, session.rig, names, times)
    session = read_session(session.path)
    rig = recorded_rig(session).with_time_offsets(
        {camera_id: ms * 1_000_000 for camera_id, ms in zip(session.camera_ids, offsets_ms, strict=True)}
    )
    phases_ns = recorded_phases_of(session, rig)
    sets = []
    for each in recorded_sets(session, rig, phases_ns):
        complete_ns = max(
            frame.capture_time_ns + rig[camera_id].time_offset_ns for camera_id, frame in each.frames.items()
        )
        sets.append((each.reference_time_ns, complete_ns))

    def replay() -> Replay:
        worker.played_ns = 0
        settings = RunSettings(estimator="simulated", policy=ReplayPolicy(), phases_ns=phases_ns)
        opened = replay_of(RunFolder(tmp_path), rig, settings)
        assert opened is not None
        estimate(opened, sets[:10])
        return opened

    def estimate(replay: Replay, ready: list[tuple[int, int]]) -> None:
        for number, (time_ns, _) in enumerate(ready):
            replay.history.add(msgspec.structs.replace(make_set(number), reference_time_ns=time_ns), {})

    monkeypatch.setattr("app.viewer.process.PlayControl", lambda _: worker)
    stepped, made = replay(), []
    while (before := len(stepped.history)) < len(sets) - 4:
        stepped.step(1)
        estimate(stepped, [each for each in sets if each[1] <= worker.played_ns])
        made.append(len(stepped.history) - before)
        assert made[-1], f"no set came after {before}"
    assert np.median(made) == 1 and np.mean(made) < 1.2
    for wanted_ns in (sets[30][0], sets[49][0] + 3_000_000_000, sets[70][0]):
        dragged = replay()
        dragged.drag_to(wanted_ns)
        before_ns = dragged.position_ns
        dragged.drag_to(wanted_ns + 1)
        assert 0 <= dragged.position_ns - before_ns <= 1
        assert dragged.is_ahead
        estimate(dragged, [each for each in sets if each[1] <= worker.played_ns])
        assert not dragged.is_ahead and dragged.newest_ns >= wanted_ns


@pytest.mark.parametrize("again", [False, True])
def test_a_window_that_was_started_again_lets_a_held_worker_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    rig, worker, folder = recorded_rig(recording(tmp_path / "session")), Worker(), RunFolder(tmp_path)
    monkeypatch.setattr("app.viewer.process.PlayControl", lambda _: worker)
    if again:
        folder.begun("viewer").touch()
    opened = replay_of(folder, rig, RunSettings(estimator="simulated", policy=ReplayPolicy()))
    assert opened is not None and opened.playing and worker.speeds == ([1.0] if again else [])

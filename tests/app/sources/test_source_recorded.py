"""One camera of a recorded session, whole and damaged."""

import logging
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.sources.source import EndOfSource, FrameCorrupt, Source, SourceError, Stamp
from calibration.camera_source import RecordedSource
from calibration.rig import Rig
from calibration.session import write_session
from tests.support.source_cases import HEIGHT, WIDTH, new_image, number_of, rig_camera, source_of, write_video

FRAMES = 40
TIMES_NS = (np.arange(FRAMES) * 33_000_000 + 7_000_000_000 + np.arange(FRAMES) % 3 * 2_000_000).astype(np.int64)


def make_session(folder: Path, video: Path, times_ns: np.ndarray = TIMES_NS) -> RecordedSource:
    first = rig_camera(None)
    second = replace(first, camera_id="cam_1")
    videos = {"cam_0": video.name, "cam_1": video.name}
    write_session(folder, Rig((first, second)), videos, {"cam_0": times_ns, "cam_1": times_ns})
    return RecordedSource(session=str(folder), camera="cam_1")


def read_all(source: Source) -> tuple[list[Stamp], list[int | None]]:
    """Every stamp, and the number shown by each frame; None where it was corrupt."""
    stamps, numbers = [], []
    image = new_image()
    source.open()
    try:
        while True:
            stamps.append(source.grab(1.0))
            try:
                source.retrieve(image)
                numbers.append(number_of(image))
            except FrameCorrupt:
                numbers.append(None)
    except EndOfSource:
        return stamps, numbers
    finally:
        source.close()


def damage(video: Path, numbers: set[int]) -> None:
    """Overwrite the packets of these frames."""
    with av.open(str(video)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(video.read_bytes())
    for number in numbers:
        at, size = places[number]
        assert at is not None
        data[at : at + size] = bytes(size)
    video.write_bytes(data)


def test_every_frame_with_the_time_of_the_recording(tmp_path: Path) -> None:
    source = source_of(make_session(tmp_path, write_video(tmp_path / "cam.mp4", FRAMES)))
    stamps, numbers = read_all(source)
    assert numbers == list(range(FRAMES))
    assert [stamp.sequence for stamp in stamps] == list(range(FRAMES))
    assert [stamp.capture_time_ns for stamp in stamps] == TIMES_NS.tolist()
    assert all(stamp.recorded for stamp in stamps)


def test_decodes_into_the_array_given(tmp_path: Path) -> None:
    """The array may be a slot of shared memory, inside a larger buffer."""
    source = source_of(make_session(tmp_path, write_video(tmp_path / "cam.mp4", FRAMES)))
    source.open()
    memory = np.full((3, HEIGHT, WIDTH, 3), 7, np.uint8)
    source.grab(1.0)
    source.retrieve(memory[1])
    source.close()
    assert number_of(memory[1]) == 0
    assert (memory[[0, 2]] == 7).all()


@pytest.mark.parametrize(
    ("name", "codec"), [("cam.mp4", "mpeg4"), ("cam.avi", "mjpeg"), ("cam.mkv", "mjpeg"), ("cam.mp4", "libx264")]
)
def test_corrupt_frames_are_told_and_do_not_shift_the_rest(tmp_path: Path, name: str, codec: str) -> None:
    video = write_video(tmp_path / name, FRAMES, codec=codec)
    damage(video, {10, 11, 25})
    stamps, numbers = read_all(source_of(make_session(tmp_path, video)))
    assert [stamp.sequence for stamp in stamps] == list(range(FRAMES))
    corrupt = {n for n, number in enumerate(numbers) if number is None}
    # Where a Matroska block's header is gone, the reader finds its place again some frames later.
    assert corrupt >= {10, 11, 25}
    assert len(corrupt) <= (12 if name.endswith("mkv") else 3)
    assert all(number in (n, None) for n, number in enumerate(numbers))


def test_uneven_time_stamps_in_the_file_are_no_damage(tmp_path: Path) -> None:
    """A file that a camera wrote with pauses has fewer frames than periods; none of them is missing."""
    even = write_video(tmp_path / "even.mp4", FRAMES)
    uneven = tmp_path / "cam.mkv"
    with av.open(str(even)) as source, av.open(str(uneven), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            ticks = number + 5 * (number // 10)
            packet.pts = packet.dts = round(ticks / 30 / packet.time_base)
            packet.stream = stream
            target.mux(packet)
    _, numbers = read_all(source_of(make_session(tmp_path, uneven)))
    assert numbers == list(range(FRAMES))


def test_a_video_shorter_than_its_table_ends_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = make_session(tmp_path, write_video(tmp_path / "cam.mp4", FRAMES - 5))
    with caplog.at_level(logging.WARNING):
        _, numbers = read_all(source_of(wanted))
    assert numbers == list(range(FRAMES - 5))
    assert "ends after 35 frames; the session's frames.csv has 40" in caplog.text


def test_a_video_longer_than_its_table_ends_with_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = make_session(tmp_path, write_video(tmp_path / "cam.mp4", FRAMES + 5))
    with caplog.at_level(logging.WARNING):
        _, numbers = read_all(source_of(wanted))
    assert numbers == list(range(FRAMES))
    assert "more frames than the session's frames.csv" in caplog.text


def test_what_is_missing_or_does_not_fit_is_named(tmp_path: Path) -> None:
    video = write_video(tmp_path / "cam.mp4", FRAMES)
    wanted = make_session(tmp_path, video)
    with pytest.raises(SourceError, match=r"asked for 640x480.*delivers 320x240"):
        source_of(wanted, 640, 480).open()
    with pytest.raises(SourceError, match=r"no camera `cam_9`; it has cam_0, cam_1"):
        source_of(RecordedSource(session=str(tmp_path), camera="cam_9")).open()
    with pytest.raises(SourceError, match=r"nowhere: no such directory.*usthand import"):
        source_of(RecordedSource(session=str(tmp_path / "nowhere"), camera="cam_1")).open()
    video.unlink()
    with pytest.raises(SourceError, match=r"cam.mp4: no such video"):
        source_of(wanted).open()


def test_a_real_recording_agrees_with_another_decoder(real_rig_dir: Path, tmp_path: Path) -> None:
    video = real_rig_dir / "calibration" / "extrinsic" / "cam_2.mp4"
    (tmp_path / video.name).symlink_to(video)
    first = rig_camera(None, 1280, 720)
    second = replace(first, camera_id="cam_1")
    times_ns = np.arange(111, dtype=np.int64) * 166_666_667
    videos = {"cam_0": video.name, "cam_1": video.name}
    write_session(tmp_path, Rig((first, second)), videos, {"cam_0": times_ns, "cam_1": times_ns})
    source = source_of(RecordedSource(session=str(tmp_path), camera="cam_0"), 1280, 720)
    source.open()
    image = new_image(1280, 720)
    compared = 0
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            assert source.grab(1.0).sequence == number
            if number % 20 == 0:
                source.retrieve(image)
                # Two converters of the same decoded picture; they round its colours differently.
                other = cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2BGR)
                assert np.abs(image.astype(int) - other).mean() < 1.5
                compared += 1
    with pytest.raises(EndOfSource):
        source.grab(1.0)
    source.close()
    assert compared == 6

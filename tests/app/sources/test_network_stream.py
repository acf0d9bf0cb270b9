"""Network cameras: what their frames' times say, what they show, and what is said of them."""

import contextlib
import logging
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.recording.packers import CopyingPacker, FrameMissed
from app.sources.network_stream import NetworkStream, StreamTuning, without_password
from app.sources.source import FrameCorrupt, Source, SourceError, SourceLost, SourceTimeout, Stamp
from app.transport.messages import FrameHeader
from calibration.camera_source import OpenCvSource
from tests.support.source_cases import (
    HEIGHT,
    WIDTH,
    StreamServer,
    new_image,
    number_of,
    read_numbers,
    rig_camera,
    source_of,
    write_video,
)
from tests.support.stream_servers import MjpegServer, SlowRelay, numbered_jpeg


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "numbered.mp4", 50)


@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_a_stream_is_lost_with_its_server_and_found_again(
    video: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.sources.network_stream.NetworkStream.tuning", StreamTuning(open_s=2.0, read_s=2.0))
    server = StreamServer(video, protocol)
    server.start()
    source = source_of(OpenCvSource(device=server.url))
    try:
        open_when_up(source)
        first = read_numbers(source, 20)
        server.stop()
        with pytest.raises(SourceLost, match="stopped delivering"):
            read_until_lost(source)
        source.close()
        with pytest.raises(SourceError, match=r"does not answer.*Check the address"):
            source.open()
        server.start()
        open_when_up(source)
        second = read_numbers(source, 20)
    finally:
        source.close()
        server.stop()
    for numbers in (first, second):
        steps = np.diff(numbers) % 50
        assert (steps >= 1).all(), "frames come in order"
        assert np.median(steps) == 1


def open_when_up(source: Source) -> None:
    """The server takes a moment to start; a camera that boots does as well."""
    for _ in range(40):
        with contextlib.suppress(SourceError):
            source.open()
            return
        time.sleep(0.1)
    raise AssertionError("the stream did not come up")


def read_until_lost(source: Source) -> None:
    for _ in range(400):
        with contextlib.suppress(SourceTimeout):
            source.grab(0.1)


def test_what_a_stream_queued_while_it_was_opened_is_not_shown_as_new(video: Path) -> None:
    """The server pushes frame n at n/30 s, so number and time of every frame lie on one line from the first on."""
    server = StreamServer(video, "http")
    server.start()
    source = source_of(OpenCvSource(device=server.url))
    try:
        open_when_up(source)
        image = new_image()
        stamps, numbers = [], []
        for _ in range(25):
            stamp = source.grab(3.0)
            source.retrieve(image)
            stamps.append(stamp.capture_time_ns / 1e9)
            numbers.append(number_of(image))
    finally:
        source.close()
        server.stop()
    elapsed = np.array(stamps) - stamps[0]
    shown = (np.array(numbers) - numbers[0]) % 50 / 30
    # Queued frames, stamped as new, would all come within an instant and put the first third of a second apart.
    assert abs(elapsed[-1] - shown[-1]) < 0.25


def frames_until(source: Source, until, seconds: float = 30.0) -> None:
    """Take frames until `until(stamp, image)` says True."""
    image, end = new_image(), time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(SourceTimeout, FrameCorrupt):
            stamp = source.grab(1.0)
            source.retrieve(image)
            if until(stamp, image):
                return
    raise AssertionError("waited in vain")


@pytest.mark.parametrize("size", [(160, 120), (240, 320), (320, 180)])
def test_a_stream_that_changes_its_size_is_lost_and_the_change_is_named(size: tuple[int, int]) -> None:
    """OpenCV gave a small picture in the corner of the old one, or the old one for ever, with fresh times."""
    with MjpegServer() as server:
        source = source_of(OpenCvSource(device=server.url))
        source.open()
        read_numbers(source, 3)
        server.picture = lambda number: numbered_jpeg(number, *size)
        with pytest.raises(SourceLost, match=rf"changed from 320x240 to {size[0]}x{size[1]}"):
            frames_until(source, lambda stamp, image: False)
        source.close()
        with pytest.raises(SourceError, match=rf"asked for 320x240.*delivers {size[0]}x{size[1]}"):
            source.open()
        server.picture = numbered_jpeg
        open_when_up(source)
        read_numbers(source, 3)
        source.close()


def test_a_stream_that_changes_its_chroma_shows_true_pictures_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with MjpegServer() as server, caplog.at_level(logging.WARNING):
        server.picture = lambda number: numbered_jpeg(number, sampling="422")
        source = source_of(OpenCvSource(device=server.url))
        source.open()
        read_numbers(source, 3)
        server.picture = lambda number: numbered_jpeg(number, sampling="420")
        frames_until(source, lambda stamp, image: "yuvj422p to yuvj420p" in caplog.text)
        image = new_image()
        source.grab(3.0)
        source.retrieve(image)
        source.close()
    # Of one grey, as it was sent: garbled chroma coloured it by 44 levels.
    assert float(np.ptp(image.reshape(-1, 3).mean(0))) < 2


def test_a_rate_that_jpeg_pictures_over_http_do_not_tell_is_not_held_against_them() -> None:
    with MjpegServer() as server:
        source = source_of(OpenCvSource(device=server.url, fps=30))
        assert source.open().fps is None
        read_numbers(source, 3)
        source.close()


def test_what_a_stream_sends_when_it_is_opened_again_is_recorded_from_a_key_picture_on() -> None:
    """It may begin between two of them, and the pictures before the next one would be shown over those of before."""
    with MjpegServer() as server:
        source = NetworkStream(rig_camera(OpenCvSource(device=server.url)), copies=True, decodes=False)
        source.open()
        source.grab(10.0)
        reader = source._reader
        assert reader is not None
        source.close()
        before = reader.take_packets()[-1].stamp.sequence
        source.open()
        source.grab(10.0)
        after = source.packets()[0].stamp.sequence
        source.close()
    packer = CopyingPacker("h264", (WIDTH, HEIGHT), Fraction(30))
    packer.pack(h264_header(before), memoryview(b"\0\0\1\x65\0"))
    follows = h264_header(after)
    with pytest.raises(FrameMissed):
        packer.pack(follows, memoryview(b"\0\0\1\x41\0"))


def h264_header(sequence: int) -> FrameHeader:
    times: dict[str, Any] = dict.fromkeys(("capture_time_ns", "grab_time_ns", "publish_time_ns"), 0)
    return FrameHeader(camera_id="a", sequence=sequence, width=WIDTH, height=HEIGHT, encoding="h264", **times)


def test_pictures_one_after_another_are_stamped_when_they_come() -> None:
    """Without parts between them they were taken for 25 a second: at 15, soon all were older than any age limit."""
    with MjpegServer(fps=15, multipart=False) as server:
        server.picture = lambda number: numbered_jpeg(number) + bytes(400_000)  # what FFmpeg looks at is soon there
        source = source_of(OpenCvSource(device=server.url, fps=15))
        assert source.open().fps is None
        ages_ns: list[int] = []
        frames_until(
            source,
            lambda stamp, image: ages_ns.append(stamp.grab_time_ns - stamp.capture_time_ns) or len(ages_ns) > 40,
        )
        source.close()
    assert max(ages_ns) == 0


@pytest.mark.parametrize("damaged", [b"\xff\xd8 no picture \xff\xd9", b""])
def test_a_damaged_picture_costs_itself_only(damaged: bytes) -> None:
    """Where nothing came, the stream was lost."""
    with MjpegServer() as server:
        whole = numbered_jpeg
        server.picture = lambda number: damaged if number % 10 == 5 else whole(number)
        source = source_of(OpenCvSource(device=server.url))
        source.open()
        image, corrupt, shown = new_image(), 0, 0
        for _ in range(40):
            stamp = source.grab(3.0)
            try:
                source.retrieve(image)
                shown += 1
            except FrameCorrupt:
                corrupt += 1
        source.close()
    assert shown > 30
    assert stamp.sequence >= 39
    assert corrupt < 10


def test_frames_that_a_network_delays_are_known_to_be_old(video: Path) -> None:
    """By the stream's own times: frame n is of n/30 s, whenever it comes."""
    server = StreamServer(video, "http")
    with SlowRelay(server.port) as relay:
        server.start()
        source = source_of(OpenCvSource(device=f"http://127.0.0.1:{relay.port}"))
        moments: list[float] = []

        def note(stamp: Stamp, image: np.ndarray) -> float:
            """Its age; also how far its time is from its number's."""
            moments.append((stamp.capture_time_ns / 1e9 - number_of(image) / 30) % (50 / 30))
            return (stamp.grab_time_ns - stamp.capture_time_ns) / 1e9

        try:
            open_when_up(source)
            read_numbers(source, 30)
            relay.delay_s = 0.6
            frames_until(source, lambda stamp, image: note(stamp, image) > 0.4)
            for _ in range(20):
                frames_until(source, lambda stamp, image: note(stamp, image) > 0.4)
        finally:
            source.close()
            server.stop()
    around = np.exp(2j * np.pi * np.array(moments) / (50 / 30))
    off_s = np.angle(around / around.mean()) / (2 * np.pi) * (50 / 30)
    assert np.abs(off_s).max() < 0.1


def test_what_cannot_be_read_as_pictures_is_named() -> None:
    """It was said to be of 0x0 pixels, for which the rig could be calibrated."""
    with MjpegServer() as server:
        server.kind = b"image/jpg"
        with pytest.raises(SourceError, match=r"cannot be read as pictures.*`Content-Type: image/jpeg`"):
            source_of(OpenCvSource(device=server.url)).open()


def test_a_password_in_the_address_is_not_shown() -> None:
    assert without_password("rtsp://admin:hunter2@10.0.0.1:554/a?b=c@d") == "rtsp://admin:***@10.0.0.1:554/a?b=c@d"
    assert without_password("http://10.0.0.1/video") == "http://10.0.0.1/video"
    with pytest.raises(SourceError) as refused:
        source_of(OpenCvSource(device="http://admin:hunter2@127.0.0.1:9/video")).open()
    assert "hunter2" not in str(refused.value)
    assert "admin:***@127.0.0.1" in str(refused.value)


@pytest.mark.parametrize("url", ["rtsp://***@127.0.0.1:9/video", "http://127.0.0.1:9/video?password=***"])
def test_a_password_that_a_recording_left_out_is_asked_for(url: str) -> None:
    with pytest.raises(SourceError, match="was left out when it was recorded"):
        source_of(OpenCvSource(device=url)).open()

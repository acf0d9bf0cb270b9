"""Pictures of USB cameras become files that every decoder reads, with the same pixels."""

import av
import cv2
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from app.sources.camera_jpeg import playable
from app.sources.packet_size import PacketSize
from tests.support.v4l2_camera import without_tables


def photo(width: int = 64, height: int = 48, quality: int = 90) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.mark.parametrize("quality", [30, 90, 100])
def test_tables_that_a_camera_leaves_out_are_those_of_the_standard(quality: int) -> None:
    whole = photo(quality=quality)
    bare = without_tables(whole)
    assert len(bare) < len(whole)
    found = playable(bare)
    assert found is not None and found[1] == (64, 48)
    assert sorted(found[0]) == sorted(whole), "the same segments; their order may differ"
    pictures = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (whole, found[0])]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    decoder = VideoCodecContext.create("mjpeg", "r")
    frames = [frame.to_ndarray() for data in (whole, found[0]) for frame in decoder.decode(av.Packet(data))]
    np.testing.assert_array_equal(frames[0], frames[1])


def test_what_is_whole_stays_and_zeros_after_the_end_go() -> None:
    whole = photo()
    assert playable(whole) == (whole, (64, 48))
    assert playable(whole + bytes(1000)) == (whole, (64, 48))
    cut = whole[:-300] + b"\0"
    assert playable(cut) == (cut, (64, 48)), "what is damaged is not touched"


def test_no_bytes_make_it_fail_and_what_is_no_picture_is_none() -> None:
    random = np.random.default_rng(0)
    whole = photo()
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff", bytes(5000), whole[:150]):
        assert playable(data) is None
    for _ in range(2000):
        changed = np.frombuffer(whole, np.uint8).copy()
        changed[random.integers(0, 700, 4)] = random.integers(0, 256, 4)
        playable(changed.tobytes()[: random.integers(0, len(whole))])


def h264(width: int, height: int, frames: int) -> list[bytes]:
    encoder = VideoCodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"  # pyright: ignore[reportAttributeAccessIssue]
    encoder.framerate = 30  # pyright: ignore[reportAttributeAccessIssue]
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    images = [av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8)) for _ in range(frames)]
    packets = [packet for image in [*images, None] for packet in encoder.encode(image)]  # pyright: ignore[reportAttributeAccessIssue]
    return [bytes(packet) for packet in packets]


def test_a_stream_that_changes_its_size_is_noticed_at_once_without_decoding() -> None:
    size = PacketSize("h264", (64, 48))
    told = [size.of(data) for data in [*h264(64, 48, 3), *h264(96, 48, 3), *h264(64, 64, 2)]]
    assert told == [(64, 48)] * 3 + [(96, 48)] * 3 + [(64, 64)] * 2
    size = PacketSize("mjpeg", (64, 48))
    assert [size.of(data) for data in (photo(), photo(96), b"", photo())] == [(64, 48), (96, 48), (96, 48), (64, 48)]

"""USB cameras that are copied: the driver's bytes, count and times, up to the kernel's edge."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.devices import v4l2
from app.sources import make_source
from app.sources.camera_jpeg import playable
from app.sources.source import FrameCorrupt, SourceError, SourceLost, SourceTimeout, WrongSize
from app.sources.v4l2_copy import V4l2Copy
from calibration.camera_source import OpenCvSource
from calibration.rig import Rig
from tests.app.sources.test_camera_jpeg import h264
from tests.support.source_cases import HEIGHT, WIDTH, new_image, rig_camera
from tests.support.stream_servers import numbered_jpeg
from tests.support.v4l2_camera import FilmingCamera, plug_in, usb_picture

Camera = Callable[..., FilmingCamera]


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Camera:
    def plug(**given) -> FilmingCamera:
        filming = FilmingCamera(tmp_path / "video0", **given)
        plug_in(monkeypatch, filming)
        return filming

    return plug


def copied(filming: FilmingCamera, *size: int, decodes: bool = True, **settings) -> V4l2Copy:
    entry = rig_camera(OpenCvSource(device=0, **settings), *size)
    source = make_source(entry, Rig((entry,)), copies=True, decodes=decodes)
    assert isinstance(source, V4l2Copy)
    source._device = str(filming.path)
    return source


def test_every_picture_has_the_drivers_bytes_count_and_time(camera: Camera) -> None:
    filming = camera()
    source = copied(filming, fps=100)
    mode = source.open()
    assert (mode.width, mode.height, mode.fps) == (WIDTH, HEIGHT, 100) and "MJPG" in mode.description
    packets, image = [], new_image()
    for _ in range(20):
        stamp = source.grab(3.0)
        packets += source.packets()
        source.retrieve(image)
        assert packets[-1].stamp == stamp
        found = cv2.imdecode(np.frombuffer(numbered_jpeg(stamp.sequence), np.uint8), cv2.IMREAD_COLOR)
        assert found is not None and np.abs(image.astype(int) - found).max() <= 2
    source.close()
    for packet in packets:
        number = packet.stamp.sequence
        assert packet.stamp.capture_time_ns == filming.times_ns[number] <= packet.stamp.grab_time_ns
        whole = playable(usb_picture(number))
        assert whole is not None and packet.data == whole[0] and packet.size == (WIDTH, HEIGHT)


def test_what_the_driver_lost_is_missing_from_the_sequence(camera: Camera) -> None:
    filming = camera(damaged=frozenset({3}), picture=lambda n: bytes(99) if n == 5 else usb_picture(n))
    source = copied(filming, decodes=False)
    source.open()
    while filming.next < 8:
        filming.film()
    source.grab(3.0)
    assert [packet.stamp.sequence for packet in source.packets()][:6] == [0, 1, 2, 4, 6, 7]
    # More than its buffers hold: a reader that comes so late has gaps.
    while filming.next < 40:
        filming.film()
    source.grab(3.0)
    source.grab(3.0)
    numbers = [packet.stamp.sequence for packet in source.packets()]
    assert numbers[-1] - numbers[0] + 1 > len(numbers)
    source.close()
    source.open()
    assert source.grab(3.0).sequence > numbers[-1], "it goes on where it was"
    source.close()


def test_times_on_another_clock_are_those_of_arrival(camera: Camera) -> None:
    source = copied(camera(monotonic=False))
    source.open()
    stamp = source.grab(3.0)
    assert stamp.capture_time_ns == stamp.grab_time_ns
    source.close()


def test_a_mode_that_it_has_not_and_a_value_that_it_refuses_are_named(camera: Camera) -> None:
    with pytest.raises(SourceError, match="YUYV, which cannot be copied"):
        copied(camera(), fourcc="YUYV").open()
    with pytest.raises(SourceError, match=r"has YUYV, and of these nothing can be copied"):
        copied(camera(fourccs=("YUYV",))).open()
    with pytest.raises(WrongSize, match="asked for 640x480"):
        copied(camera(), 640, 480).open()
    with pytest.raises(SourceError, match="fps 60, but it does 100"):
        copied(camera(), fps=60).open()
    with pytest.raises(SourceError, match="exposure 120, but its driver refuses"):
        copied(camera(controls={v4l2.SET_BY_HAND["exposure"]: None}), exposure=120).open()
    with pytest.raises(SourceError, match="has no pixel format"):
        copied(camera(plugged=False)).open()


def test_exposure_and_gain_are_set_by_hand(camera: Camera) -> None:
    filming = camera()
    source = copied(filming, exposure=120, gain=8)
    source.open()
    source.close()
    wanted = {"auto_exposure": v4l2.MANUAL_EXPOSURE, "exposure": 120, "gain": 8}
    assert filming.controls == {v4l2.SET_BY_HAND[name]: value for name, value in wanted.items()}
    filming = camera(controls={v4l2.SET_BY_HAND["auto_exposure"]: None})
    source = copied(filming, exposure=120)
    source.open()
    source.close()
    assert filming.controls[v4l2.SET_BY_HAND["exposure"]] == 120, "it need not have an automatic one"


def test_an_unplugged_one_is_lost_and_a_still_one_times_out(camera: Camera) -> None:
    filming = camera()
    source = copied(filming)
    source.open()
    source.grab(3.0)
    filming.started_ns = None
    filming.filled.clear()
    with pytest.raises(SourceTimeout):
        source.grab(0.02)
    filming.plugged = False
    with pytest.raises(SourceLost, match="unplugged"):
        source.grab(3.0)
    source.close()


def test_one_of_which_every_picture_is_damaged_times_out(camera: Camera) -> None:
    def nothing(number: int) -> bytes:
        filming.plugged = number < 300
        return bytes(99)

    filming = camera(picture=nothing)
    source = copied(filming)
    source.open()
    with pytest.raises(SourceTimeout):
        source.grab(0.1)
    source.close()


def test_h264_is_decoded_in_order_and_only_where_pixels_are_wanted(camera: Camera) -> None:
    sent = h264(WIDTH, HEIGHT, 30)
    filming = camera(fourccs=("YUYV", "H264"), picture=lambda n: sent[n % 30])
    source = copied(filming)
    assert "H264" in source.open().description
    image, taken = np.full((HEIGHT, WIDTH, 3), 99, np.uint8), []
    while len(taken) < 10:
        stamp = source.grab(3.0)
        source.retrieve(image)
        taken += source.packets()
        assert image.max() < 3 and taken[-1].stamp == stamp
    source.close()
    assert [packet.data for packet in taken] == [sent[packet.stamp.sequence % 30] for packet in taken]
    assert {packet.codec for packet in taken} == {"h264"}


def test_a_picture_that_cannot_be_decoded_is_told_and_another_size_ends_it(camera: Camera) -> None:
    source = copied(camera(picture=lambda n: usb_picture(n)[:400]))
    source.open()
    source.grab(3.0)
    if not av.CodecContext.create("mjpeg", "r").decode(av.Packet(source.packets()[-1].data)):
        with pytest.raises(FrameCorrupt):
            source.retrieve(new_image())
    source.close()
    wide = camera(picture=lambda n: numbered_jpeg(n, 2 * WIDTH))
    source = copied(wide)
    source.open()
    source.grab(3.0)
    assert source.packets()[-1].size == (2 * WIDTH, HEIGHT)
    with pytest.raises(SourceLost, match="changed from 320x240 to 640x240"):
        source.retrieve(new_image())
    source.close()

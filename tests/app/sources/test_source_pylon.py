"""Basler cameras through pypylon, on the driver's own emulated cameras."""

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

# Read by pylon when it is first imported.
os.environ.setdefault("PYLON_CAMEMU", "4")
pytest.importorskip("pypylon")

from app.sources.pylon import PylonCapture
from app.sources.source import FrameCorrupt, Source, SourceError, SourceLost, SourceTimeout
from calibration.camera_source import PylonSource
from tests.conftest import ROOT
from tests.support.source_cases import new_image, source_of

Features = dict[str, bool | int | float | str]
SERIALS = [f"0815-000{index}" for index in range(4)]


def showing(path: Path) -> Features:
    """The emulator shows an image file, or in turn all files of a folder."""
    return {"ImageFilename": str(path), "ImageFileMode": "On", "TestImageSelector": "Off"}


@pytest.fixture
def picture(tmp_path: Path) -> np.ndarray:
    image = np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "picture.png"), image)
    return image


def emulated(features: Features, **settings) -> PylonCapture:
    settings = {"serial": SERIALS[0], "pixel_format": "BGR8Packed", **settings}
    source = source_of(PylonSource(features=features, **settings))
    assert isinstance(source, PylonCapture)
    return source


def test_four_cameras_at_once_show_frames_of_a_real_rig(real_rig_dir: Path, tmp_path: Path) -> None:
    given, sources = [], []
    for index, serial in enumerate(SERIALS):
        folder = tmp_path / serial
        folder.mkdir()
        video = cv2.VideoCapture(str(real_rig_dir / "calibration" / "extrinsic" / f"cam_{index}.mp4"))
        frames = [video.read()[1] for _ in range(3)]
        video.release()
        for number, frame in enumerate(frames):
            cv2.imwrite(str(folder / f"{number}.png"), frame)
        given.append(frames)
        wanted = PylonSource(serial=serial, pixel_format="BGR8Packed", fps=20, features=showing(folder))
        sources.append(source_of(wanted, 1280, 720))
    try:
        for source in sources:
            assert source.open().fps == pytest.approx(20)
        seen = [read_pictures(source, frames) for source, frames in zip(sources, given, strict=True)]
    finally:
        for source in sources:
            source.close()
    assert seen == [{0, 1, 2}] * 4


def read_pictures(source: Source, frames: list[np.ndarray]) -> set[int]:
    """Which of the frames arrived; each image that arrives is one of them, to the last bit."""
    image = new_image(1280, 720)
    seen = set()
    for _ in range(10):
        source.grab(3.0)
        source.retrieve(image)
        which = [number for number, frame in enumerate(frames) if np.array_equal(image, frame)]
        assert len(which) == 1
        seen.update(which)
    return seen


@pytest.mark.parametrize("pixel_format", ["BGR8Packed", "RGB8Packed", "BGRA8Packed"])
def test_colour_formats_arrive_as_bgr(picture: np.ndarray, tmp_path: Path, pixel_format: str) -> None:
    source = emulated(showing(tmp_path / "picture.png"), pixel_format=pixel_format)
    source.open()
    image = new_image()
    source.grab(3.0)
    source.retrieve(image)
    source.close()
    assert np.array_equal(image, picture)


def test_grey_arrives_as_three_equal_channels(tmp_path: Path) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (240, 320), np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), picture)
    source = emulated(showing(tmp_path / "grey.png"), pixel_format="Mono8")
    source.open()
    image = new_image()
    source.grab(3.0)
    source.retrieve(image)
    source.close()
    assert np.array_equal(image, np.repeat(picture[..., None], 3, axis=2))


def test_settings_reach_the_camera(picture: np.ndarray, tmp_path: Path) -> None:
    features = showing(tmp_path / "picture.png") | {"OffsetX": 64, "ReverseX": True}
    source = emulated(features, exposure_us=2500.0, gain=6.0, fps=40)
    assert source.open().fps == pytest.approx(40)
    device = source._device
    assert device is not None
    assert device.ExposureTime.Value == pytest.approx(2500)
    assert device.Gain.Value == pytest.approx(6, rel=0.01)
    assert (device.Width.Value, device.Height.Value, device.OffsetX.Value) == (320, 240, 64)
    assert device.TriggerMode.Value == "Off"
    source.close()


def test_software_trigger_gives_one_frame_for_each_period(picture: np.ndarray, tmp_path: Path) -> None:
    source = emulated(showing(tmp_path / "picture.png"), trigger="software", fps=20)
    source.open()
    stamps = [source.grab(2.0) for _ in range(6)]
    source.close()
    assert [stamp.sequence for stamp in stamps] == list(range(stamps[0].sequence, stamps[0].sequence + 6))
    for stamp in stamps:
        assert stamp.capture_time_ns < stamp.grab_time_ns
    for before, after in zip(stamps, stamps[1:], strict=False):
        assert after.capture_time_ns - before.capture_time_ns > 5e6
    # Nobody triggers, so nothing comes.
    source.open()
    with pytest.raises(SourceTimeout):
        source.grab(0.0)
    source.close()


def test_hardware_trigger_waits_for_its_line(picture: np.ndarray, tmp_path: Path) -> None:
    source = emulated(showing(tmp_path / "picture.png"), trigger="line", trigger_line="Line2")
    mode = source.open()
    device = source._device
    assert device is not None
    assert mode.fps is None
    assert (device.TriggerSelector.Value, device.TriggerMode.Value) == ("FrameStart", "On")
    assert device.TriggerSource.Value == "Line2"
    with pytest.raises(SourceTimeout, match=r"no frame in 0.3 s"):
        source.grab(0.3)
    # The emulator has no wire on its line: a trigger from another source stands for the signal.
    device.TriggerSource.Value = "Software"
    device.TriggerSoftware.Execute()
    first = source.grab(20.0).sequence
    device.TriggerSoftware.Execute()
    assert source.grab(20.0).sequence == first + 1
    source.close()


def test_a_slow_reader_gets_the_newest_frame_and_sees_the_gap(picture: np.ndarray, tmp_path: Path) -> None:
    source = emulated(showing(tmp_path / "picture.png"), fps=100)
    source.open()
    first = source.grab(2.0)
    time.sleep(0.3)
    second = source.grab(2.0)
    source.close()
    assert second.sequence - first.sequence > 5


def test_an_incomplete_frame_is_corrupt_and_the_next_is_good(picture: np.ndarray, tmp_path: Path) -> None:
    source = emulated(showing(tmp_path / "picture.png"), fps=30)
    source.open()
    device = source._device
    assert device is not None
    device.ForceFailedBufferCount.Value = 1
    device.ForceFailedBuffer.Execute()
    image = new_image()
    corrupt = good = 0
    for _ in range(10):
        source.grab(2.0)
        try:
            source.retrieve(image)
            good += np.array_equal(image, picture)
        except FrameCorrupt as error:
            assert "incompletely grabbed" in str(error)  # noqa: PT017
            corrupt += 1
    source.close()
    assert (corrupt, good) == (1, 9)


class _Removed:
    """A GenICam device that says it was removed, as pylon's says once its heartbeat fails."""

    def __init__(self, device: object) -> None:
        self._device = device

    def __getattr__(self, name: str) -> object:
        return getattr(self._device, name)

    def IsCameraDeviceRemoved(self) -> bool:
        return True

    def RetrieveResult(self, timeout_ms: int, handling: int) -> object:
        from pypylon import pylon

        return pylon.GrabResult()


def test_a_removed_device_is_lost_and_opens_again(picture: np.ndarray, tmp_path: Path) -> None:
    source = emulated(showing(tmp_path / "picture.png"), fps=30)
    source.open()
    before = source.grab(2.0).sequence
    source._device = _Removed(source._device)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(SourceLost, match=r"0815-0000 was unplugged"):
        source.grab(5.0)
    source.close()
    source.open()
    assert source.grab(2.0).sequence > before
    source.close()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gain": 1000.0}, r"gain 1000.*between 0.0 and 48"),
        ({"exposure_us": 1e9}, r"exposure_us 1000000000.*between 1.0 and 10000000"),
        ({"pixel_format": "BGR7"}, r"pixel_format BGR7.*Mono8.*BGR8Packed"),
        ({"trigger": "line", "trigger_line": "Line9"}, r"trigger_line Line9.*Line1, Line2"),
        ({"trigger": "software"}, r"software trigger needs a rate.*`fps`"),
        ({"serial": "1234"}, r"no camera with serial 1234; attached: 0815-0000"),
        ({"serial": None}, r"names no serial, and \d cameras are attached"),
    ],
)
def test_what_a_camera_does_not_do_is_named_with_what_it_has(settings: dict, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        emulated({}, **settings).open()


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(SourceError, match=r"no feature Contrastt. Remove `Contrastt`"):
        emulated({"Contrastt": 3}).open()


def test_without_pypylon_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['pypylon'] = None\n"
        "from tests.support.source_cases import source_of\n"
        "from calibration.camera_source import PylonSource\n"
        "from app.sources.source import SourceError\n"
        "try:\n    source_of(PylonSource())\nexcept SourceError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'pip install "usthand-live[basler]"' in done.stdout


def test_the_level_of_the_line_that_takes_follow_comes_with_each_frame(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator has no input: an output that can be read stands for it."""
    with pytest.raises(SourceError, match="no feature LineStatus"):
        emulated(showing(tmp_path / "picture.png"), take_line="Line1").open()
    with pytest.raises(SourceError, match="take_line Line9"):
        emulated(showing(tmp_path / "picture.png"), take_line="Line9").open()
    monkeypatch.setattr("app.sources.pylon_mode._LINE_STATUS", ("UserOutputValue",))
    source = emulated(showing(tmp_path / "picture.png"), take_line="Line1")
    source.open()
    assert source._device is not None
    for level in (True, False, True):
        source._device.UserOutputValue.Value = level
        assert source.grab(3.0).line is level
    source.close()
    source = emulated(showing(tmp_path / "picture.png"))
    source.open()
    assert source.grab(3.0).line is None
    source.close()

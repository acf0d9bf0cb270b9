"""A recorded video at any moment of its making: what was called safe can be read, whatever is cut off."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.recording import encoder as encoder_module
from app.recording.encoder_link import EncoderReport, Order
from app.recording.packers import EncodingPacker
from app.recording.pre_roll import PreRoll
from app.recording.video_encoder import VideoEncoder
from app.recording.video_file import RecordedVideo
from app.run.record_settings import Codec, RecordSettings
from app.run.settings import RunSettings, run_folder
from app.transport.ring import RingReader
from models.simulation.simulated_rig import ring_rig
from tests.conftest import ROOT

FPS = Fraction(30)
FRAMES = 40


def images(width: int, height: int) -> list[np.ndarray]:
    """Each with its own noise, over a grey that tells its number."""
    random = np.random.default_rng(1)
    noise = random.integers(0, 60, (FRAMES, height, width, 3))
    return [(noise[number] + 4 * number).astype(np.uint8) for number in range(FRAMES)]


def read(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    found = []
    while (got := capture.read())[0]:
        found.append(got[1])
    return found


def record(path: Path, codec: Codec, width: int, height: int) -> list[tuple[int, int]]:
    """Returns after each frame: (bytes in the file, frames that are safe)."""
    encoder = VideoEncoder(RecordSettings(folder="", codec=codec), (width, height), FPS)
    told = []
    with RecordedVideo(path, FPS, encoder.stream, None) as video:
        for number, image in enumerate(images(width, height)):
            for packed in encoder.encode(image, number):
                assert packed.time_ns == number
                video.write(packed.packet)
            told.append((video.bytes, video.safe))
    return told


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_what_is_safe_can_be_read_wherever_the_file_is_cut(tmp_path: Path, codec: Codec) -> None:
    told = record(tmp_path / "whole.mkv", codec, 64, 48)
    assert told[-1][1] == FRAMES - 1
    data = (tmp_path / "whole.mkv").read_bytes()
    assert len(read(tmp_path / "whole.mkv")) == FRAMES
    for at in np.random.default_rng(0).integers(told[1][0], len(data), 25):
        (tmp_path / "cut.mkv").write_bytes(data[:at])
        safe = max(frames for size, frames in told if size <= at)
        assert len(read(tmp_path / "cut.mkv")) in (safe, safe + 1)


@pytest.mark.parametrize("size", [(64, 48), (66, 48), (63, 47)])
def test_lossless_is_lossless(tmp_path: Path, size: tuple[int, int]) -> None:
    record(tmp_path / "video.mkv", "ffv1", *size)
    for got, expected in zip(read(tmp_path / "video.mkv"), images(*size), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_h264_comes_near(tmp_path: Path, size: tuple[int, int]) -> None:
    record(tmp_path / "video.mkv", "h264", *size)
    for got, expected in zip(read(tmp_path / "video.mkv"), images(*size), strict=True):
        assert abs(float(got.mean()) - float(expected.mean())) < 2


def test_the_pre_roll_begins_with_a_key_frame_and_is_bounded() -> None:
    encoder = VideoEncoder(RecordSettings(folder=""), (64, 48), FPS)
    kept, small = PreRoll(1.5, 10**9), PreRoll(60.0, 20_000)
    sizes = []
    for number in range(4 * FRAMES):
        for packed in encoder.encode(images(64, 48)[number % FRAMES], round(number * 1e9 / 30)):
            kept.add(packed)
            small.add(packed)
            sizes.append(packed.packet.size)
    taken = kept.take()
    assert taken[0].is_key
    seconds = (taken[-1].time_ns - taken[0].time_ns) / 1e9
    # A key frame each second.
    assert 1.5 <= seconds <= 2.5
    assert kept.take() == []
    few = small.take()
    assert few == [] or few[0].is_key
    assert sum(packed.packet.size for packed in few) <= 20_000 < sum(sizes)


class _NoLink:
    """Instead of the recorder's standard streams."""

    def __init__(self) -> None:
        self.reports: list[EncoderReport] = []

    def report(self, report: EncoderReport) -> None:
        self.reports.append(report)


def test_a_pre_roll_that_the_disk_does_not_take_ends_its_take_alone(tmp_path: Path, monkeypatch) -> None:
    link = _NoLink()
    monkeypatch.setattr(encoder_module, "RecorderLink", lambda: link)
    rig, record = ring_rig(2), RecordSettings(folder=str(tmp_path), pre_roll_s=5.0)
    settings = RunSettings(estimator="", record=record)
    with run_folder(rig, settings) as folder:
        camera = encoder_module.CameraEncoder(rig.cameras[0], rig, settings, folder)
        packer = camera._packer = EncodingPacker(record, (64, 48), FPS, RingReader())
        for number, image in enumerate(images(64, 48)):
            for packed in packer._encoder.encode(image, number):
                camera._pre_roll.add(packed)
        camera._obey(Order(do="start", video=str(tmp_path / "no folder" / "cam_0.mkv")))
        (problem,) = {report.problem for report in link.reports if report.problem}
        assert "cannot be written (No such file or directory)" in problem and link.reports[-1].ended
        camera._obey(Order(do="stop"))
        assert camera._writing is None


def test_a_full_disk_is_said_and_what_is_written_stays(tmp_path: Path) -> None:
    """The file may not grow beyond a limit, as on a full disk; in a process of its own."""
    program = f"""
import resource, signal, sys
from pathlib import Path
from tests.app.recording.test_recorded_video import record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
try:
    record(Path({str(tmp_path / "full.mkv")!r}), "ffv1", 64, 48)
except OSError as error:
    sys.exit(f"said: {{error.strerror}}")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "said: File too large" in done.stderr
    assert 3 < len(read(tmp_path / "full.mkv")) < FRAMES

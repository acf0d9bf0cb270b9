"""One suite of lifecycle tests over every kind of capture source."""

import contextlib
import gc
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from app.sources import make_source
from app.sources.network_stream import StreamTuning
from app.sources.source import EndOfSource, Source, SourceError, SourceLost, SourceTimeout, Stamp
from calibration.camera_source import OpenCvSource, PylonSource, RecordedSource, SimulatedSource
from calibration.rig import Rig
from calibration.session import write_session
from tests.support.source_cases import (
    HEIGHT,
    WIDTH,
    FakeDevice,
    StreamServer,
    new_image,
    rig_camera,
    source_of,
    write_video,
)
from tests.support.v4l2_camera import FilmingCamera, plug_in, usb_picture

# Read by pylon when it is first imported.
os.environ.setdefault("PYLON_CAMEMU", "4")

KINDS = ("device", "copied", "stream", "file", "pylon", "recorded", "simulated")
FRAMES = 40


@dataclass
class Case:
    """A kind under test. `wrong` is a source in a mode that its device has not, and `says` what its error must name.

    `absent` and `back` take a closed source's device away and bring it back; `unplug` while it is read, after which
    reading ends with `gone`.
    """

    make: Callable[[], Source]
    wrong: Callable[[], Source]
    absent: Callable[[Source], object]
    back: Callable[[Source], object]
    unplug: Callable[[Source], object]
    says: str = rf"640x480.*{WIDTH}x{HEIGHT}"
    gone: type[Exception] = SourceLost
    cleanup: Callable[[], object] = field(default=lambda: None)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "numbered.mp4", FRAMES)


@pytest.fixture(params=KINDS)
def case(
    request: pytest.FixtureRequest, tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    built = {
        "device": lambda: device_case(tmp_path, video, monkeypatch),
        "copied": lambda: copied_case(tmp_path, monkeypatch),
        "stream": lambda: stream_case(video, monkeypatch),
        "file": lambda: file_case(tmp_path, video),
        "pylon": lambda: pylon_case(tmp_path),
        "recorded": lambda: recorded_case(tmp_path, video),
        "simulated": simulated_case,
    }[request.param]()
    yield built
    built.cleanup()


def device_case(folder: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    device = FakeDevice(video)
    # The driver has one size, whatever is asked.
    for key, value in ((cv2.CAP_PROP_FRAME_WIDTH, WIDTH), (cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT)):
        device.values[key] = value
        device.refused[key] = {640, 480}
    monkeypatch.setattr("app.sources.opencv.cv2.VideoCapture", device)
    node = folder / "video0"
    node.touch()

    def make(*size: int) -> Source:
        source = source_of(OpenCvSource(device=7), *size)
        # A file cannot be put under /dev here.
        source._device = str(node)  # pyright: ignore[reportAttributeAccessIssue]
        return source

    return Case(
        make=make,
        wrong=lambda: make(640, 480),
        absent=lambda source: node.unlink(),
        back=lambda source: node.touch(),
        unplug=lambda source: setattr(device, "plugged", False),
    )


def copied_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    camera = FilmingCamera(folder / "video0", picture=lambda number: usb_picture(number % FRAMES))
    hidden = folder / "hidden"
    plug_in(monkeypatch, camera)

    def make(*size: int) -> Source:
        entry = rig_camera(OpenCvSource(device=7), *size)
        source = make_source(entry, Rig((entry,)), copies=True)
        source._device = str(camera.path)  # pyright: ignore[reportAttributeAccessIssue]
        return source

    return Case(
        make=make,
        wrong=lambda: make(640, 480),
        absent=lambda source: camera.path.rename(hidden),
        back=lambda source: hidden.rename(camera.path),
        unplug=lambda source: setattr(camera, "plugged", False),
    )


def stream_case(video: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr("app.sources.network_stream.NetworkStream.tuning", StreamTuning(open_s=2.0, read_s=2.0))
    server = StreamServer(video, "udp")
    server.start()
    return Case(
        make=lambda: source_of(OpenCvSource(device=server.url)),
        wrong=lambda: source_of(OpenCvSource(device=server.url), 640, 480),
        absent=lambda source: server.stop(),
        back=lambda source: server.start(),
        unplug=lambda source: server.stop(),
        cleanup=server.stop,
    )


def file_case(folder: Path, video: Path) -> Case:
    path, hidden = folder / "camera.mp4", folder / "hidden.mp4"
    path.write_bytes(video.read_bytes())
    return Case(
        make=lambda: source_of(OpenCvSource(device=str(path), fps=200)),
        wrong=lambda: source_of(OpenCvSource(device=str(path)), 640, 480),
        absent=lambda source: path.rename(hidden),
        back=lambda source: hidden.rename(path),
        unplug=lambda source: path.unlink(),
        gone=EndOfSource,
    )


def pylon_case(folder: Path) -> Case:
    pytest.importorskip("pypylon")
    image = folder / "image.png"
    cv2.imwrite(str(image), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    features: dict[str, bool | int | float | str] = {
        "ImageFilename": str(image),
        "ImageFileMode": "On",
        "TestImageSelector": "Off",
    }
    wanted = PylonSource(serial="0815-0002", pixel_format="BGR8Packed", fps=100, features=features)

    def look_for(source: Source, serial: str) -> None:
        """The emulator's cameras stay plugged: an absent one is a serial that is not there."""
        source._source = msgspec.structs.replace(wanted, serial=serial)  # pyright: ignore[reportAttributeAccessIssue]

    return Case(
        make=lambda: source_of(wanted),
        wrong=lambda: source_of(wanted, 9000, HEIGHT),
        says=r"9000x240.*delivers \d+x240",
        absent=lambda source: look_for(source, "0815-9999"),
        back=lambda source: look_for(source, "0815-0002"),
        # The driver loses its device, as when the cable is drawn.
        unplug=lambda source: source._device.DetachDevice(),  # pyright: ignore[reportAttributeAccessIssue]
    )


def recorded_case(folder: Path, video: Path) -> Case:
    session = folder / "session"
    session.mkdir()
    times_ns = (np.arange(FRAMES) * 33_333_333 + 5_000_000_000).astype(np.int64)
    for camera_id in ("cam_0", "cam_1"):
        (session / f"{camera_id}.mp4").write_bytes(video.read_bytes())
    first = rig_camera(None)
    second = replace(first, camera_id="cam_1")
    write_session(
        session,
        Rig((first, second)),
        {"cam_0": "cam_0.mp4", "cam_1": "cam_1.mp4"},
        {"cam_0": times_ns, "cam_1": times_ns},
    )
    wanted = RecordedSource(session=str(session), camera="cam_1")
    path, hidden = session / "cam_1.mp4", folder / "hidden.mp4"
    return Case(
        make=lambda: source_of(wanted),
        wrong=lambda: source_of(wanted, 640, 480),
        absent=lambda source: path.rename(hidden),
        back=lambda source: hidden.rename(path),
        unplug=lambda source: path.unlink(),
        gone=EndOfSource,
    )


def simulated_case() -> Case:
    """It is never absent by itself, so a scripted disconnect is put into its way."""
    script: list[tuple[float, float]] = []

    return Case(
        make=lambda: source_of(SimulatedSource(fps=200, disconnects=script)),
        wrong=lambda: source_of(SimulatedSource(fps=0)),
        says="fps is 0",
        absent=lambda source: script.append((0.0, 1e9)),
        back=lambda source: script.clear(),
        unplug=lambda source: script.append((0.0, 1e9)),
    )


def read(source: Source, frames: int) -> list[Stamp]:
    image = new_image()
    stamps = []
    for _ in range(frames):
        stamps.append(source.grab(3.0))
        image[:] = 0
        source.retrieve(image)
        assert image.mean() > 10, "an image was delivered"
    return stamps


def read_to_the_end(source: Source) -> None:
    for _ in range(1000):
        with contextlib.suppress(SourceTimeout):
            source.grab(0.5)


def held() -> tuple[int, int]:
    """Open files and threads of this process."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))


def check_rising(stamps: list[Stamp]) -> None:
    for before, after in itertools.pairwise(stamps):
        assert after.sequence > before.sequence
        assert after.capture_time_ns > before.capture_time_ns
        assert after.grab_time_ns >= before.grab_time_ns


def test_opens_reads_and_closes_twice(case: Case) -> None:
    source = case.make()
    source.close()
    started_ns = time.monotonic_ns()
    mode = source.open()
    assert (mode.width, mode.height) == (WIDTH, HEIGHT)
    stamps = read(source, 10)
    check_rising(stamps)
    assert started_ns < stamps[0].grab_time_ns <= stamps[-1].grab_time_ns <= time.monotonic_ns()
    for stamp in stamps:
        assert stamp.recorded or stamp.capture_time_ns <= stamp.grab_time_ns
    source.close()
    source.close()
    with pytest.raises(SourceLost):
        source.grab(0.1)


def test_reopens_with_times_and_sequences_that_go_on(case: Case) -> None:
    source = case.make()
    source.open()
    first = read(source, 5)
    source.close()
    source.open()
    second = read(source, 5)
    source.close()
    if first[0].recorded:
        assert [stamp.sequence for stamp in second] == [stamp.sequence for stamp in first]
    else:
        check_rising(first + second)


def test_opening_anew_without_closing_is_safe(case: Case) -> None:
    source = case.make()
    source.open()
    read(source, 2)
    source.open()
    read(source, 2)
    source.close()


def test_failed_open_releases_everything_and_can_be_retried(case: Case) -> None:
    source = case.make()
    source.open()
    read(source, 2)
    source.close()
    case.absent(source)
    with pytest.raises(SourceError) as caught:
        source.open()
    assert len(str(caught.value)) > 40, "the error says what to do"
    before = held()
    with pytest.raises(SourceError):
        source.open()
    assert held() == before
    case.back(source)
    source.open()
    read(source, 3)
    source.close()


def test_unplug_while_reading(case: Case) -> None:
    source = case.make()
    source.open()
    read(source, 5)
    case.unplug(source)
    with pytest.raises(case.gone):
        read_to_the_end(source)
    source.close()


def test_wrong_mode_is_refused_with_asked_and_actual(case: Case) -> None:
    with pytest.raises(SourceError, match=case.says):
        case.wrong().open()
    source = case.make()
    source.open()
    read(source, 1)
    source.close()


def test_nothing_leaks(case: Case) -> None:
    source = case.make()

    def cycle() -> None:
        source.open()
        read(source, 2)
        source.close()

    # The first cycle starts what a driver keeps for the process's life.
    cycle()
    before = held()
    for _ in range(3):
        cycle()
    assert held() == before


def test_a_camera_without_source_is_named() -> None:
    camera = rig_camera(None)
    with pytest.raises(SourceError, match=r"cam_0.*no `source` in rig.yaml.*usthand cameras"):
        make_source(camera, Rig((camera,)))

"""What the tests of capture sources share: cameras, videos whose frames tell their number, a stream, a device."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from app.sources import make_source
from app.sources.source import Source
from calibration.camera import Camera
from calibration.camera_source import CameraSource
from calibration.rig import Rig, RigCamera

WIDTH, HEIGHT = 320, 240
_VideoCapture = cv2.VideoCapture


def rig_camera(source: CameraSource | None, width: int = WIDTH, height: int = HEIGHT) -> RigCamera:
    matrix = np.array([[300.0, 0, (width - 1) / 2], [0, 300.0, (height - 1) / 2], [0, 0, 1]])
    T_cam_world = np.eye(4)
    T_cam_world[2, 3] = 0.6
    return RigCamera(
        camera_id="cam_0",
        camera=Camera(width=width, height=height, lens="pinhole5", matrix=matrix, distortion=np.zeros(5)),
        T_cam_world=T_cam_world,
        source=source,
    )


def source_of(source: CameraSource | None, width: int = WIDTH, height: int = HEIGHT) -> Source:
    camera = rig_camera(source, width, height)
    return make_source(camera, Rig((camera,)))


def new_image(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def grey_of(number: int) -> int:
    """The grey level of a numbered frame: 4 levels apart, so that a lossy codec does not confuse neighbours."""
    return 20 + 4 * (number % 50)


def number_of(image: np.ndarray) -> int:
    """The number, modulo 50, of the frame that `write_video` wrote."""
    return round((float(image.mean()) - 20) / 4)


def write_video(path: Path, frames: int = 30, fps: float = 30.0, codec: str = "mpeg4") -> Path:
    """A video of numbered frames, each coded by itself."""
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
    command += ["-r", f"{fps}", "-i", "-", "-c:v", codec, "-g", "1", "-q:v", "2"]
    command += ["-pix_fmt", "yuvj420p" if codec == "mjpeg" else "yuv420p", str(path)]
    pixels = b"".join(np.full((HEIGHT, WIDTH), grey_of(n), np.uint8).tobytes() for n in range(frames))
    subprocess.run(command, input=pixels, check=True)
    return path


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_numbers(source: Source, frames: int) -> list[int]:
    image = new_image()
    numbers = []
    for _ in range(frames):
        source.grab(3.0)
        source.retrieve(image)
        numbers.append(number_of(image))
    return numbers


class StreamServer:
    """Debian's ffmpeg as a network camera: over UDP it sends to whoever listens, over HTTP it serves one client."""

    def __init__(self, video: Path, protocol: str) -> None:
        self._video = video
        self._udp = protocol == "udp"
        self.port = free_port(socket.SOCK_DGRAM if self._udp else socket.SOCK_STREAM)
        self.url = f"{protocol}://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self.stop()
        target = [f"{self.url}?pkt_size=1316"] if self._udp else ["-listen", "1", self.url]
        command = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(self._video)]
        command += ["-c:v", "mpeg2video", "-g", "5", "-q:v", "3", "-f", "mpegts", *target]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class FakeDevice:
    """Stands for `cv2.VideoCapture` on a V4L2 device, which a test machine has not: frames of a video, endlessly.

    `refused` has the values that the driver does not take: it keeps its own, as V4L2 drivers do. `calls` records what
    was set, in order. While `running` is not set, a read blocks. `clock` gives the driver's time of the frame, in ms.
    """

    def __init__(self, video: Path) -> None:
        self.video = video
        self.plugged = True
        self.calls: list[tuple[int, float]] = []
        self.values: dict[int, float] = {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"YUYV"),
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_EXPOSURE: 157.0,
            cv2.CAP_PROP_GAIN: 0.0,
        }
        self.refused: dict[int, set[float]] = {}
        self.open = 0
        self.clock: Callable[[], float] = lambda: 0.0
        self.running = threading.Event()
        self.running.set()

    def __call__(self, device: int | str, backend: int) -> "FakeDevice":
        assert backend == cv2.CAP_V4L2
        self._capture = _VideoCapture(str(self.video), cv2.CAP_FFMPEG)
        self.open += self.plugged
        return self

    def isOpened(self) -> bool:
        return self.plugged

    def set(self, key: int, value: float) -> bool:
        self.calls.append((key, value))
        if value in self.refused.get(key, ()):
            return False
        self.values[key] = value
        return True

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_POS_MSEC:
            return self.clock()
        return self.values.get(key, -1.0)

    def grab(self) -> bool:
        if not self.plugged:
            return False
        self.running.wait()
        time.sleep(0.01)
        if not self._capture.grab():
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            return self._capture.grab()
        return True

    def retrieve(self, image: np.ndarray) -> tuple[bool, np.ndarray]:
        return self._capture.retrieve(image)

    def release(self) -> None:
        self.open -= self.plugged
        self._capture.release()

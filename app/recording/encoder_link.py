"""What the recorder and its encoders say to one another: lines of JSON through an encoder's standard streams."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.transport.messages import CameraState


class Order(msgspec.Struct, kw_only=True, omit_defaults=True):
    """To an encoder: end the video that it writes; `start` the next one, `video`, of images of `size`."""

    do: Literal["start", "stop"]
    video: str = ""
    size: tuple[int, int] | None = None


class EncoderReport(msgspec.Struct, kw_only=True, omit_defaults=True):
    """From an encoder.

    `times_ns`: of the frames that are in the file `video` since the last report. `dropped` and `bytes` count since it
    began; `ended`: it has, and `problem` says why nothing more can be written. `size`: the camera's images are of
    another size now, and wait. `line`: whether the camera's input is high that takes follow.
    """

    video: str = ""
    times_ns: list[int] = []
    dropped: int = 0
    bytes: int = 0
    codec: str = ""
    state: CameraState | None = None
    line: bool | None = None
    ready: bool = False
    ended: bool = False
    size: tuple[int, int] | None = None
    problem: str = ""


class EncoderProcess:
    """An encoder as the recorder sees it. `reports` holds what it said; None stands for its end."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.reports: queue.SimpleQueue[EncoderReport | None] = queue.SimpleQueue()
        self.broken = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        decoder = msgspec.json.Decoder(EncoderReport)
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                break
            self.reports.put(decoder.decode(line))
        self.reports.put(None)

    def send(self, order: Order) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has died, which `reports` says
            self.broken = True

    def leave(self) -> None:
        """Tell it to finish what it writes, and to end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            self.broken = True

    def wait(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class RecorderLink:
    """The recorder as an encoder sees it. `orders` holds what it said; None stands for its end."""

    def __init__(self) -> None:
        self.orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        # Nothing else of this process may write there.
        self._out = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(Order)
        for line in sys.stdin.buffer:
            if line.endswith(b"\n"):
                self.orders.put(decoder.decode(line))
        self.orders.put(None)

    def report(self, report: EncoderReport) -> None:
        data = memoryview(msgspec.json.encode(report) + b"\n")
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            return  # the recorder has died, which `orders` says


def encoder_command(folder: Path, camera_id: str) -> list[str]:
    return [sys.executable, "-m", "app.recording.encoder", str(folder), str(os.getpid()), camera_id]

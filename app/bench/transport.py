"""How fast frames travel between processes: our ring, ZeroMQ with and without copies, TCP, and plain memcpy.

Every path runs in real producer processes and one consumer, one after the other in the same run, on 1280x720 BGR frames
that do not fit the cache. At saturation producers send as fast as they can; paced ones send at a camera's rate.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np

from app.run.settings import socket_base
from app.transport.messages import CameraStatus, FrameHeader
from app.transport.ring import RingReader, RingWriter
from app.transport.sockets import HEADER_BACKLOG, Publisher, Subscriber, ipc_address, wait
from app.worker.statistics import Quantiles, rounded
from calibration.errors import UserError

HEIGHT, WIDTH = 720, 1280
FRAME_BYTES = HEIGHT * WIDTH * 3
PATHS = ("ring", "zeromq-ipc", "zeromq-ipc-copy", "zeromq-tcp")
_SOURCE_FRAMES = 16
_SLOTS = 12
_START_S = 1.5
_PAYLOAD_BACKLOG = 4


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One path: frames delivered whole, and what was sent but not delivered; CPU in cores, all processes."""

    path: str
    producers: int
    fps: float | None
    gb_per_s: float | None
    lost: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    cpu_cores: float | None
    of_memcpy: float | None = None


def measure(path: str, producers: int, seconds: float, fps: float | None = None) -> Measured:
    """Move frames of `producers` processes along `path` for `seconds`; `fps` paces each, None is saturation.

    Raises UserError where a producer does not begin.
    """
    context = multiprocessing.get_context("spawn")
    results: Queue = context.Queue()
    with tempfile.TemporaryDirectory(prefix="usthand-bench-", dir=socket_base()) as folder:
        start_at = time.monotonic() + _START_S + 0.4 * producers
        processes = [
            context.Process(target=_produce, args=(path, folder, number, start_at, seconds, fps, results), daemon=True)
            for number in range(producers)
        ]
        for process in processes:
            process.start()
        consumer = _Consumer(path, Path(folder), processes) if path != "memcpy" else None
        if consumer is not None:
            consumer.run(start_at + seconds)
        sent, cpu_s, spans = zip(*(results.get(timeout=seconds + 60) for _ in processes), strict=True)
        for process in processes:
            process.join()
    span = max(spans)
    frames = sum(sent) if consumer is None else consumer.frames
    cpu_s = sum(cpu_s) + (0.0 if consumer is None else consumer.cpu_s)
    return Measured(
        path=path,
        producers=producers,
        fps=rounded(frames / span),
        gb_per_s=rounded(frames * FRAME_BYTES / span / 1e9),
        lost=sum(sent) - frames,
        latency_p50_ms=rounded(consumer.latency_ms.quantile(0.5)) if consumer else None,
        latency_p99_ms=rounded(consumer.latency_ms.quantile(0.99)) if consumer else None,
        cpu_cores=rounded(cpu_s / span, 3),
    )


class _Consumer:
    """Takes every frame, checks that it is whole, and notes how old it is."""

    def __init__(self, path: str, folder: Path, producers: Sequence[BaseProcess]) -> None:
        self._subscriber = Subscriber(HEADER_BACKLOG if path == "ring" else _PAYLOAD_BACKLOG)
        addresses = [folder / f"address-{number}" for number in range(len(producers))]
        while not all(address.exists() for address in addresses):
            if not all(each.is_alive() for each in producers):
                raise UserError(f"{path}: a producer ended before it began, for the reason above.")
            time.sleep(0.01)
        for address in addresses:
            self._subscriber.connect(address.read_text())
        self._reader = RingReader()
        self.frames = 0
        self.latency_ms = Quantiles()
        self.cpu_s = 0.0

    def run(self, until: float) -> None:
        began = time.process_time()
        latencies = []
        while time.monotonic() < until + 0.5:
            wait([self._subscriber], [], 0.1)
            for message, payload in self._subscriber.receive():
                if isinstance(message, FrameHeader) and self._whole(message, payload):
                    self.frames += 1
                    latencies.append((time.monotonic_ns() - message.publish_time_ns) / 1e6)
            if len(latencies) > 1000:
                self.latency_ms.add(np.array(latencies))
                latencies.clear()
        self.latency_ms.add(np.array(latencies))
        self.cpu_s = time.process_time() - began
        self._subscriber.close()
        self._reader.close()

    def _whole(self, header: FrameHeader, payload: memoryview | None) -> bool:
        if header.slot is None:
            return payload is not None and len(payload) == FRAME_BYTES
        return self._reader.view(header.slot) is not None and self._reader.intact(header.slot)


def _produce(
    path: str, folder: str, number: int, start_at: float, seconds: float, fps: float | None, results: Queue
) -> None:
    images = np.random.default_rng(number).integers(0, 256, (_SOURCE_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    target = np.empty((_SLOTS, HEIGHT, WIDTH, 3), np.uint8) if path == "memcpy" else None
    ring = RingWriter(HEIGHT, WIDTH, _SLOTS) if path == "ring" else None
    publisher = None
    if path != "memcpy":
        publisher = Publisher() if ring else Publisher(_PAYLOAD_BACKLOG, waits=fps is None)
        tcp = path == "zeromq-tcp"
        bound = publisher.bind("tcp://127.0.0.1:*" if tcp else ipc_address(Path(folder) / f"frames-{number}"))
        temporary = Path(folder) / f".address-{number}"
        temporary.write_text(bound)
        os.replace(temporary, Path(folder) / f"address-{number}")
        while not publisher.subscribers():
            time.sleep(0.01)
        publisher.send(CameraStatus(camera_id=str(number), state="streaming"))
    time.sleep(max(0.0, start_at - time.monotonic()))
    began, began_cpu, sent = time.monotonic(), time.process_time(), 0
    while (now := time.monotonic()) < start_at + seconds:
        if fps is not None:
            due = start_at + (sent + number / 8) / fps
            if due >= start_at + seconds:
                break
            if now < due:
                time.sleep(due - now)
        image = images[sent % _SOURCE_FRAMES]
        grabbed = time.monotonic_ns()
        header = FrameHeader(
            camera_id=str(number),
            sequence=sent,
            capture_time_ns=grabbed,
            grab_time_ns=grabbed,
            publish_time_ns=grabbed,
            width=WIDTH,
            height=HEIGHT,
        )
        if target is not None:
            np.copyto(target[sent % _SLOTS], image)
        elif ring is not None and publisher is not None:
            with ring.write() as (pixels, header.slot):
                np.copyto(pixels, image)
            header.publish_time_ns = time.monotonic_ns()
            publisher.send(header)
        elif publisher is not None:
            header.encoding = "raw"
            publisher.send(header, image.data.cast("B"), copy=path == "zeromq-ipc-copy")
        sent += 1
    results.put((sent, time.process_time() - began_cpu, time.monotonic() - began))
    time.sleep(0.7)
    if publisher is not None:
        publisher.close()


def memcpy_gb_per_s(frames: int, seconds: float = 0.5) -> float:
    """Plain copies in this process over a working set of `frames` frames and as many targets."""
    source = np.ones((frames, FRAME_BYTES), np.uint8)
    target = np.zeros_like(source)
    copied, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        np.copyto(target[copied % frames], source[copied % frames])
        copied += 1
    return copied * FRAME_BYTES / (time.perf_counter() - began) / 1e9


def bench(producers: tuple[int, ...], seconds: float, paced_seconds: float, paced_fps: float) -> dict:
    """The whole comparison: saturation for each count of producers, then paced rings."""
    result: dict = {
        "frame": [WIDTH, HEIGHT, 3],
        "memcpy_gb_per_s": {"cached": rounded(memcpy_gb_per_s(1)), "350_mb": rounded(memcpy_gb_per_s(64))},
        "saturation": [],
        "paced": [],
    }
    for count in producers:
        memcpy = measure("memcpy", count, seconds)
        rows = [memcpy, *(measure(path, count, seconds) for path in PATHS)]
        for row in rows:
            share = row.gb_per_s / memcpy.gb_per_s if row.gb_per_s and memcpy.gb_per_s else None
            result["saturation"].append({**asdict(row), "of_memcpy": rounded(share, 3)})
    for count in producers:
        result["paced"].append({"asked_fps": paced_fps, **asdict(measure("ring", count, paced_seconds, paced_fps))})
    return result

"""Videos of one happening that were begun at different times by different cameras, with encoded sound."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SOUND_HZ = 44_100
BEGUN_S = {"cam_0": 0.4137, "cam_1": 1.7203, "cam_2": 0.0}
"""When each camera's video began, on the clock of the happening."""
FPS = {"cam_0": 30.0, "cam_1": 25.0, "cam_2": 40.0}
SECONDS = 9.0

Scene = Callable[[str, float], np.ndarray]
"""A camera's image (H, W) uint8, grey, at a time of the happening."""


def room_sound(seed: int = 0) -> np.ndarray:
    """Of a room in which somebody speaks, once claps, and something hums: samples (n,), -1 to 1."""
    generator = np.random.default_rng(seed)
    count = round((SECONDS + 3) * SOUND_HZ)
    times = np.arange(count) / SOUND_HZ
    speech = generator.normal(0, 1, count) * np.interp(times, np.arange(0, 13, 0.2), generator.uniform(0, 1, 65) ** 3)
    clap = 8 * generator.normal(0, 1, count) * np.exp(-np.abs(times - 4.2) / 0.01) * (times > 4.2)
    return 0.1 * (0.3 * speech + clap + 0.2 * np.sin(2 * np.pi * 50 * times))


def heard(sound: np.ndarray, camera: int, begun_s: float) -> np.ndarray:
    """What a camera's microphone records: its own loudness, echo and noise."""
    generator = np.random.default_rng(100 + camera)
    echo = np.zeros(2000)
    echo[0] = 1.0
    echo[generator.integers(200, 2000, 6)] = generator.normal(0, 0.25, 6)
    recorded = (0.5 + 0.2 * camera) * np.convolve(sound, echo)[: len(sound)]
    recorded += generator.normal(0, 0.004, len(sound))
    begin = round(begun_s * SOUND_HZ)
    return recorded[begin : begin + round(SECONDS * SOUND_HZ)]


def write_videos(folder: Path, scene: Scene, sound: np.ndarray | None = None, suffix: str = ".mp4") -> Path:
    """A video of each camera, begun at `BEGUN_S`; with AAC sound where there is any."""
    folder.mkdir()
    for number, (name, begun_s) in enumerate(BEGUN_S.items()):
        fps = FPS[name]
        images = (scene(name, begun_s + frame / fps) for frame in range(round(SECONDS * fps)))
        samples = None if sound is None else heard(sound, number, begun_s)
        write_video(folder / f"{name}{suffix}", images, fps, samples)
    return folder


def write_video(path: Path, images: Iterator[np.ndarray], fps: float, samples: np.ndarray | None = None) -> None:
    """MPEG-4 from grey images, all of one size, and AAC from samples (n,)."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=Fraction(fps).limit_denominator(1000))
        video.pix_fmt, video.bit_rate = "yuv420p", 1_000_000
        audio = None if samples is None else container.add_stream("aac", rate=SOUND_HZ, layout="mono")
        for image in images:
            if not video.codec_context.is_open:
                video.height, video.width = image.shape
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.repeat(image[..., None], 3, 2), format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None and samples is not None:
            for begin in range(0, len(samples), 1024):
                part = samples[None, begin : begin + 1024].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = SOUND_HZ, begin
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))

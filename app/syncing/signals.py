"""What a video says over time: its sound, its brightness, and how much moves in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from scipy.ndimage import median_filter

from calibration.errors import UserError, reason_of

SOUND_HZ = 8000
_SMALL_PX = 96
_NOISE = 8.0
"""Grey levels by which pixels of a small image change without anything that moves."""


@dataclass(frozen=True)
class VideoSignals:
    """`times_s` (n,) of frames from the first one; `brightness` (n,), mean grey level; `motion` (n,), by how many grey
    levels a pixel changed beyond noise, in the mean."""

    times_s: np.ndarray
    brightness: np.ndarray
    motion: np.ndarray


def read_sound(video: Path, seconds: float) -> tuple[float, np.ndarray] | None:
    """The sound's begin after the first frame in seconds, and its samples (n,) at `SOUND_HZ`; None where there is none.

    Raises UserError where the file cannot be read.
    """
    try:
        with av.open(str(video.absolute())) as container:
            if not container.streams.audio or not container.streams.video:
                return None
            begin_s = _first_frame_s(container)
            container.seek(0)
            parts, count, first_s = [], 0, None
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_HZ)
            for frame in container.decode(container.streams.audio[0]):
                if first_s is None:
                    first_s = frame.time or 0.0
                parts += (new := [each.to_ndarray()[0] for each in resampler.resample(frame)])
                count += sum(map(len, new))
                if count > seconds * SOUND_HZ:
                    break
    except (FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{video}: its sound cannot be read ({reason_of(error)}). Give `--sync` another way.") from None
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if first_s is None or not len(samples) or not np.abs(samples).max() > 1e-5:
        return None
    return first_s - begin_s, samples.astype(np.float64)


def _first_frame_s(container: InputContainer) -> float:
    frame = next(iter(container.decode(container.streams.video[0])), None)
    return 0.0 if frame is None or frame.time is None else frame.time


def read_signals(video: Path, times_s: np.ndarray) -> VideoSignals:
    """Of a video's frames at `times_s` (n,), its first ones. Raises UserError where it cannot be read."""
    brightness, motion, before = [], [], None
    for image in _small_images(video, len(times_s)):
        brightness.append(float(image.mean()))
        change = np.abs(image - before) if before is not None else np.zeros_like(image)
        motion.append(float(np.maximum(change - _NOISE, 0).mean()))
        before = image
    # An encoder's whole pictures differ from the one before by more, for one frame, and in all videos alike.
    calm = median_filter(np.array(motion[1:2] + motion[1:]), 3, mode="nearest")
    return VideoSignals(times_s[: len(brightness)], np.array(brightness), calm)


def _small_images(video: Path, most: int) -> Iterator[np.ndarray]:
    try:
        with av.open(str(video.absolute())) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for count, frame in enumerate(container.decode(stream)):
                if count >= most:
                    return
                scale = min(1.0, _SMALL_PX / max(frame.width, frame.height))
                size = (max(8, round(frame.width * scale)), max(8, round(frame.height * scale)))
                grey = frame.to_ndarray(format="gray")
                yield cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    except (FFmpegError, OSError, ValueError, IndexError) as error:
        raise UserError(f"{video}: cannot be read ({reason_of(error)}). Check that the file is whole.") from None

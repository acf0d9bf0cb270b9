"""A recorded session's images as cameras at a camera's rate: video files of JPEGs, as webcams deliver them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import cv2

from calibration.camera_source import OpenCvSource
from calibration.frames import Frame, FrameSet
from calibration.image_turn import ImageTurn
from calibration.rig import Rig, SyncSettings
from models.simulation.recording import JpegVideo

FPS = 30.0
_QUALITY = 90


def longest_run(hands: Sequence[int], least: int = 2) -> slice:
    """The most sets in a row with so many hands; all of them where there is none."""
    best, start = slice(0, 0), 0
    for index, count in enumerate([*hands, 0]):
        if count < least:
            best = max(best, slice(start, index), key=lambda run: run.stop - run.start)
            start = index + 1
    return best if best.stop > best.start else slice(0, len(hands))


def write_videos(rig: Rig, sets: Sequence[FrameSet], folder: Path, seconds: float) -> Rig:
    """A rig whose cameras are video files in `folder`, so many seconds long, with 30 frames a second.

    The sets play forth and back, so that nothing jumps, each image as often as the recording's rate asks for. Where a
    set lacks a camera its image is that of the set before, so that all show the same moment; without a camera that no
    set has.
    """
    repeats = max(1, round(FPS / (rig.sync.fps or FPS)))
    cameras = []
    for camera in rig.cameras:
        path = folder / f"{camera.camera_id}.mp4"
        jpegs = _jpegs([each.frames.get(camera.camera_id) for each in sets])
        if not jpegs:
            continue
        video = JpegVideo(path, camera.camera.width, camera.camera.height, FPS)
        for jpeg in islice(cycle([*jpegs, *jpegs[-2:0:-1]]), round(seconds * FPS / repeats)):
            for _ in range(repeats):
                video.add(jpeg)
        video.close()
        cameras.append(replace(camera, source=OpenCvSource(device=str(path)), time_offset_ns=0, turn=ImageTurn()))
    return replace(rig, cameras=tuple(cameras), sync=SyncSettings("time"))


def _jpegs(frames: Sequence[Frame | None]) -> list[bytes]:
    """One for each; empty where all are None."""
    last = next((_jpeg(frame) for frame in frames if frame is not None), None)
    if last is None:
        return []
    return [last := last if frame is None else _jpeg(frame) for frame in frames]


def _jpeg(frame: Frame) -> bytes:
    return cv2.imencode(".jpg", frame.pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()

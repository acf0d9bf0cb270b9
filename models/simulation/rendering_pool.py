"""Renders frame sets of simulated scenes, in several processes if asked to, in order."""

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from calibration.rig import Rig
from models.simulation.renderer import render
from models.simulation.scene import HandInImage
from models.simulation.simulated_scene import SceneSettings, SimulatedScene, demo_scene, random_scene
from models.simulation.worker_process import begin

_CHUNK_SETS = 4
_CHUNKS_AHEAD = 3
_USUAL_QUALITY = 92


@dataclass(frozen=True, eq=False)
class SceneSpec:
    """What a scene is made from. Without a seed it is the demo's."""

    rig: Rig
    seed: int | None
    settings: SceneSettings = SceneSettings()

    def scene(self) -> SimulatedScene:
        return demo_scene(self.rig) if self.seed is None else random_scene(self.rig, self.seed, self.settings)


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One camera's image as JPEG, and the truth of the hands in it, in the order of the scene's sides."""

    jpeg: bytes
    hands: tuple[HandInImage, ...]


def usable_cores() -> int:
    return len(os.sched_getaffinity(0))


class RenderingPool:
    """`workers` processes that render; a single one is this process. Use it in a `with`."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> "RenderingPool":
        if self._workers > 1:
            # A fork would copy the locks of the renderer's threads.
            self._executor = ProcessPoolExecutor(self._workers, multiprocessing.get_context("spawn"), begin)
        return self

    def __exit__(self, *_) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def render_sets(self, spec: SceneSpec, times_s: np.ndarray) -> Iterator[list[RenderedFrame | None]]:
        """The frames of all cameras at times (S, V), a set after the other; None where the time is NaN.

        Raises UserError where a camera is inside a hand.
        """
        packed = pickle.dumps(spec)
        chunks = np.split(times_s, range(_CHUNK_SETS, len(times_s), _CHUNK_SETS))
        waiting: deque[Future] = deque()
        for chunk in chunks:
            if self._executor is None:
                yield from _render_chunk(packed, chunk)
                continue
            waiting.append(self._executor.submit(_render_chunk, packed, chunk))
            if len(waiting) > _CHUNKS_AHEAD * self._workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> tuple[SceneSpec, SimulatedScene]:
    spec: SceneSpec = pickle.loads(packed)
    return spec, spec.scene()


def _render_chunk(packed: bytes, times_s: np.ndarray) -> list[list[RenderedFrame | None]]:
    spec, scene = _unpacked(packed)
    return [_render_set(scene, spec.rig, row) for row in times_s]


def _render_set(scene: SimulatedScene, rig: Rig, times_s: np.ndarray) -> list[RenderedFrame | None]:
    # The sensors' own compression is the only one: it is left to the coding of the frame.
    qualities = {camera_id: view.sensor.jpeg_quality or _USUAL_QUALITY for camera_id, view in scene.views.items()}
    views = {
        camera_id: replace(view, sensor=replace(view.sensor, jpeg_quality=None))
        for camera_id, view in scene.views.items()
    }
    # Cameras that look at one moment share its state, and with it what the renderer makes of it once.
    states = {time_s: replace(scene.state(time_s), views=views) for time_s in set(times_s[np.isfinite(times_s)])}
    frames: list[RenderedFrame | None] = []
    for camera, time_s in zip(rig.cameras, times_s, strict=True):
        if time_s not in states:
            frames.append(None)
            continue
        rendering = render(camera, states[time_s])
        _, data = cv2.imencode(".jpg", rendering.image, [cv2.IMWRITE_JPEG_QUALITY, qualities[camera.camera_id]])
        frames.append(RenderedFrame(data.tobytes(), rendering.hands))
    return frames

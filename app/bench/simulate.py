"""How fast the simulated rig is rendered: images and crops, by the number of processes, and where the time goes."""

import cProfile
import multiprocessing
import os
import pstats
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing import connection

import cv2
import numpy as np

from app.bench.realism import detection_rate
from app.worker.statistics import rounded
from calibration.frames import Frame
from models.hand.crop import hand_box, make_crop
from models.simulation.renderer import render, render_crop
from models.simulation.simulated_rig import random_rig
from models.simulation.simulated_scene import SimulatedScene, random_scene

SIZE_PX = (640, 480)
CROPS_PX = (256, 128)
# No more cameras in all than the renderer keeps the rays of.
_SCENES = 2
_CAMERAS = 4
# File and name of the functions that the time is shared out over. The light is made when first drawn, in "draw".
_STAGES = {
    "pose": ("simulated_scene.py", "state"),
    "meshes": ("shading.py", "__init__"),
    "light": ("shading.py", "_at_faces"),
    "rays and colours": ("layer.py", "draw"),
    "background": ("backdrop.py", "whole_image"),
    "background of crops": ("backdrop.py", "seen_through"),
    "sensor": ("sensor.py", "develop"),
}


def bench(processes: tuple[int, ...], seconds: float) -> dict:
    """Images a second with all effects on, of two hands and things in random scenes, and each stage's share."""
    kinds = {f"{SIZE_PX[0]}x{SIZE_PX[1]}": 0} | {f"crop {size}": size for size in CROPS_PX}
    rows = []
    for name, size in kinds.items():
        for count in processes:
            rate, per_cpu_s = _rate(size, count, seconds)
            rows.append(
                {
                    "image": name,
                    "processes": count,
                    "images_per_s": rounded(rate),
                    "images_per_cpu_s": rounded(per_cpu_s),
                }
            )
    return {
        "cameras": _CAMERAS,
        "scenes": _SCENES,
        "throughput": rows,
        "share_of_time": {name: _shares(size, seconds) for name, size in kinds.items()},
    }


def mediapipe_rate(images: int) -> dict:
    """How often MediaPipe finds a rendered open hand, searching the whole image: an outside judge of realism.

    Raises UserError where no engine for it is installed.
    """
    from app.estimators.detectors.mediapipe_hands import MediaPipeHands

    detector = MediaPipeHands()

    def detect(image: np.ndarray) -> list[np.ndarray]:
        frame = Frame(
            camera_id="rendered", sequence=0, capture_time_ns=0, grab_time_ns=0, publish_time_ns=0, pixels=image
        )
        return [detection.keypoints_px for detection in detector.detect([frame], [[]], [True])[0]]

    try:
        return {name: rounded(value) for name, value in asdict(detection_rate(detect, images)).items()}
    finally:
        detector.close()


def _rate(size: int, processes: int, seconds: float) -> tuple[float, float]:
    """Images a second of so many processes that begin together, and images a second of processor time."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    running = [context.Process(target=_measure, args=(size, seconds, barrier, results)) for _ in range(processes)]
    # Read by the libraries of the new processes: each is to use one core.
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    for process in running:
        process.start()
    if threads is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = threads
    while alive := [process.sentinel for process in running if process.exitcode is None]:
        connection.wait(alive)
        if any(process.exitcode for process in running):
            barrier.abort()  # the others would wait for it for ever
    if any(process.exitcode for process in running):
        raise RuntimeError("a rendering process failed; its message is above")
    rates, images, cpu_s = np.array([results.get() for _ in running]).T
    return float(rates.sum()), float(images.sum() / cpu_s.sum())


def _measure(size: int, seconds: float, barrier, results) -> None:
    cv2.setNumThreads(1)
    work = _work(size)
    for _ in range(2 * _SCENES):
        next(work)()
    barrier.wait()
    began, began_cpu, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        images += next(work)()
    results.put((images / (time.perf_counter() - began), images, time.process_time() - began_cpu))


def _shares(size: int, seconds: float) -> dict[str, float | None]:
    """What part of the time each stage takes, in this process."""
    cv2.setNumThreads(1)
    work = _work(size)
    for _ in range(2 * _SCENES):
        next(work)()
    profile = cProfile.Profile()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        task = next(work)
        profile.runcall(task)
    stats = pstats.Stats(profile)
    whole = stats.total_tt  # pyright: ignore[reportAttributeAccessIssue]
    shares: dict[str, float] = {}
    for stage, (file, function) in _STAGES.items():
        spent = sum(
            row[3]
            for (path, _, name), row in stats.stats.items()  # pyright: ignore[reportAttributeAccessIssue]
            if path.endswith(f"simulation/{file}") and name == function
        )
        if spent:
            shares[stage] = spent / whole
    shares["rays and colours"] -= shares["light"]
    shares["rest"] = 1 - sum(shares.values())
    return {stage: rounded(share) for stage, share in shares.items()}


def _work(size: int) -> Iterator[Callable[[], int]]:
    """Tasks without end: each renders one time of one scene for all cameras, and says how many images that were."""
    scenes = []
    for seed in range(_SCENES):
        rig = random_rig(seed, "ring", _CAMERAS, *SIZE_PX)
        scenes.append((rig, random_scene(rig, seed)))
    turn = 0
    while True:
        rig, scene = scenes[turn % _SCENES]
        time_s = turn / 30
        yield lambda rig=rig, scene=scene, time_s=time_s: _render(rig.cameras, scene, time_s, size)
        turn += 1


def _render(cameras, scene: SimulatedScene, time_s: float, size: int) -> int:
    state = scene.state(time_s)
    if not size:
        for camera in cameras:
            render(camera, state)
        return len(cameras)
    for hand in state.hands:
        target_m, half_width_m = hand_box(np.asarray(hand.joints_m))
        for camera in cameras:
            render_crop(make_crop(camera, target_m, half_width_m, size), camera, state)
    return len(cameras) * len(state.hands)

"""How long a calibration from recorded videos takes, beside the decoder of the videos alone."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import cv2

from calibration.board.board import Board
from calibration.board.session_scan import detect_session
from calibration.session import Session
from calibration.solve.calibrate import calibrate

T = TypeVar("T")


def bench(session: Session, board: Board, rounds: int) -> dict[str, Any]:
    """Seconds of the quickest of `rounds`, and of processor time, for each part; the parts take turns.

    `decode` reads every image of all videos, in a thread for each as the detection does. Raises UserError as a
    calibration does.
    """
    taken: dict[str, list[tuple[float, float]]] = {"decode": [], "detection": [], "solve": []}
    for _ in range(rounds):
        _time(taken["decode"], lambda: decode(session))
        detections = _time(taken["detection"], lambda: detect_session(session, board))
        _time(taken["solve"], partial(calibrate, detections, board, given_rig=session.rig))
    result: dict[str, Any] = {"rounds": rounds, "cameras": len(session.camera_ids)}
    result["frames"] = sum(len(session.frame_times_ns(camera_id)) for camera_id in session.camera_ids)
    for part, times in taken.items():
        result[f"{part}_s"], result[f"{part}_cpu_s"] = (round(min(each), 3) for each in zip(*times, strict=True))
    result["calibration_s"] = round(result["detection_s"] + result["solve_s"], 3)
    result["of_decoder"] = round(result["calibration_s"] / result["decode_s"], 2)
    return result


def _time(into: list[tuple[float, float]], work: Callable[[], T]) -> T:
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    into.append((time.perf_counter() - wall, time.process_time() - cpu))
    return done


def decode(session: Session) -> int:
    """Read all images of a session; how many there were."""

    def read(camera_id: str) -> int:
        video, images = session.open_video(camera_id), 0
        try:
            while video.grab() and video.retrieve() is not None:
                images += 1
        finally:
            video.close()
        return images

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(len(session.camera_ids)) as pool:
            return sum(pool.map(read, session.camera_ids))
    finally:
        cv2.setNumThreads(threads)

"""Sessions whose pictures show nothing, and a detector that knows where the simulated hands are."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.estimators.detection import Detection, Region
from app.evaluation.evaluation import Recording
from calibration.frames import Frame
from calibration.hand import JOINTS
from calibration.rig import Rig
from calibration.session import check_session, write_session
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

FPS, FRAMES = 25, 20
MIRROR = {"right": np.ones(3), "left": np.array([-1.0, 1.0, 1.0])}
STAGGER_NS = 5_000_000
"""How much later each camera takes its frames than the one before it."""


class ExactDetector:
    """Sees both hands of the demo exactly, `shift_px` aside, or what `place` makes of a right hand's joints; and counts
    how often it was asked for each frame."""

    name = "exact"

    def __init__(
        self,
        rig: Rig,
        shift_px: tuple[float, float] = (0.0, 0.0),
        blind: Sequence[str] = (),
        place: Callable[[np.ndarray], np.ndarray] = lambda right_hand_m: right_hand_m,
    ) -> None:
        self.rig, self.shift_px, self.blind, self.place = rig, shift_px, blind, place
        self.searched: dict[tuple[str, int], int] = {}
        self.regions = 0

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        return [self._detect_in(*each) for each in zip(frames, regions, searched, strict=True)]

    def _detect_in(self, frame: Frame, regions: Sequence[Region], search: bool) -> list[Detection]:
        key = frame.camera_id, frame.sequence
        self.searched[key] = self.searched.get(key, 0) + search
        self.regions += len(regions) * (not search)
        if frame.camera_id in self.blind:
            return []
        camera = self.rig[frame.camera_id]
        return [
            Detection(
                camera.project(self.place(joints_m * MIRROR[side]) * MIRROR[side]) + self.shift_px,
                np.ones(JOINTS),
                float(side == "right"),
                0.9,
            )
            for side, joints_m in hands_at(frame.capture_time_ns * 1e-9).items()
        ]

    def close(self) -> None: ...


def make_session(folder: Path, write_video, cameras: int = 3) -> Recording:
    rig = ring_rig(cameras, 320, 240, fps=FPS)
    times_ns = {}
    for index, name in enumerate(rig.camera_ids):
        write_video(folder / f"{name}.mp4", 320, 240, FRAMES, FPS)
        times_ns[name] = np.arange(FRAMES) * (10**9 // FPS) + index * STAGGER_NS
    write_session(folder, rig, {name: f"{name}.mp4" for name in rig.camera_ids}, times_ns)
    session = check_session(folder)
    recorded = recorded_rig(session)
    return Recording(session, recorded, recorded_phases_of(session, recorded))

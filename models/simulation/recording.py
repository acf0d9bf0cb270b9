"""Writes a simulated recording: a session with videos, the truth, and what a 2D detector would have said."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from calibration.errors import UserError
from calibration.hand import JOINTS, Side
from calibration.rig import Rig
from calibration.session import write_session
from models.files.labels import Labels, write_labels
from models.files.truth import HandTruth, Truth, write_truth
from models.simulation.detector_noise import GRADES, detect
from models.simulation.rendering_pool import RenderingPool, SceneSpec

_START_NS = 1_000_000_000
_MOST_JITTER = 0.45
# A detector finds a hand of which at least this share of the joints lies in the image.
_LEAST_INSIDE = 0.5


@dataclass(frozen=True)
class Timing:
    """When the cameras of a rig take their frames. All are on one grid of `fps`; each frame comes `jitter_ms` (standard
    deviation) early or late, and a share of `drop_rate` is lost. The rig's time offsets delay the time stamps."""

    sets: int
    fps: float = 30.0
    jitter_ms: float = 0.0
    drop_rate: float = 0.0

    def grid_ns(self) -> np.ndarray:
        """(S,) int64: the times that the truth is told for."""
        return _START_NS + np.rint(np.arange(self.sets) * (1e9 / self.fps)).astype(np.int64)

    def capture_ns(self, cameras: int, seed: int) -> np.ndarray:
        """(S, V) float: when each frame is really taken; NaN for one that is lost."""
        random = np.random.default_rng([seed, 21])
        shift = np.clip(
            random.normal(0, 1, (self.sets, cameras)) * self.jitter_ms * self.fps / 1e3, -_MOST_JITTER, None
        )
        times_ns = np.rint(self.grid_ns()[:, None] + np.minimum(shift, _MOST_JITTER) * (1e9 / self.fps))
        lost = random.random((self.sets, cameras)) < self.drop_rate
        # A camera without a single frame would be no camera.
        lost[0] = False
        return np.where(lost, np.nan, times_ns)


def record_session(
    path: Path,
    spec: SceneSpec,
    timing: Timing,
    pool: RenderingPool,
    labels: str = "moderate",
    on_set: Callable[[], object] = lambda: None,
) -> int:
    """Render the scene's sets into a new session at `path`, with `truth.npz`, and `labels.npz` in that grade of noise;
    returns the number of images.

    The directory appears whole or not at all. Raises UserError where it is there already, or a camera is inside a hand.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path} is there already. Give the name of a new directory.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        images = _record(temporary, path.name, spec, timing, pool, labels, on_set)
        temporary.chmod(0o755)
        temporary.rename(path)
        return images
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _record(
    folder: Path,
    name: str,
    spec: SceneSpec,
    timing: Timing,
    pool: RenderingPool,
    labels: str,
    on_set: Callable[[], object],
) -> int:
    rig, seed = spec.rig, spec.seed or 0
    capture_ns = timing.capture_ns(len(rig.cameras), seed)
    videos = {camera_id: f"{camera_id}.mp4" for camera_id in rig.camera_ids}
    writers = [JpegVideo(folder / videos[camera.camera_id], camera.camera.width, camera.camera.height, timing.fps)
               for camera in rig.cameras]  # fmt: skip
    scene = spec.scene()
    names = list(scene.actors)
    sides: list[Side] = [actor.side for actor in scene.actors.values()]
    keypoints_px = np.full((len(sides), *capture_ns.shape, JOINTS, 2), np.nan)
    visible = np.zeros((len(sides), *capture_ns.shape, JOINTS), bool)
    try:
        for index, frames in enumerate(pool.render_sets(spec, capture_ns / 1e9)):
            for view, frame in enumerate(frames):
                if frame is None:
                    continue
                writers[view].add(frame.jpeg)
                for hand, found in enumerate(frame.hands):
                    keypoints_px[hand, index, view], visible[hand, index, view] = found.keypoints_px, found.visible
            on_set()
    finally:
        for writer in writers:
            writer.close()
    times_s = timing.grid_ns() / 1e9
    poses = [scene.hands(float(time_s)) for time_s in times_s]
    hands: dict[str, HandTruth] = {
        name: HandTruth(
            joints_world_m=np.array([pose[name].joints_world_m for pose in poses]),
            angles_rad=np.array([pose[name].angles_rad for pose in poses]),
            T_world_hand=np.array([pose[name].T_world_hand for pose in poses]),
            shape=scene.actors[name].shape,
            visible=visible[hand],
        )
        for hand, name in enumerate(names)
    }
    write_truth(folder / "truth.npz", Truth(timing.grid_ns(), hands))
    write_labels(
        folder / "labels.npz", _labels(rig, sides, capture_ns, keypoints_px, visible, labels, seed), len(rig.cameras)
    )
    taken = ~np.isnan(capture_ns)
    stamps = {
        camera.camera_id: (capture_ns[taken[:, view], view] + camera.time_offset_ns).astype(np.int64)
        for view, camera in enumerate(rig.cameras)
    }
    source = f"simulated by usthand simulate: scene {seed}, labels {labels}"
    upright = [camera.camera_id for camera in rig.cameras if camera.turn]
    clock = "seconds since the simulation began"
    write_session(folder, rig, videos, stamps, name=name, clock=clock, source=source, upright=upright)
    return int(taken.sum())


def _labels(
    rig: Rig,
    sides: Iterable[Side],
    capture_ns: np.ndarray,
    keypoints_px: np.ndarray,
    visible: np.ndarray,
    grade: str,
    seed: int,
) -> Labels:
    """What a detector of that grade says of hands (H) in images (S, V)."""
    camera, time_ns, right, found_px, confidence = [], [], [], [], []
    for hand, side in enumerate(sides):
        for view, of_rig in enumerate(rig.cameras):
            truth_px = keypoints_px[hand, :, view]
            size_px = np.array([of_rig.camera.width, of_rig.camera.height])
            with np.errstate(invalid="ignore"):
                inside = ((truth_px > -0.5) & (truth_px < size_px - 0.5)).all(-1).mean(-1) >= _LEAST_INSIDE
            said = detect(truth_px, visible[hand, :, view], np.arange(len(truth_px)), [seed, hand, view], GRADES[grade])
            rows = np.flatnonzero(inside & said.found)
            camera.append(np.full(len(rows), view))
            time_ns.append(capture_ns[rows, view])
            right.append(np.full(len(rows), side == "right"))
            found_px.append(said.keypoints_px[rows])
            confidence.append(said.confidence[rows])
    return Labels(
        camera=np.concatenate(camera).astype(np.int16),
        time_ns=np.concatenate(time_ns).astype(np.int64),
        right=np.concatenate(right),
        keypoints_px=np.concatenate(found_px).astype(np.float32),
        confidence=np.concatenate(confidence).astype(np.float32),
        source=f"simulated detector, {grade}",
        definition="anatomical",
    )


class JpegVideo:
    """A video file (MP4, Motion JPEG) whose frames are JPEGs, stored as they are: no loss, and any frame can be read
    alone."""

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._container = av.open(str(path), "w")
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("mjpeg", rate=rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuvj420p"
        self._time_base = self._stream.time_base = 1 / rate
        self._frames = 0

    def add(self, jpeg: bytes) -> None:
        packet = av.Packet(jpeg)
        packet.stream = self._stream
        packet.pts = packet.dts = self._frames
        packet.duration = 1
        packet.time_base = self._time_base
        packet.is_keyframe = True
        self._container.mux(packet)
        self._frames += 1

    def close(self) -> None:
        self._container.close()

"""The demo's hands, rendered once and kept: for each camera a file of JPEGs that a simulated camera plays in a loop."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from calibration.cached_folder import cached_folder
from calibration.errors import UserError
from calibration.rig import Rig
from models.files.npzfile import read_npz
from models.simulation.hands import LOOP_S
from models.simulation.simulated_rig import people_in


class RenderedLoop:
    """A camera's images of LOOP_S seconds, evenly spaced; times are those of `hands_of_people_at`.

    Raises UserError where the file is missing or is none.
    """

    def __init__(self, path: Path) -> None:
        advice = "Remove it; `usthand demo` renders it again."
        arrays = read_npz(path, "a rendered loop", advice)
        if not {"jpegs", "ends"} <= set(arrays):
            raise UserError(f"{path}: not a rendered loop. {advice}")
        self._jpegs, self._ends = arrays["jpegs"], arrays["ends"]

    def image(self, time_s: float) -> np.ndarray:
        """The image (H, W, 3) uint8 BGR taken nearest to a time."""
        index = round(time_s / LOOP_S * len(self._ends)) % len(self._ends)
        start = self._ends[index - 1] if index else 0
        return np.asarray(cv2.imdecode(self._jpegs[start : self._ends[index]], cv2.IMREAD_COLOR))


def loop_files(folder: Path, rig: Rig) -> dict[str, Path]:
    return {camera_id: folder / f"{camera_id}.npz" for camera_id in rig.camera_ids}


def cached_loop(rig: Rig, cache: Path, render: Callable[[Rig, Path], None]) -> Path:
    """The folder with this rig's loop in the folder `cache`; where it is not there, `render` is to write it first.

    A loop is kept for the code that rendered it, and only the last few are kept. Raises OSError where nothing can be
    written to `cache`.
    """
    return cached_folder(
        cache, "demo", _content_key(rig), lambda folder: _is_whole(folder, rig), lambda folder: render(rig, folder)
    )


def _is_whole(folder: Path, rig: Rig) -> bool:
    return all(path.is_file() for path in loop_files(folder, rig).values())


def render_loop(rig: Rig, folder: Path, workers: int, on_set: Callable[[], object] = lambda: None) -> None:
    """Render `hands_of_people_at` for LOOP_S seconds, at the rig's rate, into `folder`."""
    # Playing a loop needs no renderer.
    from models.simulation.rendering_pool import RenderingPool, SceneSpec

    times_s = np.arange(loop_sets(rig)) * (LOOP_S / loop_sets(rig))
    jpegs: dict[str, list[bytes]] = {camera_id: [] for camera_id in rig.camera_ids}
    with RenderingPool(workers) as pool:
        for frames in pool.render_sets(SceneSpec(rig, None), np.tile(times_s[:, None], len(rig.cameras))):
            for of_camera, frame in zip(jpegs.values(), frames, strict=True):
                assert frame is not None
                of_camera.append(frame.jpeg)
            on_set()
    for camera_id, path in loop_files(folder, rig).items():
        ends = np.cumsum([len(jpeg) for jpeg in jpegs[camera_id]])
        np.savez(path, jpegs=np.frombuffer(b"".join(jpegs[camera_id]), np.uint8), ends=ends)


def loop_sets(rig: Rig) -> int:
    return max(round(LOOP_S * (rig.sync.fps or 30.0)), 1)


def _content_key(rig: Rig) -> str:
    """Of the rig and of all code and data that the images depend on."""
    digest = hashlib.sha256(f"{rig.rig_id} {people_in(rig)} {loop_sets(rig)}".encode())
    here = Path(__file__).parent
    for folder in (here, here.parent / "hand"):
        for path in sorted(path for path in folder.iterdir() if path.suffix in (".py", ".npz")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]

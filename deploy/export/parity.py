"""How far the joints of exported networks lie from those of torch in float32, through the ring, on simulated crops."""

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from calibration.errors import UserError
from deploy.artefact.manifest import VIEWS, read_manifest
from deploy.batches import EngineShape
from deploy.engines import has_bf16, make_engine
from deploy.engines.cloud_rings import CloudRing
from deploy.engines.engine import Engine
from models.network.lifting import triangulate

log = logging.getLogger(__name__)


class Tolerance(NamedTuple):
    """How far joints may be from torch's: the farthest of a window, in half of the windows, or all's mean or median.

    Not in every window: where two points of a cloud are equally near, to a hair, another one may be taken for a joint's
    neighbour, which moves that hand by some hundredths of a millimetre. What is wrong moves all. `error_percent`: how
    much larger the mean error may be, where a tolerance is by effect, too.
    """

    mm: float
    of: Literal["most", "mean", "median"]
    error_percent: float | None = None


FLOAT32 = Tolerance(0.01, "most")
"""Sums in another order move the joints by 1e-4 mm or so; a wrong operation, or a lower precision, by far more."""
LOWER = Tolerance(0.5, "mean")
"""Of bfloat16 and float16: a small part of the network's own error, which is some millimetres."""
RUNTIMES = {"onnxruntime": FLOAT32, "openvino": FLOAT32, "openvino-bf16": LOWER}
LANDMARKS_FLOAT32 = Tolerance(0.05, "mean")
"""Of a landmark network's recipe, whose lifting weighs views by how they agree: where two cameras stand side by side a
difference of 1e-5 pixels moves some joints by a tenth of a millimetre."""
LANDMARKS_LOWER = Tolerance(0.5, "median", error_percent=2.0)
"""By effect: views that hardly agree on a joint may weigh otherwise, which moves it far, but to no worse place. With
convolutions in bfloat16 joints move by 0.17 mm in the median, 0.45 in the mean, and the error changes by 0.5 %."""
LANDMARK_RUNTIMES = {
    "onnxruntime": LANDMARKS_FLOAT32,
    "openvino": LANDMARKS_FLOAT32,
    "openvino-bf16": LANDMARKS_LOWER,
}
STAGE1 = ("crops_rgb", "P_crop", "view_mask")
Window = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Distances in mm between joints of an engine and of torch, over `windows` windows of `views` views.

    Half of the windows have no joint further than `half_mm`, half of all joints are nearer than `median_mm`.
    `error_percent`: by how much the engine's mean error against the simulation is above torch's, where it is known.
    """

    engine: str
    views: int
    windows: int
    mean_mm: float
    max_mm: float
    half_mm: float
    median_mm: float
    error_percent: float | None = None
    tolerance: Tolerance = FLOAT32

    @property
    def holds(self) -> bool:
        judged_mm = {"most": self.half_mm, "mean": self.mean_mm, "median": self.median_mm}[self.tolerance.of]
        near = bool(np.isfinite(self.max_mm)) and judged_mm <= self.tolerance.mm
        if self.tolerance.error_percent is None:
            return near
        return near and self.error_percent is not None and self.error_percent <= self.tolerance.error_percent

    def figures(self) -> dict:
        figures = asdict(self)
        mm, of, error_percent = figures.pop("tolerance")
        limits = {"tolerance_mm": mm, "tolerance_of": of, "tolerance_error_percent": error_percent}
        return figures | limits | {"holds": self.holds}

    def __str__(self) -> str:
        limit, error = f"{self.tolerance.mm:g} mm ({self.tolerance.of})", ""
        if self.error_percent is not None and self.tolerance.error_percent is not None:
            error = f", their error {self.error_percent:+.1f} %"
            limit += f" and {self.tolerance.error_percent:g} %"
        return (
            f"{self.engine}, {self.views} views: joints {self.mean_mm:.2g} mm (mean) and {self.max_mm:.2g} mm (most) "
            f"from torch's{error}, {'within' if self.holds else 'NOT WITHIN'} {limit}"
        )


def check_parity(checkpoint: str, directory: Path, windows: int = 4) -> list[Parity]:
    """Each runtime that is installed beside torch, with 2, 4 and 8 views. Raises UserError where none is installed."""
    runtimes = LANDMARK_RUNTIMES if read_manifest(directory).network.landmarks else RUNTIMES
    installed = [name for name in runtimes if importlib.util.find_spec(name.removesuffix("-bf16"))]
    if "openvino-bf16" in installed and not has_bf16():
        installed.remove("openvino-bf16")
    if not installed:
        raise UserError("`--check` needs a runtime to compare. Install one: pip install 'usthand-live[cpu]'.")
    reference = make_engine(checkpoint, "torch")
    engines = {name: make_engine(str(directory), name) for name in installed}
    return compare_engines(
        reference, [(engine, runtimes[name], engine.name) for name, engine in engines.items()], windows
    )


def compare_engines(reference: Engine, engines: Sequence[tuple[Engine, Tolerance, str]], windows: int) -> list[Parity]:
    """Engines, each with its tolerance and what to call it, against the reference on simulated crops of a few views."""
    log.info("check: rendering simulated crops")
    crops = list(simulated_windows(reference.shape, windows))
    true_m = np.stack([_true_joints_m(window, reference.shape.crop_px) for window in crops])
    found = []
    for views in (VIEWS[0], 4, VIEWS[1]):
        some = [with_views(window, views) for window in crops]
        expected_m = np.stack([run_window(reference, window) for window in some])
        for engine, tolerance, name in engines:
            engine.prepare([1], views)
            joints_m = np.stack([run_window(engine, window) for window in some])
            found.append(compare(name, views, joints_m, expected_m, tolerance, true_m))
    return found


def compare(
    engine: str,
    views: int,
    joints_m: np.ndarray,
    expected_m: np.ndarray,
    tolerance: Tolerance = FLOAT32,
    true_m: np.ndarray | None = None,
) -> Parity:
    """Of joints (windows, 21, 3), the engine's, torch's and the true ones. One that is not finite is infinitely far."""
    apart_mm = _apart_mm(joints_m, expected_m)
    error_percent = None
    if true_m is not None:
        error_percent = 100 * float(_apart_mm(joints_m, true_m).mean() / _apart_mm(expected_m, true_m).mean() - 1)
    farthest_mm = np.sort(apart_mm.max(axis=1))
    half_mm = farthest_mm[len(farthest_mm) // 2]
    return Parity(
        engine=engine,
        views=views,
        windows=len(joints_m),
        mean_mm=float(apart_mm.mean()),
        max_mm=float(farthest_mm[-1]),
        half_mm=float(half_mm),
        median_mm=float(np.median(apart_mm)),
        error_percent=error_percent,
        tolerance=tolerance,
    )


def _apart_mm(joints_m: np.ndarray, others_m: np.ndarray) -> np.ndarray:
    apart_mm = np.linalg.norm(joints_m - others_m, axis=-1) * 1e3
    return np.where(np.isfinite(apart_mm), apart_mm, np.inf)


def _true_joints_m(window: Window, crop_px: int) -> np.ndarray:
    """Of the newest frame (21, 3), hand-centred, by its exact labels in all views."""
    labels = window["labels_px"][-1], window["label_confidence"][-1] * window["view_mask"][-1][:, None]
    points_px, weights = (torch.from_numpy(each).transpose(0, 1) for each in labels)
    return triangulate(points_px, weights, torch.from_numpy(window["P_crop"][-1])[None], crop_px).numpy()


def simulated_windows(shape: EngineShape, count: int) -> Iterator[Window]:
    """Windows of simulated hands as models/data/windows.py gives them, as arrays, of the most views."""
    # A renderer, which a machine that only compares has not.
    from models.data.generate import GenerateSettings
    from models.data.simulated_windows import SimulatedWindows

    settings = GenerateSettings(
        split="test",
        people=count,
        clips=1,
        frames=shape.frames + 3,
        views=VIEWS[1],
        size_px=shape.crop_px,
        upright=shape.upright,
        grades={"perfect": 1.0},
    )
    for item in islice(SimulatedWindows(settings, shape.crop_px, shape.frames), count):
        yield {name: value.numpy() for name, value in item.items()}


def with_views(window: Window, views: int) -> Window:
    """The window with so many of its views, those first that the newest frame has."""
    first = np.argsort(~window["view_mask"][-1], kind="stable")[:views]
    return window | {name: window[name][:, first] for name in STAGE1}


def run_window(engine: Engine, window: Window) -> np.ndarray:
    """The newest frame's joints (21, 3), hand-centred metres: frame after frame through stage 1 and the ring."""
    ring = CloudRing(engine.shape, np.eye(3))
    for t, there in enumerate(window["frame_mask"]):
        if not there:
            ring.miss()
            continue
        clouds = engine.run_stage1(*(window[name][None, t] for name in STAGE1))
        ring.push(clouds, 0, window["origins_m"][t].astype(np.float64))
    return engine.refine(ring.window()).joints_m[0].copy()

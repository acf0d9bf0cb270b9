"""`python -m deploy.measure.cuda_ways CHECKPOINT WINDOWS.npz`: every way to run a checkpoint on a GPU, one line each.

Each line is JSON: how far its joints are from torch's in float32 on the CPU, whether that is within the tolerance of
its precision, and the milliseconds of stage 1 and of the transformer for one hand and two, images in and joints out; or
why it was left out. A line is written when it is known; the first names all ways that are to come.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from calibration.errors import UserError
from calibration.found_files import hash_found
from calibration.programs import exit_code
from deploy.artefact.manifest import read_manifest
from deploy.batches import CloudWindow, empty_window
from deploy.engines.engine import FAILURES, Engine
from deploy.engines.torch_engine import TorchEngine
from deploy.export.parity import (
    FLOAT32,
    LANDMARKS_FLOAT32,
    LANDMARKS_LOWER,
    LOWER,
    STAGE1,
    Tolerance,
    Window,
    compare,
    run_window,
)
from models.weights import checkpoint_path

_SECONDS = 0.5
_EXACT = ("torch float32", "ONNX Runtime")
"""Ways in float32; the others calculate in a lower precision, TensorRT in mixed half precision."""
Start = Callable[[contextlib.ExitStack], Engine]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.measure.cuda_ways")
    parser.add_argument("checkpoint")
    parser.add_argument("windows", type=Path, help="arrays as of models/data/windows.py, of a few hands")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--exported", type=Path, metavar="DIR", help="the ways of exported networks, which go here")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    return exit_code(lambda: run(args), place=args.windows)


def run(args: argparse.Namespace) -> int:
    with np.load(args.windows, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    windows = [{name: array[index] for name, array in arrays.items()} for index in range(len(arrays["P_crop"]))]

    @functools.cache
    def expected_m() -> np.ndarray:
        with torch.autocast("cpu", enabled=False):
            engine = TorchEngine(args.checkpoint, "cpu")
            return np.stack([run_window(engine, window) for window in windows])

    if args.exported is not None:
        ways = _exported_ways(args.checkpoint, args.exported)
    else:
        ways = _torch_ways(args.checkpoint, args.device, windows[0]["view_mask"].shape[1])
    _say({"ways": list(ways)})
    for name, start in ways.items():
        row: dict = {"way": name}
        try:
            with contextlib.ExitStack() as around:
                engine = start(around)
                row |= _measure(engine, windows, expected_m(), _tolerance(engine, exact=name.startswith(_EXACT)))
                if args.device.startswith("cuda") and engine.name.endswith("CPU"):
                    row["note"] = "on the processor: what is installed knows no CUDA"
        except (*FAILURES, AssertionError, NotImplementedError) as error:
            row["left_out"] = str(error).strip().splitlines()[0] if str(error) else repr(error)
        _say(row)
    return 0


def _say(row: dict) -> None:
    sys.stdout.write(json.dumps(row, allow_nan=False) + "\n")
    sys.stdout.flush()


def _torch_ways(checkpoint: str, device: str, views: int) -> dict[str, Start]:
    """By name how each is started, for hands in so many views; the stack keeps what it runs under."""

    kind = torch.device(device).type

    def torch_in(dtype: torch.dtype, graphs: bool = False) -> Start:
        def start(around: contextlib.ExitStack) -> Engine:
            low = dtype != torch.float32
            # Without its cache, since what a graph reads has to be what it was captured with.
            around.enter_context(torch.autocast(kind, dtype, enabled=low, cache_enabled=not graphs))
            around.enter_context(_tf32(False))
            engine = TorchEngine(checkpoint, device)
            if graphs:
                engine.prepare([1, 2], views)
            return engine

        return start

    ways = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        ways[f"torch {name}"] = torch_in(dtype)
        if device.startswith("cuda"):
            ways[f"torch {name}, CUDA graphs"] = torch_in(dtype, graphs=True)
    return ways


def _exported_ways(checkpoint: str, directory: Path) -> dict[str, Start]:
    return {
        "ONNX Runtime": lambda _: _exported(checkpoint, directory, "onnxruntime"),
        "TensorRT": lambda _: _exported(checkpoint, directory, "tensorrt"),
    }


def _tolerance(engine: Engine, exact: bool) -> Tolerance:
    if engine.shape.upright:  # of the recipe `live`
        return LANDMARKS_FLOAT32 if exact else LANDMARKS_LOWER
    return FLOAT32 if exact else LOWER


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Whether products of float32 are calculated in TensorFloat-32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _exported(checkpoint: str, directory: Path, name: str) -> Engine:
    from deploy.artefact.cached_export import missing_to_export
    from deploy.engines import make_engine

    runtime = {"tensorrt": ("tensorrt", "tensorrt_rtx_bindings")}.get(name, (name,))
    missing = [] if any(importlib.util.find_spec(each) for each in runtime) else [runtime[0]]
    if missing := missing + missing_to_export():
        raise ImportError(f"{', '.join(missing)} is not installed")
    if not _is_export_of(checkpoint, directory):
        from deploy.export.onnx_export import export

        export(checkpoint, directory)
    if name == "tensorrt":
        from deploy.tensorrt.build import build

        build(directory)
    return make_engine(str(directory), name)


def _is_export_of(checkpoint: str, directory: Path) -> bool:
    """Not where an earlier run left its own there."""
    try:
        return read_manifest(directory).checkpoint_sha256 == hash_found(checkpoint_path(checkpoint))
    except UserError:
        return False


def _measure(engine: Engine, windows: list[Window], expected_m: np.ndarray, tolerance: Tolerance) -> dict:
    joints_m = np.stack([run_window(engine, window) for window in windows])
    true_m = np.stack([window["joints_m"][-1] for window in windows])
    if not np.isfinite(true_m).all():  # not known: by distance alone
        true_m, tolerance = None, tolerance._replace(error_percent=None)
    views = windows[0]["view_mask"].shape[1]
    found = compare(engine.name, views, joints_m, expected_m, tolerance, true_m).figures()
    row = {name: None if isinstance(each, float) and not math.isfinite(each) else each for name, each in found.items()}
    row["finite"] = bool(np.isfinite(joints_m).all())
    for hands in (1, 2):
        crops = [np.repeat(windows[0][each][-1:], hands, axis=0) for each in STAGE1]
        window = _window(engine, hands)
        row[f"stage1_ms_{hands}"] = _median_ms(lambda: engine.run_stage1(*crops))  # noqa: B023 - called at once
        row[f"stpt_ms_{hands}"] = _median_ms(lambda: engine.refine(window))  # noqa: B023
    engine.close()
    return row


def _window(engine: Engine, hands: int) -> CloudWindow:
    window = empty_window(engine.shape, hands)
    window.frame_mask[:] = True
    return window


def _median_ms(task: Callable[[], object]) -> float:
    for _ in range(3):
        task()
    taken, end = [], time.perf_counter() + _SECONDS
    while len(taken) < 5 or (time.perf_counter() < end and len(taken) < 200):
        start = time.perf_counter()
        task()
        taken.append(time.perf_counter() - start)
        if sum(taken) > 4 * _SECONDS:
            break
    return round(1e3 * float(np.median(taken)), 3)


if __name__ == "__main__":
    sys.exit(main())

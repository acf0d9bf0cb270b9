"""`python -m deploy.measure.cuda_ways CHECKPOINT WINDOWS.npz`: every way to run a checkpoint on a GPU, one line each.

Each line is JSON: how far its joints are from torch's in float32 on the CPU, and the milliseconds of stage 1 and of the
transformer for one hand and two, images in and joints out; or why it was left out. A line is written when it is known.
"""

import argparse
import contextlib
import importlib.util
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from calibration.programs import exit_code
from deploy.batches import CloudWindow, empty_window
from deploy.engines.engine import FAILURES, Engine
from deploy.engines.torch_engine import TorchEngine
from deploy.export.parity import STAGE1, Window, compare, run_window

_SECONDS = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.measure.cuda_ways")
    parser.add_argument("checkpoint")
    parser.add_argument("windows", type=Path, help="arrays as of models/data/windows.py, of a few hands")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--engines", type=Path, help="where to export to; without it the exported ways are left out")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    return exit_code(lambda: run(args), place=args.windows)


def run(args: argparse.Namespace) -> int:
    with np.load(args.windows, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    windows = [{name: array[index] for name, array in arrays.items()} for index in range(len(arrays["P_crop"]))]
    expected_m = np.stack([run_window(TorchEngine(args.checkpoint, "cpu"), window) for window in windows])
    for name, start in _ways(args.checkpoint, args.device, args.engines):
        try:
            with contextlib.ExitStack() as around:
                row = _measure(name, start(around), windows, expected_m)
        except (*FAILURES, AssertionError, NotImplementedError) as error:
            row = {"way": name, "left_out": str(error).strip().splitlines()[0] if str(error) else repr(error)}
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
    return 0


def _ways(
    checkpoint: str, device: str, engines: Path | None
) -> Iterator[tuple[str, Callable[[contextlib.ExitStack], Engine]]]:
    """Names, and how each is started; the stack keeps what it runs under."""

    def torch_in(dtype: torch.dtype, graphs: bool = False) -> Callable[[contextlib.ExitStack], Engine]:
        def start(around: contextlib.ExitStack) -> Engine:
            low = dtype != torch.float32
            # Without its cache, since what a graph reads has to be what it was captured with.
            around.enter_context(torch.autocast(device, dtype, enabled=low, cache_enabled=not graphs))
            around.enter_context(_tf32(False))
            engine = TorchEngine(checkpoint, device)
            if graphs:
                engine.prepare([1, 2], 4)
            return engine

        return start

    yield "torch float32", torch_in(torch.float32)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        if dtype != torch.float32:
            yield f"torch {name}", torch_in(dtype)
        if device.startswith("cuda"):
            yield f"torch {name}, CUDA graphs", torch_in(dtype, graphs=True)
    if engines is not None:
        yield "ONNX Runtime", lambda _: _exported(checkpoint, engines, "onnxruntime")
        yield "TensorRT", lambda _: _exported(checkpoint, engines, "tensorrt")


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
    from deploy.artefact.manifest import MANIFEST
    from deploy.engines import make_engine

    runtime = {"tensorrt": ("tensorrt", "tensorrt_rtx_bindings")}.get(name, (name,))
    missing = [] if any(importlib.util.find_spec(each) for each in runtime) else [runtime[0]]
    if missing := missing + missing_to_export():
        raise ImportError(f"{', '.join(missing)} is not installed")
    if not (directory / MANIFEST).exists():
        from deploy.export.onnx_export import export

        export(checkpoint, directory)
    if name == "tensorrt":
        from deploy.tensorrt.build import build

        build(directory)
    return make_engine(str(directory), name)


def _measure(name: str, engine: Engine, windows: list[Window], expected_m: np.ndarray) -> dict:
    views = windows[0]["view_mask"].shape[1]
    found = compare(name, views, np.stack([run_window(engine, window) for window in windows]), expected_m)
    row: dict = {"way": name, "engine": engine.name, "views": views}
    row |= {"mean_mm": found.mean_mm, "median_mm": found.median_mm, "max_mm": found.max_mm}
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

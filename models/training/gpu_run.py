"""Trains recipes on one GPU for the minutes that there are, and checks and times every way to run them there.

    python -m models.training.gpu_run packed.npz --out DIR --minutes 4

Needs torch, numpy, msgspec, safetensors and PyYAML; what ONNX Runtime and TensorRT need is used where it is installed.
`packed.npz` is written by models/data/pack_crops.py. `DIR/result.json` has what is known so far at any time: of each
recipe the curve of its training and, of each way to run it (deploy/measure/cuda_ways.py), how far its joints are from
torch's in float32 on the CPU and how long it takes. Beside it lie the checkpoints.
"""

import argparse
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

_NEEDED = {"torch": "torch", "numpy": "numpy", "msgspec": "msgspec", "safetensors": "safetensors", "yaml": "PyYAML"}
if _MISSING := [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]:
    sys.exit(f"usthand: this program needs {', '.join(_MISSING)}. Install them: pip install {' '.join(_MISSING)}")

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from calibration.errors import UserError  # noqa: E402
from calibration.found_files import hash_found  # noqa: E402
from calibration.programs import exit_code  # noqa: E402
from calibration.yamlfile import write_atomic  # noqa: E402
from models.data.packed_crops import PackedCrops  # noqa: E402
from models.network.checkpoint import CheckpointInfo, save_checkpoint  # noqa: E402
from models.network.config import RECIPES  # noqa: E402
from models.training.commit import code_commit  # noqa: E402
from models.training.timed_training import TimedTraining  # noqa: E402

_SLOWEST_CHECK_S = 90.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.gpu_run", description=__doc__)
    parser.add_argument("packed", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training, of all recipes (default: %(default)s)")
    parser.add_argument("--recipes", nargs="+", default=["live", "paper"], choices=sorted(RECIPES))
    parser.add_argument("--device", default="cuda", help="`cpu` tries the whole path (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="single frames of a step (default: %(default)s)")
    args = parser.parse_args()
    return exit_code(lambda: run(args), place=args.out)


def run(args: argparse.Namespace) -> int:
    """Raises UserError for packed crops that are none, and a device that is not there."""
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("`--device cuda`: torch finds no GPU here. Try the path with `--device cpu`.")
    if not (math.isfinite(args.minutes) and args.minutes > 0 and args.batch > 0):
        raise UserError("`--minutes` and `--batch` are numbers above 0.")
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    args.out.mkdir(parents=True, exist_ok=True)
    packed = PackedCrops(args.packed, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    result: dict[str, Any] = {"device": name, "torch": str(torch.__version__), "commit": code_commit(), "recipes": {}}
    for each in args.recipes:
        training = TimedTraining(each, packed, args.batch)
        found = result["recipes"][each] = {"curve": training.curve}
        training.train(60 * args.minutes / len(args.recipes), lambda: _write(args.out, result))
        path = args.out / f"{each}.safetensors"
        provenance = {"packed_sha256": hash_found(args.packed), "commit": code_commit()}
        save_checkpoint(
            path, training.averaged.state_dict(), CheckpointInfo(training.config, training.step, provenance)
        )
        found |= {"steps": training.step, "skipped": training.skipped, "checkpoint": path.name}
        windows = args.out / f"{each}_windows.npz"
        np.savez(windows, **training.windows_to_check())  # type: ignore[arg-type]
        found["ways"] = check(path, windows, args.device, args.out / f"{each}_engines")
        _write(args.out, result)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def check(checkpoint: Path, windows: Path, device: str, engines: Path) -> list[dict]:
    """Every way to run the checkpoint, in a process of its own, whose failure costs nothing else."""
    command = [
        sys.executable,
        "-m",
        "deploy.measure.cuda_ways",
        str(checkpoint),
        str(windows),
        "--engines",
        str(engines),
    ]
    process = subprocess.Popen([*command, "--device", device], stdout=subprocess.PIPE, text=True)
    try:
        said, _ = process.communicate(timeout=_SLOWEST_CHECK_S)
        ended = {} if process.returncode == 0 else {"ended_with": process.returncode}
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        ended = {"ended_after_s": _SLOWEST_CHECK_S}
    return [msgspec.json.decode(line) for line in said.splitlines() if line.startswith("{")] + (
        [ended] if ended else []
    )


def _write(out: Path, result: dict[str, Any]) -> None:
    write_atomic(out / "result.json", json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())

"""Trains recipes on one GPU for the minutes that there are, and checks and times every way to run them there.

    python -m models.training.gpu_run upright.npz plain.npz --out DIR --minutes 4

Needs torch, numpy, msgspec, safetensors and PyYAML; what ONNX Runtime and TensorRT need is used where it is installed.
The packs are written by models/data/pack_crops.py; each recipe takes the one of the crops that it is made for.
`DIR/result.json` has what is known so far at any time: of each recipe the curve of its training and, of each way to run
it (deploy/measure/cuda_ways.py), how far its joints are from torch's in float32 on the CPU and how long it takes, or
why it `failed`. Beside it lie the checkpoints.
"""

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from traceback import format_exc
from typing import Any

_NEEDED = {"torch": "torch", "numpy": "numpy", "msgspec": "msgspec", "safetensors": "safetensors", "yaml": "PyYAML"}
if _MISSING := [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]:
    sys.exit(f"usthand: this program needs {', '.join(_MISSING)}. Install them: pip install {' '.join(_MISSING)}")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from calibration.errors import UserError  # noqa: E402
from calibration.found_files import hash_found  # noqa: E402
from calibration.plain_json import parse_json  # noqa: E402
from calibration.programs import exit_code, say  # noqa: E402
from calibration.yamlfile import write_atomic  # noqa: E402
from models.data.packed_crops import PackedCrops  # noqa: E402
from models.network.checkpoint import CheckpointInfo, save_checkpoint  # noqa: E402
from models.network.config import RECIPES  # noqa: E402
from models.training.commit import code_commit  # noqa: E402
from models.training.timed_training import TimedTraining  # noqa: E402

_CHECKING_MIN = 3.5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.gpu_run", description=__doc__)
    parser.add_argument("packed", type=Path, nargs="+", help="packed crops, of one kind or one pack of each")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training, of all recipes (default: %(default)s)")
    within = f"of the whole run, which its checks share (default: {_CHECKING_MIN} more than `--minutes`)"
    parser.add_argument("--within", type=float, metavar="MINUTES", help=within)
    parser.add_argument("--recipes", nargs="+", default=["live", "paper"], choices=sorted(RECIPES))
    parser.add_argument("--device", default="cuda", help="`cpu` tries the whole path (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="single frames of a step (default: %(default)s)")
    args = parser.parse_args()
    return exit_code(lambda: run(args), place=args.out)


def run(args: argparse.Namespace) -> int:
    """1 where a recipe failed; the others are trained all the same.

    Raises UserError for flags that cannot be, a device that is not there, and packed crops that no recipe can take.
    """
    began, within = time.monotonic(), args.minutes + _CHECKING_MIN if args.within is None else args.within
    if not (math.isfinite(args.minutes) and args.minutes > 0 and args.batch > 0):
        raise UserError("`--minutes` and `--batch` are numbers above 0.")
    if not (math.isfinite(within) and within > args.minutes):
        raise UserError(
            f"`--within {within:g}` leaves no time for checks. Give more than the {args.minutes:g} of `--minutes`."
        )
    device = _device(args.device)
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"`--out {args.out}`: is a file. Give a folder.")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    args.out.mkdir(parents=True, exist_ok=True)
    packs = {path: PackedCrops(path, device) for path in args.packed}
    recipes = {each: pack_for(each, packs) for each in args.recipes}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    result: dict[str, Any] = {"device": name, "torch": str(torch.__version__), "commit": code_commit(), "recipes": {}}
    training_s, ends = 60 * args.minutes / len(recipes), began + 60 * within
    for left, (each, path) in zip(range(len(recipes) - 1, -1, -1), recipes.items(), strict=True):
        found = result["recipes"][each] = {}
        try:
            made = _train(each, path, packs[path], training_s, args, found, lambda: _write(args.out, result))
            torch.cuda.empty_cache()  # its checks are other processes
            checking_s = (ends - time.monotonic() - left * training_s) / (left + 1)
            found["ways"] = check(*made, args.device, args.out / f"{each}_engines", checking_s)
        except (UserError, OSError):
            raise
        except Exception as error:  # Whatever it is, the next recipe may not have it.
            found |= {"failed": str(error).strip().partition("\n")[0] or repr(error), "traceback": format_exc()}
        _write(args.out, result)
    sys.stdout.write(json.dumps(result) + "\n")
    failed = {each: found["failed"] for each, found in result["recipes"].items() if "failed" in found}
    for each, why in failed.items():
        say(f"recipe `{each}`: failed ({why}); {args.out / 'result.json'} has the traceback")
    return int(bool(failed))


def _device(name: str) -> torch.device:
    """Raises UserError where torch knows no such device, or it is not here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "cpu"):
        raise UserError(f"`--device {name}`: is neither a GPU of torch's nor the processor. Give `cuda` or `cpu`.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"`--device {name}`: torch finds no such GPU here. Try the path with `--device cpu`.")
    return device


def pack_for(name: str, packs: Mapping[Path, PackedCrops]) -> Path:
    """Which of the packs has the crops that a recipe takes. Raises UserError where none has, or several."""
    config = RECIPES[name]
    fitting = [path for path, packed in packs.items() if packed.upright in (None, config.landmarks)]
    if not fitting:
        how = "upright crops (`usthand simulate-crops --upright`)" if config.landmarks else "plain crops"
        raise UserError(
            f"recipe `{name}` takes {how}, and {' and '.join(map(str, packs))} has others. Pack a cache of such by "
            "`python -m models.data.pack_crops` and give that, too, or leave the recipe out of `--recipes`."
        )
    if len(fitting) > 1:
        raise UserError(f"{' and '.join(map(str, fitting))} both fit recipe `{name}`. Give one, or pack them as one.")
    if not len(packs[fitting[0]].windows(config.frames, held=False)):
        raise UserError(f"{fitting[0]}: has no window of {config.frames} frames. Pack longer clips.")
    return fitting[0]


def _train(
    name: str,
    path: Path,
    packed: PackedCrops,
    seconds: float,
    args: argparse.Namespace,
    found: dict[str, Any],
    on_validation: Callable[[], object],
) -> tuple[Path, Path]:
    """What is known of the training goes to `found`; returns the checkpoint and the windows to check it on."""
    training = TimedTraining(name, packed, args.batch)
    found["curve"] = training.curve
    training.train(seconds, on_validation)
    checkpoint, windows = args.out / f"{name}.safetensors", args.out / f"{name}_windows.npz"
    provenance = {"packed_sha256": hash_found(path), "commit": code_commit()}
    save_checkpoint(
        checkpoint, training.averaged.state_dict(), CheckpointInfo(training.config, training.step, provenance)
    )
    found |= {"steps": training.step, "skipped": training.skipped, "checkpoint": checkpoint.name}
    np.savez(windows, **training.windows_to_check())  # type: ignore[arg-type]
    return checkpoint, windows


def check(checkpoint: Path, windows: Path, device: str, engines: Path, seconds: float) -> list[dict]:
    """Every way to run the checkpoint, within so many seconds, in processes whose failure costs nothing else.

    The exported networks go first, with half of the time: it takes minutes to make some, and none where nothing is
    installed that runs them.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "deploy.measure.cuda_ways", str(checkpoint), str(windows), "--device", device]
    exported = _rows([*command, "--exported", str(engines)], "of exported networks", seconds / 2)
    return _rows(command, "of torch", seconds - (time.monotonic() - began)) + exported


def _rows(command: list[str], ways: str, seconds: float) -> list[dict]:
    """What the program said of each way, and of those that it did not come to, why."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said, _ = process.communicate(timeout=max(seconds, 0))
        why = f"the program that checks it ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        why = f"not reached in the {max(seconds, 0):.0f} s that there were; `--within` gives more"
    lines = [parse_json(line) for line in said.splitlines() if line.startswith("{")]
    rows = [line for line in lines if "way" in line]
    names = next((line["ways"] for line in lines if "ways" in line), [f"all ways {ways}"])
    reached = {row["way"] for row in rows}
    return rows + [{"way": name, "left_out": why} for name in names if name not in reached]


def _write(out: Path, result: dict[str, Any]) -> None:
    write_atomic(out / "result.json", json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())

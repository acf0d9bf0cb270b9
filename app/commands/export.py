"""`usthand export`: starts the export of a checkpoint in a process of its own, since only it loads torch."""

import argparse
import sys
from pathlib import Path

from app.commands.common import add_command, run_child
from calibration.errors import UserError
from deploy.artefact.cached_export import missing_to_export


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "export",
        run,
        "make an engine directory of a checkpoint: ONNX files that OpenVINO and ONNX Runtime run without torch, and "
        "TensorRT engines",
        "  usthand export runs/small/best.safetensors engine --check\n"
        "  usthand export shipped engine --tensorrt --compute-capability 8.9\n"
        "  usthand live rig.yaml --estimator ust-hand --checkpoint engine",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file that `usthand train` wrote, or `shipped`")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the ONNX files and their manifest go")
    parser.add_argument(
        "--check", action="store_true", help="compare the joints of each installed runtime with torch's; fails if apart"
    )
    parser.add_argument(
        "--tensorrt", action="store_true", help="build TensorRT engines, too; TensorRT for RTX needs no GPU"
    )
    parser.add_argument(
        "--compute-capability",
        nargs="+",
        metavar="X.Y",
        help="the GPUs to build for (default: 8.6 8.9 12.0 with TensorRT for RTX, else the GPU of this machine)",
    )


def run(args: argparse.Namespace) -> int:
    if args.compute_capability and not args.tensorrt:
        raise UserError("`--compute-capability` says what to build TensorRT engines for. Give `--tensorrt`, too.")
    for library in missing_to_export():
        raise UserError(
            f"an export needs {library}, which is not installed. Install the project's extras `train` and `export`."
        )
    flags = [f"--{name}" for name in ("check", "tensorrt", "json") if getattr(args, name)]
    if args.compute_capability:
        flags += ["--compute-capability", *args.compute_capability]
    command = [sys.executable, "-m", "deploy.export.onnx_export", args.checkpoint, str(args.directory), *flags]
    return run_child(command)
